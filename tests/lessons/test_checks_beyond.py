"""Notebook 07's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exercises import assert_faults_are_hints, assert_hint, assert_solution_passes_and_stub_does_not, cells_of

from thinktuning_lite.lessons.checks import beyond

NAMES = ("real_gain", "schedule", "harm_point", "gamed")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return cells_of("07_beyond.ipynb")


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    assert_solution_passes_and_stub_does_not(beyond, cells, number, name)


def interval(values: Any) -> tuple[float, float]:
    half = 4.303 * np.std(values, ddof=1) / np.sqrt(3)
    return np.mean(values) - half, np.mean(values) + half


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("schedule", lambda step, steps, left, cost: 1 / 8, "the last 30 %"),
    ("schedule", lambda step, steps, left, cost: 3 / 8 if step < 0.7 * steps else 0, "look at `left`"),
    (
        "schedule",
        lambda step, steps, left, cost: left / (64 * cost * steps) if step < 0.7 * steps else 0,
        "at least one rollout in each",
    ),
    ("schedule", lambda step, steps, left, cost: 0.0, "that is GRPO"),
    ("schedule", lambda step, steps, left, cost: 1 / 8 if step < 2 and left >= 8 * cost else 0, "three quarters"),
    (
        "schedule",
        lambda step, steps, left, cost: min(1, left // (8 * cost) / 8) if step < 0.7 * steps else 0,
        "at most 0.5",
    ),
    ("harm_point", lambda a, g: next(x for x, y in zip(a, g, strict=True) if y > 0), "first accuracy"),
    ("harm_point", lambda a, g: max(x for x, y in zip(a, g, strict=True) if y < 0), "last accuracy"),
    ("harm_point", lambda a, g: 0.45, "The middle"),
    ("harm_point", lambda a, g: a[int(np.argmin(g))], "harms most"),
    ("harm_point", lambda a, g: float(np.interp(0, g, a)), "never change"),
    ("gamed", lambda arms: max(arms, key=lambda a: arms[a]["reward"]), "rose most"),
    ("gamed", lambda arms: max(arms, key=lambda a: arms[a]["equations"]), "length alone"),
    ("gamed", lambda arms: min(arms, key=lambda a: arms[a]["right"]), "nothing was gamed"),
    ("gamed", lambda arms: max(arms, key=lambda a: arms[a]["reward"] - arms[a]["right"]), "return None"),
    (
        "gamed",
        lambda arms: next(
            (n for n, a in arms.items() if a["reward"] > 0.1 and a["right"] < 0.05 and a["equations"] > 1), None
        ),
        "without writing more",
    ),
    ("real_gain", lambda arm, grpo, random: np.mean(arm) > np.mean(grpo), "+10, -7 and +15"),
    ("real_gain", lambda arm, grpo, random: interval(np.subtract(arm, grpo))[0] > 0, "A random reward gains as much"),
    ("real_gain", lambda arm, grpo, random: interval(arm)[0] > interval(grpo)[1], "above GRPO"),
    ("real_gain", lambda arm, grpo, random: min(arm) > max(*grpo, *random), "seed by seed"),
    ("real_gain", lambda arm, grpo, random: interval(np.subtract(arm, random))[0] > 0, "+10, -7 and +15"),
]


@pytest.mark.parametrize("name, answer, wanted", WRONG)
def test_a_plausible_mistake_gets_its_hint(name: str, answer: Callable, wanted: str):
    assert_hint(beyond, name, answer, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_what_raises_or_is_missing_is_a_hint(name: str):
    assert_faults_are_hints(beyond, name)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_answers_or_more(name: str):
    assert sum(tried == name for tried, _, _ in WRONG) >= 3
