"""Notebook 06's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from thinktuning_lite.checks import quote

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "06_movie_quote.ipynb"
NAMES = ("samples_needed", "quote_reward", "hack", "fraction")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


def defined(source: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace[name]


@pytest.mark.skipif(not NOTEBOOK.exists(), reason="notebook 06 is not written yet")
@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    folded = re.fullmatch(
        r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```\n\n</details>", cells[f"ex{number}-solution"], re.S
    )
    check = getattr(quote, name)
    assert check(defined(folded[1], name)).passed
    unsolved = check(defined(cells[f"ex{number}-stub"], name))
    assert not unsolved.passed and "Not solved yet" in unsolved.message
    assert cells[f"ex{number}-check"].rstrip().endswith(f"check.{name}({name})")


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("samples_needed", lambda p, c: 1 / p, "a third of the time"),
    ("samples_needed", lambda p, c: math.log(1 - c) / math.log1p(-p), "round up"),
    ("samples_needed", lambda p, c: int(math.log(1 - c) / math.log1p(-p)), "not down"),
    ("samples_needed", lambda p, c: math.ceil(math.log(c) / math.log1p(-p)), "not to chance"),
    ("samples_needed", lambda p, c: math.ceil(math.log(1 - c) / math.log(1 - p)), "log1p"),
    ("quote_reward", lambda t, q: float(t.endswith(q) and t.count(q) == 1), "as much as a right answer"),
    ("quote_reward", lambda t, q: 0.5 * (t.endswith(q) and t.count(q) == 1), "White space"),
    ("quote_reward", lambda t, q: 0.5 * t.rstrip().endswith(q), "Said twice"),
    ("quote_reward", lambda t, q: 0.5 * (t.count(q) == 1), "At the start"),
    ("quote_reward", lambda t, q: 0.5, "Said twice"),
    ("hack", lambda question, q: f"12+3=15. \\boxed{{15}} {q}", "honest reward too"),
    ("hack", lambda question, q: f"12+3=15. \\boxed{{15}} {q.lower()}", "to the letter"),
    ("hack", lambda question, q: f"{q} " * 20, "right answer"),
    ("fraction", lambda g, right, wanted: math.ceil(math.log(1 - wanted) / math.log(1 - right)), "divide by"),
    ("fraction", lambda g, right, wanted: math.log(1 - wanted) / math.log(1 - right) / g, "round"),
    ("fraction", lambda g, right, wanted: math.ceil(wanted / right) / g, "expected number"),
    ("fraction", lambda g, right, wanted: math.ceil(math.log(1 - wanted) / math.log(1 - right)) / g, "all but one"),
]


@pytest.mark.parametrize("name, answer, says", WRONG)
def test_wrong_answers_fail_with_the_hint_that_helps(name: str, answer: Callable[..., Any], says: str):
    result = getattr(quote, name)(answer)
    assert not result.passed and says in result.message, result
