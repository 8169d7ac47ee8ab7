"""The numbers of a group as the browser reads them, and what is said beside them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thinktuning_lite.method.rollouts import UNKNOWN_TOKEN, Rollout
from thinktuning_lite.method.shaping import gamma_intended, gamma_released, shape
from thinktuning_lite.views.exchange import averaging, finite, why
from thinktuning_lite.views.index import Row
from thinktuning_lite.views.inspection import Numbers, Settings, differing


def curves(settings: Settings, after: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (M,) and the weight of a shaped token there, (G, M), for each rollout's advantage."""
    c = settings.constants
    near_pole = torch.tensor([abs(g) * (1 + d) for g in (c.gamma_min, c.gamma_max) for d in (-1e-3, 1e-3, 0.03, 0.1)])
    p = torch.cat([torch.logspace(-8, 0, 97), near_pole, torch.tensor([c.fallback_probability * 0.999])])
    p = p[(p >= 1e-8) & (p <= 1)].sort().values
    return p, shape(settings.shaping, p[None, :], after[:, None], c).weight


def token_rows(rollouts: list[Rollout], numbers: Numbers, push_of_run: Tensor) -> Tensor:
    """(FIELDS + shapings, N): every number of every token, NaN where it is not known."""
    n = numbers

    def noted(name: str, of: Callable[[float], float] = float) -> Tensor:
        rows = [getattr(r, name) or [None] * len(r.token_ids) for r in rollouts]
        return torch.tensor([math.nan if x is None else of(x) for row in rows for x in row], dtype=torch.float32)

    more = [n.push - push_of_run, noted("sampler_logps", math.exp), noted("entropy"), noted("correction")]
    fields = [n.p, n.p_old, n.ratio, n.weight, n.advantage, n.slope, n.gradient, n.case, n.push, n.kl, *more]
    return torch.cat([torch.stack(fields), n.weights_by])


def packed(
    rollouts: list[Rollout], batch: list[Row], settings: Settings, numbers: Numbers, push_of_run: Tensor
) -> dict:
    """What of a group's numbers the browser needs: tensors, and the words of each rollout."""
    p, weights = curves(settings, numbers.after)
    return {
        "values": token_rows(rollouts, numbers, push_of_run),
        "curve_p": p,
        "curves": weights,
        "before": finite(numbers.before.tolist()),
        "after": finite(numbers.after.tolist()),
        "gamma": {
            name: finite(f(numbers.after, settings.constants).tolist())
            for name, f in (("intended", gamma_intended), ("released", gamma_released))
        },
        "why": why(rollouts, batch, settings, numbers.after),
        "averaging": averaging(rollouts, batch, settings),
    }


def note(rollouts: list[Rollout], numbers: Numbers, compared: bool) -> str:
    """Whether the settings are those of the log, whether the clip can act, and what the log does not hold."""
    if compared:
        return "Probabilities are those of compare(); the ratio of unshaped tokens is taken to them."
    lacking = missing(rollouts)
    if lacking:
        return f"Missing from this log: {', '.join(lacking)}. What needs them is left out."
    advantages, weights = differing(rollouts, numbers)
    if advantages or weights:
        text = (
            f"What if: {weights} of {len(numbers.p)} weights and {advantages} of {len(rollouts)} advantages differ "
            "from the log."
        )
    else:
        text = "These settings give the logged weights and advantages."
    return text + " Every ratio is 1 (first iteration), so the clip is idle; compare() sets a later policy beside it."


def missing(rollouts: list[Rollout]) -> list[str]:
    """What no one recorded of these rollouts, in words."""
    said = {
        "token ids (each piece is a word of the text)": lambda r: UNKNOWN_TOKEN in r.token_ids,
        "log-probabilities": lambda r: any(map(math.isnan, r.logps)),
        "advantages (those shown follow from the rewards)": lambda r: math.isnan(r.advantage),
    }
    return [words for words, lacks in said.items() if any(map(lacks, rollouts))]
