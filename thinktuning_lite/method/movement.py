"""Whether training moved any weight: a run that moved none looks like any other while it lasts."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from transformers import TrainerCallback

_SAMPLED = 1000  # entries of each tensor
_FEW = 0.01  # a smaller share of moved entries deserves a warning


class Movement(TrainerCallback):
    """Samples the trainable weights when training begins, and compares when it has ended.

    With LoRA only B is looked at: it is zero at first, and A has no gradient as long as it is. `signal` is to be set when
    some advantage is not 0.
    """

    def __init__(self) -> None:
        self.signal = False
        self._rate = 0.0
        self._steps = 0
        self._start: list[torch.Tensor] = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.signal, self._rate, self._steps = False, 0.0, 0
        self._start = _samples(model)  # after a checkpoint was loaded

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self._rate = max(self._rate, *(group["lr"] for group in optimizer.param_groups))
        self._steps += 1

    def judge(self, model: Any, accelerator: Any) -> str | None:
        """What is wrong, as a sentence, or None. Warns where little moved, and where no step was made.

        All processes must call this. Call it for whole models only, not for shards.
        """
        if self._steps == 0:
            warnings.warn("training made no step: the data were too few for one", stacklevel=3)
            return None
        now = _samples(model)
        moved = sum(int((a != b).sum()) for a, b in zip(now, self._start, strict=True))
        counts = torch.tensor([moved, sum(map(len, now)), self.signal], dtype=torch.float64)
        moved, sampled, signal = accelerator.reduce(counts.to(accelerator.device, torch.float32), "sum").tolist()
        if sampled == 0 or self._rate == 0:  # nothing trains, or warm-up ended the run at learning rate 0
            return None
        if moved == 0:
            return _NOTHING_MOVED.format(what=_trained(model), why=_NO_GRADIENT if signal else _NO_ADVANTAGE)
        if signal and moved / sampled < _FEW:
            dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad})
            warnings.warn(
                f"after training only {moved / sampled:.1%} of the weights looked at had moved. They are kept in "
                f"{', '.join(dtypes)}, where a step at learning rate {self._rate:g} is lost in rounding unless the weight "
                "is tiny: train in float32, or with LoRA",
                stacklevel=3,
            )
        return None


_NOTHING_MOVED = "after training {what} is what it was before: {why}"
_NO_ADVANTAGE = "every advantage was 0. See frac_reward_zero_std in the log (1: no group had two different rewards)"
_NO_GRADIENT = (
    "no gradient reached it, or each step was lost in rounding (bfloat16 at a small learning rate). See grad_norm in the "
    "log; with gradient checkpointing the inputs need gradients (model.enable_input_require_grads())"
)


def _trained(model: Any) -> str:
    return "every LoRA B" if lora_b(model) else "every weight looked at"


def lora_b(model: Any) -> list[torch.nn.Parameter]:
    """The trainable B of each LoRA pair: zero in an adapter that was never trained."""
    return [p for name, p in model.named_parameters() if "lora_B" in name and p.requires_grad]


def _samples(model: Any) -> list[torch.Tensor]:
    """Entries of each trainable tensor, evenly spaced: few enough to keep, and as many of a small one as of a large."""
    chosen = lora_b(model) or [p for p in model.parameters() if p.requires_grad]
    return [p.detach().flatten()[:: max(1, p.numel() // _SAMPLED)].cpu().clone() for p in chosen]
