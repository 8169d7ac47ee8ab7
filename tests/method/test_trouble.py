"""Runs in which something is wrong: what is said aloud, what is left out, what ends a run and what must not."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GUIDANCE, length_reward
from peft import LoraConfig
from transformers import LlamaForCausalLM

from thinktuning_lite.method.movement import _samples
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.rollouts import Rollout, groups_of, read_rollouts
from thinktuning_lite.method.teacher import NoReply, ScriptedTeacher
from thinktuning_lite.method.watch import PATIENCE

LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.0)


def steps_logged(trainer: Any) -> list[dict]:
    return [row for row in trainer.state.log_history if "loss" in row]


def rollouts(trainer: Any) -> list[Rollout]:
    return list(read_rollouts(Path(trainer.args.output_dir) / "rollouts.jsonl"))


def said(call: Any) -> list[str]:
    """The texts of this package's warnings while `call` runs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if "thinktuning_lite" in w.filename or "method" in w.filename]


# --- guidance that begins later -----------------------------------------------------------------------------


def test_guidance_that_begins_at_zero_has_a_teacher_and_comes(build):
    rising = dict(guided_fraction=0.0, guided_fraction_end=0.5, guidance_schedule="linear", max_steps=3)
    assert isinstance(build(**rising, teacher_max_new_tokens=4).teacher, PolicyTeacher)
    trainer = build(ScriptedTeacher(lambda r: GUIDANCE), **rising)
    trainer.train()
    assert [row.get("guidance/fraction", 0) for row in steps_logged(trainer)] == [0, 0.25, 0.5]
    assert all("guidance/probability/own" in row for row in steps_logged(trainer))


# --- replies ------------------------------------------------------------------------------------------------


def test_a_first_step_of_malformed_replies_is_said_with_one_of_them(build):
    trainer = build(ScriptedTeacher(lambda r: "Sure! The answer is 7."), guided_fraction=0.5, max_steps=3)
    (text,) = said(trainer.train)
    assert "none of the teacher's 2 replies" in text and "Sure! The answer is 7." in text
    turn = iter(range(1000))
    half = build(ScriptedTeacher(lambda r: GUIDANCE if next(turn) % 2 else "no"), guided_fraction=0.5, max_steps=3)
    assert said(half.train) == []


def test_the_first_step_is_judged_as_a_whole(build):
    """Two generations serve a step; the replies of one of them are in order."""
    turn = iter([GUIDANCE, "no", "no", "no"])
    trainer = build(
        ScriptedTeacher(lambda r: next(turn)), guided_fraction=0.25, gradient_accumulation_steps=2,
        steps_per_generation=1,
    )  # fmt: skip
    assert said(trainer.train) == []


def test_a_request_that_failed_leaves_its_rollout_unguided_and_is_counted(build):
    turn = iter(range(1000))
    teacher = ScriptedTeacher(lambda r: [GUIDANCE, NoReply("HTTP 429"), None, GUIDANCE][next(turn) % 4])
    trainer = build(teacher, guided_fraction=1.0, max_steps=4, rollout_log_steps=1)
    (text,) = said(trainer.train)
    assert "2 of 4 requests in step 1" in text and "HTTP 429" in text
    assert trainer.state.global_step == 4
    for step, row in enumerate(steps_logged(trainer)):
        assert row["guidance/failures"] == 0.5 and row["guidance/format_failures"] == 0
        assert [r.guided for r in rollouts(trainer) if r.step == step].count(True) == 2


def test_what_is_no_text_counts_as_no_reply(build):
    trainer = build(ScriptedTeacher(lambda r: None), guided_fraction=0.25, max_steps=2)
    (text,) = said(trainer.train)
    assert "a NoneType in place of text" in text and steps_logged(trainer)[-1]["guidance/failures"] == 1


@pytest.mark.parametrize(
    ("teacher", "got"), [(lambda requests: None, "a NoneType"), (lambda requests: ["x"] * 3, "3 replies")]
)
def test_too_few_replies_are_an_error_that_says_how_many(build, teacher, got):
    with pytest.raises(ValueError, match=f"teacher .function. gave {got} to 4 requests.*one reply each"):
        build(teacher, guided_fraction=1.0).train()


def test_a_silent_teacher_ends_the_run_after_a_checkpoint_from_which_it_goes_on(build):
    calls = []

    def write(request):
        calls.append(request)
        return GUIDANCE if len(calls) <= 2 else NoReply("connection refused")

    trainer = build(ScriptedTeacher(write), guided_fraction=0.25, max_steps=20, gradient_accumulation_steps=2)
    with pytest.raises(RuntimeError, match=f"(?s){PATIENCE} steps running.*connection refused.*step 4, after a check"):
        said(trainer.train)
    folder = Path(trainer.args.output_dir)
    assert trainer.state.global_step == 1 + PATIENCE and (folder / f"checkpoint-{1 + PATIENCE}").exists()
    trainer.teacher = ScriptedTeacher(lambda request: GUIDANCE)
    trainer.args.max_steps = 6
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 6


def test_steps_without_a_request_do_not_count_as_silence(build):
    turn = iter(range(1000))
    trainer = build(
        ScriptedTeacher(lambda r: GUIDANCE if next(turn) % PATIENCE == PATIENCE - 1 else NoReply("busy")),
        guided_fraction=0.25, max_steps=8,
    )  # fmt: skip
    said(trainer.train)
    assert trainer.state.global_step == 8


# --- rewards ------------------------------------------------------------------------------------------------


def test_a_first_step_without_reward_is_said_with_a_response_and_its_gold(build, dataset, scripted_teacher):
    def correct(completions: list[Any], **kwargs: Any) -> list[float]:
        return [0.0] * len(completions)

    trainer = build(scripted_teacher, reward=correct, guided_fraction=0.25, rollout_log_steps=1)
    texts = []
    with pytest.raises(RuntimeError, match="every advantage was 0"):
        texts = said(trainer.train) or texts
    trainer = build(scripted_teacher, reward=[correct, length_reward], reward_weights=[1.0, 0.0], learning_rate=0.0)
    (text,) = said(trainer.train)
    assert "every reward of the first step was 0" in text
    shown = {row["question"]: row["answer"] for row in dataset}
    assert any(repr(q) in text and f"answer in the dataset: {a!r}" in text for q, a in shown.items())
    assert said(build(scripted_teacher, guided_fraction=0.25).train) == []


def test_a_reward_of_none_is_left_out_of_metrics_and_log(build, scripted_teacher):
    def some(completions: list[Any], **kwargs: Any) -> list[float | None]:
        return [None if i % 4 == 0 else 0.5 + i for i in range(len(completions))]

    trainer = build(scripted_teacher, reward=some, guided_fraction=0.25, max_steps=3, rollout_log_steps=1)
    trainer.train()
    for step, row in enumerate(steps_logged(trainer)):
        rows = [r for r in rollouts(trainer) if r.step == step]
        assert sum(math.isnan(r.reward) for r in rows) == 1
        for who, some_rows in (("guided", [r for r in rows if r.guided]), ("own", [r for r in rows if not r.guided])):
            judged = [r.reward for r in some_rows if not math.isnan(r.reward)]
            if judged:
                assert row[f"guidance/reward/{who}"] == pytest.approx(sum(judged) / len(judged))
            else:
                assert f"guidance/reward/{who}" not in row
    assert row["reward"] == pytest.approx(2.5)
    lines = (Path(trainer.args.output_dir) / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line, parse_constant=pytest.fail).get("reward", 0) is None for line in lines) == 3


def test_rewards_that_are_all_none_are_said_and_end_nothing(build, scripted_teacher):
    def none(completions: list[Any], **kwargs: Any) -> list[None]:
        return [None] * len(completions)

    trainer = build(scripted_teacher, reward=none, guided_fraction=0.25, rollout_log_steps=1, learning_rate=0.0)
    (text,) = said(trainer.train)
    assert "every reward of the first step was None" in text and trainer.state.global_step == 2


def test_with_reward_needs_eos_a_response_that_was_cut_earns_nothing(build, tokenizer):
    """EOS is never forced here, so some responses are cut; the reward function likes all."""

    def one(completions: list[Any], **kwargs: Any) -> list[float]:
        return [1.0] * len(completions)

    free = {"suppress_tokens": []}
    common = dict(
        reward=[one, length_reward], generation_kwargs=free, max_completion_length=60, guided_fraction=0.0, max_steps=3,
        rollout_log_steps=1, temperature=1.5,
    )  # fmt: skip
    ended = []
    for needs_eos in (True, False):
        trainer = build(**common, reward_needs_eos=needs_eos)
        trainer.train()
        for group in groups_of(rollouts(trainer)).values():
            for r in group:
                stops = r.token_ids[-1] == tokenizer.eos_token_id
                ended.append(stops)
                full = 1 + length_reward([[{"content": r.text}]])[0]
                assert r.reward == pytest.approx(full if stops or not needs_eos else 0.0)
            rewards = torch.tensor([r.reward for r in group])
            wanted = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
            torch.testing.assert_close(torch.tensor([r.advantage for r in group]), wanted, rtol=1e-4, atol=1e-5)
    assert 0 < sum(ended) < len(ended)


# --- sampling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "hf"])
def test_training_samples_as_its_arguments_say_not_as_the_checkpoint_would(build, tiny_folder, settings, engine):
    """Without `forced_eos_token_id`, which the fast sampler leaves to TRL, either way of sampling is at work."""
    confined = {k: v for k, v in settings()["generation_kwargs"].items() if k != "forced_eos_token_id"}
    written = []
    for habits in (
        {},
        {"temperature": 0.3, "top_p": 0.5, "top_k": 2},
        {"temperature": 0.3, "repetition_penalty": 1.8, "min_p": 0.5, "no_repeat_ngram_size": 1},
    ):
        model = LlamaForCausalLM.from_pretrained(tiny_folder)
        model.generation_config.update(**habits, do_sample=True)
        trainer = build(
            model=model, guided_fraction=0.0, rollout_log_steps=1, generation_kwargs=confined, sampling_engine=engine
        )
        trainer.train()
        written.append([r.token_ids for r in rollouts(trainer)])
    assert written[0] == written[1] == written[2]


# --- shapes and dtypes --------------------------------------------------------------------------------------


def test_masked_truncated_rows_with_guidance_and_accumulation(build, settings, scripted_teacher):
    """After sorting, a micro-batch may hold nothing but rows that were masked as cut short."""
    trainer = build(
        scripted_teacher, guided_fraction=0.25, gradient_accumulation_steps=4, mask_truncated_completions=True,
        generation_kwargs=settings()["generation_kwargs"] | {"forced_eos_token_id": None}, max_steps=4,
    )  # fmt: skip
    trainer.train()
    assert any(0 < row["completions/clipped_ratio"] for row in steps_logged(trainer))
    assert any(row["guidance/fraction"] > 0 for row in steps_logged(trainer))
    assert all(math.isfinite(row["loss"]) for row in steps_logged(trainer))


def test_a_float32_head_and_the_default_teacher(build, tiny_folder):
    trainer = build(
        model=LlamaForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16), cast_lm_head_to_fp32=True,
        guided_fraction=0.25, teacher_max_new_tokens=4, learning_rate=1.0,
    )  # fmt: skip
    ids = torch.arange(6, 20).unsqueeze(0)
    assert torch.equal(trainer.teacher.model(ids).logits, trainer.model(ids).logits)
    trainer.train()


def test_evaluations_seconds_are_its_own(build, scripted_teacher, dataset):
    trainer = build(
        scripted_teacher, eval_dataset=dataset.select(range(2)), guided_fraction=0.25, per_device_eval_batch_size=4,
        eval_strategy="steps", eval_steps=1, max_steps=3,
    )  # fmt: skip
    trainer.train()
    evaluated = [row for row in trainer.state.log_history if "eval_reward" in row]
    assert len(evaluated) == 3 and all(row["eval_seconds/generate"] > 0 for row in evaluated)
    assert all("eval_seconds/teach" not in row for row in evaluated)
    assert all(row["seconds/teach"] > 0 for row in steps_logged(trainer))


# --- nothing moved ------------------------------------------------------------------------------------------


def test_full_fine_tuning_in_bfloat16_at_a_small_rate_is_found_out(build, tiny_folder, scripted_teacher):
    def run(dtype: torch.dtype) -> tuple[list[str], float]:
        trainer = build(
            scripted_teacher, model=LlamaForCausalLM.from_pretrained(tiny_folder, dtype=dtype), learning_rate=1e-6,
            guided_fraction=0.25, max_steps=5,
        )  # fmt: skip
        start = [p.detach().clone() for p in trainer.model.parameters()]
        texts = said(trainer.train)
        moved = [int((a != b).sum()) for a, b in zip(start, trainer.model.parameters(), strict=True)]
        return texts, sum(moved) / sum(p.numel() for p in start)

    (text,), share = run(torch.bfloat16)
    assert "learning rate 1e-06 is lost in rounding" in text and "bfloat16" in text and share < 0.01
    texts, share = run(torch.float32)
    assert texts == [] and share > 0.3


@pytest.mark.parametrize("peft", [None, LORA])
def test_a_run_that_moved_nothing_is_an_error_and_keeps_its_log(build, scripted_teacher, peft):
    def same(completions: list[Any], **kwargs: Any) -> list[float]:
        return [1.0] * len(completions)

    trainer = build(scripted_teacher, reward=same, peft_config=peft, guided_fraction=0.25)
    with pytest.raises(RuntimeError, match="every (weight looked at|LoRA B) is what it was.*every advantage was 0"):
        trainer.train()
    saved = json.loads((Path(trainer.args.output_dir) / "trainer_state.json").read_text(encoding="utf-8"))
    assert saved["global_step"] == 2 and saved["log_history"]


def test_a_gradient_that_never_arrives_is_told_from_equal_rewards(build, scripted_teacher, monkeypatch):
    trainer = build(scripted_teacher, guided_fraction=0.25)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: None)
    with pytest.raises(RuntimeError, match="no gradient reached it"):
        trainer.train()


@pytest.mark.parametrize("peft", [None, LORA])
def test_warm_up_at_rate_zero_is_no_error(build, scripted_teacher, peft):
    """The first step of a warm-up has learning rate 0."""
    trainer = build(
        scripted_teacher, peft_config=peft, guided_fraction=0.25, max_steps=1, warmup_steps=3,
        lr_scheduler_type="constant_with_warmup",
    )  # fmt: skip
    before = _samples(trainer.model)
    assert said(trainer.train) == []
    assert all(torch.equal(a, b) for a, b in zip(before, _samples(trainer.model), strict=True))


@pytest.mark.parametrize("peft", [None, LORA])
def test_a_complete_run_that_is_resumed_says_that_nothing_was_left(build, scripted_teacher, peft):
    common = dict(peft_config=peft, guided_fraction=0.25, save_strategy="steps", save_steps=2)
    first, again = build(scripted_teacher, **common), build(scripted_teacher, **common)
    first.train()
    (text,) = said(lambda: again.train(resume_from_checkpoint=str(Path(first.args.output_dir) / "checkpoint-2")))
    assert "complete at step 2" in text and again.state.global_step == 2
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_resuming_inside_a_generation_is_said(build, scripted_teacher):
    common = dict(
        guided_fraction=0.25, num_iterations=2, max_steps=4, save_strategy="steps", save_steps=1,
    )  # fmt: skip
    straight = build(scripted_teacher, **common)
    assert said(straight.train) == []
    for step, expected in ((1, 1), (2, 0), (3, 1)):
        resumed = build(scripted_teacher, **common)
        checkpoint = str(Path(straight.args.output_dir) / f"checkpoint-{step}")
        texts = said(lambda r=resumed, c=checkpoint: r.train(resume_from_checkpoint=c))
        assert len(texts) == expected and all(f"resuming at step {step}, inside" in t for t in texts)
