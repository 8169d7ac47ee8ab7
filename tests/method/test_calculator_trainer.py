"""calculator_trainer.py: the tool's tokens are in the rollout and out of the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset

from tests.conftest import length_reward
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.sample import as_prompts, load_tiny_set
from thinktuning_lite.method.calculator_trainer import CalculatorTrainer
from thinktuning_lite.method.equations import equations
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig


@pytest.fixture
def calculating(settings, scripted_teacher):
    def make(**overrides):
        options = settings(
            max_completion_length=60, generation_kwargs=None, rollout_log_steps=1, guided_fraction=0.25, **overrides
        )
        model, tokenizer = load_classroom()
        return CalculatorTrainer(
            model, length_reward, ThinkTuningConfig(**options), Dataset.from_list(as_prompts(load_tiny_set("train")[:8])),
            teacher=scripted_teacher, teacher_prompt=TINY_PROMPT, processing_class=tokenizer,
        )  # fmt: skip

    return make


def seen_by_the_loss(trainer):
    """The inputs of every micro-batch's loss, as TRL gets them."""
    batches, compute = [], trainer._compute_loss

    def noted(model, inputs):
        batches.append(inputs)
        return compute(model, inputs)

    trainer._compute_loss = noted
    return batches


def test_what_the_tool_wrote_is_in_the_rollout_and_masked_and_nothing_else_is(calculating):
    trainer = calculating(max_steps=2)
    batches, tokenizer = seen_by_the_loss(trainer), trainer.processing_class
    trainer.train()
    guided = 0
    for batch in batches:
        for ids, mask, tool, taught in zip(
            *(batch[k] for k in ("completion_ids", "completion_mask", "tool_mask", "teacher_mask")), strict=True
        ):
            own = mask.bool() & ~taught.bool()
            text = tokenizer.decode(ids[own], skip_special_tokens=True)
            assert equations(text) and all(e.holds for e in equations(text))
            results = "".join(str(e.said) for e in equations(text))
            assert tokenizer.decode(ids[own & (tool == 0)]) == results
            assert tool[~own].all()  # guidance and padding
            guided += bool(taught.any())
    assert guided == 2


def test_the_loss_has_no_gradient_through_the_tools_tokens(calculating):
    """Other tokens in the tool's places, all else equal: were they in the loss, it would change with their advantage."""
    trainer = calculating(max_steps=1, gradient_accumulation_steps=1)
    batches = seen_by_the_loss(trainer)
    trainer.train()
    batch = dict(batches[0])
    batch.pop("trim", None)
    trainer.current_gradient_accumulation_steps = 1
    logps = []
    ask = trainer._get_per_token_logps_and_entropies

    def with_gradient(*args, **kwargs):
        result = ask(*args, **kwargs)
        result[0].retain_grad()
        logps.append(result[0])
        return result

    trainer._get_per_token_logps_and_entropies = with_gradient
    trainer.training_log.rows = trainer.training_log.rows or [{}] * 4
    CalculatorTrainer._compute_loss(trainer, trainer.model, batch).backward()
    gradient = logps[0].grad
    width = gradient.shape[1]
    tool = batch["tool_mask"][:, :width] == 0
    moving = (batch["advantages"] != 0)[:, None] & batch["completion_mask"][:, :width].bool() & ~tool
    assert tool.any() and not gradient[tool].any() and gradient[moving].ne(0).all()


def test_it_says_when_no_tool_could_be_asked(calculating):
    with pytest.raises(ValueError, match="own sampler"):
        calculating(sampling_engine="hf")


def test_rollouts_in_portions_are_the_same_kind(calculating):
    trainer = calculating(max_steps=1, rollouts_at_a_time=4, per_device_train_batch_size=8)
    trainer.reward_funcs = [correctness_reward]
    rollouts_path = Path(trainer.args.output_dir) / "rollouts.jsonl"
    batches = seen_by_the_loss(trainer)
    trainer.train()
    rows = list(read_rollouts(rollouts_path))
    assert len(rows) == 8 and torch.cat([b["tool_mask"] for b in batches]).shape[0] == 8
    assert all(e.holds for r in rows if not r.guided for e in equations(r.text))
