"""Notebook 05's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from thinktuning_lite import plots
from thinktuning_lite import statistics as S
from thinktuning_lite.checks import evaluation
from thinktuning_lite.rewards import is_correct

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "05_evaluation.ipynb"
NAMES = ("outcomes", "questions_needed", "paired_error", "pass_at_k", "survivors", "break_even")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


def defined(source: str, name: str) -> Any:
    namespace: dict[str, Any] = {"is_correct": is_correct, "S": S}  # imported by the notebook's first cells
    exec(source, namespace)
    return namespace[name]


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    form = r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```\n\n</details>"
    folded = re.fullmatch(form, cells[f"ex{number}-solution"], re.S)
    assert getattr(evaluation, name)(defined(folded[1], name)).passed
    unsolved = getattr(evaluation, name)(defined(cells[f"ex{number}-stub"], name))
    assert not unsolved.passed and "Not solved yet" in unsolved.message
    assert cells[f"ex{number}-check"].rstrip().endswith(f"check.{name}({name})")


def counts(right: int, wrong: int, none: int) -> dict[str, int]:
    return {"right": right, "wrong": wrong, "no answer": none}


def by_text(answers, golds):
    none, right = answers.count(None), sum(a == g for a, g in zip(answers, golds))
    return counts(right, len(golds) - right - none, none)


def none_is_wrong(answers, golds):
    right = sum(is_correct(a, g) for a, g in zip(answers, golds))
    return counts(right, len(golds) - right, 0)


def none_is_dropped(answers, golds):
    said = [(a, g) for a, g in zip(answers, golds) if a is not None]
    right = sum(is_correct(a, g) for a, g in said)
    return counts(right, len(said) - right, 0)


def only_seen(answers, golds):
    seen = ["no answer" if a is None else "right" if is_correct(a, g) else "wrong" for a, g in zip(answers, golds)]
    return {name: seen.count(name) for name in set(seen)}


def alone(base, variants):
    return [n for n, v in variants.items() if S.verdict(S.paired_bootstrap(v, base)) == "better"]


def best_alone(base, variants):
    best = max(variants, key=lambda n: variants[n].mean())
    return alone(base, {best: variants[best]})


def by_gain(base, variants):
    return [n for n, v in variants.items() if v.mean() - base.mean() > 0.05]


def any_gain(base, variants):
    return [n for n, v in variants.items() if v.mean() > base.mean()]


def corrected(base, variants, adjust=S.holm, wanted=("better",), unpaired=False):
    rng = np.random.default_rng(0)
    found = [S.paired_bootstrap(rng.permutation(v) if unpaired else v, base) for v in variants.values()]
    adjusted = adjust([d.p_value for d in found])
    return [n for n, d, p in zip(variants, found, adjusted) if S.verdict(d, p) in wanted]


def bonferroni(p_values):
    return [min(1, p * len(p_values)) for p in p_values]


Z = 1.96
WRONG: list[tuple[str, Callable, str]] = [
    ("outcomes", by_text, "not `==`"),
    ("outcomes", none_is_wrong, "count it by itself"),
    ("outcomes", none_is_dropped, "vanished"),
    ("outcomes", lambda a, g: counts(0.6, 0.2, 0.2), "counts"),
    ("outcomes", lambda a, g: (3, 1, 1), "dict with the keys"),
    ("outcomes", only_seen, "All three keys"),
    ("outcomes", lambda a, g: counts(3, 1, 1), "Two that state nothing"),
    ("questions_needed", lambda p, h: math.ceil(Z**2 / h**2), "leaves out"),
    ("questions_needed", lambda p, h: math.ceil(Z**2 * p * (1 - p) / (h / 2) ** 2), "whole width"),
    ("questions_needed", lambda p, h: math.ceil(Z**2 * p / h**2), "p (1 - p) belongs"),
    ("questions_needed", lambda p, h: math.ceil(Z**2 * 0.25 / h**2), "worst case"),
    ("questions_needed", lambda p, h: math.ceil(p * (1 - p) / h**2), "no 1.96"),
    ("questions_needed", lambda p, h: math.ceil(Z * p * (1 - p) / h**2), "squares the 1.96"),
    ("questions_needed", lambda p, h: math.ceil(Z**2 * p * (1 - p) / h), "squares `half`"),
    ("questions_needed", lambda p, h: math.ceil(Z**2 * math.sqrt(p * (1 - p)) / h**2), "standard deviation"),
    ("questions_needed", lambda p, h: int(Z**2 * p * (1 - p) / h**2), "round up"),
    ("questions_needed", lambda p, h: round(Z**2 * p * (1 - p) / h**2), "not to the nearest"),
    ("questions_needed", lambda p, h: Z**2 * p * (1 - p) / h**2, "round up"),
    ("questions_needed", lambda p, h: 0, "is `half` a share"),
    ("questions_needed", lambda p, h: 246, "p = 0.2 only"),
    ("paired_error", lambda a, b: np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)), "unpaired"),
    ("paired_error", lambda a, b: np.sqrt((a.var() + b.var()) / len(a)), "unpaired"),
    ("paired_error", lambda a, b: (a - b).std(ddof=1), "sqrt(n)"),
    ("paired_error", lambda a, b: (a - b).var(ddof=1) / len(a), "its root"),
    ("paired_error", lambda a, b: (a - b).std() / len(a), "not by n"),
    ("paired_error", lambda a, b: np.abs(a - b).std(ddof=1) / np.sqrt(len(a)), "abs()"),
    ("paired_error", lambda a, b: (a - b).mean(), "Eight questions"),
    ("pass_at_k", lambda n, r, k: 1 - (1 - r / n) ** k, "plug-in"),
    ("pass_at_k", lambda n, r, k: math.comb(n - r, k) / math.comb(n, k), "all k are wrong"),
    ("pass_at_k", lambda n, r, k: r / n, "whatever k"),
    ("pass_at_k", lambda n, r, k: float(r > 0), "pass@n"),
    ("pass_at_k", lambda n, r, k: 1 - math.comb(r, k) / math.comb(n, k), "all wrong"),
    ("pass_at_k", lambda n, r, k: k * r / n, "no probability"),
    ("pass_at_k", lambda n, r, k: 5 / 6, "one case"),
    ("survivors", alone, "eight were taken"),
    ("survivors", best_alone, "eight were taken"),
    ("survivors", by_gain, "eight were taken"),
    ("survivors", any_gain, "eight variants of nothing"),
    ("survivors", lambda b, v: corrected(b, v, unpaired=True), "paired"),
    ("survivors", lambda b, v: [], "do not find it"),
    ("survivors", lambda b, v: corrected(b, v, wanted=("better", "worse")), "worse"),
    ("survivors", lambda b, v: corrected(b, v, adjust=bonferroni), "Bonferroni"),
    ("break_even", lambda m, s: s / (m + s), "*wrong*"),
    ("break_even", lambda m, s: m / s, "odds"),
    ("break_even", lambda m, s: m - s, "different wholes"),
    ("break_even", lambda m, s: 1 - s, "r = 0.8"),
    ("break_even", lambda m, s: 2 * m, "one case"),
]


@pytest.mark.parametrize("name, answer, wanted", WRONG)
def test_a_plausible_mistake_gets_its_hint(name: str, answer: Callable, wanted: str):
    result = getattr(evaluation, name)(answer)
    assert not result.passed
    assert wanted.lower() in result.message.lower(), result


@pytest.mark.parametrize("name", NAMES)
def test_what_raises_or_is_missing_is_a_hint(name: str):
    for answer in (None, ..., lambda *a: 1 / 0):
        assert not getattr(evaluation, name)(answer).passed


def test_either_spread_of_a_sample_passes_for_the_paired_error():
    for ddof in (0, 1):
        assert evaluation.paired_error(lambda a, b, k=ddof: (a - b).std(ddof=k) / np.sqrt(len(a))).passed


def test_rough_work_by_the_normal_formula_survives_too():
    """An answer without the bootstrap: standard error, normal p-values, the package's Holm."""

    def normal(base, variants):
        z = {n: (v - base).mean() / max((v - base).std(ddof=1) / np.sqrt(len(base)), 1e-9) for n, v in variants.items()}
        p = S.holm([math.erfc(abs(x) / math.sqrt(2)) for x in z.values()])
        return [n for (n, x), q in zip(z.items(), p) if q <= 0.05 and x > 0]

    assert evaluation.survivors(normal).passed


def test_the_claim_of_the_try_that_was_picked(cells: dict[str, str]):
    """The colleague's best is 'better' by itself, and not when eight are corrected together."""
    namespace: dict[str, Any] = {"np": np, "S": S}
    exec(cells["colleague"], namespace)
    assert defined(re.search(r"```python\n(.*?)```", cells["ex5-solution"], re.S)[1], "survivors")(
        namespace["baseline"], namespace["variants"]
    ) == []


# --- the figures of this notebook ---------------------------------------------------------------------------


def test_figures_are_drawn_and_say_what_they_were_given():
    right = (np.random.default_rng(0).random((16, 75)) < 0.5).astype(float)
    runs = plots.run_intervals(right).axes[0]
    assert {t.get_text().split()[0] for t in runs.texts} == {"best", "worst", "mean"}
    assert runs.get_xlabel() == "right, % of 75 questions"
    curves = plots.sample_curves({"pass@k": [0.4, 0.6], "maj@k": [0.4, 0.45]}).axes[0]
    assert [t.get_text() for t in curves.texts] == ["pass@k", "maj@k"]
    cell = {"n": 100, "accuracy": 0.7, "low": 0.6, "high": 0.78, "length": 20.0}
    steps = plots.accuracy_by_steps({"a": {2: cell, 3: cell}, "b": {2: cell}}).axes[0]
    assert list(steps.get_xticks()) == [2, 3] and len(steps.containers) == 2


def test_a_disagreement_is_drawn_in_full_without_boxes_for_line_ends():
    figure = plots.disagreement("1+1?", "2", "b", {"a": "1+1=3. $x$ \\boxed{3}", "b": "1+1=3\n\nWait, 1+1=2. \\boxed{2}"})
    drawn = "\n".join(t.get_text() for t in figure.axes[0].texts)
    assert "a: wrong" in drawn and "b: right" in drawn and "Wait, 1+1=2." in drawn and "\ufffd" not in drawn
    figure.canvas.draw()
