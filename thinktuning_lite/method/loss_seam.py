"""Advantage-aware shaping where TRL computes its loss, and the order in which guided rows reach it.

By the identity of `shaping.per_token_advantages`, shaping is a (B, T) advantage at an importance ratio of exactly 1, so
TRL is only handed other advantages and old log-probs on the guided tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from trl import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from thinktuning_lite.method.recorder import run_settings
from thinktuning_lite.method.rollouts import RolloutLog
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.shaping import per_token_advantages
from thinktuning_lite.method.training_log import TrainingLog

_PROMPT_SIDE = ("prompt_ids", "prompt_mask")
_MEAN_OVER_ROWS = ("grpo", "sapo", "dr_grpo", "luspo")  # TRL divides these losses by the micro-batch's rows


class LossSeam(GRPOTrainer):
    """`_compute_loss` hands TRL a copy of its inputs, into which `_get_per_token_logps_and_entropies` writes.

    Without guided tokens TRL's code runs untouched on what TRL sampled: same loss and gradients to the last bit.
    """

    args: ThinkTuningConfig
    training_log: TrainingLog
    rollout_log: RolloutLog | None
    _own_sampling: Callable[[], dict | None]  # the generation seam's
    _inside_loss: dict | None = None
    _run_logged = False

    # ------------------------------------------------------------ the order of rows

    def _prepare_inputs(self, generation_batch):
        buffered = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not buffered and self.model.training:
            self._buffered_inputs = self._sort_windows(self._buffered_inputs)
            inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return inputs

    def _sort_windows(self, batches: list[dict]) -> list[dict]:
        """Rows sorted by length within each accumulation window: less padding, same gradient up to rounding.

        A window without guided rows is left alone if TRL sampled it: such a run is TRL's to the last bit.
        Every loss type but bnpo weighs rows alike whichever micro-batch of the window they are in; bnpo is left alone,
        and so is whatever else is averaged within a micro-batch, and a generation that straddles windows.
        """
        size = self.args.gradient_accumulation_steps
        if size == 1 or self.loss_type == "bnpo" or self._entropy_bonus_enabled or self.aux_loss_enabled:
            return batches
        straddles = len(batches) % size and size % len(batches)
        if straddles or any(len(b["row"]) != len(batches[0]["row"]) for b in batches):
            return batches
        out, own = [], self._own_sampling() is not None
        for start in range(0, len(batches), size):
            window = batches[start : start + size]
            if own or any(b["teacher_mask"].any() for b in window):
                window = [b | {"trim": True} for b in _sorted_by_length(window)]
            out += window
        return out

    # ------------------------------------------------------------ loss

    def _compute_loss(self, model, inputs):
        logged = self._should_log_rollouts()
        guided = bool(inputs["teacher_mask"].any())
        measured = self.model.training and self.args.guides  # the shares need the unguided rows too
        if not guided and not logged and not measured and not inputs.get("trim"):
            return super()._compute_loss(model, inputs)
        inputs, share = self._rows_that_train(inputs) if inputs.get("trim") and not logged else (inputs, 1.0)
        # A copy: TRL's buffer is reused when num_iterations > 1.
        inputs = _trimmed(inputs) if guided or inputs.get("trim") else dict(inputs)
        self._inside_loss = inputs
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            fired, self._inside_loss = "current_logps" in inputs, None
        if not fired:
            raise RuntimeError(
                "TRL computed the loss without asking for log-probs, so AAS was not applied: "
                "this trl version does not fit (tested with 1.16.0)"
            )
        if logged and self.rollout_log is not None:
            if not self._run_logged:
                self.rollout_log.write_run(run_settings(self))
                self._run_logged = True
            for rollout in self.training_log.rollouts(inputs, self.state.global_step):
                self.rollout_log.write(rollout)
        return loss * share

    def _rows_that_train(self, inputs: dict) -> tuple[dict, float]:
        """The rows whose advantage is not 0, as new inputs, and the factor that makes their loss that of all rows.

        The others have no gradient unless a KL term needs them. TRL's and the guidance metrics of tokens then speak of the
        rows that are left. One process only: TRL gathers per-row metrics, which need as many rows everywhere.
        """
        trains = inputs["advantages"] != 0
        if self.beta != 0 or self.accelerator.num_processes > 1 or trains.all():
            return inputs, 1.0
        trains[0] |= not trains.any()  # TRL wants a row to work on
        share = trains.float().mean().item() if self.loss_type in _MEAN_OVER_ROWS else 1.0
        return {k: v[trains] if isinstance(v, torch.Tensor) and v.dim() > 0 else v for k, v in inputs.items()}, share

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self._inside_loss is not None:
            self._inside_loss["entropies"] = None if result[1] is None else result[1].detach()
            self._shape(self._inside_loss, result[0].detach())
        return result

    def _shape(self, inputs: dict, logps: torch.Tensor) -> None:
        """Write per-token advantages and old log-probs for the guided tokens into TRL's inputs (the copy)."""
        if "current_logps" in inputs:
            raise RuntimeError("TRL asked for log-probs twice within one loss: this trl version does not fit")
        inputs["current_logps"] = logps
        inputs["row_advantages"] = inputs["advantages"]
        rows = inputs["teacher_mask"].any(1, keepdim=True)
        mask = inputs["completion_mask"].bool()
        shaped = inputs["teacher_mask"].bool() if self.args.shaping_mask == "teacher" else rows & mask
        if not rows.any():
            if self.args.guides:
                self.training_log.add_tokens(
                    self.args, inputs, inputs["advantages"].unsqueeze(1).expand_as(logps), shaped
                )
            return
        advantages, ratio_one = per_token_advantages(
            self.args.shaping, logps, inputs["advantages"], shaped, self.args.constants
        )
        old = inputs.get("old_per_token_logps", logps)
        inputs["advantages"] = advantages
        inputs["old_per_token_logps"] = torch.where(ratio_one, logps, old)
        if "importance_sampling_ratio" in inputs:  # vLLM's correction knows nothing of tokens it did not sample
            inputs["importance_sampling_ratio"] = torch.where(
                ratio_one, torch.ones_like(logps), inputs["importance_sampling_ratio"]
            )
        self.training_log.add_tokens(self.args, inputs, advantages, shaped)

    def _should_log_rollouts(self) -> bool:
        every = self.args.rollout_log_steps
        first_iteration = self._step % (self.args.steps_per_generation * self.num_iterations) < (
            self.args.steps_per_generation
        )
        return bool(every) and self.model.training and first_iteration and self.state.global_step % every == 0


def _sorted_by_length(window: list[dict]) -> list[dict]:
    """The rows of several micro-batches, dealt anew by completion length, shortest first."""
    lengths = torch.cat([b["completion_mask"].sum(1) for b in window])
    order = torch.argsort(lengths, stable=True)
    merged = {}
    for key, first in window[0].items():
        per_row = isinstance(first, torch.Tensor) and first.dim() > 0
        merged[key] = torch.cat([b[key] for b in window])[order] if per_row else first
    return split_tensor_dict(merged, len(window))


def _trimmed(inputs: dict) -> dict:
    """A shallow copy without the columns that are padding in every row (left of prompts, right of completions)."""
    width = max(1, int(inputs["completion_mask"].sum(1).max()))  # all rows may be masked as truncated
    skip = int((inputs["prompt_mask"].sum(0) == 0).sum())
    full = inputs["completion_ids"].shape[1]
    out = dict(inputs)
    for key, value in inputs.items():
        if not isinstance(value, torch.Tensor) or value.dim() != 2:
            continue
        if key in _PROMPT_SIDE:
            out[key] = value[:, skip:]
        elif value.shape[1] == full:
            out[key] = value[:, :width]
    return out
