"""The numbers of one group: `recompute` turns its rollouts and the `Settings` into what each token weighs in the loss,
with the functions that the trainer uses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thinktuning_lite.method.grpo import group_advantages, importance_ratio
from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.method.shaping import (
    DEFAULT_CONSTANTS,
    SHAPINGS,
    AASConstants,
    gamma_intended,
    gamma_released,
    per_token_advantages,
    shape,
)
from thinktuning_lite.views.index import Row
from thinktuning_lite.views.losses import Batch, Loss, token_gradients

MASKS = ("guided", "teacher")
SCALES = ("group", "batch", "none")


# ---------------------------------------------------------------- the numbers of one group


@dataclass(frozen=True)
class Settings:
    """What the numbers are recomputed under; the names are those of ThinkTuningConfig and GRPOConfig."""

    shaping: str = "intended"
    mask: str = "guided"  # shaping_mask
    constants: AASConstants = DEFAULT_CONSTANTS
    scale: str = "group"  # scale_rewards
    loss: Loss = Loss()
    mask_truncated: bool = False  # mask_truncated_completions: rollouts that were cut off are not trained on


# What becomes of a token's weight; the order is that of `Numbers.case`.
CASES = (
    "not shaped: its ordinary PPO term, weight 1",
    "shaped: the formula applies",
    "shaped, guarded: p + γ is not above 0, so the weight is set to 1.0001",
    "shaped, guarded: p + γ is above 1, so the weight is set to 0.9999",
    "falls back: A < 0 and p below the threshold, so its ordinary PPO term, weight 1",
)


@dataclass(frozen=True)
class Numbers:
    """One group under some settings. (N,) tensors: all its tokens, rollout after rollout. (G,): its rollouts.

    `ratio` is 1 on shaped tokens, by definition, and p / p_old on the others. `advantage` is the token's own, A * s(p,
    A) where shaped. `slope` is d(loss)/d(log p), 0 where the clip cuts it off; `gradient` is the size of the loss's
    gradient on the token's own logit, |slope| * (1 - p): a certain token is not pushed. `case` indexes CASES.
    `push` is d(loss of the step)/d(log p) with the averaging of the loss type, so that tokens of different rollouts can be
    compared; `kl` is what of it comes from the KL term.
    `weights_by` is (S, N), the weight under every shaping of SHAPINGS. `before` leaves out the guided rollouts (NaN
    for those), `after` has all.
    """

    p: Tensor
    p_old: Tensor
    ratio: Tensor
    weight: Tensor
    advantage: Tensor
    slope: Tensor
    gradient: Tensor
    push: Tensor
    kl: Tensor
    case: Tensor
    weights_by: Tensor
    before: Tensor
    after: Tensor


def recompute(
    rollouts: list[Rollout],
    settings: Settings,
    logps: list[list[float]] | None = None,
    old_logps: list[list[float]] | None = None,
    batch: list[Row] | None = None,
) -> Numbers:
    """Every number of one group, by the functions that the trainer uses.

    Args:
        rollouts: the whole group.
        logps: under the policy that is trained; default those of the log.
        old_logps: under the policy that sampled; default those of the log, so that every ratio is 1.
        batch: all rollouts of the step, for `scale="batch"`; default this group.
    """
    after = _relative([r.reward for r in rollouts], settings.scale, [row.reward for row in batch or []])
    if len(rollouts) < 2:  # nothing to compare with
        after = torch.tensor([r.advantage for r in rollouts])
    own = [i for i, r in enumerate(rollouts) if not r.guided]
    before = torch.full((len(rollouts),), math.nan)
    before[own] = _relative(
        [rollouts[i].reward for i in own], settings.scale, [row.reward for row in batch or [] if not row.guided]
    )

    lengths = [len(r.token_ids) for r in rollouts]
    now = _flat([r.logps for r in rollouts] if logps is None else logps)
    old = _flat(old_logps or [r.old_logps or r.logps for r in rollouts])
    by_row = after.repeat_interleave(torch.tensor(lengths))
    author = _flat([r.author for r in rollouts]).bool()
    guided = _flat([[r.guided] * n for r, n in zip(rollouts, lengths, strict=True)]).bool()
    masked = author if settings.mask == "teacher" else guided

    c = settings.constants
    shaped = shape(settings.shaping, now.exp(), by_row, c)
    advantage, ratio_one = (
        x[:, 0] if x.dim() == 2 else x
        for x in per_token_advantages(settings.shaping, now[:, None], by_row, masked[:, None], c)
    )
    old_in_loss = torch.where(ratio_one, now, old)
    slope, push, kl = _gradients(rollouts, settings, now, old_in_loss, advantage, ratio_one, batch)
    return Numbers(
        p=now.exp(),
        p_old=old.exp(),
        ratio=_finite_ratio(now, old_in_loss),
        weight=torch.where(masked, shaped.weight, 1.0),
        advantage=advantage,
        slope=slope,
        gradient=slope.abs() * (1 - now.exp()),
        push=push,
        kl=kl,
        case=_case(settings, now.exp(), by_row, masked, shaped.fallback),
        weights_by=torch.stack([shape(name, now.exp(), by_row, c).weight for name in SHAPINGS]),
        before=before,
        after=after,
    )


def _gradients(
    rollouts: list[Rollout],
    settings: Settings,
    now: Tensor,
    old: Tensor,
    advantage: Tensor,
    ratio_one: Tensor,
    batch: list[Row] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(slope, push, the KL term's part of push), each (N,); see `Numbers`."""
    lengths = [len(r.token_ids) for r in rollouts]
    width = max(lengths, default=0)
    inside = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]

    def trains(finish: str | None) -> bool:
        return not (settings.mask_truncated and finish == "length")

    mask = (inside & torch.tensor([trains(r.finish) for r in rollouts])[:, None]).float()

    def rows(flat: Tensor) -> Tensor:
        out = torch.zeros(inside.shape)
        out[inside] = flat
        return out

    known = all(r.ref_logps for r in rollouts)
    reference = rows(_flat([r.ref_logps for r in rollouts])) if known else None
    corrected = all(r.correction for r in rollouts)
    correction = _flat([r.correction for r in rollouts]) if corrected else None
    if correction is not None:  # a sampler's correction knows nothing of tokens that it did not sample
        correction = rows(torch.where(ratio_one, torch.ones_like(correction), correction))
    window = Batch(len(batch), sum(row.length for row in batch if trains(row.finish))) if batch else None
    given = (rows(now), rows(old), rows(advantage), mask)
    more = dict(correction=correction, batch=window)
    policy, averaging = token_gradients(replace(settings.loss, beta=0.0), *given, **more)
    whole = policy
    if settings.loss.beta and reference is not None:
        whole, _ = token_gradients(settings.loss, *given, ref_logps=reference, **more)
    slope = torch.where(averaging > 0, policy / averaging.clamp(min=1e-30), 0.0)
    return slope[inside], whole[inside], (whole - policy)[inside]


def _finite_ratio(logps: Tensor, old_logps: Tensor) -> Tensor:
    least = torch.finfo(logps.dtype).min  # a token of probability 0 stays at ratio 1
    return importance_ratio(logps.clamp(min=least), old_logps.clamp(min=least))


def _flat(lists: list[list]) -> Tensor:
    return torch.tensor([x for values in lists for x in values], dtype=torch.float32)


def _relative(rewards: list[float], scale: str, batch: list[float]) -> Tensor:
    """Group-relative advantages of one group; 0 for a group of one. `batch`: the rewards that "batch" divides by.

    As TRL has it, a reward that is missing (NaN) counts in no mean, and a group with an infinite one teaches nothing.
    """
    given = torch.tensor(rewards, dtype=torch.float32)
    out, judged = torch.zeros(len(given)), ~given.isnan()
    if judged.sum() < 2 or given.isinf().any():
        return out
    known = given[judged]
    if scale == "batch":  # group_advantages wants groups of one size, which a step without its guided rows has not
        everyone = torch.tensor(batch or rewards, dtype=torch.float32)
        out[judged] = group_advantages(known, len(known), scale="none") / (everyone[~everyone.isnan()].std() + 1e-4)
    else:
        out[judged] = group_advantages(known, len(known), scale=scale)
    return out.nan_to_num(nan=0.0)


def _gamma(settings: Settings, advantages: Tensor) -> Tensor:
    return (gamma_released if settings.shaping == "released" else gamma_intended)(advantages, settings.constants)


def _case(settings: Settings, p: Tensor, advantages: Tensor, masked: Tensor, fallback: Tensor) -> Tensor:
    case = torch.ones_like(p)
    if settings.shaping in ("intended", "released"):
        denominator = p + _gamma(settings, advantages)
        case[denominator <= 0], case[denominator > 1] = 2, 3
    case[fallback] = 4
    case[~masked] = 0
    return case


def detect(groups: Iterable[tuple[list[Rollout], list[Row]]]) -> Settings:
    """The settings, at the default constants, that best give the logged advantages and weights.

    Args:
        groups: some groups, each with all rows of its step.
    """
    groups = list(groups)

    def misses(settings: Settings, advantages: bool) -> int:
        return sum(differing(g, recompute(g, settings, batch=b))[0 if advantages else 1] for g, b in groups)

    scale = min(SCALES, key=lambda s: misses(Settings(scale=s), True))
    candidates = [Settings(name, mask, scale=scale) for mask in MASKS for name in SHAPINGS]
    return min(candidates, key=lambda s: misses(s, False))


def differing(rollouts: list[Rollout], numbers: Numbers) -> tuple[int, int]:
    """How many advantages and how many weights differ from the log by more than its five digits explain."""
    logged = torch.tensor([r.advantage for r in rollouts])
    weights = _flat([r.weights for r in rollouts])
    # Rounded are w itself and log p, which moves w = p / (p + gamma) by w (1 - w).
    last_digit = 1e-4 * 10 ** weights.abs().clamp(min=1e-9).log10().floor()
    rounding = 1e-4 * _flat([r.logps for r in rollouts]).abs() * (weights * (1 - weights)).abs()
    tolerance = 0.6 * last_digit + rounding
    return (
        int(((numbers.after - logged).abs() > 1e-3).sum()),
        int(((numbers.weight - weights).abs() > tolerance).sum()),
    )
