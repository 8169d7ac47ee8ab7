"""The exercises of a notebook as tasks to be graded: read from its tagged cells, so that nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning_lite.lessons.checks import Result
from thinktuning_lite.lessons.course import slices
from thinktuning_lite.lessons.stamp import NOTEBOOKS

if TYPE_CHECKING:
    from nbformat import NotebookNode

CHECKS = "thinktuning_lite.lessons.checks"
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n(.*?)```python\n(.*?)\n```\n?(.*?)</details>\s*", re.S)
_TITLE = re.compile(r"^### Exercise (\d+) \((★+)", re.M)


@dataclass(frozen=True)
class Task:
    """One exercise: `check`, of the module `module` of lessons/checks, judges what the notebook calls `answer`.

    `points` are the stars of its title. `solved` is what to run for the lecturer's own answer.
    """

    notebook: str  # the file's stem
    number: int
    points: int
    module: str
    check: str
    answer: str
    solved: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.notebook[:2]}_{self.check}"

    def judge(self, answer: Any) -> Result:
        """The notebook's own check."""
        return getattr(import_module(f"{CHECKS}.{self.module}"), self.check)(answer)

    def solution(self) -> Any:
        """The lecturer's answer, run here: it is trusted."""
        namespace: dict[str, Any] = {"__name__": "solution"}
        for source in self.solved:
            exec(compile(source, f"solution of {self.name}", "exec"), namespace)
        return namespace[self.answer]


def notebook_paths(names: Sequence[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks of the walk, or those that the names (file stems, or how they begin) ask for.

    Raises ValueError for a name that is none, FileNotFoundError where there are no notebooks.
    """
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(f"no notebooks in {folder}: they are in the repository, not in an installed package")
    for name in names:
        if not any(path.stem.startswith(name) for path in paths):
            raise ValueError(f"no notebook begins with {name!r}: there are {', '.join(p.stem for p in paths)}")
    return [path for path in paths if not names or any(path.stem.startswith(name) for name in names)]


def tagged(cell: NotebookNode, tag: str) -> bool:
    """Whether a cell carries the tag."""
    return tag in cell.metadata.get("tags", [])


def tasks_of(notebook: NotebookNode, stem: str) -> list[Task]:
    """The tasks of a notebook of the walk, in order.

    Raises ValueError, naming notebook and exercise, for an exercise without title, check or solution.
    """
    titles = [m for c in notebook.cells if c.cell_type == "markdown" for m in _TITLE.findall(c.source)]
    stubs, checks, solutions = ([c for c in notebook.cells if tagged(c, tag)]
                                for tag in ("exercise", "exercise-check", "solution"))  # fmt: skip
    if not len(titles) == len(stubs) == len(checks) == len(solutions):
        counts = f"{len(titles)} titles, {len(stubs)} stubs, {len(checks)} checks, {len(solutions)} solutions"
        raise ValueError(f"{stem}: {counts}: each exercise has one of each")
    solved = solved_cells(notebook)
    aliases = _aliases(solved)
    found = []
    for (number, stars), check in zip(titles, checks, strict=True):
        call = re.fullmatch(r"(\w+)\.(\w+)\((\w+)\)", check.source.strip().split("\n")[-1])
        if call is None or call[1] not in aliases:
            raise ValueError(f"{stem}, exercise {number}: its check cell does not end with a call of lessons/checks")
        alias, name, answer = call.groups()
        at = next(i for i, c in enumerate(solved) if c.source.strip() == check.source.strip())
        sources = tuple(slices.needed(solved, answer, at))
        found.append(Task(stem, int(number), len(stars), aliases[alias], name, answer, sources))
    return found


def solved_cells(notebook: NotebookNode) -> list[slices.Cell]:
    """The code cells, with each stub replaced by its solution."""
    return [slices.cell(source) for source in solved_sources(notebook)]


def solved_sources(notebook: NotebookNode) -> list[str]:
    solutions = iter([solution_code(c) for c in notebook.cells if tagged(c, "solution")])
    return [next(solutions) if tagged(c, "exercise") else c.source for c in notebook.cells if c.cell_type == "code"]


def solution_code(cell: NotebookNode) -> str:
    """The Python folded in a solution cell. Raises ValueError where there is none."""
    match = SOLUTION.fullmatch(cell.source)
    if match is None:
        raise ValueError(f"{cell.id}: no <details> block with one ```python part")
    return match[2]


def _aliases(cells: Sequence[slices.Cell]) -> dict[str, str]:
    """What the cells call the modules of lessons/checks."""
    found = {}
    for cell in cells:
        for name, statement in cell.imports.items():
            match = re.fullmatch(rf"from {re.escape(CHECKS)} import (\w+)(?: as (\w+))?", statement)
            if match:
                found[name] = match[1]
    return found


def imports_of(tasks: Sequence[Task]) -> list[str]:
    """The import statements that the solutions need, each once."""
    cells = (slices.cell(source) for task in tasks for source in task.solved)
    return sorted({statement for cell in cells for statement in cell.imports.values()})


def read_tasks(paths: Sequence[Path]) -> list[Task]:
    """The tasks of several notebooks."""
    import nbformat

    return [task for path in paths for task in tasks_of(nbformat.read(path, as_version=4), path.stem)]
