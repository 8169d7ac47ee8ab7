"""Recording the rollouts of any of TRL's online trainers, as they are: `RolloutRecorder(trainer)` before `train()`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thinktuning_lite.method.rollouts import Rollout, RolloutLog

# What of a config the inspector needs to compute the loss again, under TRL's names.
RUN_SETTINGS = (
    "loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "beta", "use_bias_correction_kl",
    "sapo_temperature_pos", "sapo_temperature_neg", "scale_rewards", "mask_truncated_completions", "temperature",
    "max_completion_length", "num_generations", "num_iterations", "shaping", "shaping_mask", "gamma_min", "gamma_max",
    "fallback_probability",
)  # fmt: skip
_PER_TOKEN = {
    "old_per_token_logps": "old_logps",
    "sampling_per_token_logps": "sampler_logps",
    "ref_per_token_logps": "ref_logps",
    "importance_sampling_ratio": "correction",
}


def run_settings(trainer: Any) -> dict[str, Any]:
    """What stands once in a log, before its rollouts: the loss's options and the tokenizer's name."""
    args = trainer.args
    found = {name: getattr(args, name) for name in RUN_SETTINGS if getattr(args, name, None) is not None}
    return found | {
        "tokenizer": getattr(trainer.processing_class, "name_or_path", ""),
        "trainer": type(trainer).__name__,
    }


def rollouts_of(
    inputs: dict[str, Any], known: list[dict[str, Any]], step: int, logps: Tensor, entropy: Tensor | None = None
) -> Iterator[Rollout]:
    """The rows of a micro-batch as Rollouts.

    Args:
        inputs: what the trainer computed its loss from; `row` says which of `known` each row is. Optional beside TRL's own:
            `teacher_mask` (B, T), `weights` (B, T), `row_advantages` (B,).
        known: for each row of the generation what tensors do not hold: question, text, reward, group, rewards, finish.
        logps, entropy: (B, T) under the policy that was trained.
    """
    advantages = inputs.get("row_advantages", inputs["advantages"])
    for b, row in enumerate(inputs["row"].tolist()):
        n = int(inputs["completion_mask"][b].sum()) or int((inputs["completion_ids"][b] >= 0).sum())

        def tokens(values: Tensor | None, b: int = b, n: int = n) -> list | None:
            if values is None:
                return None
            row = values[b].expand(n) if values[b].numel() == 1 else values[b, :n]  # one weight for a whole sequence
            return [None if math.isnan(x) else x for x in row.tolist()]

        author = inputs.get("teacher_mask")
        fields: dict[str, Any] = {ours: tokens(inputs.get(theirs)) for theirs, ours in _PER_TOKEN.items()} | known[row]
        yield Rollout(
            step=step,
            token_ids=inputs["completion_ids"][b, :n].tolist(),
            author=[0] * n if author is None else author[b, :n].tolist(),
            logps=logps[b, :n].tolist(),
            weights=tokens(inputs.get("weights")) or [1.0] * n,
            advantage=advantages[b].item(),
            entropy=tokens(entropy),
            **fields,
        )


class RolloutRecorder:
    """Writes every rollout of every n-th step of a GRPOTrainer or RLOOTrainer for the inspector; call it before `train()`.

    The trainer itself, its loss, gradients and random numbers stay what they are: methods of this one instance are
    followed, not replaced, and what they return passes through untouched. On the steps between nothing is computed.

    Args:
        trainer: TRL's GRPOTrainer or RLOOTrainer (a ThinkTuningTrainer writes its own log: rollout_log_steps).
        path: the log; default rollouts.jsonl in the trainer's output_dir.
        every: record each so many-th optimizer step, from the first.

    Raises ValueError for a trainer that records by itself, for an object without TRL's seams, and for `every` below 1.
    """

    def __init__(self, trainer: Any, path: str | Path | None = None, every: int = 10) -> None:
        if hasattr(trainer, "rollout_log"):
            raise ValueError("this trainer records by itself: set rollout_log_steps in its config")
        seams = (
            "_generate_and_score_completions", "_calculate_rewards", "_compute_loss", "_get_per_token_logps_and_entropies",
        )  # fmt: skip
        missing = [name for name in seams if not hasattr(trainer, name)]
        if missing:
            raise ValueError(
                f"{type(trainer).__name__} has no {', '.join(missing)}: GRPOTrainer and RLOOTrainer can be recorded"
            )
        if every < 1:
            raise ValueError(f"every={every}: record each so many-th step, 1 or more")
        self.trainer, self.every = trainer, every
        self.log = RolloutLog(Path(path or Path(trainer.args.output_dir) / "rollouts.jsonl"))
        self._known: list[dict[str, Any]] = []
        self._seen: tuple[Tensor, Tensor | None] | None = None
        self._began = self._inside = False
        for name in seams:
            follow = getattr(self, name)
            inner = getattr(trainer, name)
            setattr(trainer, name, lambda *args, follow=follow, inner=inner, **kw: follow(inner, *args, **kw))

    def _due(self) -> bool:
        trainer = self.trainer
        first_iteration = trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations) < (
            trainer.args.steps_per_generation
        )
        return trainer.model.training and first_iteration and trainer.state.global_step % self.every == 0

    def _calculate_rewards(self, inner: Any, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        rewards = inner(inputs, *args, **kwargs)
        start = self.trainer.accelerator.process_index * len(inputs)
        self._rewards = rewards[start : start + len(inputs)]
        return rewards

    def _generate_and_score_completions(self, inner: Any, inputs: list[dict]) -> dict:
        output = inner(inputs)
        output["row"] = torch.arange(len(inputs), device=output["completion_ids"].device)
        if self._due():
            self._known = self._rows(inputs, output)
        return output

    def _rows(self, inputs: list[dict], output: dict) -> list[dict[str, Any]]:
        trainer = self.trainer
        names = trainer.reward_func_names
        weights = trainer.reward_weights.to(self._rewards.device)
        total = (self._rewards * weights).nansum(1)
        total[self._rewards.isnan().all(1)] = math.nan
        eos = set(getattr(trainer, "eos_token_ids", None) or [trainer.processing_class.eos_token_id])
        window = trainer.args.gradient_accumulation_steps
        earlier = trainer._step % window // trainer.args.steps_per_generation * len(inputs)
        rows = []
        for i, x in enumerate(inputs):
            mask = output["completion_mask"][i].bool()
            ids = output["completion_ids"][i][mask].tolist()
            each = {n: None if math.isnan(v) else v for n, v in zip(names, self._rewards[i].tolist(), strict=True)}
            rows.append(
                {
                    "question": _question(x["prompt"]),
                    "text": trainer.processing_class.decode(ids, skip_special_tokens=True),
                    "reward": total[i].item(),
                    "rewards": each,
                    "finish": "stop" if ids and ids[-1] in eos else "length",
                    "group": (earlier + i) // trainer.num_generations,
                }
            )
        return rows

    def _get_per_token_logps_and_entropies(self, inner: Any, *args: Any, **kwargs: Any) -> Any:
        result = inner(*args, **kwargs)
        if self._inside:
            entropy = result[1]
            self._seen = (result[0].detach(), None if entropy is None else entropy.detach())
        return result

    def _compute_loss(self, inner: Any, model: Any, inputs: dict) -> Tensor:
        if not self._due() or not self._known:
            return inner(model, inputs)
        self._inside = True
        try:
            loss = inner(model, inputs)
        finally:
            self._inside = False
        if self._seen is not None and self.trainer.accelerator.is_main_process:
            if not self._began:
                self.log.write_run(run_settings(self.trainer))
                self._began = True
            for rollout in rollouts_of(inputs, self._known, self.trainer.state.global_step, *self._seen):
                self.log.write(rollout)
        self._seen = None
        return loss


def _question(prompt: Any) -> str:
    """The prompt as text: a string as it is, of a conversation the last user turn."""
    if isinstance(prompt, str):
        return prompt
    said = [m["content"] for m in prompt if m.get("role") == "user"] or [prompt[-1]["content"]]
    content = said[-1]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
