"""GRPO as pure functions on tensors: advantages, importance ratio, clip, KL, aggregation, loss.

Nothing here knows of a trainer. Shapes: B completions, T completion tokens (padded on the right), and
N = groups * group_size completions when all of a batch's groups are taken together. Log-probabilities are
natural logarithms. Conventions follow TRL's ``GRPOTrainer`` (trl 1.16.0), which the tests run beside.

Sources: GRPO, Shao et al. 2024 (arXiv 2402.03300); DAPO, Yu et al. 2025 (arXiv 2503.14476);
Dr. GRPO, Liu et al. 2025 (arXiv 2503.20783); the KL estimators, Schulman 2020
("Approximating KL divergence").
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scale = Literal["group", "batch", "none"]
Aggregation = Literal["grpo", "bnpo", "dapo", "dr_grpo"]


def group_advantages(rewards: Tensor, group_size: int, *, scale: Scale = "group", eps: float = 1e-4) -> Tensor:
    """How much better each completion did than the mean of its own group.

    Args:
        rewards: (N,), N = groups * group_size, the completions of one group next to each other.
        group_size: completions per question, at least 2.
        scale: what the difference to the group mean is divided by.
            "group": the group's standard deviation + eps (GRPO, TRL's default);
            "batch": the standard deviation of all N rewards + eps (TRL's ``scale_rewards="batch"``);
            "none": nothing (Dr. GRPO).
            Standard deviations are sample ones (divided by n - 1), as in TRL.
        eps: added to the standard deviation, so that a group of equal rewards gives zeros; TRL has 1e-4.

    Returns:
        (N,) advantages, float32 or wider.

    Raises:
        ValueError: wrong shape, group of one, N not a multiple of group_size, reward not finite, unknown
            scale.
    """
    if group_size < 2:
        raise ValueError(
            f"group_size is {group_size}, but an advantage compares a completion with others of its group: "
            "use at least 2 completions per question."
        )
    if rewards.dim() != 1 or rewards.numel() == 0 or rewards.numel() % group_size:
        raise ValueError(
            f"rewards has shape {tuple(rewards.shape)}, but must be a flat (N,) tensor with N a positive "
            f"multiple of group_size={group_size}: pass whole groups, one group's completions in a row."
        )
    rewards = rewards.to(torch.promote_types(rewards.dtype, torch.float32))
    if not torch.isfinite(rewards).all():
        bad = (~torch.isfinite(rewards)).nonzero().flatten().tolist()
        raise ValueError(f"rewards are NaN or infinite at {bad[:8]}: give every completion a finite reward.")

    groups = rewards.view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    if scale == "group":
        centred = centred / (groups.std(dim=1, keepdim=True) + eps)
    elif scale == "batch":
        centred = centred / (rewards.std() + eps)
    elif scale != "none":
        raise ValueError(f"unknown scale {scale!r}: use 'group', 'batch' or 'none'.")
    return centred.flatten()


def importance_ratio(logps: Tensor, old_logps: Tensor) -> Tensor:
    """pi_theta(token) / pi_old(token) per token, (B, T); the gradient flows through ``logps``.

    Args:
        logps: (B, T) log-probabilities of the sampled tokens under the policy being trained.
        old_logps: (B, T) the same under the policy that sampled them.
    """
    return torch.exp(logps - old_logps)


def expand_advantages(advantages: Tensor) -> Tensor:
    """Advantages that broadcast against (B, T): (B,) becomes (B, 1), two-dimensional ones stay."""
    return advantages.unsqueeze(1) if advantages.dim() == 1 else advantages


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, *, epsilon_low: float = 0.2, epsilon_high: float = 0.2
) -> Tensor:
    """PPO's clipped objective as a per-token loss: -min(ratio * A, clip(ratio, 1 - low, 1 + high) * A).

    Args:
        ratio: (B, T) importance ratios.
        advantages: (B,), one per completion, or (B, T), one per token.
        epsilon_low: how far below 1 the ratio may fall before a token with A < 0 stops being pushed down.
        epsilon_high: how far above 1 it may rise before a token with A > 0 stops being pushed up.

    Returns:
        (B, T) loss per token, to be minimised.
    """
    advantages = expand_advantages(advantages)
    clipped = torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high)
    return -torch.min(ratio * advantages, clipped * advantages)


def clip_fraction(
    ratio: Tensor, advantages: Tensor, mask: Tensor, *, epsilon_low: float = 0.2, epsilon_high: float = 0.2
) -> Tensor:
    """Share of the active tokens whose gradient the clip cuts off (TRL's ``clip_ratio/region_mean``).

    A ratio outside the bounds counts only on the side on which the clip binds: above with A > 0,
    below with A < 0.

    Args:
        ratio: (B, T); advantages: (B,) or (B, T); mask: (B, T), 1 on completion tokens.

    Returns:
        scalar in [0, 1]; 0 when no token is active.
    """
    advantages = expand_advantages(advantages)
    low = (ratio < 1 - epsilon_low) & (advantages < 0)
    high = (ratio > 1 + epsilon_high) & (advantages > 0)
    active = mask.bool()
    return ((low | high) & active).sum() / active.sum().clamp(min=1)


def kl_k1(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Estimator k1 of KL(policy || reference): log p - log q, per token (B, T).

    For tokens sampled by the policy its mean is exactly the KL; single values may be negative. As a loss it
    is useless: the mean of its gradient is the mean score, which is 0.
    """
    return logps - ref_logps


def kl_k2(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Estimator k2 of KL(policy || reference): (log p - log q)^2 / 2, per token (B, T), never negative.

    Its mean is biased (small for small differences), yet the mean of its gradient is exactly that of
    KL(policy || reference).
    """
    return 0.5 * (logps - ref_logps) ** 2


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Estimator k3 of KL(policy || reference): q/p - log(q/p) - 1, per token (B, T), never negative.

    The one that GRPO uses. Its mean is exactly the KL, but as a loss its gradient has the mean of the
    gradient of the other direction, KL(reference || policy).
    """
    log_ratio = ref_logps - logps
    return torch.exp(log_ratio) - log_ratio - 1


def aggregate(
    per_token: Tensor,
    mask: Tensor,
    how: Aggregation,
    *,
    max_completion_length: int | None = None,
    num_items: int | Tensor | None = None,
) -> Tensor:
    """One number from a (B, T) tensor of per-token losses, as TRL's ``loss_type`` does on one process.

    Args:
        per_token: (B, T) losses; what stands where the mask is 0 is ignored, NaN included.
        mask: (B, T), 1 (or True) on completion tokens, 0 on padding.
        how:
            "grpo": mean over completions of each one's token mean (a long completion's tokens weigh less);
            "bnpo": mean over all tokens of these B completions;
            "dapo": sum over tokens / ``num_items``;
            "dr_grpo": sum over tokens / (B * ``max_completion_length``), a constant.
        max_completion_length: the budget in tokens, needed by "dr_grpo".
        num_items: active tokens of the whole batch of which these B completions are a part, used by "dapo";
            by default those of ``mask``.

    Returns:
        scalar. Completions without a single active token count as 0, not as NaN.

    Raises:
        ValueError: shapes differ, unknown ``how``, "dr_grpo" without a length.
    """
    if per_token.shape != mask.shape or mask.dim() != 2:
        raise ValueError(
            f"per_token has shape {tuple(per_token.shape)} and mask {tuple(mask.shape)}: both must be the same (B, T)."
        )
    active = mask.bool()
    losses = per_token.masked_fill(~active, 0.0)
    if how == "grpo":
        return (losses.sum(dim=1) / active.sum(dim=1).clamp(min=1)).mean()
    if how == "bnpo":
        return losses.sum() / active.sum().clamp(min=1)
    if how == "dapo":
        items = active.sum() if num_items is None else torch.as_tensor(num_items, device=losses.device)
        return losses.sum() / items.clamp(min=1)
    if how == "dr_grpo":
        if max_completion_length is None or max_completion_length < 1:
            raise ValueError(
                f"how='dr_grpo' divides by max_completion_length, which is {max_completion_length}: pass the "
                "token budget of a completion (at least 1)."
            )
        return losses.sum() / (losses.size(0) * max_completion_length)
    raise ValueError(f"unknown aggregation {how!r}: use 'grpo', 'bnpo', 'dapo' or 'dr_grpo'.")


def grpo_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ref_logps: Tensor | None = None,
    beta: float = 0.0,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    how: Aggregation = "grpo",
    max_completion_length: int | None = None,
    num_items: int | Tensor | None = None,
) -> Tensor:
    """The whole GRPO loss: clipped surrogate + beta * k3, aggregated (Shao et al. 2024, equation 3, negated).

    Equal to TRL's with ``importance_sampling_level="token"`` and, when beta > 0,
    ``use_bias_correction_kl=False`` (TRL's default multiplies k3 by the ratio; the paper does not).

    Args:
        logps, old_logps: (B, T) log-probabilities under the policy being trained and the one that sampled.
        advantages: (B,) or (B, T).
        mask: (B, T), 1 on completion tokens.
        ref_logps: (B, T) log-probabilities under the reference model, needed when beta is not 0.
        beta: weight of the KL to the reference model.
        epsilon_low, epsilon_high: see ``clipped_surrogate``.
        how, max_completion_length, num_items: see ``aggregate``.

    Returns:
        scalar, to be minimised.

    Raises:
        ValueError: beta without ref_logps, and what ``aggregate`` raises.
    """
    ratio = importance_ratio(logps, old_logps)
    losses = clipped_surrogate(ratio, advantages, epsilon_low=epsilon_low, epsilon_high=epsilon_high)
    if beta != 0.0:
        if ref_logps is None:
            raise ValueError(f"beta is {beta}, but ref_logps is None: pass the reference model's log-probabilities.")
        losses = losses + beta * kl_k3(logps, ref_logps)
    return aggregate(losses, mask, how, max_completion_length=max_completion_length, num_items=num_items)
