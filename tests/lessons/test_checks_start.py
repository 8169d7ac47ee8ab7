"""Notebook 00's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from thinktuning_lite.lessons.checks import start

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "00_start_here.ipynb"
NAMES = ("first_wrong", "useful_groups", "seen_once", "expected_reward")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


def defined(source: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace[name]


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    folded = re.fullmatch(
        r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```\n\n</details>",
        cells[f"ex{number}-solution"],
        re.S,
    )
    check = getattr(start, name)
    assert check(defined(folded[1], name)).passed
    unsolved = check(defined(cells[f"ex{number}-stub"], name))
    assert not unsolved.passed and "Not solved yet" in unsolved.message
    assert cells[f"ex{number}-check"].rstrip().endswith(f"start.{name}({name})")


def equations(text: str) -> list[tuple[str, bool]]:
    found = re.findall(r"(\d+)([+*-])(\d+)=(-?\d+)", text)
    value = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    return [(f"{a}{o}{b}={c}", value[o](int(a), int(b)) == int(c)) for a, o, b, c in found]


def first_of(pairs: list[tuple[str, bool]]) -> str | None:
    return next((text for text, right in pairs if not right), None)


def carried(text: str) -> str | None:
    """Recomputes the chain from the first number, so that a carried error looks like an error of the next step."""
    return first_of(equations(text)[1:]) or "26+5=31"


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("first_wrong", carried, "carried on"),
    ("first_wrong", lambda text: first_of(equations(text)[::-1]), "the first of them"),
    ("first_wrong", lambda text: first_of(equations(text)) or "", "return None"),
    ("first_wrong", lambda text: 0, "as text"),
    ("first_wrong", lambda text: first_of([e for e in equations(text) if "-" not in e[0]]), "minus sign"),
    ("first_wrong", lambda text: text.missing, "raised AttributeError"),
    ("useful_groups", lambda groups: sum(any(g) for g in groups) / len(groups), "All right is as useless"),
    ("useful_groups", lambda groups: sum(not all(g) for g in groups) / len(groups), "All right is as useless"),
    ("useful_groups", lambda groups: sum(map(sum, groups)) / sum(map(len, groups)), "mean reward"),
    ("useful_groups", lambda groups: sum(min(g) != max(g) for g in groups), "divide by how many"),
    ("useful_groups", lambda groups: sum(min(g) == max(g) for g in groups) / len(groups), "three groups of five"),
    ("seen_once", lambda p, n: p * n, "expected number"),
    ("seen_once", lambda p, n: min(1, p * n), "expected number"),
    ("seen_once", lambda p, n: (1 - p) ** n, "never seeing it"),
    ("seen_once", lambda p, n: p**n, "*every* time"),
    ("seen_once", lambda p, n: 1 - p**n, "at least once"),
    ("seen_once", lambda p, n: 0.75, "the chance is"),
    ("expected_reward", lambda s, t, G, k: s + k * t / G, "takes the place"),
    ("expected_reward", lambda s, t, G, k: (s + t) / 2, "half and half"),
    ("expected_reward", lambda s, t, G, k: (G - k) * s + k * t, "divide by G"),
    ("expected_reward", lambda s, t, G, k: (k * s + (G - k) * t) / G, "wrong way round"),
    ("expected_reward", lambda s, t, G, k: ((G - 1) * s + t) / G, "0.525"),
]


@pytest.mark.parametrize("name, answer, wanted", WRONG)
def test_a_wrong_answer_gets_its_hint(name: str, answer: Callable[..., Any], wanted: str):
    result = getattr(start, name)(answer)
    assert not result.passed
    assert wanted in result.message


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_answers_or_more(name: str):
    assert sum(tried == name for tried, _, _ in WRONG) >= 3


def test_an_answer_that_exits_ends_neither_the_cell_nor_the_kernel():
    result = start.seen_once(lambda p, n: exit(1))
    assert not result.passed and "SystemExit" in result.message
    with pytest.raises(KeyboardInterrupt):  # the reader's own wish to stop still counts
        start.seen_once(interrupted)


def interrupted(p: float, n: int) -> float:
    raise KeyboardInterrupt


def test_in_a_notebook_exit_does_not_end_the_kernel(monkeypatch: pytest.MonkeyPatch):
    import IPython

    asked: list[str] = []
    shell = SimpleNamespace(ask_exit=lambda: asked.append("the kernel ends"))
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    result = start.seen_once(lambda p, n: shell.ask_exit())  # what `exit()` does there
    assert not result.passed and "SystemExit" in result.message and asked == []
    shell.ask_exit()  # outside a check it is what it was
    assert asked == ["the kernel ends"]
