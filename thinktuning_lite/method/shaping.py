"""Advantage-Aware Shaping (AAS) and its relatives: pure functions of a token's probability p and advantage A.

Guided tokens were written by the teacher, so the student never sampled them and no importance ratio exists. A
shaping puts a weight w(p, A) in the ratio's place: loss = -A * w, not clipped. Four are here, chosen by name:

========== =============================================== ======================= ==========================
name       weight w (sg = stop-gradient)                   gradient s = dw/dlog p  fallback to PPO
========== =============================================== ======================= ==========================
intended   p / (sg(p) + gamma), gamma by the formula       p / (p + gamma)         A < 0 and p < 0.01
released   p / (sg(p) + gamma), gamma as the code computes p / (p + gamma)         A < 0 and p < 0.01
luffy      p / (p + 0.1), nothing detached                 0.1 p / (p + 0.1)^2     never
plain      p / sg(p), i.e. 1                               1                       never
========== =============================================== ======================= ==========================

*Intended* is what the formula in the ThinkTuning authors' training code says; *released* is what that code
computes, where a clamp with its bounds swapped makes gamma the constant -0.001. See ``gamma_intended``,
``gamma_released``.

Since d(loss)/d(log p) = -A * s, every shaping equals a per-token advantage A * s at an importance ratio of
exactly 1: ``per_token_advantages`` is all that a GRPO trainer needs to know about guidance.

Numbers: everything is computed in float32 at least (bfloat16 and float16 are widened), and every weight and
gradient is finite for every p in [0, 1] and every finite A. AAS with a negative gamma has a real pole at p =
-gamma: just above it the weight grows without limit in exact arithmetic. Whether the authors' code caps it is
not known to us, so it is not capped here. What bounds it is rounding alone: a nonzero sg(p) + gamma is at
least about one unit in the last place of p, so the weight stays within 2^24 (1.7e7) in float32 and 2^53
(9e15) in float64; and a denominator of exactly 0 is treated like a negative one. Gradient clipping, or the
share of tokens near the pole, is the caller's to watch.

Sources: RRV et al. 2025 (ThinkTuning, arXiv 2508.07616) and the authors' published training code for AAS;
Yan et al. 2025 (LUFFY, arXiv 2504.14945).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thinktuning_lite.method.grpo import expand_advantages

# The two guards of AAS: what sg(p) is divided by when sg(p) + gamma leaves (0, 1].
_GUARD_BELOW = 1.0001
_GUARD_ABOVE = 0.9999


@dataclass(frozen=True)
class AASConstants:
    """The constants of the shapings.

    The defaults are those of the authors' training code. The constants that the paper prints are not known to
    us, so every one is a parameter.

    Attributes:
        gamma_min: the g_min of the formula: gamma at A = advantage_max. Also the lower bound of the released
            clamp.
        gamma_max: the g_max of the formula: gamma at A = advantage_min. Also the upper bound of the released
            clamp; that it lies below gamma_min is the authors' doing and the reason why intended and released
            differ.
        advantage_min, advantage_max: the range to which A is clipped inside gamma.
        fallback_probability: AAS leaves a token with A < 0 and p below this to the ordinary PPO term.
        luffy_gamma: the constant in LUFFY's p / (p + luffy_gamma).

    Raises:
        ValueError: a constant is not finite or out of its range.
    """

    gamma_min: float = 0.001
    gamma_max: float = -0.001
    advantage_min: float = -4.0
    advantage_max: float = 4.0
    fallback_probability: float = 0.01
    luffy_gamma: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise ValueError(f"AASConstants.{name} is {value}: it must be a finite number.")
        for name in ("gamma_min", "gamma_max"):
            if abs(getattr(self, name)) >= 1:
                raise ValueError(
                    f"AASConstants.{name} is {getattr(self, name)}: it is added to a probability, so it must "
                    "lie between -1 and 1 (the authors use 0.001 and -0.001)."
                )
        if self.advantage_min >= self.advantage_max:
            raise ValueError(
                f"AASConstants.advantage_min ({self.advantage_min}) must be below advantage_max ({self.advantage_max})."
            )
        if not 0 <= self.fallback_probability <= 1:
            raise ValueError(
                f"AASConstants.fallback_probability is {self.fallback_probability}: it must lie between 0 "
                "(never fall back) and 1."
            )
        if self.luffy_gamma <= 0:
            raise ValueError(f"AASConstants.luffy_gamma is {self.luffy_gamma}: it must be above 0.")


DEFAULT_CONSTANTS = AASConstants()


class Shaped(NamedTuple):
    """What a shaping says of each token; three tensors of the same shape, detached.

    Attributes:
        weight: w(p, A), the value that multiplies A in the loss: loss = -A * w.
        gradient: s(p, A) = dw/dlog p as autograd sees it, so that d(loss)/d(log p) = -A * s.
        fallback: True where the ordinary PPO term applies instead; weight and gradient are 1 there, its
            values at an importance ratio of 1.
    """

    weight: Tensor
    gradient: Tensor
    fallback: Tensor


def gamma_intended(advantages: Tensor, constants: AASConstants = DEFAULT_CONSTANTS) -> Tensor:
    """gamma by the formula: g_min + (g_max - g_min) * (A_max - A) / (A_max - A_min), A clipped to its range.

    With the default constants this is 0.00025 * A: 0.001 at A = 4, 0 at A = 0, -0.001 at A = -4.
    Same shape as ``advantages``.
    """
    c = constants
    clipped = _widened(advantages).clamp(c.advantage_min, c.advantage_max)
    share = (c.advantage_max - clipped) / (c.advantage_max - c.advantage_min)
    return c.gamma_min + (c.gamma_max - c.gamma_min) * share


def gamma_released(advantages: Tensor, constants: AASConstants = DEFAULT_CONSTANTS) -> Tensor:
    """gamma as the released code computes it: ``gamma_intended`` clamped with min=g_min and max=g_max.

    g_min = 0.001 exceeds g_max = -0.001, and ``torch.clamp`` then returns max everywhere (its documentation
    says so), so gamma is -0.001 whatever A. With g_min below g_max the clamp changes nothing and released
    equals intended.
    """
    return torch.clamp(gamma_intended(advantages, constants), min=constants.gamma_min, max=constants.gamma_max)


def shape(name: str, p: Tensor, advantages: Tensor, constants: AASConstants = DEFAULT_CONSTANTS) -> Shaped:
    """Weight, gradient and fallback of every token under the shaping called ``name``.

    Args:
        name: "intended", "released", "luffy" or "plain".
        p: probabilities of the tokens under the current policy, in [0, 1], any shape. Not differentiated.
        advantages: broadcasts against ``p`` elementwise; one advantage per completion is (B, 1), not (B,).
        constants: see ``AASConstants``.

    Returns:
        ``Shaped``, of the broadcast shape, float32 or wider; always finite (see the module on the pole).

    Raises:
        ValueError: unknown name.
    """
    if name not in SHAPINGS:
        raise ValueError(_unknown(name))
    with torch.no_grad():
        p, advantages = _matched(p, advantages)
        return SHAPINGS[name](p, advantages, constants)


def shaped_loss(name: str, logps: Tensor, advantages: Tensor, constants: AASConstants = DEFAULT_CONSTANTS) -> Tensor:
    """The closed form of each shaping, per token, written out with ``detach``: what autograd differentiates.

    The check on ``shape`` (its gradient must be what autograd makes of this) and the form that reads like the
    paper; a trainer uses ``per_token_advantages``. Tokens that fall back get PPO's term at an importance
    ratio of 1.

    Args:
        logps: log-probabilities of the tokens under the current policy, finite, any shape.
        advantages: broadcasts against ``logps`` elementwise.

    Returns:
        losses of the broadcast shape, to be minimised.

    Raises:
        ValueError: unknown name.
    """
    c = constants
    logps, advantages = _matched(logps, advantages)
    p = logps.exp()
    p_over_sg_p = (logps - logps.detach()).exp()  # defined even where p underflows to 0
    if name == "plain":
        return -advantages * p_over_sg_p
    if name == "luffy":
        return -advantages * p / (p + c.luffy_gamma)
    if name not in ("intended", "released"):
        raise ValueError(_unknown(name))

    gamma = gamma_intended(advantages, c) if name == "intended" else gamma_released(advantages, c)
    denominator = p.detach() + gamma
    inside = (denominator > 0) & (denominator <= 1)
    weight = p / torch.where(inside, denominator, 1.0)  # the 1.0 keeps NaN out of the backward; never used
    weight = torch.where(denominator <= 0, p_over_sg_p * _GUARD_BELOW, weight)
    weight = torch.where(denominator > 1, p_over_sg_p * _GUARD_ABOVE, weight)
    falls_back = (advantages < 0) & (p.detach() < c.fallback_probability)
    return -advantages * torch.where(falls_back, p_over_sg_p, weight)


@torch.no_grad()
def per_token_advantages(
    name: str,
    logps: Tensor,
    advantages: Tensor,
    guided_mask: Tensor,
    constants: AASConstants = DEFAULT_CONSTANTS,
) -> tuple[Tensor, Tensor]:
    """Guidance as GRPO sees it: one (B, T) tensor of advantages and one mask.

    On the tokens of the returned mask the old log-probabilities must be set to the detached current ones. The
    ratio is then exactly 1, is never clipped, and the gradient of GRPO's loss is that of the shaped loss.
    Guided tokens that fall back to PPO keep their advantage and are not in the mask: their ratio is the
    caller's ordinary one.

    Args:
        name: the shaping, see ``shape``.
        logps: (B, T) current log-probabilities, -inf allowed; not differentiated.
        advantages: (B,) or (B, T).
        guided_mask: (B, T), True (or 1) on the tokens to be shaped.
        constants: see ``AASConstants``.

    Returns:
        advantages (B, T): A * s(p, A) on shaped tokens, A elsewhere; and shaped_mask (B, T), bool.

    Raises:
        ValueError: unknown name, shapes that do not fit.
    """
    fits = advantages.shape in (logps.shape, logps.shape[:1])
    if logps.dim() != 2 or guided_mask.shape != logps.shape or not fits:
        raise ValueError(
            f"logps has shape {tuple(logps.shape)}, guided_mask {tuple(guided_mask.shape)}, advantages "
            f"{tuple(advantages.shape)}: pass logps and guided_mask as (B, T), advantages as (B,) or (B, T)."
        )
    logps, advantages = _matched(logps, expand_advantages(advantages))
    shaped = shape(name, logps.exp(), advantages, constants)
    shaped_mask = guided_mask.bool() & ~shaped.fallback
    return torch.where(shaped_mask, advantages * shaped.gradient, advantages), shaped_mask


def _intended(p: Tensor, advantages: Tensor, constants: AASConstants) -> Shaped:
    return _aas(p, advantages, gamma_intended(advantages, constants), constants)


def _released(p: Tensor, advantages: Tensor, constants: AASConstants) -> Shaped:
    return _aas(p, advantages, gamma_released(advantages, constants), constants)


def _aas(p: Tensor, advantages: Tensor, gamma: Tensor, constants: AASConstants) -> Shaped:
    """With the denominator detached, weight and gradient are the same number, p / denominator.

    The guards replace the denominator by a multiple of p; their quotient is a constant, and writing it as one
    keeps p = 0 finite (0 / 0 otherwise).
    """
    denominator = p + gamma
    weight = p / torch.where(denominator > 0, denominator, 1.0)
    weight = weight.masked_fill(denominator <= 0, _GUARD_BELOW).masked_fill(denominator > 1, _GUARD_ABOVE)
    fallback = (advantages < 0) & (p < constants.fallback_probability)
    weight = weight.masked_fill(fallback, 1.0)
    return Shaped(weight, weight, fallback)


def _luffy(p: Tensor, advantages: Tensor, constants: AASConstants) -> Shaped:
    denominator = p + constants.luffy_gamma
    weight = p / denominator
    return Shaped(weight, weight * (constants.luffy_gamma / denominator), torch.zeros_like(p, dtype=torch.bool))


def _plain(p: Tensor, advantages: Tensor, constants: AASConstants) -> Shaped:
    return Shaped(torch.ones_like(p), torch.ones_like(p), torch.zeros_like(p, dtype=torch.bool))


# By name; called with p and advantages of one shape and dtype, as `shape` prepares them.
SHAPINGS: dict[str, Callable[[Tensor, Tensor, AASConstants], Shaped]] = {
    "intended": _intended,
    "released": _released,
    "luffy": _luffy,
    "plain": _plain,
}


def _widened(x: Tensor) -> Tensor:
    """float32 or wider: bfloat16 has 8 bits, far too few for p + 0.001."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _matched(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the wider one's dtype, float32 at least, and broadcast to one shape."""
    dtype = torch.promote_types(_widened(x).dtype, _widened(y).dtype)
    x, y = torch.broadcast_tensors(x.to(dtype), y.to(dtype))
    return x, y


def _unknown(name: str) -> str:
    return f"unknown shaping {name!r}: use one of {', '.join(map(repr, SHAPINGS))}."
