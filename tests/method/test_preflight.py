"""`check()`: what it shows, what it finds wrong, and that it leaves no trace."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GUIDANCE
from peft import LoraConfig
from transformers import set_seed

from thinktuning_lite.method.teacher import NoReply, ScriptedTeacher
from thinktuning_lite.method.trainer import ThinkTuningTrainer


def test_it_shows_what_was_asked_said_spliced_rewarded_and_learnt(build, scripted_teacher, dataset, tokenizer):
    report = build(scripted_teacher, guided_fraction=0.1, max_steps=5).check()
    text = str(report)
    (asked,) = scripted_teacher.asked
    prompt = tokenizer.apply_chat_template(dataset[0]["prompt"], add_generation_prompt=True, tokenize=False)
    assert prompt.strip() in text.replace("\n    ", "\n")
    assert asked.question == dataset[0]["question"] and asked.response and asked.response in text
    assert GUIDANCE in text and "4 of 4 in the group ended by themselves" in text
    assert "[teacher, 21 tokens]" in text and "Wait, I doubt 5." in text
    assert f"answer in the dataset: {dataset[0]['answer']!r}" in text
    assert text.count("own     reward") == 3 and text.count("guided  reward") == 1
    assert "in 20 of 20 trained tensors" in text
    assert report.problems == [] and text.endswith("No problem was found.")


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_after_it_is_the_run_without_it(build, scripted_teacher, lora):
    peft = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.0) if lora else None
    ends, logs = [], []
    for checked in (False, True):
        set_seed(5)
        trainer = build(
            scripted_teacher, peft_config=peft, guided_fraction=0.25, max_steps=2, rollout_log_steps=1,
            gradient_checkpointing=True,
        )  # fmt: skip
        if checked:
            before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
            trainer.check()
            after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
            assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
            assert not any(p.grad is not None for p in trainer.model.parameters())
            assert not trainer.rollout_log.path.exists() and trainer.teacher is scripted_teacher
        trainer.train()
        ends.append([p.detach().clone() for p in trainer.model.parameters()])
        logs.append([{k: v for k, v in row.items() if "time" not in k and "second" not in k}
                     for row in trainer.state.log_history])  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert logs[0] == logs[1]


def zero(completions: list[Any], **kwargs: Any) -> list[float]:
    return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("teacher", "overrides", "problem"),
    [
        (lambda r: "Sure: 7", {}, "has not the asked form"),
        (lambda r: NoReply("HTTP 404: no such model"), {}, "did not reply: HTTP 404: no such model"),
        (lambda r: GUIDANCE, {"max_guided_length": 20}, "guidance was cut at 20 tokens"),
        (lambda r: GUIDANCE, {"reward": zero}, "every reward was 0"),
        (lambda r: GUIDANCE, {"reward": lambda completions, **kw: [None] * len(completions)}, "every reward was None"),
    ],
)
def test_it_finds(build, teacher, overrides, problem):
    reports = build(ScriptedTeacher(teacher), guided_fraction=0.25, **overrides).check()
    assert any(problem in p for p in reports.problems), str(reports)
    assert problem in str(reports) and "gradient norm" in str(reports)


def test_it_finds_responses_that_never_end(build, tokenizer, scripted_teacher):
    cut = {"suppress_tokens": [tokenizer.eos_token_id]}
    report = build(scripted_teacher, guided_fraction=0.25, generation_kwargs=cut).check()
    assert "max_completion_length=16" in report.problems[0] and repr(tokenizer.eos_token) in report.problems[0]
    assert "The teacher was not asked" in str(report)


def test_it_finds_a_gradient_that_goes_nowhere(build, scripted_teacher):
    trainer = build(scripted_teacher, guided_fraction=0.25)
    for p in trainer.model.parameters():
        p.register_hook(torch.zeros_like)
    assert any("no gradient reached" in p for p in trainer.check().problems)


def test_guidance_that_begins_later_is_checked_too_and_none_where_there_is_none(build, scripted_teacher, dataset):
    build(scripted_teacher, guided_fraction=0.0, guided_fraction_end=0.5, guidance_schedule="linear").check()
    assert len(scripted_teacher.asked) == 1
    report = build(scripted_teacher, dataset.to_iterable_dataset(), guided_fraction=0.0).check()
    assert len(scripted_teacher.asked) == 1 and "teacher" not in str(report)


def test_the_default_teacher_and_its_prompt_are_shown(build, dataset):
    text = str(build(guided_fraction=0.25, teacher_max_new_tokens=8).check())
    assert "[system] teacher: self-" in text and f"Question: {dataset[0]['question']}" in text
    assert "The teacher replied" in text


def test_a_sharded_model_is_refused(build, scripted_teacher, monkeypatch):
    trainer = build(scripted_teacher)
    monkeypatch.setattr(ThinkTuningTrainer, "_is_sharded", lambda self: True)
    with pytest.raises(ValueError, match="FSDP or DeepSpeed"):
        trainer.check()
