"""Checks of notebook 03: importance weighting, LUFFY's gradient, the largest weight, the clamp, the break-even teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed
from thinktuning_lite.method.shaping import DEFAULT_CONSTANTS, gamma_intended, gamma_released, shape

UNSOLVED = hint("Not solved yet: replace the `...` with your answer.")


def _agrees(f: Callable[..., float], other: Callable[..., float], cases: Iterable[tuple], rel: float = 1e-3) -> bool:
    return all(math.isclose(float(f(*c)), other(*c), rel_tol=rel, abs_tol=1e-12) for c in cases)


def _first_difference(f: Callable[..., float], other: Callable[..., float], cases: Iterable[tuple]) -> str:
    wrong = next(c for c in cases if not math.isclose(float(f(*c)), other(*c), rel_tol=1e-3, abs_tol=1e-12))
    return f"for {wrong} you return {float(f(*wrong)):.4g}, it should be {other(*wrong):.4g}"


def _tensor(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# ---------------------------------------------------------------- exercise 1


def _policy_gradient(logits: Tensor, advantages: Tensor) -> Tensor:
    """d/dlogits of the expected advantage, by autograd."""
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad((leaf.softmax(0) * advantages).sum(), leaf)[0]


@exercise
def importance_weighted(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Result:
    """Exercise 1: the expected importance-weighted gradient on the logits, from pi, mu and the advantages, (K,) each."""
    generator = torch.Generator().manual_seed(0)
    logits, other, advantages = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    pi, mu, eye = logits.softmax(0), other.softmax(0), torch.eye(5, dtype=torch.float64)
    got = answer(pi, mu, advantages)
    if got is None or got is ...:
        return UNSOLVED
    if not isinstance(got, Tensor) or got.shape != (5,):
        return hint(f"Return one number per action, a tensor of shape (5,); yours: {getattr(got, 'shape', got)}.")
    score = eye - pi
    if torch.allclose(got, _policy_gradient(logits, advantages)):
        return passed(
            "Right: mu cancels, so text from any behaviour policy gives the on-policy gradient, "
            "if only you know mu and mu is nowhere 0."
        )
    if torch.allclose(got, (mu * advantages) @ score):
        return hint(
            "No ratio: this is the mean over mu of A * score, the gradient of weight-1 imitation. "
            "Multiply each action by pi / mu."
        )
    if torch.allclose(got, (mu * mu / pi * advantages) @ score):
        return hint("The ratio is upside down: an action that pi likes more than mu does must count more, so pi / mu.")
    if torch.allclose(got, (pi / mu * advantages) @ score):
        return hint(
            "The ratio is there, but the mean over mu is missing: weigh each action by mu, as often as it is drawn."
        )
    if torch.allclose(got, pi * advantages):
        return hint("The score of a softmax is e_a - pi, not e_a: raising one action's logit lowers all the others.")
    return hint(
        f"Not yet: {got.tolist()} should be {_policy_gradient(logits, advantages).tolist()}. "
        "Sum over a of mu_a * (pi_a / mu_a) * A_a * (e_a - pi)."
    )


# ---------------------------------------------------------------- exercise 2


def _luffy_slope(p: float, c: float) -> float:
    """d/dlog p of p / (p + c), by autograd."""
    logp = _tensor(math.log(p)).requires_grad_()
    return torch.autograd.grad(logp.exp() / (logp.exp() + c), logp)[0].item()


@exercise
def luffy_gradient(answer: Callable[[float, float], float]) -> Result:
    """Exercise 2: the slope of LUFFY's p / (p + c) in log p, from p and c."""
    cases = [(p, c) for c in (0.1, 0.02) for p in (1e-6, 0.003, 0.1, 0.7, 1.0)]
    if answer(*cases[0]) in (None, ...):
        return UNSOLVED
    if _agrees(answer, _luffy_slope, cases):
        return passed("Right. It is largest at p = c, where it is 1/4, and falls off like p / c below.")
    if _agrees(answer, lambda p, c: p / (p + c), cases):
        return hint("This is the weight itself. Nothing is detached in LUFFY, so the denominator moves with p too.")
    if _agrees(answer, lambda p, c: c / (p + c) ** 2, cases):
        return hint("This is the slope in p. The loss is differentiated in log p, and dp/dlog p = p.")
    if _agrees(answer, lambda p, c: 0.1 * p / (p + 0.1) ** 2, cases):
        return hint("Right for c = 0.1 only: use the argument c.")
    return hint(f"Not yet: {_first_difference(answer, _luffy_slope, cases)}. Quotient rule in p, then times p.")


# ---------------------------------------------------------------- exercise 3


def _largest_weight(advantage: float, fallback: float) -> float:
    """By search: the largest weight of `shape` over p from the fallback threshold to 1, denominator below 1."""
    p = torch.cat([_tensor(fallback).view(1), torch.logspace(math.log10(fallback), 0, 4001, dtype=torch.float64)])
    p = p[p >= fallback]
    return shape("intended", p, _tensor(advantage)).weight.max().item()


@exercise
def largest_weight(answer: Callable[[float, float], float]) -> Result:
    """Exercise 3: the largest intended weight of a token with A < 0 that does not fall back (p >= fallback)."""
    cases = [(a, f) for f in (0.01, 0.05) for a in (-0.5, -2.0, -4.0, -8.0)]
    if answer(*cases[0]) in (None, ...):
        return UNSOLVED

    def with_gamma(gamma: Callable[[float], float]) -> Callable[[float, float], float]:
        return lambda a, f: f / (f + gamma(a))

    if _agrees(answer, _largest_weight, cases, rel=1e-5):
        return passed(
            "Right: 1.11 at worst. The fallback keeps A < 0 away from the pole at p = -gamma, ten times below it."
        )
    if _agrees(answer, with_gamma(lambda a: 0.00025 * a), cases, rel=1e-5):
        return hint("Right down to A = -4. Below it gamma stays at -0.001: the formula clips A to [-4, 4].")
    if _agrees(answer, with_gamma(lambda a: -0.00025 * max(-4.0, a)), cases, rel=1e-5):
        return hint(
            "Below 1: look at gamma's sign. With A < 0 gamma is negative, so the denominator is smaller than p."
        )
    if _agrees(answer, lambda a, f: 1 / (1 + gamma_intended(_tensor(a)).item()), cases, rel=1e-5):
        return hint(
            "This is p = 1, the smallest weight. p / (p + gamma) with gamma < 0 falls in p: go to the other end."
        )
    if _agrees(answer, lambda a, f: 1.0001, cases, rel=1e-6):
        return hint(
            "1.0001 is the guard's value, for p + gamma < 0. Such tokens have fallen back already: p is at least "
            "`fallback` here."
        )
    return hint(
        f"Not yet: {_first_difference(answer, _largest_weight, cases)}. Which p >= fallback makes "
        "p / (p + gamma(A)) largest when gamma < 0?"
    )


# ---------------------------------------------------------------- exercise 4


@exercise
def clamp(answer: tuple[float, float, float, float]) -> Result:
    """Exercise 4: gamma as the code computes it at A = 4, 0, -4, and the p at which p + gamma is 0 for A > 0."""
    numbers = [float(x) for x in answer if x is not ...]
    if len(numbers) != 4:
        return UNSOLVED if len(answer) == 4 else hint("Give four numbers: gamma at A = 4, 0 and -4, and the pole's p.")
    low, high = DEFAULT_CONSTANTS.gamma_min, DEFAULT_CONSTANTS.gamma_max
    *gammas, pole = numbers

    def close(expected: Iterable[float]) -> bool:
        return all(math.isclose(g, e, abs_tol=1e-7) for g, e in zip(gammas, expected, strict=True))

    if close(gamma_intended(torch.tensor([4.0, 0.0, -4.0])).tolist()):
        return hint(
            "These are the formula's values, before the clamp. Run torch.clamp on them with min=0.001, max=-0.001."
        )
    if close([low, low, low]):
        return hint("This takes the lower bound. torch.clamp is min(max(x, lower), upper): the upper bound comes last.")
    if close([high, 0.0, low]) or close([high, 0.0, high]) or close([low, 0.0, low]):
        return hint("A clamp with its bounds in order would keep 0. These bounds are swapped: run it at A = 0.")
    if not close(gamma_released(torch.tensor([4.0, 0.0, -4.0])).tolist()):
        return hint(f"Not yet: gammas {gammas}. Evaluate torch.clamp(gamma, min=0.001, max=-0.001) at the three A.")
    if math.isclose(pole, -high, abs_tol=1e-7):
        return passed(
            "Right: gamma is -0.001 whatever A, so the advantage has dropped out of advantage-aware shaping, "
            "and for A > 0, where no fallback helps, there is now a pole at p = 0.001."
        )
    if math.isclose(pole, high, abs_tol=1e-7):
        return hint("The gammas are right. The pole is the p with p + gamma = 0, and a probability is not negative.")
    return hint(f"The gammas are right. p + gamma = 0 with gamma = -0.001: that is not p = {pole:g}.")


# ---------------------------------------------------------------- exercise 5


def _break_even(p: float, a_right: float, a_wrong: float) -> float:
    """The share of right guidance at which the mean push on log p is 0 under the intended shaping, from `shape`."""
    up, down = (abs(a) * shape("intended", _tensor(p), _tensor(a)).gradient.item() for a in (a_right, a_wrong))
    return down / (up + down)


@exercise
def break_even(answer: Callable[[float, float, float], float]) -> Result:
    """Exercise 5: how often must guidance be right so that a token of probability p does not sink?"""
    cases = [(p, a, b) for p in (1e-6, 1e-4, 0.005, 0.3) for a, b in ((1.0, -1.0), (0.35, -2.5))]
    if answer(*cases[0]) in (None, ...):
        return UNSOLVED

    def gamma(a: float) -> float:
        return 0.00025 * max(-4.0, min(4.0, a))

    def no_fallback(p: float, a: float, b: float) -> float:
        up, down = a * p / (p + gamma(a)), -b * p / (p + gamma(b))
        return down / (up + down)

    if _agrees(answer, _break_even, cases):
        return passed(
            "Right. At p = 1e-6 one wrong guidance undoes some 250 right ones of the same |A|: up is shaped, "
            "down, by the fallback, is not."
        )
    if _agrees(answer, lambda p, a, b: 1 - _break_even(p, a, b), cases):
        return hint("This is the share of wrong guidance. The question asks for the right one: 1 minus it.")
    if _agrees(answer, lambda p, a, b: -b / (a - b), cases):
        return hint("This is weight 1 both ways. Going up, the token has the intended weight p / (p + gamma(A)).")
    if _agrees(answer, no_fallback, cases):
        return hint("The fallback is missing: with A < 0 and p < 0.01 the token has PPO's weight, 1.")
    return hint(f"Not yet: {_first_difference(answer, _break_even, cases)}. Solve q A+ s+ = (1 - q) |A-| s- for q.")
