"""Grade one submission: notebooks in, points and reasons out."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from thinktuning_lite.lessons.course import hidden, slices
from thinktuning_lite.lessons.course.remote import AnswerLostError, Student
from thinktuning_lite.lessons.course.tasks import CHECKS, Task, imports_of

LARGEST = 30_000_000  # bytes of one notebook


@dataclass(frozen=True)
class Asked:
    """A task with its hidden calls, what the lecturer's answer gives for them, and its processor seconds for it all."""

    task: Task
    expected: tuple[tuple[hidden.Arguments, Any], ...]
    took: float


@dataclass(frozen=True)
class Mark:
    """What one task earned, of its points, and why."""

    task: Task
    points: int
    reason: str


def ask(tasks: Sequence[Task], seed: int) -> list[Asked]:
    """The tasks with the hidden variants of a seed. Raises ValueError where a solution does not pass its own check."""
    found = []
    for task in tasks:
        answer, check = task.solution(), f"{task.module}.{task.check}"
        import_module(f"{CHECKS}.{task.module}")
        began = time.process_time()
        if not (verdict := task.judge(answer)).passed:
            raise ValueError(f"the solution of {task.name} does not pass its check: {verdict.message}")
        expected = tuple((case, answer(*case)) for case in hidden.cases(check, seed))
        found.append(Asked(task, expected, time.process_time() - began))
    return found


def notebooks_in(path: Path) -> dict[str, str]:
    """The notebooks of a submission (one file, a folder, a zip), name -> text; nothing is unpacked to disk.

    Raises ValueError, saying why, for what cannot be read.
    """
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
        return {p.name: _text(p.name, p.read_bytes()) for p in files if p.stat().st_size <= LARGEST}
    if path.suffix == ".ipynb":
        return {path.name: _text(path.name, path.read_bytes())}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".ipynb") and "__MACOSX" not in n][:50]
            return {Path(n).name: _text(n, archive.open(n).read(LARGEST + 1)) for n in names}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"no archive that can be read: {error}") from error


def _text(name: str, content: bytes) -> str:
    if len(content) > LARGEST:
        raise ValueError(f"{name} is over {LARGEST:,} bytes")
    return content.decode("utf-8", "replace")


def code_of(text: str) -> list[slices.Cell]:
    """The code cells of a notebook's text. Raises ValueError for what is no notebook."""
    try:
        cells = json.loads(text)["cells"]
        sources = [c["source"] for c in cells if c["cell_type"] == "code"]
        return [slices.cell(s if isinstance(s, str) else "".join(s)) for s in sources]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a notebook: {type(error).__name__}") from error


def grade(
    notebooks: dict[str, str], asked: Sequence[Asked], private: Sequence[Path] = (), seconds: float = 10.0
) -> Iterator[Mark]:
    """The marks of a submission's tasks, one after the other. `private`: what its code may not read.

    An answer has `seconds` of processor time, and five times what the lecturer's takes. Each that uses them up halves
    `seconds` for the rest, down to one: so thirty loops cost a minute, not five.
    """
    stems = list(dict.fromkeys(a.task.notebook for a in asked))
    found = {stem: _which(stem, notebooks, asked) for stem in stems}
    for stem in stems:
        tasks = [a for a in asked if a.task.notebook == stem]
        if found[stem] is None:
            yield from (Mark(a.task, 0, f"{stem} was not handed in") for a in tasks)
            continue
        try:
            cells = code_of(notebooks[found[stem]])
        except ValueError as error:
            yield from (Mark(a.task, 0, f"{found[stem]}: {error}") for a in tasks)
            continue
        with Student(imports_of([a.task for a in tasks]), seconds, private=private) as student:
            for one in tasks:
                student.seconds = seconds + 5 * one.took
                yield _mark(one, cells, student)
                if student.timed_out:
                    seconds = max(1.0, seconds / 2)


def _mark(asked: Asked, cells: Sequence[slices.Cell], student: Student) -> Mark:
    task = asked.task
    called = [i for i, c in enumerate(cells) if f".{task.check}({task.answer})" in c.source]
    sources = slices.needed(cells, task.answer, called[-1] if called else len(cells))
    if not sources:
        return Mark(task, 0, f"no cell defines {task.answer}")
    try:
        answer = student.answer(sources, task.answer)
        verdict = task.judge(answer)
    except AnswerLostError as error:
        return Mark(task, 0, str(error))
    except (Exception, SystemExit) as error:  # of the student's code, when its cell is run
        return Mark(task, 0, f"Your cell raised {type(error).__name__}: {error}")
    if not verdict.passed:
        return Mark(task, 0, student.lost or verdict.message)
    fault = hidden.fault(f"{task.module}.{task.check}", answer, asked.expected)
    return Mark(task, 0, student.lost or fault) if fault else Mark(task, task.points, "right")


def _which(stem: str, notebooks: dict[str, str], asked: Sequence[Asked]) -> str | None:
    """The submitted notebook that is `stem`: by its name, else the one that calls most of its checks."""
    named = [name for name in notebooks if stem in name]
    if named:
        return named[0]
    calls = [f".{a.task.check}({a.task.answer})" for a in asked if a.task.notebook == stem]
    others = {a.task.notebook for a in asked} - {stem}
    count = {n: sum(call in text for call in calls) for n, text in notebooks.items() if not any(o in n for o in others)}
    best = max(count, key=count.get, default=None)
    return best if best is not None and count[best] > len(calls) / 2 else None
