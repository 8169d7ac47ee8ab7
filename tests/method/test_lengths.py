"""Sampling a generation in parts, and guidance cut to a length after its form was checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import GUIDANCE, length_reward
from datasets import Dataset
from trl import GRPOTrainer

from thinktuning_lite.method import generation_seam
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import parse_guidance
from thinktuning_lite.method.trainer import ThinkTuningTrainer


def trainer_of(model, settings, dataset, tokenizer, teacher, **overrides) -> ThinkTuningTrainer:
    config = ThinkTuningConfig(**settings(guided_fraction=0.25, max_steps=1, **overrides))
    return ThinkTuningTrainer(model, length_reward, config, dataset, teacher=teacher, processing_class=tokenizer)


@pytest.mark.parametrize("engine", ["auto", "hf"])
def test_a_generation_is_sampled_in_parts(
    engine, tiny_model, settings, dataset, tokenizer, scripted_teacher, monkeypatch
):
    parts: list[int] = []
    sample, single = generation_seam.sample, GRPOTrainer._generate_single_turn
    monkeypatch.setattr(
        generation_seam, "sample", lambda m, ids, **how: parts.append(len(ids)) or sample(m, ids, **how)
    )
    monkeypatch.setattr(
        GRPOTrainer,
        "_generate_single_turn",
        lambda self, ids, *a, **k: parts.append(len(ids)) or single(self, ids, *a, **k),
    )
    trainer = trainer_of(
        tiny_model, settings, dataset, tokenizer, scripted_teacher,
        gradient_accumulation_steps=3, rollouts_at_a_time=8, sampling_engine=engine,
    )  # fmt: skip
    trainer.train()
    assert parts == [8, 4]
    assert trainer.state.log_history[0]["guidance/fraction"] == 3 / 12


def test_guidance_is_cut_after_its_form_was_checked(tiny_model, settings, dataset, tokenizer, scripted_teacher):
    whole = tokenizer.encode(parse_guidance(GUIDANCE).text, add_special_tokens=False)
    trainer = trainer_of(tiny_model, settings, dataset, tokenizer, scripted_teacher, guidance_max_tokens=5)
    trainer.train()
    log = trainer.state.log_history[0]
    assert len(whole) > 5 and log["guidance/teacher_tokens"] == 5 + 1  # and EOS
    assert log["guidance/format_failures"] == 0


@pytest.mark.parametrize(("wrong", "says"), [
    ({"rollouts_at_a_time": 6}, "rollouts_at_a_time=6 is no multiple of num_generations=4"),
    ({"teacher_max_prompt_length": 0}, "teacher_max_prompt_length=0: a number above 0"),
    ({"guidance_max_tokens": 0}, "guidance_max_tokens=0: a number above 0"),
])  # fmt: skip
def test_lengths_that_are_refused(wrong, says, settings):
    with pytest.raises(ValueError, match=says):
        ThinkTuningConfig(**settings(**wrong))


def test_a_rollout_whose_request_is_too_long_stays_unguided_and_is_counted(build, dataset, scripted_teacher):
    """Two of four rows have a question that no request can hold."""
    rows = [row | {"question": row["question"] + " Why?" * (60 * (i % 2))} for i, row in enumerate(dataset)]
    common = dict(
        train_dataset=Dataset.from_list(rows[:4]), guided_fraction=0.25, max_steps=4, teacher_max_new_tokens=4,
        rollout_log_steps=1, learning_rate=0.0,
    )  # fmt: skip
    trainer = build(**common, teacher_max_prompt_length=150)
    with pytest.warns(UserWarning, match="did not answer 1 of 1 requests.*teacher_max_prompt_length is 150"):
        trainer.train()
    rollouts = list(read_rollouts(Path(trainer.args.output_dir) / "rollouts.jsonl"))
    failures = {row["step"] - 1: row["guidance/failures"] for row in trainer.state.log_history if "loss" in row}
    asked = {r.step: r.question for r in rollouts}
    assert failures == {step: float("Why?" in question) for step, question in asked.items()}
    assert sorted(failures.values()) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="limits the default teacher, and another was passed"):
        build(scripted_teacher, **common, teacher_max_prompt_length=150)
