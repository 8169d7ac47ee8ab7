"""Notebook 01's exercises: solutions as found in the notebook pass, wrong answers get their hint."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from thinktuning_lite.lessons.checks import grpo as check

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_grpo.ipynb"
ANSWERS = {  # check -> the name that the notebook gives the answer
    "advantage_of_right": "advantage_of_right",
    "clip_slope": "clip_slope",
    "token_weight": "token_weight",
    "diagnosis": "faults",
    "samples_to_see": "samples_to_see",
}


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    return nbformat.read(NOTEBOOK, as_version=4).cells


def blocks(cells: list[Any]) -> list[str]:
    """The python blocks folded under "Solution", in order."""
    folded = [c.source for c in cells if "<summary>Solution</summary>" in c.source]
    return [re.search(r"```python\n(.*?)```", source, re.S)[1] for source in folded]


def run(source: str, name: str) -> Any:
    space: dict[str, Any] = {"math": math}
    exec(source, space)
    return space[name]


@pytest.mark.parametrize(("number", "name"), list(enumerate(ANSWERS)))
def test_the_notebooks_solution_passes(cells: list[Any], number: int, name: str):
    solutions = blocks(cells)
    assert len(solutions) == len(ANSWERS)
    result = getattr(check, name)(run(solutions[number], ANSWERS[name]))
    assert result.passed, result


@pytest.mark.parametrize("name", ANSWERS)
def test_the_notebooks_stub_is_unsolved_and_says_so(cells: list[Any], name: str):
    stub = next(c.source for c in cells if "exercise" in c.metadata.get("tags", [])
                and re.search(rf"\b{ANSWERS[name]}\b", c.source))  # fmt: skip
    result = getattr(check, name)(run(stub, ANSWERS[name]))
    assert not result.passed and "Not solved yet" in result.message


@pytest.mark.parametrize("name", ANSWERS)
def test_the_notebook_calls_the_check(cells: list[Any], name: str):
    assert sum(c.source == f"check.{name}({ANSWERS[name]})" for c in cells) == 1


def population_std(k: int, n: int) -> float:
    return (1 - k / n) / math.sqrt(k / n * (1 - k / n))


def always_flat_outside(r: float, a: float, e: float) -> float:
    return -r * a if 1 - e <= r <= 1 + e else 0.0


def slope(r: float, a: float, e: float) -> float:
    return 0.0 if (r > 1 + e if a > 0 else r < 1 - e) else -r * a


def weight(length: int, lengths: list[int], how: str, budget: int) -> float:
    n = len(lengths)
    return {"grpo": 1 / (n * length), "dapo": 1 / sum(lengths), "dr_grpo": 1 / (n * budget)}[how]


WRONG: list[tuple[str, Callable[..., Any] | dict[str, str], str]] = [
    ("advantage_of_right", population_std, "sample one"),
    ("advantage_of_right", lambda k, n: 1 - k / n, "Dr. GRPO"),
    ("advantage_of_right", lambda k, n: -(k / n) / math.sqrt(k * (n - k) / (n * (n - 1))), "wrong rollout"),
    ("advantage_of_right", lambda k, n: (1 - k / n) / (k * (n - k) / (n * (n - 1))), "should be"),  # variance
    ("advantage_of_right", lambda k, n: 1 / (n - n), "ZeroDivisionError"),
    ("clip_slope", always_flat_outside, "one side only"),
    ("clip_slope", lambda r, a, e: -r * a, "never clipped"),
    ("clip_slope", lambda r, a, e: slope(r, a, e) / r, "derivative by log p is itself"),
    ("clip_slope", lambda r, a, e: -slope(r, a, e), "sign"),
    ("clip_slope", lambda r, a, e: -min(max(r, 1 - e), 1 + e) * a, "should be"),
    ("token_weight", lambda n, ls, how, b: weight(n, ls, how, b) * (1 if how == "dapo" else len(ls)),
     "number of completions"),
    ("token_weight", lambda n, ls, how, b: weight(n, ls, "dapo", b), "grpo: it"),
    ("token_weight", lambda n, ls, how, b: weight(n, ls, how, b) * (n if how == "dapo" else 1), "dapo: it"),
    ("token_weight", lambda n, ls, how, b: weight(n, ls, how, max(ls)), "by a constant"),
    ("diagnosis", {"A": "wrong answers", "B": "truncated", "C": "learning rate", "D": "too many iterations"},
     "end by themselves"),
    ("diagnosis", {"A": "truncated", "B": "wrong answers", "C": "too many iterations", "D": "learning rate"},
     "Run C"),
    ("diagnosis", {"A": "truncated", "B": "learning rate", "C": "wrong answers", "D": "too many iterations"},
     "Run B"),
    ("diagnosis", {"A": "truncated", "B": "wrong answers", "C": "learning rate"}, "each of A, B, C, D"),
    ("diagnosis", dict.fromkeys("ABCD", "lr"), "none of the four"),
    ("samples_to_see", lambda p: 3 / p, "limit for small p"),
    ("samples_to_see", lambda p: 1 / p, "once on average"),
    ("samples_to_see", lambda p: math.log(0.95) / math.log1p(-p), "nothing is seen"),
    ("samples_to_see", lambda p: 0.95 / p, "set it to 0.05"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "says"), WRONG)
def test_a_wrong_answer_gets_the_hint_for_its_mistake(name: str, answer: Any, says: str):
    result = getattr(check, name)(answer)
    assert not result.passed and says in result.message, result


def test_every_exercise_is_tried_with_three_wrong_answers():
    assert all(sum(n == name for n, _, _ in WRONG) >= 3 for name in ANSWERS)


def test_rounded_up_samples_pass_too():
    assert check.samples_to_see(lambda p: math.ceil(math.log(0.05) / math.log(1 - p))).passed
