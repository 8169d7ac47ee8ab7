"""Rollouts as data: one row per completion, read and written as JSON lines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from thinktuning_lite.method.files import append_row, whole_lines

SCHEMA = 2  # 1 had neither the optional fields nor the row of the run
UNKNOWN_TOKEN = -1  # a piece of text whose token id no one recorded; see `pieces`
_ROUNDED = ("logps", "weights", "old_logps", "sampler_logps", "ref_logps", "entropy", "correction")


@dataclass(frozen=True)
class Rollout:
    """One completion of a group, with everything that its loss was made of.

    `token_ids`, `author` (0 student, 1 teacher), `logps` (log-probabilities under the policy when it was trained on, at
    the sampling temperature) and `weights` (AAS weight; 1 on tokens that are not shaped) have one entry per completion
    token, EOS included. `advantage` is the group-relative one, before shaping. `group` numbers the groups of a step.
    `reward` is NaN (null in the file) where no reward function judged the row; its advantage is 0. Rollouts that others
    recorded (dumps.py) may lack more: a log-probability or advantage is then NaN, all token ids UNKNOWN_TOKEN.

    What not every trainer knows is None where it is missing. One entry per token: `old_logps` (under the policy at the start
    of the iteration; None: equal to `logps`), `sampler_logps` (as the sampler said, None on tokens that it did not sample),
    `ref_logps` (of the reference model), `entropy` (in nats), `correction` (importance-sampling weight between sampler and
    trainer). `rewards`: each reward function's own, by name. `finish`: "stop" (it ended by itself) or "length".
    `replaced`: the rollout in whose place guidance came, {"text", "token_ids", "reward"}. docs/rollouts.schema.json has it all.
    """

    step: int
    group: int
    question: str
    text: str
    token_ids: list[int]
    author: list[int]
    logps: list[float]
    weights: list[float]
    reward: float
    advantage: float
    old_logps: list[float] | None = None
    sampler_logps: list[float | None] | None = None
    ref_logps: list[float] | None = None
    entropy: list[float] | None = None
    correction: list[float] | None = None
    rewards: dict[str, float | None] | None = None
    finish: str | None = None
    replaced: dict | None = None

    @property
    def guided(self) -> bool:
        return any(self.author)

    def to_json(self) -> str:
        row = {k: v for k, v in asdict(self).items() if v is not None} | {"schema": SCHEMA}
        for name in _ROUNDED:
            if name in row:
                row[name] = [x if x is None else float(f"{x:.5g}") for x in row[name]]
        if math.isnan(self.reward):  # JSON has no NaN
            row["reward"] = None
        return json.dumps(row, ensure_ascii=False)


def pieces(text: str) -> list[str]:
    """Words with the blanks behind them: what stands for the tokens of a text whose tokens no one recorded."""
    return re.findall(r"\s*\S+\s*|\s+", text)


class RolloutLog:
    """An append-only JSONL file of rollouts. Every row is flushed, so that a killed run loses nothing logged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, rollout: Rollout) -> None:
        append_row(self.path, rollout.to_json())

    def write_run(self, settings: dict) -> None:
        """The run's settings, which stand before its rollouts (again where it was resumed)."""
        append_row(self.path, json.dumps({"schema": SCHEMA, "run": settings}, ensure_ascii=False))

    def go_on_at(self, step: int) -> None:
        """Drop the rows of `step` and later, which a resumed run does again; a log of another run is set aside."""
        if not self.path.exists():
            return
        if step == 0:
            self.path.replace(self.path.with_suffix(".previous.jsonl"))
            return
        kept = [
            row for row in whole_lines(self.path) if json.loads(row).get("step", -1) < step
        ]  # a run's settings have none
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_bytes(b"".join(row + b"\n" for row in kept))
        partial.replace(self.path)


def parse_row(line: str | bytes) -> Rollout | dict:
    """A row of a log: a Rollout of schema 1 or 2, or the settings of a run (a dict), which stand before its rollouts.

    Raises ValueError (KeyError, TypeError) for anything else.
    """
    row = json.loads(line)
    if not isinstance(row, dict) or row.pop("schema", None) not in (1, SCHEMA):
        raise ValueError("no row of schema 1 or 2")
    if "run" in row:
        return row["run"]
    if row.get("reward", 0) is None:
        row["reward"] = math.nan
    return Rollout(**row)


def read_rollouts(path: str | Path) -> Iterator[Rollout]:
    """The rollouts of a log, in order; a last line cut short by a kill is skipped.

    Raises ValueError, naming the line, for anything else that is no rollout.
    """
    for number, line in enumerate(whole_lines(Path(path)), 1):
        try:
            row = parse_row(line)
            if isinstance(row, Rollout):
                yield row
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: not a rollout of schema {SCHEMA} ({error})") from error


def groups_of(rollouts: list[Rollout]) -> dict[tuple[int, int], list[Rollout]]:
    """Rollouts by (step, group), in order of appearance."""
    out: dict[tuple[int, int], list[Rollout]] = {}
    for r in rollouts:
        out.setdefault((r.step, r.group), []).append(r)
    return out
