"""Rollouts as data: one row per completion, read and written as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

SCHEMA = 1


@dataclass(frozen=True)
class Rollout:
    """One completion of a group, with everything that its loss was made of.

    `token_ids`, `author` (0 student, 1 teacher), `logps` (log-probabilities under the policy when it was trained on, at
    the sampling temperature) and `weights` (AAS weight; 1 on tokens that are not shaped) have one entry per completion
    token, EOS included. `advantage` is the group-relative one, before shaping. `group` numbers the groups of a step.
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

    @property
    def guided(self) -> bool:
        return any(self.author)

    def to_json(self) -> str:
        row = asdict(self) | {"schema": SCHEMA}
        for name in ("logps", "weights"):
            row[name] = [float(f"{x:.5g}") for x in row[name]]
        return json.dumps(row, ensure_ascii=False)


class RolloutLog:
    """An append-only JSONL file of rollouts. Every row is flushed, so that a killed run loses nothing logged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # a line that a kill cut short must not swallow the row behind it
            logged = path.read_bytes()
            os.truncate(path, logged.rfind(b"\n") + 1)

    def write(self, rollout: Rollout) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(rollout.to_json() + "\n")


def read_rollouts(path: str | Path) -> Iterator[Rollout]:
    """The rollouts of a log, in order; a last line cut short by a kill is skipped.

    A step that a resumed run did again is in the log twice; the later rows are the ones trained on.
    Raises ValueError, naming the line, for anything else that is no rollout.
    """
    with Path(path).open(encoding="utf-8", newline="\n") as file:  # texts may hold other line ends, U+2028 say
        lines = file.readlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if row.pop("schema") != SCHEMA:
                raise KeyError("schema")
            yield Rollout(**row)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                return
            raise ValueError(f"{path}, line {number}: not a rollout of schema {SCHEMA} ({error})") from error


def groups_of(rollouts: list[Rollout]) -> dict[tuple[int, int], list[Rollout]]:
    """Rollouts by (step, group), in order of appearance."""
    out: dict[tuple[int, int], list[Rollout]] = {}
    for r in rollouts:
        out.setdefault((r.step, r.group), []).append(r)
    return out
