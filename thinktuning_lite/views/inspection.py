"""What the advantage inspector shows, without the showing: the groups of a rollout log, and the numbers of one group.

`RolloutIndex` finds the groups of a log without keeping their tokens in memory. `recompute` turns one group and the
`Settings` into numbers, with the functions that the trainer uses.
"""

from __future__ import annotations

import json
import math
import statistics
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thinktuning_lite.method.grpo import clipped_surrogate, group_advantages, importance_ratio
from thinktuning_lite.method.rollouts import SCHEMA, Rollout
from thinktuning_lite.method.shaping import (
    DEFAULT_CONSTANTS,
    SHAPINGS,
    AASConstants,
    gamma_intended,
    gamma_released,
    per_token_advantages,
    shape,
)

MASKS = ("guided", "teacher")
SCALES = ("group", "batch", "none")


# ---------------------------------------------------------------- where the rollouts are


class Row(NamedTuple):
    """One rollout in the index: its place (byte offset or position in the list) and what groups are sorted by."""

    place: int
    reward: float
    guided: bool
    least_logp: float


@dataclass
class Group:
    """The rollouts of one question at one step, without their tokens."""

    step: int
    group: int
    question: str
    rows: list[Row]

    @property
    def key(self) -> str:
        return f"{self.step}/{self.group}"

    @property
    def rewards(self) -> list[float]:
        return [row.reward for row in self.rows]

    @property
    def guided(self) -> int:
        return sum(row.guided for row in self.rows)

    @cached_property
    def spread(self) -> float:
        """Sample standard deviation of the rewards; 0 means that the group gives no advantage."""
        return statistics.stdev(self.rewards) if len(self.rows) > 1 else 0.0

    @cached_property
    def least_logp(self) -> float:
        return min(row.least_logp for row in self.rows)


class RolloutIndex:
    """The groups of a rollout log, or of a list of rollouts; tokens are read when a group is asked for.

    Of steps that a resumed run did again only the later rows count. The groups of a log's last step that are not
    complete yet are left out (`incomplete` counts them) until `refresh` finds their rest.

    Raises FileNotFoundError for a log that is not there, ValueError, naming the line, for a row that is no rollout.
    """

    def __init__(self, source: str | Path | list[Rollout]) -> None:
        self.path = None if isinstance(source, list) else Path(source)
        self._list = source if isinstance(source, list) else []
        self._clear()
        if self.path and not self.path.exists():
            raise FileNotFoundError(f"there is no rollout log at {self.path}: train with rollout_log_steps above 0")
        self.refresh()

    def _clear(self) -> None:
        self._found: dict[tuple[int, int], Group] = {}
        self._end = self._lines = 0
        self._step: int | None = None
        self.groups: list[Group] = []
        self.incomplete = 0

    def refresh(self) -> None:
        """Read what was appended to the log since the last time."""
        if self.path is None:
            for place in range(self._end, len(self._list)):
                self._add(self._list[place], place)
            self._end = len(self._list)
            self.groups = [replace(g) for g in self._found.values()]
            return
        if self.path.stat().st_size < self._end:  # another run began in the same place
            self._clear()
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):  # still being written, or cut short by a kill
                    break
                self._lines += 1
                rollout = self._parse(line)
                if self._step is not None and rollout.step < self._step:  # a resumed run does these steps again
                    self._found = {k: g for k, g in self._found.items() if k[0] < rollout.step}
                self._step = rollout.step
                self._add(rollout, self._end)
                self._end += len(line)
        self._settle()

    def _settle(self) -> None:
        """Whole groups only; where the last step was begun twice, its later rows."""
        size = statistics.mode(len(g.rows) for g in self._found.values()) if self._found else 0
        self.groups = [
            replace(g, rows=g.rows[-size:]) for g in self._found.values() if len(g.rows) >= size or g.step != self._step
        ]
        self.incomplete = len(self._found) - len(self.groups)

    def _parse(self, line: bytes) -> Rollout:
        try:
            row = json.loads(line)
            if row.pop("schema") != SCHEMA:
                raise KeyError("schema")
            return Rollout(**row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"{self.path}, line {self._lines}"
            raise ValueError(f"{where}: not a rollout of schema {SCHEMA} ({error})") from error

    def _add(self, r: Rollout, place: int) -> None:
        if not len(r.token_ids) == len(r.author) == len(r.logps) == len(r.weights):
            raise ValueError(
                f"a rollout of step {r.step}, group {r.group} has token_ids, author, logps and weights of "
                "different lengths: they need one entry per token each"
            )
        group = self._found.setdefault((r.step, r.group), Group(r.step, r.group, r.question, []))
        group.rows.append(Row(place, r.reward, r.guided, min(r.logps, default=0.0)))

    def rollouts(self, group: Group) -> list[Rollout]:
        """The group's rollouts with their tokens, in the order of the log."""
        if self.path is None:
            return [self._list[row.place] for row in group.rows]
        with self.path.open("rb") as file:
            return [self._parse(_line_at(file, row.place)) for row in group.rows]

    def step_rows(self, step: int) -> list[Row]:
        """All rows of a step: the batch that "batch" normalises by."""
        return [row for g in self.groups if g.step == step for row in g.rows]


def _line_at(file: Any, offset: int) -> bytes:
    file.seek(offset)
    return file.readline()


FILTERS: dict[str, tuple[str, Callable[[Group], bool]]] = {
    "all": ("all groups", lambda g: True),
    "spread": ("rewards differ", lambda g: g.spread > 0),
    "silent": ("no signal: rewards all equal", lambda g: g.spread == 0),
    "guided": ("with a guided rollout", lambda g: g.guided > 0),
    "own": ("without guidance", lambda g: g.guided == 0),
    "surprising": ("surprising: a token below p = 0.001", lambda g: g.least_logp < math.log(1e-3)),
}
SORTS: dict[str, tuple[str, Callable[[Group], Any]]] = {
    "step": ("in order of training", lambda g: (g.step, g.group)),
    "spread": ("largest reward spread first", lambda g: (-g.spread, g.step, g.group)),
    "surprise": ("least likely token first", lambda g: (g.least_logp, g.step, g.group)),
    "reward": ("lowest mean reward first", lambda g: (statistics.fmean(g.rewards), g.step, g.group)),
}


# ---------------------------------------------------------------- the numbers of one group


@dataclass(frozen=True)
class Settings:
    """What the numbers are recomputed under; the names are those of ThinkTuningConfig and GRPOConfig."""

    shaping: str = "intended"
    mask: str = "guided"  # shaping_mask
    constants: AASConstants = DEFAULT_CONSTANTS
    epsilon: float = 0.2
    scale: str = "group"  # scale_rewards


# What becomes of a token's weight; the order is that of `Numbers.case`.
CASES = (
    "not shaped: its ordinary PPO term, weight 1",
    "shaped: the formula applies",
    "shaped, guarded: p + γ is not above 0, so the weight is set to 1.0001",
    "shaped, guarded: p + γ is above 1, so the weight is set to 0.9999",
    "falls back: A < 0 and p below the threshold, so its ordinary PPO term, weight 1",
)


@dataclass(frozen=True)
class Numbers:
    """One group under some settings. (N,) tensors: all its tokens, rollout after rollout. (G,): its rollouts.

    `ratio` is 1 on shaped tokens, by definition, and p / p_old on the others. `advantage` is the token's own, A * s(p,
    A) where shaped. `slope` is d(loss)/d(log p), 0 where the clip cuts it off; `gradient` is the size of the loss's
    gradient on the token's own logit, |slope| * (1 - p): a certain token is not pushed. `case` indexes CASES.
    `weights_by` is (S, N), the weight under every shaping of SHAPINGS. `before` leaves out the guided rollouts (NaN
    for those), `after` has all.
    """

    p: Tensor
    p_old: Tensor
    ratio: Tensor
    weight: Tensor
    advantage: Tensor
    slope: Tensor
    gradient: Tensor
    case: Tensor
    weights_by: Tensor
    before: Tensor
    after: Tensor


def recompute(
    rollouts: list[Rollout],
    settings: Settings,
    logps: list[list[float]] | None = None,
    old_logps: list[list[float]] | None = None,
    batch: list[Row] | None = None,
) -> Numbers:
    """Every number of one group, by the functions that the trainer uses.

    Args:
        rollouts: the whole group.
        logps: under the policy that is trained; default those of the log.
        old_logps: under the policy that sampled; default those of the log, so that every ratio is 1.
        batch: all rollouts of the step, for `scale="batch"`; default this group.
    """
    after = _relative([r.reward for r in rollouts], settings.scale, [row.reward for row in batch or []])
    if len(rollouts) < 2:  # nothing to compare with
        after = torch.tensor([r.advantage for r in rollouts])
    own = [i for i, r in enumerate(rollouts) if not r.guided]
    before = torch.full((len(rollouts),), math.nan)
    before[own] = _relative(
        [rollouts[i].reward for i in own], settings.scale, [row.reward for row in batch or [] if not row.guided]
    )

    lengths = torch.tensor([len(r.token_ids) for r in rollouts])
    old = _flat(old_logps or [r.logps for r in rollouts])
    now = _flat(logps) if logps is not None else _flat([r.logps for r in rollouts])
    by_row = after.repeat_interleave(lengths)
    author = _flat([r.author for r in rollouts]).bool()
    guided = torch.tensor([r.guided for r in rollouts]).repeat_interleave(lengths)
    masked = author if settings.mask == "teacher" else guided

    c = settings.constants
    shaped = shape(settings.shaping, now.exp(), by_row, c)
    advantage, ratio_one = (
        x[:, 0] if x.dim() == 2 else x
        for x in per_token_advantages(settings.shaping, now[:, None], by_row, masked[:, None], c)
    )
    old_in_loss = torch.where(ratio_one, now, old)
    ratio, slope = _slope(now, old_in_loss, advantage, settings.epsilon)
    return Numbers(
        p=now.exp(),
        p_old=old.exp(),
        ratio=ratio,
        weight=torch.where(masked, shaped.weight, 1.0),
        advantage=advantage,
        slope=slope,
        gradient=slope.abs() * (1 - now.exp()),
        case=_case(settings, now.exp(), by_row, masked, shaped.fallback),
        weights_by=torch.stack([shape(name, now.exp(), by_row, c).weight for name in SHAPINGS]),
        before=before,
        after=after,
    )


def _flat(lists: list[list]) -> Tensor:
    return torch.tensor([x for values in lists for x in values], dtype=torch.float32)


def _relative(rewards: list[float], scale: str, batch: list[float]) -> Tensor:
    """Group-relative advantages of one group; 0 for a group of one. `batch`: the rewards that "batch" divides by."""
    if len(rewards) < 2:
        return torch.zeros(len(rewards))
    if scale == "batch":  # group_advantages wants groups of one size, which a step without its guided rows has not
        centred = group_advantages(torch.tensor(rewards), len(rewards), scale="none")
        return centred / (torch.tensor(batch or rewards).std() + 1e-4)
    return group_advantages(torch.tensor(rewards), len(rewards), scale=scale)


def _slope(logps: Tensor, old_logps: Tensor, advantages: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Importance ratio and d(clipped loss)/d(log p) per token. A token of probability 0 cannot be sampled: slope 0."""
    logps = logps.clamp(min=torch.finfo(logps.dtype).min).requires_grad_()
    with torch.enable_grad():
        ratio = importance_ratio(logps, old_logps.clamp(min=torch.finfo(logps.dtype).min))
        loss = clipped_surrogate(ratio[:, None], advantages[:, None], epsilon_low=epsilon, epsilon_high=epsilon)
        slope = torch.autograd.grad(loss.sum(), logps)[0]
    return ratio.detach(), slope


def _gamma(settings: Settings, advantages: Tensor) -> Tensor:
    return (gamma_released if settings.shaping == "released" else gamma_intended)(advantages, settings.constants)


def _case(settings: Settings, p: Tensor, advantages: Tensor, masked: Tensor, fallback: Tensor) -> Tensor:
    case = torch.ones_like(p)
    if settings.shaping in ("intended", "released"):
        denominator = p + _gamma(settings, advantages)
        case[denominator <= 0], case[denominator > 1] = 2, 3
    case[fallback] = 4
    case[~masked] = 0
    return case


def detect(groups: Iterable[tuple[list[Rollout], list[Row]]]) -> Settings:
    """The settings, at the default constants, that best give the logged advantages and weights.

    Args:
        groups: some groups, each with all rows of its step.
    """
    groups = list(groups)

    def misses(settings: Settings, advantages: bool) -> int:
        return sum(differing(g, recompute(g, settings, batch=b))[0 if advantages else 1] for g, b in groups)

    scale = min(SCALES, key=lambda s: misses(Settings(scale=s), True))
    candidates = [Settings(name, mask, scale=scale) for mask in MASKS for name in SHAPINGS]
    return min(candidates, key=lambda s: misses(s, False))


def differing(rollouts: list[Rollout], numbers: Numbers) -> tuple[int, int]:
    """How many advantages and how many weights differ from the log by more than its five digits explain."""
    logged = torch.tensor([r.advantage for r in rollouts])
    weights = _flat([r.weights for r in rollouts])
    # Rounded are w itself and log p, which moves w = p / (p + gamma) by w (1 - w).
    last_digit = 1e-4 * 10 ** weights.abs().clamp(min=1e-9).log10().floor()
    rounding = 1e-4 * _flat([r.logps for r in rollouts]).abs() * (weights * (1 - weights)).abs()
    tolerance = 0.6 * last_digit + rounding
    return (
        int(((numbers.after - logged).abs() > 1e-3).sum()),
        int(((numbers.weight - weights).abs() > tolerance).sum()),
    )


# ---------------------------------------------------------------- text is data


def visible(text: str) -> str:
    """Text with everything that is not a visible character made one: model text is shown, never interpreted.

    Control characters become their Unicode control pictures (a line feed ↵), format characters (direction marks,
    joiners) and lone surrogates their code point in ‹ ›; blanks become ␣ where there is nothing else, and a leading
    combining mark gets a circle to sit on.
    """
    if text.isascii() and text.isprintable() and text.strip():
        return text
    if text and not text.strip(" "):
        return text.replace(" ", "␣")
    out = "".join(map(_visible_character, text))
    return "◌" + out if out and unicodedata.category(out[0]).startswith("M") else out


def _visible_character(c: str) -> str:
    if c == "\n":
        return "↵"
    if c < " ":
        return chr(0x2400 + ord(c))
    if c == "\x7f":
        return "␡"
    return f"‹U+{ord(c):04X}›" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
