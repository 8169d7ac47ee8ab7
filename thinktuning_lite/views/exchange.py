"""What the inspector and its browser part tell each other: settings, choices, the words beside the numbers."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.method.shaping import SHAPINGS, AASConstants
from thinktuning_lite.views.index import FILTERS, SORTS, Group, Row
from thinktuning_lite.views.inspection import CASES, Settings
from thinktuning_lite.views.losses import LOSS_TYPES, SURROGATES, Loss
from thinktuning_lite.views.text import visible

# What the browser is sent of each token, in this order; then its weight under every shaping. See `Numbers`.
FIELDS = (
    "p", "p_old", "ratio", "weight", "advantage", "slope", "gradient", "case", "push", "kl", "change", "sampler", "entropy",
    "correction",
)  # fmt: skip
PAGE = 140  # tokens in the static twin
FALLBACKS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)


def page_of(r: Rollout) -> tuple[int, int]:
    """The tokens that a page holds: all, or PAGE of them from shortly before the teacher's first."""
    n = len(r.token_ids)
    first = max(0, min(r.author.index(1) - PAGE // 4 if r.guided else 0, n - PAGE))
    return first, min(n, first + PAGE)


def finite(values: list[float]) -> list[float | None]:
    """None for what JSON cannot hold."""
    return [float(x) if math.isfinite(x) else None for x in values]


def replaced(r: Rollout) -> dict | None:
    """The rollout in whose place guidance came, as far as the log has it."""
    if r.replaced is None:
        return None
    reward = r.replaced.get("reward")
    return {"text": visible(r.replaced.get("text", "")), "reward": None if reward is None else finite([reward])[0]}


def why_not_finite(reward: float) -> str:
    if math.isnan(reward):
        return "A = 0: no reward function judged this rollout, and it counts in no mean."
    return f"A = 0: a reward of this group is missing or not finite (this one is {reward:g}), so no mean says anything."


def settings_of(args: Any) -> Settings:
    return Settings(
        args.shaping,
        args.shaping_mask,
        args.constants,
        args.scale_rewards,
        Loss.of(args),
        args.mask_truncated_completions,
    )


def settings_of_run(run: dict) -> Settings | None:
    """The settings in a log's row of the run; None for a log of schema 1, whose settings are found by its numbers."""
    if not run:
        return None
    known = {name: run[name] for name in AASConstants.__dataclass_fields__ if name in run}
    return Settings(
        run.get("shaping", "plain"),
        run.get("shaping_mask", "guided"),
        AASConstants(**known),
        run.get("scale_rewards", "group"),
        Loss.of(run),
        run.get("mask_truncated_completions", False),
    )


def as_ui(s: Settings) -> dict:
    return {
        "shaping": s.shaping,
        "mask": s.mask,
        "gamma_min": s.constants.gamma_min,
        "gamma_max": s.constants.gamma_max,
        "fallback": s.constants.fallback_probability,
        "loss_type": s.loss.loss_type,
        "importance_sampling_level": s.loss.importance_sampling_level,
        "epsilon": s.loss.epsilon,
        "beta": s.loss.beta,
        "scale": s.scale,
    }


def offered(logged: Settings) -> dict:
    c = logged.constants
    return {
        "fields": list(FIELDS),
        "shapings": list(SHAPINGS),
        "filters": {k: v[0] for k, v in FILTERS.items()},
        "sorts": {k: v[0] for k, v in SORTS.items()},
        "cases": list(CASES),
        "logged": as_ui(logged),
        "masks": {"guided": "whole guided response", "teacher": "teacher's tokens only"},
        "scales": {"group": "group std", "batch": "std of the step", "none": "none (Dr. GRPO)"},
        "losses": list(LOSS_TYPES),
        "levels": {"token": "of the token", "sequence": "of the whole rollout (GSPO)"},
        "surrogates": SURROGATES,
        "loss": asdict(logged.loss),
        "fallbacks": sorted({*FALLBACKS, c.fallback_probability}),
        "gamma_limit": max(0.01, 2 * abs(c.gamma_min), 2 * abs(c.gamma_max)),
        "advantages": [c.advantage_max, c.advantage_min],
        "formulas": {
            "intended": "p / (p + γ)",
            "released": "p / (p + γ)",
            "luffy": f"p / (p + {c.luffy_gamma:g})",
            "plain": "1",
        },
    }


def listed(g: Group) -> dict:
    question = visible(g.question)
    reward = f"reward {g.mean:.2f} ± {g.spread:.2f}" if g.spread else f"no signal, all {g.mean:.3g}"
    parts = [f"step {g.step} group {g.group}", f"{g.guided} guided", reward]
    parts += [f"rarest p {math.exp(g.least_logp):.0e}"] if g.least_logp < 0 else []  # 0: no log-probability is known
    # The isolates keep a right-to-left question from turning the line around.
    return {"key": g.key, "label": " · ".join(parts) + f" · \u2068{question[:70]}\u2069"}


def floats(x: Tensor) -> bytes:
    return x.to(torch.float32).contiguous().numpy().tobytes()


def why(rollouts: list[Rollout], batch: list[Row], settings: Settings, after: Tensor) -> list[str]:
    """The arithmetic of each rollout's advantage, in words."""
    rewards, scale = [float(r.reward) for r in rollouts], settings.scale
    if len(rewards) < 2:
        return ["A is as logged: a group of one has nothing to compare with."]
    if not all(map(math.isfinite, rewards)):
        return [why_not_finite(r) for r in rewards]
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    if scale == "batch":
        spread = statistics.stdev([row.reward for row in batch if math.isfinite(row.reward)])
    if statistics.stdev(rewards) == 0:
        return [f"A = 0: all {len(rewards)} rewards of this group are equal, so there is nothing to learn from."] * len(
            rewards
        )
    out = []
    for reward, a in zip(rewards, after.tolist(), strict=True):
        by = "" if scale == "none" else f" / (std {spread:.3g} + 0.0001)"
        side = "worse than" if a < 0 else "better than" if a > 0 else "just at"
        out.append(
            f"A = (reward {reward:.3g} − mean {mean:.3g}){by} = {a:+.3g}: {side} the mean of its "
            f"{'group' if scale != 'batch' else 'group, by the spread of the step'}."
        )
    return out


def averaging(rollouts: list[Rollout], batch: list[Row], settings: Settings) -> list[str]:
    """By what the loss type divides each rollout's tokens, in words and numbers."""
    loss, rows = settings.loss, len(batch)
    tokens = sum(row.length for row in batch)
    if loss.loss_type in ("grpo", "sapo"):
        return [f"1 / ({rows} rollouts of the step x {len(r.token_ids)} tokens of this one)" for r in rollouts]
    if loss.loss_type == "dr_grpo":
        said = f"1 / ({rows} rollouts of the step x max_completion_length {loss.max_completion_length})"
    elif loss.loss_type == "luspo":
        said = f"1 / {rows} rollouts of the step"
    else:
        said = f"1 / {tokens} tokens of the step"
    return [said] * len(rollouts)
