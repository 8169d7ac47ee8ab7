"""Notebook 06's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from exercises import assert_faults_are_hints, assert_hint, assert_solution_passes_and_stub_does_not, cells_of

from thinktuning_lite.lessons.checks import quote

NAMES = ("samples_needed", "quote_reward", "hack", "fraction")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return cells_of("06_movie_quote.ipynb")


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    assert_solution_passes_and_stub_does_not(quote, cells, number, name)


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


@pytest.mark.parametrize("name, answer, wanted", WRONG)
def test_a_plausible_mistake_gets_its_hint(name: str, answer: Callable, wanted: str):
    assert_hint(quote, name, answer, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_what_raises_or_is_missing_is_a_hint(name: str):
    assert_faults_are_hints(quote, name)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_answers_or_more(name: str):
    assert sum(tried == name for tried, _, _ in WRONG) >= 3
