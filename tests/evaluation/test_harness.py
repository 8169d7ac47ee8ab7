"""The harness: the answers that the model gives by itself, nothing asked twice, in memory and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from thinktuning_lite.classroom.load import TINY_CLASSROOM, load_classroom
from thinktuning_lite.classroom.sample import respond
from thinktuning_lite.evaluation import harness
from thinktuning_lite.evaluation.harness import GREEDY, SAMPLED, TASKS, StoredLM, hub_model, run_tasks
from thinktuning_lite.method.sampling import sample


class CountingLM(LM):
    """Answers with a random number, so that every answer tells which call it is from; may break after some calls."""

    def __init__(self, break_after: int | None = None) -> None:
        super().__init__()
        self.asked, self.break_after = [], break_after

    def generate_until(self, requests, disable_tqdm=False):
        if self.break_after is not None and len(self.asked) >= self.break_after:
            raise KeyboardInterrupt
        self.asked += [r.args for r in requests]
        return [f"\\boxed{{{int(torch.randint(10**6, ()))}}}" for _ in requests]

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return json.dumps(chat_history)

    tokenizer_name = "counting"

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def requests(contexts: list[str], **generation) -> list[Instance]:
    arguments = {"until": [], **generation}
    return [Instance("generate_until", {}, (c, arguments), 0, ("t", i, 1)) for i, c in enumerate(contexts)]


SAMPLES = [c for c in "abcdefgh" for _ in range(3)]  # three samples of each of eight prompts


def test_an_interrupted_evaluation_goes_on_without_asking_again_and_ends_as_if_it_had_not_been(tmp_path):
    whole = CountingLM()
    expected = StoredLM(whole, tmp_path / "whole.db", chunk=4).generate_until(requests(SAMPLES, do_sample=True))
    assert len(whole.asked) == 24 and len(set(expected)) == 24  # samples of one prompt are not one answer

    broken = CountingLM(break_after=8)
    with pytest.raises(KeyboardInterrupt):
        StoredLM(broken, tmp_path / "r.db", chunk=4).generate_until(requests(SAMPLES, do_sample=True))
    assert len(broken.asked) == 8
    resumed = CountingLM()
    answers = StoredLM(resumed, tmp_path / "r.db", chunk=4).generate_until(requests(SAMPLES, do_sample=True))
    assert len(resumed.asked) == 16
    assert answers == expected
    idle = CountingLM(break_after=0)
    assert StoredLM(idle, tmp_path / "r.db", chunk=4).generate_until(requests(SAMPLES, do_sample=True)) == expected


def test_another_seed_prompt_or_argument_is_another_request(tmp_path):
    model = CountingLM()
    first = StoredLM(model, tmp_path / "r.db").generate_until(requests(["a"], do_sample=True))
    for seed, context, generation in ((1, "a", {"do_sample": True}), (0, "b", {"do_sample": True}), (0, "a", {})):
        other = StoredLM(model, tmp_path / "r.db", seed).generate_until(requests([context], **generation))
        assert seed == 0 or other != first
    assert len(model.asked) == 4
    assert StoredLM(model, tmp_path / "r.db").generate_until(requests(["a"], do_sample=True)) == first
    assert len(model.asked) == 4


def test_a_whole_evaluation_resumes_from_its_store(tmp_path):
    """Through lm-eval: 12 questions, 3 samples each, broken off in the second chunk."""
    _, tokenizer = load_classroom()

    def evaluate(model):
        lm = StoredLM(model, tmp_path / "r.db", chunk=16)
        return run_tasks(lm, ["tt_tiny_test"], tokenizer, repeats=3, generation=SAMPLED, limit=12)["tt_tiny_test"]

    with pytest.raises(KeyboardInterrupt):
        evaluate(CountingLM(break_after=16))
    rest = CountingLM()
    records = evaluate(rest)
    assert len(rest.asked) == 20
    assert [len(set(r.responses)) for r in records] == [3] * 12
    again = CountingLM(break_after=0)
    assert evaluate(again) == records and not again.asked


def test_the_harness_gives_the_models_own_greedy_answers(tmp_path):
    """Same prompts, same ids as `evaluate.respond`, which the main job uses; lengths are those of the sampled ids."""
    model, tokenizer = load_classroom()
    records = run_tasks(hub_model(model, tokenizer), ["tt_tiny_harder"], tokenizer, generation=GREEDY, limit=24)
    records = records["tt_tiny_harder"]
    ids = respond(model, tokenizer, [r.doc["question"] for r in records], temperature=0.0)
    assert [r.responses[0] for r in records] == tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert [r.lengths[0] for r in records] == [len(i) - 1 for i in ids]
    assert [r.doc["steps"] for r in records[:2]] == [5, 6]
    for record in records:
        assert record.correct == [record.answers[0] == record.doc["answer"]]


def test_samples_follow_the_models_distribution_and_the_store_keeps_them(tmp_path):
    model, tokenizer = load_classroom()
    lm = StoredLM(hub_model(model, tokenizer), tmp_path / "r.db", seed=3)
    first, again = (
        run_tasks(lm, ["tt_tiny_test"], tokenizer, repeats=6, generation=SAMPLED, limit=6)["tt_tiny_test"]
        for _ in range(2)
    )
    assert first == again
    assert sum(len(set(r.responses)) > 1 for r in first) >= 3
    other = StoredLM(hub_model(model, tokenizer), tmp_path / "other.db", seed=4)
    drawn = run_tasks(other, ["tt_tiny_test"], tokenizer, repeats=6, generation=SAMPLED, limit=6)
    assert first != drawn["tt_tiny_test"]


def test_unknown_tasks_and_missing_tokenizers_are_named(tmp_path):
    model, tokenizer = load_classroom()
    with pytest.raises(KeyError, match=r"no task \['tt_gsm9k'\] .* tt_gsm8k"):
        run_tasks(CountingLM(), ["tt_gsm9k"], tokenizer)
    with pytest.raises(ValueError, match="needs its tokenizer"):
        hub_model(model)


def test_the_task_files_work_from_lm_evals_command_line(tmp_path):
    """On the shipped checkpoint as a folder; the answers are those of the model in memory."""
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "--include_path",
        str(TASKS),
        "--tasks",
        "tt_tiny_test",
        "--limit",
        "8",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={TINY_CLASSROOM}",
        "--device",
        "cpu",
        "--batch_size",
        "8",
        "--apply_chat_template",
        "--output_path",
        str(tmp_path / "out"),
        "--log_samples",
    ]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=offline, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tt_tiny_test" in done.stdout and "no_answer" in done.stdout
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda r: r["doc_id"])
    model, tokenizer = load_classroom()
    ids = respond(model, tokenizer, [r["doc"]["question"] for r in rows], temperature=0.0)
    assert [r["resps"][0][0] for r in rows] == tokenizer.batch_decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("asked", [GREEDY, {}, GREEDY | {"suppress_tokens": None}], ids=str)
def test_the_sampler_answers_as_lm_evals_own_generation_does(asked, tiny_model, tokenizer, monkeypatch):
    """Greedy, several EOS, tags suppressed or lifted, a shared start: reply for reply."""
    tiny_model.generation_config.suppress_tokens = list(range(6, 200))
    tiny_model.generation_config.eos_token_id = [tokenizer.eos_token_id, 300]
    start = " ".join("1234567890" * 8)
    contexts = [start + text for text in ("1 + 2", "has more 7", "5", "9 - 3 =")]
    calls = []
    monkeypatch.setattr(harness, "sample", lambda *a, **k: calls.append(k) or sample(*a, **k))
    ours = hub_model(tiny_model, tokenizer).generate_until(requests(contexts, max_gen_toks=24, **asked))
    assert len(calls) == 1 and len(calls[0]["prefix"]) > 64
    monkeypatch.setattr(harness.SampledLM, "_settings", lambda *a: None)
    assert hub_model(tiny_model, tokenizer).generate_until(requests(contexts, max_gen_toks=24, **asked)) == ours
    assert len(calls) == 1 and len(set(ours)) > 1


@pytest.mark.parametrize("asked", [{"until": ["7"]}, {"num_beams": 2}, {"repetition_penalty": 1.2}], ids=str)
def test_what_the_sampler_does_not_know_is_left_to_lm_eval(asked, tiny_model, tokenizer, monkeypatch):
    monkeypatch.setattr(harness, "sample", None)
    assert len(hub_model(tiny_model, tokenizer).generate_until(requests(["1 + 2"], max_gen_toks=4, **asked))) == 1
