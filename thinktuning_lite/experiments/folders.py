"""Run folders: the one place where a name becomes a folder, and the only code that empties one."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from thinktuning_lite.method.files import NotWholeError, read_json, write_json
from thinktuning_lite.method.places import run_name, runs_folder

LOCK, HOLDER = ".lock", ".held-by.json"
MARKER = ".thinktuning-run.json"  # only a folder that holds it, with its own name inside, is ever emptied


@dataclass(frozen=True)
class RunPlan:
    """What one invocation of an experiment does, by name: a folder below runs/, and the config written there.

    Raises ValueError for a name that is none (see `run_name`).
    """

    name: str

    def __post_init__(self) -> None:
        run_name(self.name)

    @property
    def folder(self) -> Path:
        return runs_folder() / self.name

    @property
    def complete(self) -> bool:
        """Whether all that the plan asks for was done before."""
        return (self.folder / "results.json").exists()

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(self.__dict__))


def result_path(plan: RunPlan, arm: str, seed: int) -> Path:
    return plan.folder / f"{arm}-seed{seed}" / "result.json"


def mark(plan: RunPlan) -> None:
    """Make the run's folder, with its marker; raises SystemExit when something else lies there already."""
    folder = plan.folder
    if not _is_marked(plan) and os.path.lexists(folder) and not (_is_plain_folder(folder) and not os.listdir(folder)):
        raise SystemExit(f"{folder} exists and is no run of this program: give another --name, or move it away")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARKER, {"name": plan.name})


def empty(plan: RunPlan) -> None:
    """Remove what a run wrote (for --fresh); nothing when there is none.

    Raises SystemExit, having touched nothing, for a folder without this run's marker, and for a link to one.
    """
    folder = plan.folder
    if not os.path.lexists(folder):
        return
    if not _is_marked(plan):
        raise SystemExit(
            f"{folder} is not emptied: it is a link, or holds no {MARKER} with this name, so it may hold something else. "
            "Give another --name, or move it away yourself"
        )
    for path in folder.iterdir():
        if path.name not in (MARKER, LOCK, HOLDER):  # so that a removal cut short can be done again
            shutil.rmtree(path) if _is_plain_folder(path) else path.unlink()


class InUseError(RuntimeError):
    """Another process writes to the same folder; the message says which."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process from writing to `folder`, which is made if need be, as long as the block runs.

    Raises InUseError at once when one does. A process that is killed holds nothing any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InUseError(f"{folder} is in use{_holder(folder)}: wait until it ends, or give another name") from error
    try:
        write_json(
            folder / HOLDER, {"process": os.getpid(), "machine": platform.node(), "since": f"{datetime.now():%F %T}"}
        )
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    try:
        holder = read_json(folder / HOLDER)
        return f" by process {holder['process']} on {holder['machine']} since {holder['since']}"
    except (OSError, NotWholeError, LookupError, TypeError):  # it has not said so yet
        return " by another process"


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_marked(plan: RunPlan) -> bool:
    marker = plan.folder / MARKER
    if not _is_plain_folder(plan.folder) or not marker.exists():
        return False
    try:
        return read_json(marker)["name"] == plan.name
    except (NotWholeError, LookupError, TypeError):
        return False
