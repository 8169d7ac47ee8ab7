"""Checks of notebook 01: advantages, the slope of the clip, token weights, a diagnosis, the rule of three."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed
from thinktuning_lite.method import grpo

Formula = Callable[..., float]
UNSOLVED = hint("Not solved yet: replace the `...` with your answer.")
FAULTS = {"A": "truncated", "B": "wrong answers", "C": "learning rate", "D": "too many iterations"}


def _differs(answer: Formula, right: Formula, cases: Sequence[tuple]) -> tuple | None:
    """The first case in which the answer is off by more than 0.1 %, None if there is none."""
    close = (math.isclose(answer(*c), right(*c), rel_tol=1e-3, abs_tol=1e-6) for c in cases)
    return next((c for c, ok in zip(cases, close, strict=True) if not ok), None)


def _graded(
    answer: Formula, right: Formula, cases: Sequence[tuple], praise: str, mistakes: list[tuple[Formula, str]],
    advice: str,
) -> Result:  # fmt: skip
    """Praise if right, the hint of a known mistake, else the first case that differs and `advice`."""
    if answer(*cases[0]) is None:
        return UNSOLVED
    case = _differs(answer, right, cases)
    if case is None:
        return passed(praise)
    for formula, says in mistakes:
        if _differs(answer, formula, cases) is None:
            return hint(says)
    said, wanted = answer(*case), right(*case)
    return hint(f"Not yet: for {case} you return {said:.4g}, it should be {wanted:.4g}. {advice}")


def _advantage(k: int, group_size: int) -> float:
    rewards = torch.tensor([1.0] * k + [0.0] * (group_size - k), dtype=torch.float64)
    return grpo.group_advantages(rewards, group_size, eps=0.0)[0].item()


@exercise
def advantage_of_right(answer: Callable[[int, int], float]) -> Result:
    """Exercise 1: the advantage of a right rollout when k of group_size are right (eps = 0)."""
    return _graded(
        answer, _advantage, [(k, n) for n in (4, 8, 5) for k in range(1, n)],
        "Right. One right among many wrong is worth the most, one wrong among many right costs the most.",
        [
            (lambda k, n: math.sqrt((n - k) / k),
             "This divides by the population std (n). GRPO and TRL take the sample one (n - 1)."),
            (lambda k, n: 1 - k / n,
             "This is the distance to the mean, Dr. GRPO's advantage. GRPO divides it by the group's std."),
            (lambda k, n: -_advantage(n - k, n),
             "This is the advantage of a wrong rollout. A right one is 1 - k/n above the mean."),
        ],
        "The squared distances to the mean sum to k (n - k) / n; divide by n - 1 before the root.",
    )  # fmt: skip


def _slope(ratio: float, advantage: float, epsilon: float) -> float:
    log_ratio = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([advantage], dtype=torch.float64)
    loss = grpo.clipped_surrogate(log_ratio.exp(), a, epsilon_low=epsilon, epsilon_high=epsilon)
    return torch.autograd.grad(loss.sum(), log_ratio)[0].item()


@exercise
def clip_slope(answer: Callable[[float, float, float], float]) -> Result:
    """Exercise 2: d(clipped loss of one token) / d(log p), from ratio, advantage and epsilon."""
    ratios = (0.5, 0.85, 1.0, 1.1, 1.25, 2.0)
    return _graded(
        answer, _slope, [(r, a, e) for r in ratios for a in (1.5, -0.5) for e in (0.2, 0.3)],
        "Right. The clip stops a push that has gone far enough, never one that has gone the wrong way.",
        [
            (lambda r, a, e: -_slope(r, a, e),
             "The sign is the objective's. The loss is minus it: with A > 0 a larger log p lowers the loss."),
            (lambda r, a, e: _slope(r, a, e) / r,
             "A factor is missing: the ratio is exp(log p - log p_old); its derivative by log p is itself."),
            (lambda r, a, e: -r * a if 1 - e <= r <= 1 + e else 0.0,
             "The clip binds on one side only: above 1 + epsilon for A > 0, below 1 - epsilon for A < 0."),
            (lambda r, a, e: -r * a,
             "This is never clipped. Where does the min choose the clipped branch, a constant?"),
        ],
        "Find where the min takes the clipped branch; elsewhere the loss is -ratio * A.",
    )  # fmt: skip


def _token_weight(length: int, lengths: list[int], how: str, budget: int) -> float:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    losses = torch.zeros(mask.shape, dtype=torch.float64, requires_grad=True)
    total = grpo.aggregate(losses, mask, how, max_completion_length=budget)
    return torch.autograd.grad(total, losses)[0][lengths.index(length), 0].item()


@exercise
def token_weight(answer: Callable[[int, list[int], str, int], float]) -> Result:
    """Exercise 3: the weight that one token of a completion of `length` tokens has in the batch's loss."""
    advice = {
        "grpo": "It takes each completion's mean over its own tokens, then the mean over completions.",
        "dapo": "It divides the sum over all tokens by the number of all tokens of the batch.",
        "dr_grpo": "It divides the sum over all tokens by a constant, B * budget, whatever the lengths.",
    }

    def without_batch(n: int, lengths: list[int], how: str, budget: int) -> float:
        return _token_weight(n, lengths, how, budget) * (1 if how == "dapo" else len(lengths))

    for how, says in advice.items():
        result = _graded(
            answer, _token_weight, [(n, ls, how, 64) for ls in ([10, 40], [5, 7, 30]) for n in ls],
            "Right. Only under grpo does a token's weight depend on the length of its own completion.",
            [(without_batch, f"{how}: the number of completions is missing; grpo averages over them, dr_grpo "
                             "divides by B * budget.")],
            f"{how}: {says[0].lower()}{says[1:]}",
        )  # fmt: skip
        if not result.passed:
            return result
    return result


@exercise
def diagnosis(answer: dict[str, str]) -> Result:
    """Exercise 4: which fault each of the runs A to D has."""
    if any(v is None or v is ... for v in answer.values()):
        return UNSOLVED
    if set(answer) != set(FAULTS):
        return hint(f"Name a fault for each of A, B, C, D; you named one for {', '.join(sorted(answer))}.")
    unknown = sorted(set(answer.values()) - set(FAULTS.values()))
    if unknown:
        return hint(f"{unknown[0]!r} is none of the four faults: {', '.join(sorted(FAULTS.values()))}.")
    wrong = [run for run in FAULTS if answer[run] != FAULTS[run]]
    if not wrong:
        return passed("Right. Two of them share reward and gradient; one more column tells them apart.")
    look = {
        "A": "Do its rollouts end by themselves?",
        "B": "Its rollouts end, yet none is ever right. Who says what is right?",
        "C": "Compare its reward at the first and at the last step, and look at its ratio.",
        "D": "On a first iteration every ratio is 1. What makes it leave 1 within a step?",
    }
    return hint(f"{len(wrong)} of 4 wrong. Run {wrong[0]}: {look[wrong[0]]}")


def _samples(p: float) -> float:
    return math.log(0.05) / math.log1p(-p)


@exercise
def samples_to_see(answer: Callable[[float], Any]) -> Result:
    """Exercise 5: samples until a behaviour of probability p was seen at least once with 95 % certainty."""
    if answer(0.1) is None:
        return UNSOLVED
    # Rounding up is right too, so the answer may be off by one.
    return _graded(
        lambda p: _samples(p) if abs(answer(p) - _samples(p)) <= 1 else float(answer(p)), _samples,
        [(0.5,), (0.1,), (1e-3,), (1e-6,)],
        "Right. For small p it is 3 / p, the rule of three read backwards.",
        [
            (lambda p: 3 / p if abs(3 / p - _samples(p)) > 1 else _samples(p),
             "3 / p is the limit for small p; write the exact one, which holds for p = 0.5 as well."),
            (lambda p: 1 / p,
             "1 / p samples show it once on average, but not at all in about a third of all cases."),
            (lambda p: math.log(0.95) / math.log1p(-p),
             "This makes it 95 % certain that nothing is seen. The chance of seeing nothing should be 5 %."),
        ],
        "The chance of n samples without it is (1 - p)^n; set it to 0.05.",
    )  # fmt: skip
