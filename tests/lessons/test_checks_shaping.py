"""Notebook 03's exercises: each folded solution passes its check; each plausible mistake gets the hint for that mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from thinktuning_lite.lessons.checks import shaping as check
from thinktuning_lite.method import shaping

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_advantage_aware_shaping.ipynb"
EXERCISES = ("importance_weighted", "luffy_gradient", "largest_weight", "clamp", "break_even")


def cells() -> list[tuple[str, str]]:
    return [(c["cell_type"], "".join(c["source"])) for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]]


def solutions() -> dict[str, str]:
    """The code of each <details> block, by the check that the cell before it calls."""
    found, called = {}, None
    for kind, source in cells():
        if kind == "code" and (call := re.fullmatch(r"check\.(\w+)\((\w+)\)", source.strip())):
            called = call.groups()
        elif kind == "markdown" and "<details>" in source:
            code = re.search(r"```python\n(.*?)```", source, re.DOTALL)[1]
            assert called, "a solution without a check before it"
            found[called[0]] = (code, called[1])
            called = None
    return found


def run(code: str, name: str):
    names = {"torch": torch, "shaping": shaping}
    exec(code, names)
    return names[name]


def test_every_exercise_has_its_check_and_its_solution():
    assert tuple(solutions()) == EXERCISES


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_in_the_notebook_passes(name):
    code, answer = solutions()[name]
    verdict = getattr(check, name)(run(code, answer))
    assert verdict.passed, verdict


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_in_the_notebook_runs_and_is_called_unsolved(name):
    answer = solutions()[name][1]
    stub = next(
        s for kind, s in cells() if kind == "code" and re.search(rf"def {answer}\(|^{answer} =", s, re.MULTILINE)
    )
    verdict = getattr(check, name)(run(stub, answer))
    assert not verdict.passed
    assert "Not solved yet" in verdict.message


def gamma(a: float) -> float:
    return max(-4.0, min(4.0, a)) / 4000


def score(pi):
    return torch.eye(len(pi), dtype=pi.dtype) - pi


def down_share(up: float, down: float) -> float:
    return down / (up + down)


WRONG = {
    "importance_weighted": [
        (lambda pi, mu, a: (mu * a) @ score(pi), "No ratio"),
        (lambda pi, mu, a: (mu * (mu / pi) * a) @ score(pi), "upside down"),
        (lambda pi, mu, a: ((pi / mu) * a) @ score(pi), "mean over mu is missing"),
        (lambda pi, mu, a: mu * (pi / mu) * a, "e_a - pi, not e_a"),
        (lambda pi, mu, a: -(pi * a) @ score(pi), "Not yet"),
        (lambda pi, mu, a: (pi * a).sum(), "shape (5,)"),
    ],
    "luffy_gradient": [
        (lambda p, c: p / (p + c), "weight itself"),
        (lambda p, c: c / (p + c) ** 2, "slope in p"),
        (lambda p, c: 0.1 * p / (p + 0.1) ** 2, "c = 0.1 only"),
        (lambda p, c: p / (p + c) ** 2, "Not yet"),
    ],
    "largest_weight": [
        (lambda a, f: f / (f + a / 4000), "clips A"),
        (lambda a, f: f / (f - gamma(a)), "gamma's sign"),
        (lambda a, f: 1 / (1 + gamma(a)), "the smallest weight"),
        (lambda a, f: 1.0001, "guard's value"),
        (lambda a, f: f / (f - 0.001), "Not yet"),
    ],
    "clamp": [
        ((0.001, 0.0, -0.001, 0.001), "before the clamp"),
        ((0.001, 0.001, 0.001, 0.001), "lower bound"),
        ((-0.001, 0.0, 0.001, 0.001), "bounds in order"),
        ((-0.001, -0.001, -0.001, -0.001), "not negative"),
        ((-0.001, -0.001, -0.001, 0.0), "not p = 0"),
        ((0.0, 0.0, 0.0, 0.001), "Evaluate torch.clamp"),
        ((-0.001, -0.001, -0.001), "four numbers"),
        ((-0.001, -0.001, -0.001, ...), "Not solved yet"),
    ],
    "break_even": [
        (lambda p, a, b: 1 - check._break_even(p, a, b), "share of wrong"),
        (lambda p, a, b: down_share(a, -b), "weight 1 both ways"),
        (lambda p, a, b: down_share(a * p / (p + gamma(a)), -b * p / (p + gamma(b))), "fallback is missing"),
        (lambda p, a, b: down_share(p / (p + gamma(a)), 1.0), "Not yet"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "words"), [(n, a, w) for n in EXERCISES for a, w in WRONG[n]])
def test_a_plausible_mistake_gets_its_own_hint(name, answer, words):
    verdict = getattr(check, name)(answer)
    assert not verdict.passed
    assert words in verdict.message


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exception_in_the_answer_is_reported_not_raised(name):
    def broken(*_):
        raise ZeroDivisionError("oops")

    verdict = getattr(check, name)(broken)
    assert not verdict.passed


@pytest.mark.parametrize(("p", "right", "wrong"), [(1e-6, 1.0, -1.0), (1e-4, 0.35, -2.5)])
def test_break_even_by_hand(p, right, wrong):
    """At the break-even share the pushes up and down cancel; numbers written out, not taken from the package."""
    q = check._break_even(p, right, wrong)
    assert q * right * p / (p + 0.00025 * right) == pytest.approx((1 - q) * -wrong, rel=1e-6)


def test_the_largest_weight_by_hand():
    assert check._largest_weight(-4.0, 0.01) == pytest.approx(0.01 / 0.009, rel=1e-9)
    assert check._largest_weight(-8.0, 0.05) == pytest.approx(0.05 / 0.049, rel=1e-9)
