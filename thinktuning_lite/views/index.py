"""Where the rollouts are: the groups of a log, found without keeping their tokens in memory, filtered and sorted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from thinktuning_lite.method.rollouts import SCHEMA, UNKNOWN_TOKEN, Rollout, parse_row


class Row(NamedTuple):
    """One rollout in the index: its place (byte offset or position in the list) and what groups are sorted by."""

    place: int
    reward: float  # NaN: no reward function judged it
    guided: bool
    least_logp: float
    length: int
    finish: str | None
    disagreement: float  # largest |log-prob of the sampler - log-prob of the trainer|; 0 where not logged


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
        return [float(row.reward) for row in self.rows]

    @property
    def guided(self) -> int:
        return sum(row.guided for row in self.rows)

    @cached_property
    def spread(self) -> float:
        """Sample standard deviation of the rewards; 0 means that the group gives no advantage."""
        judged = [r for r in self.rewards if math.isfinite(r)]
        return statistics.stdev(judged) if len(judged) > 1 else 0.0

    @cached_property
    def mean(self) -> float:
        """Mean of the finite rewards; NaN without any."""
        judged = [r for r in self.rewards if math.isfinite(r)]
        return statistics.fmean(judged) if judged else math.nan

    @cached_property
    def odd(self) -> bool:
        """Whether a rollout with the highest reward is three times as long as the others' median, or a third of it."""
        lengths = [row.length for row in self.rows]
        middle, best = statistics.median(lengths), max(self.rewards, key=lambda r: (math.isfinite(r), r))
        return any(
            row.reward == best and not middle / 3 <= row.length <= 3 * middle for row in self.rows if self.spread > 0
        )

    @cached_property
    def lowered(self) -> bool:
        """Whether a reward above 0 is below the group's mean, so that its advantage is negative."""
        return any(0 < r < self.mean for r in self.rewards)

    @cached_property
    def disagreement(self) -> float:
        return max(row.disagreement for row in self.rows)

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
        if self.path and self.path.is_dir():
            self.path = self.path / "rollouts.jsonl"  # a run's folder
        if self.path and not self.path.exists():
            raise FileNotFoundError(f"there is no rollout log at {self.path}: train with rollout_log_steps above 0")
        self.refresh()

    def _clear(self) -> None:
        self._found: dict[tuple[int, int], Group] = {}
        self._end = self._lines = 0
        self._step: int | None = None
        self.groups: list[Group] = []
        self.incomplete = 0
        self.run: dict[str, Any] = {}  # the settings of the run, where the log holds them

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
                self._end += len(line)
                if not isinstance(rollout, Rollout):
                    self.run = rollout
                    continue
                if self._step is not None and rollout.step < self._step:  # a resumed run does these steps again
                    self._found = {k: g for k, g in self._found.items() if k[0] < rollout.step}
                self._step = rollout.step
                self._add(rollout, self._end - len(line))
        self._settle()

    def _settle(self) -> None:
        """Whole groups only; where the last step was begun twice, so that all its groups hold double, its later rows."""
        size = statistics.mode(len(g.rows) for g in self._found.values()) if self._found else 0
        self.groups = [
            replace(g, rows=g.rows[-size:] if len(g.rows) == 2 * size and g.step == self._step else g.rows)
            for g in self._found.values()
            if len(g.rows) >= size or g.step != self._step
        ]
        self.incomplete = len(self._found) - len(self.groups)

    def _parse(self, line: bytes) -> Rollout:
        try:
            return parse_row(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"{self.path}, line {self._lines}"
            raise ValueError(f"{where}: not a rollout of schema {SCHEMA} ({error})") from error

    def _add(self, r: Rollout, place: int) -> None:
        _check(r, f"{self.path}, line {self._lines}" if self.path else f"rollout {place} of the list")

        group = self._found.setdefault((r.step, r.group), Group(r.step, r.group, r.question, []))
        told = zip(r.sampler_logps or [], r.old_logps or r.logps, strict=False)
        apart = max((abs(s - o) for s, o in told if s is not None and not math.isnan(o)), default=0.0)
        known = r.logps if not math.isnan(sum(r.logps)) else [x for x in r.logps if not math.isnan(x)]
        least = min(known, default=0.0)
        group.rows.append(Row(place, float(r.reward), r.guided, least, len(r.token_ids), r.finish, apart))

    def rollouts(self, group: Group) -> list[Rollout]:
        """The group's rollouts with their tokens, in the order of the log."""
        if self.path is None:
            return [self._list[row.place] for row in group.rows]
        with self.path.open("rb") as file:
            return [self._parse(_line_at(file, row.place)) for row in group.rows]

    def holding(self, text: str) -> set[str]:
        """Keys of the groups whose question or one of whose rollouts holds `text`, whatever its case."""
        needle = text.lower()
        return {
            g.key
            for g in self.groups
            if needle in g.question.lower() or any(needle in r.text.lower() for r in self.rollouts(g))
        }

    def step_rows(self, step: int) -> list[Row]:
        """All rows of a step: the batch that "batch" normalises by."""
        return [row for g in self.groups if g.step == step for row in g.rows]


def _check(r: Rollout, where: str) -> None:
    """Raises ValueError, with the place, for null fields and for lists of different lengths."""
    needed = ("step", "group", "question", "text", "token_ids", "author", "logps", "weights", "reward", "advantage")
    empty = [name for name in needed if getattr(r, name) is None]
    if empty:
        raise ValueError(f"{where}: {', '.join(empty)} is null; a rollout needs {', '.join(needed)}")
    if not len(r.token_ids) == len(r.author) == len(r.logps) == len(r.weights):
        raise ValueError(
            f"{where}: a rollout of step {r.step}, group {r.group} has token_ids, author, logps and weights of "
            "different lengths: they need one entry per token each"
        )
    if None in r.logps or None in r.weights:
        raise ValueError(f"{where}: logps and weights need a number for every token, not null")


def _line_at(file: Any, offset: int) -> bytes:
    file.seek(offset)
    return file.readline()


FILTERS: dict[str, tuple[str, Callable[[Group], bool]]] = {
    "all": ("all groups", lambda g: True),
    "spread": ("rewards differ", lambda g: g.spread > 0),
    "silent": ("no signal: rewards all equal", lambda g: g.spread == 0),
    "wrong": ("all wrong: no reward above 0", lambda g: g.spread == 0 and not g.mean > 0),
    "right": ("all right: all rewards equal, above 0", lambda g: g.spread == 0 and g.mean > 0),
    "lowered": ("a reward above 0 has a negative advantage", lambda g: g.lowered),
    "guided": ("with a guided rollout", lambda g: g.guided > 0),
    "own": ("without guidance", lambda g: g.guided == 0),
    "surprising": ("surprising: a token below p = 0.001", lambda g: g.least_logp < math.log(1e-3)),
    "cut": ("with a rollout that was cut off", lambda g: any(row.finish == "length" for row in g.rows)),
    "odd": ("best reward at an odd length (gamed?)", lambda g: g.odd),
    "unjudged": ("a reward is missing or not finite", lambda g: any(not math.isfinite(r) for r in g.rewards)),
    "disagree": ("sampler and trainer disagree by a factor 2", lambda g: g.disagreement > math.log(2)),
}
SORTS: dict[str, tuple[str, Callable[[Group], Any]]] = {
    "step": ("in order of training", lambda g: (g.step, g.group)),
    "spread": ("largest reward spread first", lambda g: (-g.spread, g.step, g.group)),
    "surprise": ("least likely token first", lambda g: (g.least_logp, g.step, g.group)),
    "disagreement": ("sampler and trainer furthest apart first", lambda g: (-g.disagreement, g.step, g.group)),
    "reward": ("lowest mean reward first", lambda g: (g.mean, g.step, g.group)),
}


def find_tokenizer(index: RolloutIndex) -> Any:
    """A tokenizer beside the log, or the tiny classroom's, that turns the logged ids into the logged text; or None."""
    from transformers import AutoTokenizer

    from thinktuning_lite.classroom.load import TINY_CLASSROOM

    beside = (
        [p for pattern in ("", "*/") for p in index.path.parent.glob(f"{pattern}tokenizer.json")] if index.path else []
    )
    rollout = index.rollouts(index.groups[0])[0]
    if UNKNOWN_TOKEN in rollout.token_ids:
        return None
    for folder in (*(path.parent for path in beside[:1]), TINY_CLASSROOM):
        if not (folder / "tokenizer.json").exists():
            continue
        tokenizer = AutoTokenizer.from_pretrained(folder)
        known = max(rollout.token_ids, default=0) < len(tokenizer)
        if known and tokenizer.decode(rollout.token_ids, skip_special_tokens=True).strip() == rollout.text.strip():
            return tokenizer
    return None
