"""The inspector's gradient of every token against the trainer's own, by autograd through a real training step."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from conftest import length_reward
from torch import Tensor

from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.shaping import per_token_advantages
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.views.losses import LOSS_TYPES, Batch, Loss, token_gradients

COMBINATIONS = [
    (loss_type, level, beta, delta, guided)
    for loss_type, level, beta, delta, guided in product(
        LOSS_TYPES, ("token", "sequence"), (0.0, 0.05), (None, 1.5), (False, True)
    )
    if not (guided and (level == "sequence" or loss_type == "vespo"))  # refused: AAS would not be what it says
    and not (delta and loss_type in ("sapo", "cispo", "vespo"))  # which do not read it
]


class Recording(ThinkTuningTrainer):
    """Keeps what each micro-batch's loss was computed from, and the gradient that arrives at its log-probs."""

    seen: list[dict[str, Tensor]]

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any):
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if result[0].requires_grad:
            result[0].retain_grad()
            self.logps = result[0]
        return result

    def _rows_that_train(self, inputs: dict) -> tuple[dict, float]:
        return inputs, 1.0  # rows of advantage 0, which the trainer leaves out to save time, have gradient 0

    def _compute_loss(self, model: Any, inputs: dict) -> Tensor:
        given = dict(inputs)
        loss = super()._compute_loss(model, inputs)
        self.seen.append(given | {"logps": self.logps})
        return loss


@pytest.fixture
def micro_batches(settings, tiny_model, dataset, tokenizer, scripted_teacher):
    """Both micro-batches of one generation in its second iteration (ratios off 1), after backward; and the trainer."""

    def make(loss_type: str, level: str, beta: float, delta: float | None, guided: bool, masked: str = "nothing"):
        more = {"epsilon_high": 5.0} if loss_type == "cispo" else {}
        if masked == "cut off":  # no EOS is forced, so that some rollouts are
            free = {k: v for k, v in settings()["generation_kwargs"].items() if k != "forced_eos_token_id"}
            more |= {"mask_truncated_completions": True, "generation_kwargs": free}
        args = ThinkTuningConfig(
            **settings(
                loss_type=loss_type, importance_sampling_level=level, beta=beta, delta=delta, num_iterations=2,
                use_bias_correction_kl=False, gradient_accumulation_steps=2, **more,
                guided_fraction=0.25 if guided else 0.0, guidance_steps=9,
            )
        )  # fmt: skip
        trainer = Recording(
            tiny_model, length_reward, args, dataset, teacher=scripted_teacher, processing_class=tokenizer
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 2
        trainer.seen = []
        rows = [dataset[i] for i in range(2) for _ in range(4)]
        for _ in range(2):
            for _ in range(2):
                inputs = trainer._prepare_inputs(rows)
                if masked == "corrected":  # as vLLM's log-probs, which differ from the trainer's, would have it
                    trainer.use_vllm = True
                    inputs["importance_sampling_ratio"] = correction_of(inputs)
                trainer._compute_loss(trainer.model, inputs).backward()
                trainer.use_vllm = False
                trainer._step += 1
            with torch.no_grad():
                for p in trainer.model.parameters():
                    if p.grad is not None:
                        p -= 3e-2 * p.grad
                        p.grad = None
        return trainer, trainer.seen[2:]

    return make


def correction_of(inputs: dict[str, Tensor]) -> Tensor:
    """A made-up importance-sampling correction of every token, 1 on the teacher's, and 0 (dropped) on every seventh."""
    size = inputs["completion_ids"].shape
    ratio = 0.5 + torch.rand(size, generator=torch.Generator().manual_seed(7))
    ratio[:, ::7] = 0.0
    return torch.where(inputs["teacher_mask"].bool(), 1.0, ratio)


@pytest.mark.parametrize(("loss_type", "level", "beta", "delta", "guided"), COMBINATIONS)
def test_every_tokens_gradient_is_the_trainers(micro_batches, loss_type, level, beta, delta, guided):
    trainer, seen = micro_batches(loss_type, level, beta, delta, guided)
    assert any(x["teacher_mask"].any() for x in seen) is guided
    assert_gradients_are_the_trainers(trainer, seen, loss_type)


MASKED = [
    (loss_type, level, guided, masked)
    for loss_type, level, _, delta, guided in COMBINATIONS
    for masked in ("cut off", "corrected")
    if delta is None and level == "token" and not (masked == "corrected" and loss_type == "vespo")
]


@pytest.mark.parametrize(("loss_type", "level", "guided", "masked"), list(dict.fromkeys(MASKED)))
def test_masked_and_corrected_tokens_count_as_in_the_trainer(micro_batches, loss_type, level, guided, masked):
    """Rollouts that were cut off are left out; a sampler's correction weighs tokens (VESPO weighs whole rollouts by it)."""
    trainer, seen = micro_batches(loss_type, level, 0.05, None, guided, masked)
    if masked == "cut off":
        left_out = [not row.any() for x in seen for row in x["completion_mask"]]
        assert any(left_out) and not all(left_out)
    assert_gradients_are_the_trainers(trainer, seen, loss_type)


def assert_gradients_are_the_trainers(trainer: Recording, seen: list[dict[str, Tensor]], loss_type: str) -> None:
    window = Batch(sum(len(x["logps"]) for x in seen), int(sum(x["completion_mask"].sum() for x in seen)))
    moved = 0.0
    for x in seen:
        now, old, advantages, ratio_one = shaped_as_the_trainer_does(trainer, x)
        correction = x.get("importance_sampling_ratio")
        if correction is not None:  # of what the sampler sampled only
            correction = torch.where(ratio_one, 1.0, correction)
        # bnpo averages within a micro-batch, then over the window's micro-batches.
        batch = Batch(window.rows, 2 * int(x["completion_mask"].sum())) if loss_type == "bnpo" else window
        found, _ = token_gradients(
            Loss.of(trainer.args), now, old, advantages, x["completion_mask"],
            ref_logps=x.get("ref_per_token_logps"), correction=correction, batch=batch,
        )  # fmt: skip
        width = x["logps"].shape[1]
        torch.testing.assert_close(found[:, :width], x["logps"].grad * x["completion_mask"][:, :width])
        moved += float(found.abs().sum())
    assert moved > 0


def shaped_as_the_trainer_does(trainer, x) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask = x["completion_mask"].bool()
    now = torch.zeros(mask.shape)
    now[:, : x["logps"].shape[1]] = x["logps"].detach()
    old = x.get("old_per_token_logps", now)
    shaped = x["teacher_mask"].any(1, keepdim=True) & mask
    if not shaped.any():
        return now, old, x["advantages"], shaped
    advantages, ratio_one = per_token_advantages(
        trainer.args.shaping, now, x["advantages"], shaped, trainer.args.constants
    )
    return now, torch.where(ratio_one, now, old), advantages, ratio_one
