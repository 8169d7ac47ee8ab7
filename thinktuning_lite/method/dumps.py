"""What other trainers leave of their rollouts, as Rollouts: TRL's completions, verl's and prime-rl's dumps.

None of them holds everything. A log-probability or advantage that no one recorded is NaN, a token without an id is a
word with id UNKNOWN_TOKEN, and what is optional in a Rollout is None: the inspector shows each as missing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from thinktuning_lite.method.files import whole_lines
from thinktuning_lite.method.rollouts import UNKNOWN_TOKEN, Rollout, pieces

_TRL = ("step", "prompt", "completion", "advantage")
_VERL = ("input", "output", "gts", "score", "step")


def read_trl_completions(path: str | Path, num_generations: int | None = None) -> list[Rollout]:
    """The parquet files that TRL writes with `log_completions=True`: of each logged step its last generation.

    Args:
        path: the trainer's output_dir, its folder `completions`, or one file. A step's number is TRL's own.
        num_generations: rollouts a group, which the files do not say; default: neighbours with the same prompt.

    The reward is the sum of the reward columns, which is TRL's where no reward_weights are set. TRL logs neither token ids
    nor log-probabilities. Raises FileNotFoundError without such files, ValueError for files of another kind.
    """
    import pyarrow.parquet

    rollouts: list[Rollout] = []
    for file in _files(Path(path), ("*.parquet", "completions/*.parquet"), "parquet files of log_completions=True"):
        rows = pyarrow.parquet.read_table(file).to_pylist()
        names = [k for k in (rows or [{}])[0] if k not in _TRL and any(_is_number(row[k]) for row in rows)]
        before, group = None, -1
        for i, row in enumerate(rows):
            _need(row, _TRL, f"{file}, row {i + 1}")
            starts = row["prompt"] != before if num_generations is None else i % num_generations == 0
            before, group = row["prompt"], group + starts
            rewards = {k: _number(row[k]) for k in names}
            judged = [v for v in rewards.values() if not math.isnan(v)]
            rollouts.append(
                _rollout(
                    step=row["step"],
                    group=group,
                    question=_said(row["prompt"], "user"),
                    text=_said(row["completion"], None),
                    reward=sum(judged) if judged else math.nan,
                    advantage=row["advantage"],
                    rewards={k: None if math.isnan(v) else v for k, v in rewards.items()} or None,
                )
            )
    return rollouts


def read_verl_rollouts(path: str | Path) -> list[Rollout]:
    """The files N.jsonl of verl's `trainer.rollout_data_dir` (or one of them): texts and scores, a group by its prompt.

    verl balances a batch over its workers, so that a group's rollouts need not be neighbours. It dumps neither token ids,
    log-probabilities nor advantages. Raises FileNotFoundError without such files, ValueError, naming the line, for others.
    """
    rollouts: list[Rollout] = []
    groups = _Numbers()
    for where, _, row in _rows(Path(path), ("*.jsonl",), "N.jsonl files of trainer.rollout_data_dir"):
        _need(row, ("input", "output", "score", "step"), where)
        extra = {k: float(v) for k, v in row.items() if k not in _VERL and _is_number(v)}
        rollouts.append(
            _rollout(
                step=row["step"],
                group=groups(row["step"], row["input"]),
                question=row["input"],
                text=row["output"],
                reward=_number(row["score"]),
                rewards=extra or None,
            )
        )
    return rollouts


def read_prime_rl_rollouts(path: str | Path) -> list[Rollout]:
    """prime-rl's episodes (rollouts/step_N/train/effective/traces.jsonl), or its older step_N/train_rollouts.jsonl.

    Of an episode's traces: the tokens that the policy sampled, turn after turn, with what prime-rl noted on them: the
    sampler's, the trainer's and the reference model's log-probabilities, entropy, advantages. Older rows have texts, reward
    and, in some versions, the advantage.

    Args:
        path: the run's folder, its folder `rollouts`, or one file.

    Raises FileNotFoundError without such files, ValueError, naming the line, for files of another kind.
    """
    rollouts: list[Rollout] = []
    groups = _Numbers()
    patterns = ("**/train/effective/traces.jsonl", "**/train_rollouts.jsonl")
    for where, file, row in _rows(Path(path), patterns, "train/effective/traces.jsonl or train_rollouts.jsonl"):
        number = re.search(r"step_(\d+)", file.as_posix())
        step = int(number[1]) if number else 0
        if "completion" in row:
            rollouts.append(_older(row, step, groups, where))
            continue
        for i, trace in enumerate(row.get("traces", [row])):
            _need(trace, ("nodes", "rewards"), where)
            key = (row.get("group") or {}).get("id") or json.dumps(trace.get("task"), sort_keys=True)
            rollouts.append(_of_trace(trace, step, groups(step, (key, i if "traces" in row else 0))))
    return rollouts


def _older(row: dict, step: int, groups: _Numbers, where: str) -> Rollout:
    _need(row, ("prompt", "completion", "reward"), where)
    question = _said(row["prompt"], "user")
    cut = row.get("is_truncated")
    return _rollout(
        step=step,
        group=groups(step, row.get("example_id", question)),
        question=question,
        text=_said(row["completion"], "assistant"),
        reward=_number(row["reward"]),
        advantage=_number(row.get("advantage")),
        finish=None if cut is None else "length" if cut else "stop",
    )


def _of_trace(trace: dict, step: int, group: int) -> Rollout:
    nodes = trace["nodes"]
    messages = [n["message"] for n in nodes]
    sampled = [n for n in nodes if any(n.get("mask") or [])]
    ids = [t for n in sampled for t, own in zip(n["token_ids"], n["mask"], strict=True) if own]

    def noted(name: str) -> list[float] | None:
        values = [x for n in sampled for x in n.get(name) or []]
        return values if ids and len(values) == len(ids) else None

    credit = [a for a in noted("advantages") or [] if a]
    given = {k: v for k, v in trace["rewards"].items() if v is not None}
    ends = [call.get("finish_reason") for call in trace.get("calls") or []]
    more: dict[str, Any] = {}
    if ids:
        more = {"token_ids": ids, "logps": noted("trainer_logprobs") or [math.nan] * len(ids)}
    return _rollout(
        step=step,
        group=group,
        question=_said(messages, "user"),
        text="".join(_content(n["message"]) for n in (sampled or nodes) if n["message"].get("role") == "assistant"),
        reward=sum(v["score"] * v.get("weight", 1.0) for v in given.values()) if given else math.nan,
        advantage=sum(credit) / len(credit) if credit else 0.0 if noted("advantages") else math.nan,
        rewards={k: None if v is None else v["score"] for k, v in trace["rewards"].items()} or None,
        finish=("length" if ends[-1] == "length" else "stop") if ends and ends[-1] else None,
        sampler_logps=noted("logprobs"),
        ref_logps=noted("reference_logprobs"),
        entropy=noted("entropies"),
        **more,
    )


# ---------------------------------------------------------------- any folder

_KINDS: tuple[tuple[str, Callable[[Path], list[Rollout]]], ...] = (
    ("completions/*.parquet", read_trl_completions),
    ("*.parquet", read_trl_completions),
    ("**/train/effective/traces.jsonl", read_prime_rl_rollouts),
    ("**/train_rollouts.jsonl", read_prime_rl_rollouts),
    ("[0-9]*.jsonl", read_verl_rollouts),
)


def log_or_rollouts(path: str | Path) -> Path | list[Rollout]:
    """The rollout log at `path` (a log, or a folder with one), or what another trainer left there, as Rollouts.

    Raises FileNotFoundError, saying what was looked for, where there is neither.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "rollouts.jsonl").exists():
            return path / "rollouts.jsonl"
        for pattern, read in _KINDS:
            if any(path.glob(pattern)):
                return read(path)
        inside = sorted(path.glob("*/rollouts.jsonl")) + sorted(path.glob("*/*/rollouts.jsonl"))
        more = f"; there are {', '.join(str(p) for p in inside[:4])}" if inside else ""
        raise FileNotFoundError(
            f"{path} has no rollouts.jsonl, and no completions of TRL, rollouts of verl or episodes of prime-rl{more}"
        )
    if path.suffix == ".parquet":
        return read_trl_completions(path)
    if path.exists() and path.name in ("traces.jsonl", "train_rollouts.jsonl"):
        return read_prime_rl_rollouts(path)
    if path.exists() and re.fullmatch(r"\d+\.jsonl", path.name):
        return read_verl_rollouts(path)
    return path


# ---------------------------------------------------------------- helpers


class _Numbers:
    """Numbers the groups of each step in order of appearance."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[Any, int]] = {}

    def __call__(self, step: int, key: Any) -> int:
        seen = self._seen.setdefault(step, {})
        return seen.setdefault(key, len(seen))


def _rollout(*, text: str, advantage: float | None = None, **known: Any) -> Rollout:
    """A Rollout of what is known: without token ids one entry a word, without log-probabilities NaN."""
    words = len(pieces(text))
    known = dict[str, Any](token_ids=[UNKNOWN_TOKEN] * words, logps=[math.nan] * words) | known
    n = len(known["token_ids"])
    missing = math.nan if advantage is None else advantage
    return Rollout(text=text, author=[0] * n, weights=[1.0] * n, advantage=missing, **known)


def _files(path: Path, patterns: tuple[str, ...], wanted: str) -> list[Path]:
    """The file itself, or those of the first pattern that a folder holds, by the numbers in their names."""
    if path.is_file():
        return [path]
    for pattern in patterns:
        found = sorted(path.glob(pattern), key=lambda p: [int(n) for n in re.findall(r"\d+", str(p.relative_to(path)))])
        if found:
            return found
    raise FileNotFoundError(f"there are no {wanted} at {path}")


def _rows(path: Path, patterns: tuple[str, ...], wanted: str) -> Iterator[tuple[str, Path, dict]]:
    """(where it stands, its file, the row) of JSON lines. A last line that a kill cut is left out."""
    for file in _files(path, patterns, wanted):
        for number, line in enumerate(whole_lines(file), 1):
            where = f"{file}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{where}: no JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{where}: no row, but {str(row)[:40]}")
            yield where, file, row


def _need(row: dict, names: tuple[str, ...], where: str) -> None:
    missing = [name for name in names if name not in row]
    if missing:
        raise ValueError(f"{where}: has no {', '.join(missing)}; it has {', '.join(list(row)[:12])}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _said(messages: Any, role: str | None) -> str:
    """A text as it is; of a conversation what `role` said: a user's last words, all of an assistant (None: of anyone)."""
    if isinstance(messages, str):
        return messages
    said = [_content(m) for m in messages if role in (None, m.get("role"))]
    return (said or [_content(messages[-1])] if messages else [""])[-1] if role == "user" else "".join(said)


def _content(message: dict) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
