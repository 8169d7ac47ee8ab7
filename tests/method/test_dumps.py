"""Rollouts that other trainers left: TRL's own files against the recorder's, verl's and prime-rl's by their fields."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas
import pytest

from thinktuning_lite.method.dumps import (
    log_or_rollouts,
    read_prime_rl_rollouts,
    read_trl_completions,
    read_verl_rollouts,
)
from thinktuning_lite.method.rollouts import UNKNOWN_TOKEN, pieces


def lines(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_trls_completions_lack_tokens_and_probabilities(tmp_path):
    asked = [[{"role": "user", "content": q}] for q in ("1+1?", "1+1?", "2+2?", "2+2?")]
    said = [[{"role": "assistant", "content": "it is two"}]] * 4
    table = {"step": [5] * 4, "prompt": asked, "completion": said, "right": [1.0, 0.0, 1.0, None],
             "advantage": [0.7, -0.7, 0.0, 0.0]}  # fmt: skip
    (tmp_path / "completions").mkdir()
    pandas.DataFrame(table).to_parquet(tmp_path / "completions" / "completions_00005.parquet")
    read = log_or_rollouts(tmp_path)
    assert [(r.step, r.group, r.question, r.text) for r in read[1:3]] == [
        (5, 0, "1+1?", "it is two"),
        (5, 1, "2+2?", "it is two"),
    ]
    assert [r.advantage for r in read] == table["advantage"] and [r.reward for r in read[:3]] == [1.0, 0.0, 1.0]
    assert read[3].rewards == {"right": None}
    assert read[0].token_ids == [UNKNOWN_TOKEN] * 3 and all(map(math.isnan, read[0].logps))
    assert [r.group for r in read_trl_completions(tmp_path, num_generations=4)] == [0, 0, 0, 0]


def test_verl_groups_by_prompt_though_the_batch_was_shuffled(tmp_path):
    rows = [dict(input=q, output=f"is {i}", gts="2", score=float(i % 2), step=7, acc=i % 2, pred=None)
            for i, q in enumerate(("a?", "b?", "b?", "a?"))]  # fmt: skip
    lines(tmp_path / "7.jsonl", rows)
    lines(tmp_path / "10.jsonl", [rows[0] | {"step": 10}])
    read = read_verl_rollouts(tmp_path)
    assert [(r.step, r.group, r.reward) for r in read] == [(7, 0, 0), (7, 1, 1), (7, 1, 0), (7, 0, 1), (10, 0, 0)]
    assert read[1].rewards == {"acc": 1.0} and math.isnan(read[1].advantage) and read[1].finish is None
    assert len(log_or_rollouts(tmp_path)) == 5


def node(role: str, text: str, ids: list[int], own: bool, **noted) -> dict:
    return {"message": {"role": role, "content": text}, "token_ids": ids, "mask": [own] * len(ids), **noted}


def test_prime_rls_episodes_give_tokens_and_their_numbers(tmp_path):
    noted = dict(logprobs=[-1.0, -2.0], trainer_logprobs=[-1.1, -2.2], entropies=[0.5, 0.6], advantages=[0.7, 0.7])
    trace = {
        "nodes": [
            node("user", "1+1?", [1, 2, 3], False),
            node("assistant", "it is 2", [4, 5], True, **noted),
        ],
        "rewards": {"right": {"score": 1.0, "weight": 0.5}, "form": {"score": 1.0}, "unscored": None},
        "calls": [{"node": 1, "finish_reason": "length"}],
    }
    bare = {"nodes": [{"message": {"role": "user", "content": "1+1?"}},
                      {"message": {"role": "assistant", "content": "it is 3"}}], "rewards": {}}  # fmt: skip
    file = tmp_path / "rollouts" / "step_12" / "train" / "effective" / "traces.jsonl"
    lines(file, [{"group": {"id": "g"}, "traces": [t]} for t in (trace, bare)])
    full, lacking = log_or_rollouts(tmp_path)
    assert (full.step, full.group, lacking.group) == (12, 0, 0) and full.question == "1+1?" and full.text == "it is 2"
    assert full.token_ids == [4, 5] and full.logps == [-1.1, -2.2] and full.sampler_logps == [-1.0, -2.0]
    assert full.entropy == [0.5, 0.6] and full.ref_logps is None and full.advantage == pytest.approx(0.7)
    assert full.reward == 1.5 and full.rewards == {"right": 1.0, "form": 1.0, "unscored": None}
    assert full.finish == "length" and lacking.finish is None
    assert math.isnan(lacking.reward) and math.isnan(lacking.advantage) and lacking.token_ids == [UNKNOWN_TOKEN] * 3


def test_prime_rls_older_rows(tmp_path):
    row = {"example_id": 3, "prompt": [{"role": "user", "content": "1+1?"}], "reward": 1.0, "is_truncated": False,
           "completion": [{"role": "assistant", "content": "2"}], "metrics": {}}  # fmt: skip
    file = lines(tmp_path / "rollouts" / "step_4" / "train_rollouts.jsonl", [row, row | {"reward": None}])
    first, second = read_prime_rl_rollouts(file)
    assert (first.step, first.question, first.text, first.finish) == (4, "1+1?", "2", "stop")
    assert math.isnan(second.reward) and math.isnan(first.advantage)


def test_what_is_wrong_is_named_with_its_place(tmp_path):
    with pytest.raises(FileNotFoundError, match="no rollouts.jsonl, and no completions of TRL"):
        log_or_rollouts(tmp_path)
    lines(tmp_path / "grpo-seed0" / "rollouts.jsonl", [])
    with pytest.raises(FileNotFoundError, match=r"there are .*grpo-seed0.rollouts\.jsonl"):
        log_or_rollouts(tmp_path)
    with pytest.raises(ValueError, match=r"1\.jsonl, line 1: has no output, score, step; it has input"):
        read_verl_rollouts(lines(tmp_path / "1.jsonl", [{"input": "x"}]))
    with pytest.raises(ValueError, match="line 2: no row, but 5"):
        read_prime_rl_rollouts(lines(tmp_path / "traces.jsonl", [{"traces": []}, 5]))


def test_pieces_lose_nothing():
    for text in ("", "one", " a  b\n\nc ", "\n", "x\u2003y"):
        assert "".join(pieces(text)) == text
