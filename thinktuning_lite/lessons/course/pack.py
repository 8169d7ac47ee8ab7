"""`thinktuning course`: a student and an instructor version of the notebooks, and otter's tests, from the one source."""

from __future__ import annotations

import argparse
import copy
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning_lite.lessons import stamp
from thinktuning_lite.lessons.course import grading, hidden, otter, slices
from thinktuning_lite.lessons.course.tasks import (
    SOLUTION,
    Task,
    notebook_paths,
    read_tasks,
    solution_code,
    solved_cells,
    tagged,
    tasks_of,
)  # fmt: skip

if TYPE_CHECKING:
    from nbformat import NotebookNode

HAND_IN = """\
from thinktuning_lite.lessons.course.hand_in import hand_in

hand_in("your name")  # save the notebook first"""
NO_VARIANT = (
    "*Graded by the visible check alone, and so easily copied: the answer is what the notebook shows, no function that "
    "other numbers could be put to.*"
)


def student_version(notebook: NotebookNode, stem: str) -> NotebookNode:
    """A copy without solutions: stubs and checks stay, a cell to hand in comes last, otter skips what no task needs."""
    import nbformat

    tasks = tasks_of(notebook, stem)
    kept = _without_solutions(notebook)
    for cell in kept.cells:
        if tagged(cell, "exercise-check"):
            cell.outputs, cell.execution_count = [], None
    kept.cells.append(nbformat.v4.new_markdown_cell("## Hand in", id="hand-in-title"))
    kept.cells.append(nbformat.v4.new_code_cell(HAND_IN, id="hand-in"))
    _let_otter_skip(kept, notebook, tasks)
    return kept


def _without_solutions(notebook: NotebookNode) -> NotebookNode:
    kept = copy.deepcopy(notebook)
    kept.cells = [cell for cell in kept.cells if not tagged(cell, "solution")]
    return kept


def _let_otter_skip(kept: NotebookNode, notebook: NotebookNode, tasks: Sequence[Task]) -> None:
    """Tag code cells that no task needs. An import is needed where a solution may use it, so cells of imports alone stay."""
    needed = {source for task in tasks for source in task.solved}
    statements = {s for c in solved_cells(notebook) for s in c.imports.values()}
    wanted = {s for source in needed for s in source.split("\n") if s in statements}
    for cell in kept.cells:
        if cell.cell_type != "code" or tagged(cell, "exercise"):
            continue
        read = slices.cell(cell.source)
        if cell.source not in needed and not wanted & set(read.imports.values()):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), otter.IGNORE]


def instructor_version(notebook: NotebookNode, stem: str) -> NotebookNode:
    """A copy with each solution in the place of its stub, and what was said beside it as text."""
    tasks = tasks_of(notebook, stem)
    solved = copy.deepcopy(notebook)
    solutions = [cell for cell in solved.cells if tagged(cell, "solution")]
    stubs = [cell for cell in solved.cells if tagged(cell, "exercise")]
    for task, stub, solution in zip(tasks, stubs, solutions, strict=True):
        stub.source = solution_code(solution)
        said = SOLUTION.fullmatch(solution.source)
        alone = "" if f"{task.module}.{task.check}" in hidden.VARIANTS else NO_VARIANT
        solution.source = "\n\n".join(part.strip() for part in (said[1], said[3], alone) if part.strip())
    for cell in solved.cells:
        if cell.cell_type == "code" and (tagged(cell, "exercise") or tagged(cell, "exercise-check")):
            cell.outputs, cell.execution_count = [], None
    solved.cells = [cell for cell in solved.cells if not tagged(cell, "solution") or cell.source]
    return solved


def write_course(out: Path, names: Sequence[str], seed: int, execute: bool = False) -> list[Path]:
    """Write `out`/student and `out`/instructor; returns the notebooks written.

    Raises ValueError for a name that is no notebook, or where a solution fails its own check.
    """
    import nbformat

    paths = notebook_paths(names)
    asked = grading.ask(read_tasks(paths), seed)
    notebooks = {path: nbformat.read(path, as_version=4) for path in paths}
    repo = stamp.stamped_repo(notebooks.values())
    written = []
    for path, notebook in notebooks.items():
        versions = {
            "student": student_version(notebook, path.stem),
            "instructor": instructor_version(notebook, path.stem),
        }
        for folder, version in versions.items():
            written.append(out / folder / path.name)
            written[-1].parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(version, written[-1])
    otter.write(asked, out / "instructor" / "otter", repo)
    if execute:
        for path in (p for p in written if p.parent.name == "instructor"):
            print(f"executing {path.name} ...", flush=True)
            stamp.execute(path.resolve())
    return written


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="thinktuning course", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--notebooks", nargs="+", default=[])
    parser.add_argument("--execute", action="store_true")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    try:
        written = write_course(options.out, options.notebooks, seed, options.execute)
    except ValueError as error:
        raise SystemExit(f"thinktuning course: {error}") from error
    for folder in ("student", "instructor"):
        print(f"{options.out / folder}: {sum(p.parent.name == folder for p in written)} notebooks")
    print(
        f"{options.out / 'instructor' / 'otter'}: tests and autograder.zip by notebook, hidden variants of seed {seed}"
    )
