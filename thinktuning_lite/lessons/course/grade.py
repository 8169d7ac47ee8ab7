"""`thinktuning grade`: a folder of submissions to one CSV, several at a time, each in its own process."""

from __future__ import annotations

import argparse
import contextlib
import csv
import multiprocessing
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from thinktuning_lite.lessons.course import grading
from thinktuning_lite.lessons.course.grading import Asked, Mark
from thinktuning_lite.lessons.course.tasks import CHECKS, notebook_paths, read_tasks

COLUMNS = ("submission", "task", "points", "of", "reason")


@dataclass
class Graded:
    """A submission and its marks, in the order of the tasks."""

    name: str
    marks: list[Mark] = field(default_factory=list)

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.marks)


def submissions_in(folder: Path) -> list[Path]:
    """The submissions of a folder: archives, notebooks, or one folder each. Raises ValueError where there are none."""
    found = [p for p in sorted(folder.iterdir()) if p.is_dir() or p.suffix in (".zip", ".ipynb")]
    found = [p for p in found if not p.name.startswith(".")]
    if not found:
        raise ValueError(f"{folder} holds no submission: archives (.zip), notebooks or folders of them")
    return found


def grade_all(
    paths: Sequence[Path], asked: Sequence[Asked], jobs: int, seconds: float, minutes: float,
    done: Callable[[Graded], None] = lambda graded: None,
) -> list[Graded]:  # fmt: skip
    """Grade submissions, `jobs` at a time, each in a process that is ended after `minutes`; `done` hears of each.

    All are read before the first one's code runs.
    """
    private = sorted({path.resolve().parent for path in paths})
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":  # what judges is in memory before any student's code runs, and is not read again
        modules = [f"{CHECKS}.{m}" for m in sorted({a.task.module for a in asked})]
        context.set_forkserver_preload(["thinktuning_lite.lessons.course.grading", *modules])
    read = [_read(path) for path in paths]

    def one(submission: tuple[str, dict[str, str] | str]) -> Graded:
        name, notebooks = submission
        graded = Graded(name)
        if isinstance(notebooks, str):
            graded.marks = [Mark(a.task, 0, notebooks) for a in asked]
        else:
            here, there = context.Pipe(duplex=False)
            work = (there, notebooks, asked, private, seconds)
            process = context.Process(target=_work, args=work, daemon=True)
            process.start()
            there.close()
            graded.marks = _received(here, process, asked, minutes)
        done(graded)
        return graded

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, read))


def _read(path: Path) -> tuple[str, dict[str, str] | str]:
    """A submission's name, and its notebooks or why they cannot be read."""
    try:
        return path.name, grading.notebooks_in(path)
    except (ValueError, OSError) as error:
        return path.name, str(error)


def _work(
    pipe: Connection, notebooks: dict[str, str], asked: Sequence[Asked], private: Sequence[Path], seconds: float
) -> None:
    for mark in grading.grade(notebooks, asked, private, seconds):
        pipe.send((mark.points, mark.reason))
    pipe.close()


def _received(pipe: Connection, process: multiprocessing.Process, asked: Sequence[Asked], minutes: float) -> list[Mark]:
    """What the process has judged until it ended or its time was over; the rest of the tasks earns 0."""
    marks: list[Mark] = []
    until = time.monotonic() + 60 * minutes
    why = "grading stopped before this task"
    try:
        while len(marks) < len(asked):
            if not pipe.poll(max(0.0, until - time.monotonic())):
                why = f"no time left: the whole submission may take {minutes:g} minutes"
                break
            marks.append(Mark(asked[len(marks)].task, *pipe.recv()))
    except (EOFError, OSError):
        pass
    _end(process)
    return marks + [Mark(a.task, 0, why) for a in asked[len(marks) :]]


def _end(process: multiprocessing.Process) -> None:
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    process.join(1)
    process.kill()
    for child in family:
        with contextlib.suppress(psutil.Error):
            child.kill()


def write_csv(path: Path, graded: Sequence[Graded]) -> None:
    """One row a task, and one with the sum of each submission; made so that a spreadsheet takes nothing for a formula."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in graded:
            name, of = _cell(one.name), sum(mark.task.points for mark in one.marks)
            for mark in one.marks:
                writer.writerow([name, mark.task.name, mark.points, mark.task.points, _cell(mark.reason)])
            writer.writerow([name, "total", one.points, of, f"{one.points / of:.0%}" if of else ""])


def _cell(text: str) -> str:
    text = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()[:400]
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="thinktuning grade", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--notebooks", nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path("grades.csv"))
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    try:
        paths = submissions_in(options.folder)
        asked = grading.ask(read_tasks(notebook_paths(options.notebooks)), seed)
    except ValueError as error:
        raise SystemExit(f"thinktuning grade: {error}") from error
    of = sum(a.task.points for a in asked)
    print(f"{len(paths)} submissions, {len(asked)} tasks, {of} points; hidden variants of seed {seed}", flush=True)

    def said(one: Graded) -> None:
        print(f"{one.name}: {one.points} of {of}", flush=True)

    graded = grade_all(paths, asked, options.jobs, options.seconds, options.minutes, said)
    write_csv(options.out, graded)
    print(f"points and reasons are in {options.out}")
