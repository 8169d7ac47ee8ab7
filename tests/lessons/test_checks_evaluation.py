"""Notebook 05's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from exercises import assert_faults_are_hints, assert_hint, assert_solution_passes_and_stub_does_not, cells_of

from thinktuning_lite.evaluation import statistics
from thinktuning_lite.lessons.checks import evaluation
from thinktuning_lite.method.grading import is_correct

NAMES = ("outcomes", "questions_needed", "paired_error", "pass_at_k", "survivors", "break_even")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return cells_of("05_evaluation.ipynb")


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    imported = {"is_correct": is_correct, "statistics": statistics}
    assert_solution_passes_and_stub_does_not(evaluation, cells, number, name, **imported)


def counts(right: int, wrong: int, none: int) -> dict[str, int]:
    return {"right": right, "wrong": wrong, "no answer": none}


def by_text(answers, golds):
    none = answers.count(None)
    right = sum(a == g for a, g in zip(answers, golds, strict=True))
    return counts(right, len(golds) - right - none, none)


def none_is_wrong(answers, golds):
    right = sum(is_correct(a, g) for a, g in zip(answers, golds, strict=True))
    return counts(right, len(golds) - right, 0)


def better(adjust: Callable, test: Callable = statistics.paired_bootstrap) -> Callable:
    """`survivors` with another correction or another test."""

    def answer(baseline, variants):
        found = [test(v, baseline) for v in variants.values()]
        p_values = adjust([d.p_value for d in found])
        return [n for n, d, p in zip(variants, found, p_values, strict=True) if statistics.verdict(d, p) == "better"]

    return answer


def unpaired(a, b):
    return statistics.paired_bootstrap(a, np.random.default_rng(0).permutation(b))


def any_difference(baseline, variants):
    found = [statistics.paired_bootstrap(v, baseline) for v in variants.values()]
    return [n for n, p in zip(variants, statistics.holm([d.p_value for d in found]), strict=True) if p <= 0.05]


WRONG: list[tuple[str, Callable, str]] = [
    ("outcomes", by_text, "is_correct"),
    ("outcomes", none_is_wrong, "states nothing"),
    ("outcomes", lambda a, g: counts(3, 1, 0), "vanished"),
    ("outcomes", lambda a, g: counts(0.6, 0.2, 0.2), "counts"),
    ("outcomes", lambda a, g: {"right": 3, "wrong": 1}, "keys"),
    ("outcomes", lambda a, g: counts(3, 1, 1), "All three keys"),
    ("questions_needed", lambda p, h: 1.96**2 * p * (1 - p) / h**2, "round up"),
    ("questions_needed", lambda p, h: round(1.96**2 * p * (1 - p) / h**2), "not to the nearest"),
    ("questions_needed", lambda p, h: int(1.96**2 * p * (1 - p) / h**2), "round up"),
    ("questions_needed", lambda p, h: math.ceil(1.96**2 / h**2), "leaves out"),
    ("questions_needed", lambda p, h: math.ceil(4 * 1.96**2 * p * (1 - p) / h**2), "whole width"),
    ("questions_needed", lambda p, h: math.ceil(1.96**2 * 0.25 / h**2), "worst case"),
    ("questions_needed", lambda p, h: math.ceil(p * (1 - p) / h**2), "no 1.96"),
    ("questions_needed", lambda p, h: 246, "p = 0.2 only"),
    ("paired_error", lambda a, b: np.sqrt(a.var(ddof=1) / 8 + b.var(ddof=1) / 8), "unpaired"),
    ("paired_error", lambda a, b: (a - b).std(ddof=1), "one question's"),
    ("paired_error", lambda a, b: (a - b).var(ddof=1) / len(a), "variance"),
    ("paired_error", lambda a, b: (a - b).std(ddof=1) / len(a), "sqrt"),
    ("paired_error", lambda a, b: np.abs(a - b).std() / np.sqrt(len(a)), "abs"),
    ("pass_at_k", lambda n, r, k: 1 - (1 - r / n) ** k, "biased"),
    ("pass_at_k", lambda n, r, k: math.comb(n - r, k) / math.comb(n, k), "all k are wrong"),
    ("pass_at_k", lambda n, r, k: r / n, "pass@1"),
    ("pass_at_k", lambda n, r, k: float(r > 0), "pass@n"),
    ("pass_at_k", lambda n, r, k: k * r / n, "no probability"),
    ("pass_at_k", lambda n, r, k: 5 / 6, "one case"),
    ("survivors", better(lambda p: p), "eight were"),
    ("survivors", better(lambda p: [min(1, x * len(p)) for x in p]), "Bonferroni"),
    ("survivors", better(statistics.holm, unpaired), "paired"),
    ("survivors", any_difference, "worse"),
    ("survivors", lambda baseline, variants: list(variants), "variants of nothing"),
    ("survivors", lambda baseline, variants: [], "mended"),
    ("break_even", lambda m, s: s / (m + s), "which of the two"),
    ("break_even", lambda m, s: m / s, "odds"),
    ("break_even", lambda m, s: m - s, "different wholes"),
    ("break_even", lambda m, s: 0.8, "one case"),
]


@pytest.mark.parametrize("name, answer, wanted", WRONG)
def test_a_plausible_mistake_gets_its_hint(name: str, answer: Callable, wanted: str):
    assert_hint(evaluation, name, answer, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_what_raises_or_is_missing_is_a_hint(name: str):
    assert_faults_are_hints(evaluation, name)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_answers_or_more(name: str):
    assert sum(tried == name for tried, _, _ in WRONG) >= 3
