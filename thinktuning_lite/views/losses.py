"""What each token contributes to the loss of its step, under any of TRL's losses, computed by TRL's own code."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo", "cispo", "vespo")
LEVELS = ("token", "sequence")
# The loss of one token before averaging where it is no clipped ratio, for the formula shown to the reader; r ratio, A the
# token's advantage.
SURROGATES = {
    "sapo": "−(4 / τ) σ(τ (r − 1)) A",
    "cispo": "−min(r, ε_high) A log p, the ratio held fixed",
    "vespo": "−φ A log p, φ the weight of the whole rollout",
}
_MEAN_OVER_ROWS = ("grpo", "sapo", "luspo", "dr_grpo")


@dataclass(frozen=True)
class Loss:
    """The options of GRPOConfig that its loss reads, under their names there."""

    loss_type: str = "grpo"
    importance_sampling_level: str = "token"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    beta: float = 0.0
    use_bias_correction_kl: bool = False
    sapo_temperature_pos: float = 1.0
    sapo_temperature_neg: float = 1.05
    vespo_k_pos: float = 2.0
    vespo_lambda_pos: float = 3.0
    vespo_k_neg: float = 3.0
    vespo_lambda_neg: float = 2.0
    max_completion_length: int = 256

    @staticmethod
    def of(args: Any) -> Loss:
        """Those of a GRPOConfig, or of a dict that holds some of them."""
        given = args if isinstance(args, dict) else vars(args)
        return Loss(**{name: given[name] for name in Loss.__dataclass_fields__ if given.get(name) is not None})


@dataclass(frozen=True)
class Batch:
    """The rows and completion tokens of the whole accumulation window that the shown rows are part of."""

    rows: int
    tokens: int


def token_gradients(
    loss: Loss,
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ref_logps: Tensor | None = None,
    correction: Tensor | None = None,
    batch: Batch | None = None,
) -> tuple[Tensor, Tensor]:
    """d(loss of the step) / d(log p) of every token, and the factor by which its loss type averages that token.

    The gradient is autograd's through TRL's `GRPOTrainer._compute_loss` (1.16.0), so it is the trainer's by
    construction. The quotient of the two is the token's own slope, before averaging.

    Args:
        logps, old_logps: (B, T) under the policy that trains and under the one at the start of the iteration.
        advantages: (B,) or, where tokens are shaped, (B, T).
        mask: (B, T), 1 on completion tokens that are in the loss.
        ref_logps: (B, T) of the reference model, needed when beta > 0; without them the KL term is left out.
        correction: (B, T) importance-sampling correction between sampler and trainer, 1 where there is none.
        batch: the window's size; default these rows. bnpo averages by micro-batch; here by the window.

    Returns:
        gradients (B, T) and averaging factors (B, T), both 0 off the mask.
    """
    batch = batch or Batch(len(logps), int(mask.sum()))
    logps = logps.detach().clamp(min=torch.finfo(logps.dtype).min).requires_grad_()
    inputs = {
        "prompt_ids": torch.zeros(len(logps), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(logps), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old_logps.clamp(min=torch.finfo(logps.dtype).min),
        "num_items_in_batch": torch.tensor(float(batch.tokens)),
    }
    if ref_logps is not None:
        inputs["ref_per_token_logps"] = ref_logps
    if correction is not None:
        inputs["importance_sampling_ratio"] = correction
    with torch.enable_grad():
        value = _trainer(loss, logps, ref_logps is not None, correction is not None)._compute_loss(None, inputs)
        gradients = torch.autograd.grad(value, logps)[0]
    share = len(logps) / batch.rows if loss.loss_type in _MEAN_OVER_ROWS else 1.0
    if loss.loss_type == "bnpo":
        share = float(mask.sum()) / max(1, batch.tokens)
    return gradients * share * mask, _averaging(loss, mask, batch)


def _averaging(loss: Loss, mask: Tensor, batch: Batch) -> Tensor:
    """The factor of each token in the step's loss: what `_compute_loss` divides a per-token loss by."""
    if loss.loss_type in ("grpo", "sapo"):
        factor = 1 / (batch.rows * mask.sum(1, keepdim=True).clamp(min=1.0))
    elif loss.loss_type == "dr_grpo":
        factor = torch.tensor(1 / (batch.rows * loss.max_completion_length))
    elif loss.loss_type == "luspo":
        factor = torch.tensor(1 / batch.rows)
    else:
        factor = torch.tensor(1 / max(1, batch.tokens))
    return factor * mask


def _trainer(loss: Loss, logps: Tensor, with_ref: bool, corrected: bool) -> Any:
    """A GRPOTrainer with neither model nor data, only what `_compute_loss` reads."""
    from trl import GRPOTrainer  # seconds to import, and the figures do without

    class LossOnly(GRPOTrainer):
        def __init__(self) -> None:
            """Nothing of GRPOTrainer's own is set up."""

        def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, None]:
            return logps, torch.zeros_like(logps), None

    alone = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True)
    trainer = LossOnly()
    vars(trainer).update(
        args=SimpleNamespace(**vars(loss), steps_per_generation=1),
        model=SimpleNamespace(training=True),
        accelerator=alone,
        current_gradient_accumulation_steps=1,
        loss_type=loss.loss_type,
        importance_sampling_level=loss.importance_sampling_level,
        epsilon_low=loss.epsilon,
        epsilon_high=loss.epsilon if loss.epsilon_high is None else loss.epsilon_high,
        beta=loss.beta if with_ref else 0.0,
        max_completion_length=loss.max_completion_length,
        use_vllm=corrected,
        vllm_importance_sampling_correction=corrected,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    return trainer
