"""Checks of the exercises in notebook 05_evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose
from typing import Any

import numpy as np

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed

UNSOLVED = "Not solved yet: replace the `...` with your answer."


def _unsolved(value: Any) -> bool:
    return value is None or value is ...


@exercise
def outcomes(answer: Callable[[Sequence[str | None], Sequence[str]], dict[str, int]]) -> Result:
    """Exercise 1: counts of right, wrong and no answer."""
    said = answer(["1/2", "7", None, "12.0", "3"], ["0.5", "8", "4", "12", "3"])
    if _unsolved(said):
        return hint(UNSOLVED)
    if not isinstance(said, dict) or set(said) != {"right", "wrong", "no answer"}:
        return hint(f"Return a dict with the keys 'right', 'wrong' and 'no answer'; you return {said!r}.")
    found = said["right"], said["wrong"], said["no answer"]
    if found == (1, 3, 1):
        return hint("1/2 is 0.5 and 12.0 is 12: let `is_correct(stated, gold)` compare, not `==`.")
    if found == (3, 2, 0):
        return hint("`None` states nothing. It earns nothing either, but it is no wrong answer: count it by itself.")
    if found == (3, 1, 0):
        return hint("A sample without an answer vanished: every question belongs in one of the three counts.")
    if np.allclose(found, (0.6, 0.2, 0.2)):
        return hint("Those are the shares; the exercise asks for counts.")
    if found != (3, 1, 1):
        return hint(f"Three right, one wrong, one without an answer; you return {found}.")
    if answer([None, None], ["1", "2"]) != {"right": 0, "wrong": 0, "no answer": 2}:
        return hint(
            "Two that state nothing: 0 right, 0 wrong, 2 without an answer. All three keys, also where a count is 0."
        )
    return passed("Three categories: a cut-off response and a wrong one are mended in different ways.")


@exercise
def questions_needed(answer: Callable[[float, float], int]) -> Result:
    """Exercise 2: the number of questions for an interval of p plus or minus half."""
    said = answer(0.2, 0.05)
    if _unsolved(said):
        return hint(UNSOLVED)
    if said == 0:
        return hint("0: is `half` a share, as p is? Five points are 0.05.")
    hints = {
        1537: "1,537 leaves out p (1 - p), the variance of one answer.",
        984: "984 takes `half` for the whole width: the interval is p - half to p + half.",
        308: "308 has p where p (1 - p) belongs.",
        385: "385 is the worst case, p = 0.5: use the p that is given.",
        64: "64 has no 1.96 in it: one standard error on either side covers 68 %, not 95 %.",
        126: "126: solving for n squares the 1.96 too.",
        13: "13: solving for n squares `half` too.",
        615: "615: the variance of one answer is p (1 - p); its root is the standard deviation.",
        245: "245 is not enough: round up.",
    }
    for value, text in hints.items():
        if value - 1 < said <= value:  # rounded up or not
            return hint(text)
    if isclose(said, 245.86, abs_tol=0.02):
        return hint("A question cannot be asked in part: round up.")
    if said != 246:
        return hint(f"For p = 0.2 and half = 0.05 it is 246 questions; you return {said}.")
    if answer(0.5, 0.03) == 1067:
        return hint("1,067 gives a little more than 0.03: round up, not to the nearest.")
    if answer(0.5, 0.03) != 1068:
        return hint("Right for p = 0.2 only: p = 0.5 and half = 0.03 need 1,068.")
    return passed("Half the width costs four times the questions.")


@exercise
def paired_error(answer: Callable[[np.ndarray, np.ndarray], float]) -> Result:
    """Exercise 3: the standard error of a mean difference on the same questions."""
    a, b = np.array([1.0, 1, 1, 1, 0, 0, 1, 0]), np.array([1.0, 0, 1, 1, 0, 0, 0, 1])
    said = answer(a, b)
    if _unsolved(said):
        return hint(UNSOLVED)
    d = a - b

    def is_(right: Callable[[int], float]) -> bool:
        return any(isclose(said, right(ddof), rel_tol=1e-6) for ddof in (0, 1))

    if is_(lambda k: np.sqrt(a.var(ddof=k) / 8 + b.var(ddof=k) / 8)):
        return hint(
            "That is the unpaired error: it would be the same with b's questions shuffled. Take the differences first."
        )
    if is_(lambda k: d.std(ddof=k)):
        return hint("That is the spread of one question's difference; the mean of n of them is steadier by sqrt(n).")
    if is_(lambda k: d.var(ddof=k) / 8):
        return hint("That is the variance of the mean: the standard error is its root.")
    if is_(lambda k: d.std(ddof=k) / 8):
        return hint("Divide by sqrt(n), not by n: variances add up, standard deviations do not.")
    if is_(lambda k: np.abs(d).std(ddof=k) / np.sqrt(8)):
        return hint("A question lost counts as -1, not 1: without abs().")
    if not is_(lambda k: d.std(ddof=k) / np.sqrt(8)):
        return hint(
            f"Eight questions, differences {d.astype(int).tolist()}: {d.std(ddof=1) / np.sqrt(8):.3f}; you return {said:.3f}."
        )
    if not isclose(answer(np.ones(3), np.ones(3)), 0, abs_tol=1e-9):
        return hint("Two methods with equal answers differ by 0 on every question: the error is 0.")
    return passed("What both get right, or both wrong, is 0 in d: only the questions that tell them apart count.")


@exercise
def pass_at_k(answer: Callable[[int, int, int], float]) -> Result:
    """Exercise 4: the unbiased estimate of pass@k from n samples."""
    said = answer(10, 3, 4)
    if _unsolved(said):
        return hint(UNSOLVED)
    if isclose(said, 1 - 0.7**4):
        return hint(
            "1 - (1 - right/n)^k takes the share for the true chance: that is the biased plug-in. Draw k of the n "
            "samples without putting back."
        )
    if isclose(said, 1 / 6):
        return hint("1/6 is the chance that all k are wrong; pass@k is that they are not.")
    if isclose(said, 0.3):
        return hint("right / n is pass@1, whatever k.")
    if isclose(said, 1):
        return hint(
            "1: that one of *all* samples is right is pass@n. Or is it C(right, k)? Count the draws that are all wrong."
        )
    if isclose(said, 1.2):
        return hint("k times the share is 1.2 here: no probability.")
    if not isclose(said, 5 / 6):
        return hint(
            f"3 of 10 right: of C(10, 4) = 210 draws of four, C(7, 4) = 35 are all wrong, so 5/6; you return {said}."
        )
    for case, right in {(4, 3, 2): 1.0, (5, 0, 3): 0.0, (6, 2, 1): 1 / 3}.items():
        if not isclose(answer(*case), right, abs_tol=1e-9):
            return hint(
                f"Right for one case; for n, right, k = {case} it is {right:.3g}, you return {answer(*case):.3g}."
            )
    return passed("It needs n >= k samples, and more than k make it steadier.")


def _variant(base: np.ndarray, mended: int, spoilt: int) -> np.ndarray:
    """`base` with the first so many wrong answers mended and the first so many right ones spoilt."""
    out = base.copy()
    out[np.flatnonzero(base == 0)[:mended]] = 1
    out[np.flatnonzero(base == 1)[:spoilt]] = 0
    return out


BASE = np.tile([1.0, 0, 0, 1, 1], 15)  # 75 questions, 45 right


@exercise
def survivors(answer: Callable[[np.ndarray, dict[str, np.ndarray]], list[str]]) -> Result:
    """Exercise 5: the variants that are better than the baseline when corrected for all looks."""

    def found(**variants: tuple[int, int]) -> list[str]:
        said = answer(BASE.copy(), {name: _variant(BASE, *how) for name, how in variants.items()})
        return said if _unsolved(said) else sorted(said)

    noise = {f"v{i}": (4 + i % 2, 4) for i in range(7)}
    said = found(lucky=(9, 2), **noise)
    if _unsolved(said):
        return hint(UNSOLVED)
    if said == ["lucky"]:
        return hint(
            "One of eight variants of nothing, and you call it better: its p-value is for one look, but eight were "
            "taken. Correct all eight together, the ones you would not report too."
        )
    if said:
        return hint(f"Eight variants of nothing, and you call {', '.join(said)} better.")
    if found(a=(10, 0)) != ["a"]:
        return hint(
            "Ten questions mended and none spoilt, of 75: compared question by question that is shown; you do not "
            "find it. Is your test paired?"
        )
    if found(a=(25, 2), b=(2, 25)) != ["a"]:
        return hint("A variant that is clearly *worse* was called better, or one that is clearly better was not.")
    if found(a=(25, 2), b=(9, 2)) != ["a", "b"]:
        return hint(
            "Two variants, p-values far below 0.01 and about 0.04: Holm multiplies the smallest by 2, the next by 1. "
            "You keep fewer: is that Bonferroni, which multiplies all by 2?"
        )
    return passed("Now the best of eight has to be better than the best of eight copies.")


@exercise
def break_even(answer: Callable[[float, float], float]) -> Result:
    """Exercise 6: the share of right first answers above which reflection costs more than it mends."""
    said = answer(0.4, 0.1)
    if _unsolved(said):
        return hint(UNSOLVED)
    if isclose(said, 0.2):
        return hint("0.2 is spoils / (mends + spoils): which of the two works on what is *wrong*?")
    if isclose(said, 4):
        return hint("mends / spoils is r / (1 - r), the odds: solve for the share r.")
    if isclose(said, 0.3):
        return hint(
            "The two shares are of different wholes, of the wrong and of the right first answers: weigh them by 1 - r "
            "and r before you compare."
        )
    if not isclose(said, 0.8):
        return hint(
            f"Mends 40 % of the wrong, spoils 10 % of the right: (1 - r) 0.4 = r 0.1 at r = 0.8; you return {said}."
        )
    for case, right in {(0.3, 0.3): 0.5, (0.2, 0.0): 1.0}.items():
        if not isclose(answer(*case), right):
            return hint(f"Right for one case; for {case} it is {right}.")
    return passed("The better the first answers, the less reflection may spoil: on easy questions it over-thinks.")
