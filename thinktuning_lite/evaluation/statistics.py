"""What a set of graded answers shows, and how sure one can be of it: rates, intervals, paired differences, correction.

Arrays of correctness have one entry per question, of 0 and 1 or of the share of right samples; with several training
seeds they are (seeds, questions), every seed on the same questions. scipy and statsmodels do what they have.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95


# --- one question -------------------------------------------------------------------------------------------


def pass_at_k(n: int, right: int, k: int) -> float:
    """Unbiased estimate of the probability that one of `k` samples is right, from `right` of `n` (Chen et al., 2021).

    1 - C(n - right, k) / C(n, k), which is the hypergeometric probability of drawing a right one. Raises ValueError
    unless 1 <= k <= n and 0 <= right <= n.
    """
    if not 1 <= k <= n or not 0 <= right <= n:
        raise ValueError(f"pass@{k} from {right} right of {n} samples: needs 1 <= k <= n and 0 <= right <= n")
    return float(stats.hypergeom.sf(0, n, right, k))


def majority(answers: Sequence[str | None], form: Callable[[str], Hashable] = str) -> str | None:
    """The answer stated most often, a tie going to the one stated first; None when nothing is stated.

    Answers with one `form` are one answer (`grading.canonical_form`: 1/2 and 0.5), which is shown as it was stated first.
    No vote is cast for "no answer".
    """
    stated = [answer for answer in answers if answer is not None]
    forms = [form(answer) for answer in stated]
    votes = Counter(forms)  # counts in order of first sight, so a tie goes to the one stated first
    return stated[forms.index(max(votes, key=votes.__getitem__))] if votes else None


# --- one method ---------------------------------------------------------------------------------------------


def proportion_interval(right: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share (statsmodels)."""
    low, high = proportion_confint(right, n, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def bootstrap_interval(
    values: ArrayLike, confidence: float = CONFIDENCE, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over questions (scipy)."""
    values = np.asarray(values, dtype=float)
    if values.min() == values.max():  # nothing to resample
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        batch=256,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


# --- two methods on the same questions ----------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval and two-sided p-value (that there is none)."""

    estimate: float
    low: float
    high: float
    p_value: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def points(self) -> str:
        """In percentage points, with the interval: `+1.5 [-0.5, +3.5]`."""
        return f"{100 * self.estimate:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, confidence: float = CONFIDENCE, resamples: int = 9999, seed: int = 0
) -> Difference:
    """a - b on the same questions: both are resampled together, question by question.

    Says how far other questions would move the difference, for these very models; another training run is not in it
    (`crossed_difference`). With (seeds, questions) arrays the seeds are averaged first. The p-value inverts the
    interval: twice the smaller share of resampled means on either side of zero.

    Raises ValueError when `a` and `b` differ in shape.
    """
    d = _paired(a, b).mean(axis=0)
    if d.min() == d.max():
        return Difference(float(d[0]), float(d[0]), float(d[0]), float(d[0] == 0))
    found = stats.bootstrap(
        (d,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        batch=256,
        rng=np.random.default_rng(seed),
    )
    means, interval = found.bootstrap_distribution, found.confidence_interval
    tail = min((means <= 0).sum(), (means >= 0).sum()) + 1  # + 1: a p-value is never 0
    return Difference(float(d.mean()), float(interval.low), float(interval.high), min(1.0, 2 * tail / (resamples + 1)))


def crossed_difference(a: ArrayLike, b: ArrayLike, confidence: float = CONFIDENCE) -> Difference:
    """a - b of (seeds, questions) arrays, for other training seeds *and* other questions.

    Differences are read as mean + seed + question + rest, both factors random and crossed. The variance of the mean is
    V_seeds / S + V_questions / Q - V_rest / (S Q), V the sample variances of the means over seeds and over questions
    and of the residuals: the two-way analysis of variance without replication (Cornfield and Tukey, 1956). Its degrees
    of freedom are Satterthwaite's; the interval is Student's. With three seeds that differ much it is wide, rightly so.

    Raises ValueError for fewer than two seeds or questions, or shapes that differ.
    """
    d = _paired(a, b)
    seeds, questions = d.shape
    if seeds < 2 or questions < 2:
        raise ValueError(f"needs at least 2 seeds and 2 questions, got {d.shape}; paired_bootstrap takes one seed")
    mean, by_seed, by_question = d.mean(), d.mean(axis=1), d.mean(axis=0)
    rest = d - by_seed[:, None] - by_question + mean
    degrees = np.array([seeds - 1, questions - 1, (seeds - 1) * (questions - 1)])
    parts = np.array(
        [
            by_seed.var(ddof=1) / seeds,
            by_question.var(ddof=1) / questions,
            -(rest**2).sum() / degrees[2] / d.size,
        ]
    )
    variance = max(parts.sum(), parts[:2].max())  # an estimate by subtraction may fall short of what was seen
    if variance == 0:
        return Difference(float(mean), float(mean), float(mean), float(mean == 0))
    freedom = variance**2 / (parts**2 / degrees).sum()
    error = np.sqrt(variance)
    half = error * stats.t.ppf((1 + confidence) / 2, freedom)
    return Difference(
        float(mean), float(mean - half), float(mean + half), float(2 * stats.t.sf(abs(mean) / error, freedom))
    )


def compared(a: ArrayLike, b: ArrayLike) -> Difference:
    """a - b of (seeds, questions) arrays: `crossed_difference`, or of a single seed `paired_bootstrap`."""
    return crossed_difference(a, b) if len(np.atleast_2d(a)) > 1 else paired_bootstrap(a, b)


def _paired(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    a, b = np.atleast_2d(np.asarray(a, dtype=float)), np.atleast_2d(np.asarray(b, dtype=float))
    if a.shape != b.shape:
        raise ValueError(f"not paired: shapes {a.shape} and {b.shape}; both need the same seeds and questions")
    return a - b


# --- many comparisons ---------------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the same order (statsmodels): each may be read at the level as if it were alone."""
    if not len(p_values):
        return []
    gc.freeze()  # multipletests collects garbage at each call: half a second beside torch, unless nothing is looked at
    try:
        return [float(p) for p in multipletests(p_values, method="holm")[1]]
    finally:
        gc.unfreeze()


def verdict(difference: Difference, adjusted_p: float | None = None, level: float = 1 - CONFIDENCE) -> str:
    """ "better", "worse" or "no difference shown", by the interval and, when given, by the corrected p-value too."""
    if not difference.shown or (adjusted_p is not None and adjusted_p > level):
        return "no difference shown"
    return "better" if difference.estimate > 0 else "worse"
