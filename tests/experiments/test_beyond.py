"""The grid beyond the paper: runs that are kept, arms that join later, a table that claims no more than it may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.experiments import beyond, beyond_arms, runs
from thinktuning_lite.experiments.beyond import ARMS
from thinktuning_lite.experiments.beyond_arms import Arm, BeyondPlan, Cost, cost_of

TOY = dict(seeds=(0,), steps=2, sets=("test", "validation"), limit=4)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path) -> list[tuple[str, int]]:
    """The runs that were made, one after another in this process, in a folder of the test's own."""
    made: list[tuple[str, int]] = []

    def one_after_another(jobs: list[tuple]) -> None:
        for function, plan, arm, seed in jobs:
            function(plan, arm, seed, bar=0)
            made.append((arm, seed))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "run_side_by_side", one_after_another)
    return made


def untrained(plan: BeyondPlan, seed: int, folder: Path, bar: int) -> beyond_arms.Trained:
    (folder / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n', encoding="utf-8")
    return *load_classroom(), Cost(10, 0, 0)


def test_a_run_is_kept_and_another_arm_joins_it(ran, tmp_path, capsys, monkeypatch):
    options = ["--seeds", "0", "--steps", "2", "--sets", "test", "validation", "--limit", "4"]
    beyond.main(["--arms", "released", *options])
    assert ran == [("released", 0)]
    result = json.loads((tmp_path / "runs/beyond/released-seed0/result.json").read_text())
    assert set(result["sets"]) == {"test", "validation"}
    assert all(
        len(s[kind]) == 4 and set(s[kind]) <= {"0", "1"}
        for s in result["sets"].values()
        for kind in ("sampled", "greedy")
    )
    assert 2 * 8 * 20 < result["cost"]["taught_tokens"] < result["cost"]["teacher_tokens"]  # one step with 8 guided
    assert result["cost"]["sampled_tokens"] > 2 * 64 * 10

    monkeypatch.setitem(ARMS, "untrained", Arm("nothing", "controls", "released", untrained))
    monkeypatch.setitem(ARMS, "grpo", Arm("nothing", "baselines", "grpo", untrained))
    beyond.run(BeyondPlan(arms=("released", "grpo", "untrained"), **TOY))  # other arms, the same folder
    assert ran == [("released", 0), ("grpo", 0), ("untrained", 0)]
    capsys.readouterr()
    beyond.main(["--arms", "released", *options, "--save", str(tmp_path / "log")])  # nothing to do but the table
    assert len(ran) == 3
    said = capsys.readouterr().out
    for arm in ("grpo", "released", "untrained"):
        assert f"| {arm} |" in said
    saved = json.loads((tmp_path / "log/results.json").read_text())
    assert set(saved["runs"]) == {"grpo", "released", "untrained"}
    assert [(c["arm"], c["reference"]) for c in saved["comparisons"]] == [
        ("released", "grpo"), ("untrained", "grpo"), ("untrained", "released")
    ]  # fmt: skip
    curves = json.loads((tmp_path / "log/curves.json").read_text())
    assert "guidance/generated_tokens" in curves["released-seed0"]["metrics"][0]


@pytest.mark.parametrize("other", [{"steps": 3}, {"seeds": (0, 1)}, {"sets": ("test",)}])
def test_what_would_not_compare_is_not_mixed(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    runs.claim(BeyondPlan(arms=("grpo",), **TOY))
    runs.claim(BeyondPlan(arms=("released",), **TOY))
    with pytest.raises(SystemExit, match="--fresh"):
        runs.claim(BeyondPlan(arms=("grpo",), **(TOY | other)))


def result(sampled: str, greedy: str = "0000") -> dict:
    shown = {"sampled": sampled, "greedy": greedy, "reflection": 0.5, "worked_route": 0.0, "length": 30.0}
    return {
        "sets": {"test": shown, "test_harder": shown, "validation": shown},
        "cost": {"sampled_tokens": 1000, "taught_tokens": 200, "teacher_tokens": 300},
        "cpu_seconds": {"train": 1.0, "evaluate": 1.0},
    }


def test_every_arm_is_compared_with_grpo_with_released_and_with_its_control(monkeypatch):
    monkeypatch.setitem(ARMS, "weak", Arm("", "cascade", "released", untrained))
    monkeypatch.setitem(ARMS, "two-weak", Arm("", "cascade", "weak", untrained))
    low, high = [result("0" * 60)] * 3, [result("1" * 60)] * 3
    results = {"grpo": low, "released": high, "weak": low, "two-weak": high}
    made = {(c.arm, c.reference): c for c in beyond.comparisons(results, ["test"])}
    assert set(made) == {
        ("released", "grpo"), ("weak", "grpo"), ("weak", "released"),
        ("two-weak", "grpo"), ("two-weak", "released"), ("two-weak", "weak"),
    }  # fmt: skip
    assert made["released", "grpo"].verdict == "better" and made["released", "grpo"].difference.estimate == 1
    assert made["weak", "released"].verdict == "worse"
    assert made["weak", "grpo"].verdict == "no difference shown"
    plan = BeyondPlan(seeds=(0, 1, 2), sets=("test", "test_harder", "validation"))
    text = beyond.markdown(results, plan)
    assert "| two-weak | 100.0 / 100.0 |" in text and "weak: +100.0 [+100.0, +100.0], **better**" in text
    assert "6 comparisons" in text and "over 12 comparisons" in text and "validation" not in text


def test_a_difference_that_only_seeds_make_is_not_shown_once_many_are_compared(monkeypatch):
    """Alone it would count as better; beside nineteen others Holm's p does not let it."""
    base = [result("0" * 100)] * 3
    lucky = [result("1" * n + "0" * (100 - n)) for n in (10, 14, 18)]
    alone = beyond.comparisons({"grpo": base, "released": lucky}, ["test"])
    assert [c.verdict for c in alone] == ["better"]
    for i in range(10):
        monkeypatch.setitem(ARMS, f"arm{i}", Arm("", "controls", "grpo", untrained))
    many = beyond.comparisons({"grpo": base, "released": lucky, **{f"arm{i}": base for i in range(10)}}, ["test"])
    first = next(c for c in many if c.arm == "released")
    assert first.difference == alone[0].difference and first.verdict == "no difference shown"


def test_what_a_run_cost_is_read_from_its_metrics():
    guided = {"completions/mean_length": 40.0, "guidance/fraction": 0.125, "guidance/teacher_tokens": 50.0,
              "guidance/generated_tokens": 600.0}  # fmt: skip
    own = {"completions/mean_length": 30.0}
    # 64 rollouts a step, 8 of them guided by 50 tokens; their 8 EOS were sampled as well
    assert cost_of([guided, own]) == Cost(64 * 40 - 8 * 50 + 8 + 64 * 30, 8 * 50, 600)
