"""LoRA on a 4-bit base in real ThinkTuning steps: one base in three roles, the adapter's dtype, and that it moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import length_reward
from peft.tuners.tuners_utils import BaseTunerLayer

from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import GuidanceRequest, ScriptedTeacher
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config
from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial

bnb = pytest.importorskip("bitsandbytes")
NAMES = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)
CPU = Machine("cpu", "some CPU", 2**34, {n: Trial(n != "flash_attention_2", "") for n in NAMES})
REQUEST = GuidanceRequest("Ana has 3 apples.", "3+4=8. \\boxed{8}", "self-conflict")


@pytest.fixture
def build(settings, tiny_folder, dataset, tokenizer):
    """A trainer on an NF4 base with LoRA; `reward` and the config's fields may be given."""

    def make(teacher: Any = None, quantization: str = "nf4", reward: Any = length_reward, **overrides: Any):
        model, _ = load_policy(tiny_folder, CPU, quantization=quantization)
        args = ThinkTuningConfig(**settings(**dict(guided_fraction=0.25, teacher_max_new_tokens=8) | overrides))
        return ThinkTuningTrainer(
            model, reward, args, dataset, teacher=teacher, teacher_prompt=TINY_PROMPT,
            processing_class=tokenizer, peft_config=lora_config(model, rank=4, alpha=8),
        )  # fmt: skip

    return make


def log_probs(model: Any, ids: torch.Tensor) -> torch.Tensor:
    training = model.training
    model.eval()
    with torch.no_grad():
        out = model(input_ids=ids).logits.log_softmax(-1)
    model.train(training)
    return out


def without_adapter(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with model.disable_adapter():
        return log_probs(model, ids)


@pytest.mark.parametrize("quantization", ["nf4", "none"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_with_the_adapter_off_the_base_is_the_untouched_one_to_the_last_bit(
    build, tiny_folder, scripted_teacher, quantization, checkpointing
):
    """Three roles on one base: student (on), teacher and KL reference (off); before, between and after steps."""
    untouched, _ = load_policy(tiny_folder, CPU, quantization=quantization)
    ids = torch.arange(6, 38).view(2, 16)
    base = log_probs(untouched, ids)
    trainer = build(
        scripted_teacher, quantization, gradient_checkpointing=checkpointing, learning_rate=0.03, beta=0.01,
        use_bias_correction_kl=False, max_steps=3,
    )  # fmt: skip
    assert trainer.ref_model is None
    assert torch.equal(without_adapter(trainer.model, ids), base)
    assert torch.equal(log_probs(trainer.model, ids), base)  # B = 0: student and base agree at the start
    trainer.train()
    assert torch.equal(without_adapter(trainer.model, ids), base)
    assert (log_probs(trainer.model, ids) - base).abs().max() > 1e-3
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl[2] > 1e-6


def test_the_teacher_speaks_as_the_untouched_base_and_leaves_everything_as_it_was(build, tiny_folder, tokenizer):
    untouched, _ = load_policy(tiny_folder, CPU)
    wanted = PolicyTeacher(untouched, tokenizer, TINY_PROMPT, 12)([REQUEST])
    trainer = build(gradient_checkpointing=True, learning_rate=0.1, max_steps=2, teacher_max_new_tokens=12)
    assert trainer.teacher([REQUEST]) == wanted
    trainer.train()
    assert trainer.teacher([REQUEST]) == wanted
    student = PolicyTeacher.__new__(PolicyTeacher)
    student.__dict__ |= trainer.teacher.__dict__ | {"model": trainer.model.base_model.model}
    assert student([REQUEST]) != wanted  # with the adapter on it says something else: the test can fail


def test_a_policy_with_a_trained_adapter_is_told_that_its_teacher_is_the_base(build, settings, tiny_folder, caplog):
    trained = build(quantization="none", learning_rate=0.1, max_steps=1)
    assert "trained adapter" not in caplog.text
    trained.train()
    policy = trained.accelerator.unwrap_model(trained.model)
    args = ThinkTuningConfig(**settings(guided_fraction=0.25, teacher_max_new_tokens=8))
    data, tokenizer = trained.train_dataset, trained.processing_class
    ThinkTuningTrainer(policy, length_reward, args, data, teacher_prompt=TINY_PROMPT, processing_class=tokenizer)
    assert "trained adapter" in caplog.text and "merge" in caplog.text


def state(model: Any) -> dict[str, Any]:
    checkpointed = [(n, m) for n, m in model.named_modules() if hasattr(m, "gradient_checkpointing")]
    return {
        "training": {n: m.training for n, m in model.named_modules()},
        "checkpointing": {n: m.gradient_checkpointing for n, m in checkpointed},
        "trainable": {n: p.requires_grad for n, p in model.named_parameters()},
        "cache": model.config.use_cache,
        "adapters": {n: m.disable_adapters for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)},
    }


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_modes_cache_and_checkpointing_come_back_also_after_an_error(build, raises, training):
    trainer = build(gradient_checkpointing=True)
    model = trainer.model.train(training)
    model.gradient_checkpointing_enable()  # the trainer does so when training begins
    before = state(model)
    assert any(before["checkpointing"].values()) and any(before["trainable"].values()) and before["adapters"]
    seen = {}

    def watched(module, inputs):
        seen.update(state(model))
        if raises:
            raise ConnectionError("the line went dead")

    trainer.accelerator.unwrap_model(model).get_input_embeddings().register_forward_pre_hook(watched)
    if raises:
        with pytest.raises(ConnectionError):
            trainer.teacher([REQUEST])
    else:
        trainer.teacher([REQUEST])
    assert not any(seen["training"].values()) and not any(seen["checkpointing"].values()) and seen["cache"]
    assert all(seen["adapters"].values())
    assert state(model) == before


def test_a_teacher_that_raises_in_training_leaves_a_model_that_trains_on(build):
    """What a reader does after an interrupted cell: runs it again."""

    def dead(request):
        raise ConnectionError("no answer")

    trainer = build(ScriptedTeacher(dead), gradient_checkpointing=True)
    with pytest.raises(ConnectionError, match="no answer"):
        trainer.train()
    before = state(trainer.model)
    assert before["training"][""] and not any(before["adapters"].values())
    trainer.teacher = ScriptedTeacher(lambda request: "no tags")
    trainer.train()


def test_the_adapter_is_float32_so_that_small_steps_arrive(build, scripted_teacher):
    """TRL casts it to bf16: at lr 1e-6 a step is under half a unit in the last place of nearly every entry of A."""
    trainer = build(scripted_teacher, learning_rate=1e-6, max_steps=2, max_grad_norm=0.0)
    trainable = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in n and p.dtype == torch.float32 for n, p in trainable.items())
    start = {n: p.detach().clone() for n, p in trainable.items()}
    trainer.train()
    moved = torch.cat([(p != start[n]).flatten() for n, p in trainable.items() if "lora_A" in n]).float().mean()
    in_bf16 = torch.cat([
        (start[n].bfloat16() + (p - start[n]).bfloat16() != start[n].bfloat16()).flatten()
        for n, p in trainable.items() if "lora_A" in n
    ]).float().mean()  # fmt: skip
    assert moved > 0.9 and in_bf16 < 0.1


def test_an_adapter_that_did_not_move_is_an_error(build, scripted_teacher):
    def same_for_all(completions, **kwargs):
        return [1.0] * len(completions)

    trainer = build(scripted_teacher, reward=same_for_all)
    with pytest.raises(RuntimeError, match="every LoRA B.*frac_reward_zero_std"):
        trainer.train()


def test_gradients_with_checkpointing_are_those_without(build, scripted_teacher):
    """Input gradients are on: without them a checkpointed frozen base would pass none to the adapter."""
    ends = []
    for checkpointing in (True, False):
        trainer = build(scripted_teacher, gradient_checkpointing=checkpointing, learning_rate=0.01, max_steps=2)
        trainer.train()
        ends.append({n: p.detach().clone() for n, p in trainer.model.named_parameters() if "lora_B" in n})
    for name in ends[0]:
        assert ends[0][name].norm() > 0
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-4, atol=1e-6)


def test_sharded_training_is_told_to_bring_its_own_teacher(build, monkeypatch):
    monkeypatch.setattr(ThinkTuningTrainer, "_is_sharded", lambda self: True)
    with pytest.raises(ValueError, match="FSDP or DeepSpeed ZeRO-3.*EndpointTeacher"):
        build()
