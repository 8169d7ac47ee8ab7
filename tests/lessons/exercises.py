"""What the tests of exercises share: a notebook's folded solution and its stub, run against the package's check."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat

SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```\n\n</details>", re.S)
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def cells_of(notebook: str) -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOKS / notebook, as_version=4).cells}


def defined(source: str, name: str, **imported: Any) -> Any:
    """What `source` defines as `name`, given what the notebook has imported by then."""
    namespace = dict(imported)
    exec(source, namespace)
    return namespace[name]


def assert_solution_passes_and_stub_does_not(
    checks: ModuleType, cells: dict[str, str], number: int, name: str, **imported: Any
) -> None:
    check = getattr(checks, name)
    folded = SOLUTION.fullmatch(cells[f"ex{number}-solution"])
    assert check(defined(folded[1], name, **imported)).passed
    unsolved = check(defined(cells[f"ex{number}-stub"], name))
    assert not unsolved.passed and "Not solved yet" in unsolved.message
    assert cells[f"ex{number}-check"].rstrip().endswith(f"check.{name}({name})")


def assert_hint(checks: ModuleType, name: str, answer: Callable, wanted: str) -> None:
    result = getattr(checks, name)(answer)
    assert not result.passed and wanted in result.message, result


def assert_faults_are_hints(checks: ModuleType, name: str) -> None:
    """An answer that is missing or raises is told so, not passed and not raised."""
    for answer in (None, ..., lambda *a: 1 / 0):
        assert not getattr(checks, name)(answer).passed
