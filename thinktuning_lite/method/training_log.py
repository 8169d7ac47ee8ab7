"""What a run says of itself: metrics by author, seconds by phase, and the rollout log. All of it is collected here."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from thinktuning_lite.method.recorder import rollouts_of
from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.shaping import shape

_SUMS = (
    *(f"{q}/{who}" for q in ("reward", "advantage") for who in ("guided", "own")),
    *(f"{q}/{who}" for q in ("probability", "weight") for who in ("teacher", "own")),
    "loss_share/teacher",
    "all_wrong",  # the groups none of whose own rollouts earned anything
)


class TrainingLog:
    """Collects between two logged steps; one per process.

    `rows` has one dict per row of the latest generation (question, text, reward, group): what a Rollout needs and the
    tensors of a micro-batch, which name their rows by index, do not hold. `behaviours` are those that guidance may show.
    """

    def __init__(self, behaviours: Sequence[str] | None = None) -> None:
        self._behaviours = tuple(behaviours or ())
        self._names = _SUMS + tuple(f"behaviour/{b}/{what}" for b in self._behaviours for what in ("guided", "helped"))
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._seconds: dict[str, dict[str, float]] = {m: defaultdict(float) for m in ("train", "eval")}

    def add(self, name: str, total: float, count: float) -> None:
        """Add to the sum and the count whose quotient is logged as guidance/`name`."""
        self._sums[name][0] += total
        self._sums[name][1] += count

    @contextmanager
    def timed(self, phase: str, training: bool) -> Iterator[None]:
        """Count the seconds of a `with` block as seconds/`phase`, of training or of evaluation."""
        began = time.perf_counter()
        yield
        self._seconds["train" if training else "eval"][phase] += time.perf_counter() - began

    def flush_seconds(self, mode: str) -> dict[str, float]:
        """Seconds by phase since the last call, for `mode` "train" or "eval"."""
        seconds = {f"seconds/{phase}": s for phase, s in self._seconds[mode].items()}
        self._seconds[mode].clear()
        return seconds

    def flush_sums(self, accelerator: Any) -> dict[str, float]:
        """The guidance metrics since the last call, gathered from all processes, which must all call this."""
        # Gathered here, where all processes meet: inside the loss only some may hold guided rows.
        sums = torch.tensor([self._sums[name] for name in self._names], device=accelerator.device)
        totals = accelerator.reduce(sums, "sum").tolist()
        metrics = {f"guidance/{name}": total / n for name, (total, n) in zip(self._names, totals, strict=True) if n > 0}
        self._sums.clear()
        return metrics

    # ------------------------------------------------------------ by author

    def add_rewards(self, rewards: torch.Tensor, output: dict) -> None:
        """Reward and advantage by who finished the response; `rewards` (rows,), `output` of TRL's generation step.

        Rows that no reward function judged (NaN) are left out, as TRL leaves them out of its means.
        """
        guided, judged = output["teacher_mask"].any(1), ~rewards.isnan()
        for who, rows in (("guided", guided & judged), ("own", ~guided & judged)):
            for name, values in (("reward", rewards), ("advantage", output["advantages"])):
                self.add(f"{name}/{who}", values[rows].sum().item(), int(rows.sum()))

    def add_groups(self, rewards: torch.Tensor, guided: torch.Tensor, group_size: int) -> None:
        """Which groups' own rollouts all earned nothing; `rewards` and `guided` (rows,), groups contiguous and whole."""
        earned = rewards.nan_to_num().masked_fill(guided, 0.0).view(-1, group_size)
        self.add("all_wrong", int((earned <= 0).all(1).sum()), len(earned))

    def add_behaviours(self, shown: Mapping[int, str], advantages: torch.Tensor, main: bool) -> None:
        """How many rollouts of a generation show each behaviour, and in what share of them it earned an advantage above 0.

        `shown` names the behaviour of each guided row; `advantages` (rows,). The number is that of all processes, so only
        the `main` one counts the generation.
        """
        for row, behaviour in shown.items():
            self.add(f"behaviour/{behaviour}/helped", float(advantages[row] > 0), 1)
        counts = Counter(shown.values())
        for behaviour in self._behaviours:
            self.add(f"behaviour/{behaviour}/guided", counts[behaviour], int(main))

    def add_tokens(self, args: ThinkTuningConfig, inputs: dict, advantages: torch.Tensor, shaped: torch.Tensor) -> None:
        """Probability, weight and share of the loss by who wrote the token; the weights stay in inputs["weights"]."""
        p = inputs["current_logps"].exp()
        taught = inputs["teacher_mask"].bool()
        in_loss = inputs["completion_mask"] * inputs.get("tool_mask", 1)  # what a tool wrote is no one's choice
        own = in_loss.bool() & ~taught
        row_advantages = inputs["row_advantages"].unsqueeze(1).expand_as(p)
        weight = torch.where(shaped, shape(args.shaping, p, row_advantages, args.constants).weight, 1.0)
        inputs["weights"] = weight
        for who, where in (("teacher", taught), ("own", own)):
            n = int(where.sum())
            self.add(f"probability/{who}", p[where].sum().item(), n)
            self.add(f"weight/{who}", weight[where].sum().item(), n)
        share = advantages.abs() * in_loss
        self.add("loss_share/teacher", (share * taught).sum().item(), share.sum().item())

    # ------------------------------------------------------------ rollouts

    def rollouts(self, inputs: dict, step: int) -> Iterator[Rollout]:
        """The rows of a micro-batch whose loss was computed, as Rollouts."""
        return rollouts_of(inputs, self.rows, step, inputs["current_logps"], inputs.get("entropies"))
