"""Figures of advantage-aware shaping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from thinktuning_lite.method.shaping import DEFAULT_CONSTANTS, SHAPINGS, AASConstants, shape
from thinktuning_lite.views.plots.style import _figure, _listed, _shaping_style


def weight_curves(
    advantages: Sequence[float] = (1.0, -1.0),
    constants: AASConstants = DEFAULT_CONSTANTS,
    names: Sequence[str] = tuple(SHAPINGS),
) -> Figure:
    """Gradient weight s(p, A) of each shaping over the student's probability p of a taught token, a panel an advantage.

    How to read: at the left edge are the tokens that the student finds unlikely, where the shapings differ most; a
    weight near 0 there means that the token is hardly learned. A spike is a pole. Both axes are logarithmic.
    """
    p = torch.logspace(-8, 0, 4001, dtype=torch.float64)
    alt = (
        f"Gradient weight over the probability of a taught token for {', '.join(names)}; a panel each for A = "
        f"{_listed(advantages)}"
    )
    figure, axes = _figure(5 * len(advantages) + 0.5, 4, columns=len(advantages), sharey=True, alt=alt)
    for ax, advantage in zip(axes.flat, advantages, strict=True):
        for name in names:
            s = shape(name, p, torch.full_like(p, advantage), constants).gradient
            ax.plot(p, s, label=name, **_shaping_style(name))
        ax.set(
            xscale="log",
            yscale="log",
            ylim=(1e-8, 1e4),
            xlabel="student's probability p of the taught token",
            title=f"A = {advantage:+g}",
        )
    axes[0, 0].set_ylabel("gradient weight s(p, A)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def bandit_curves(curves: dict[str, Sequence[float]], exact: dict[str, float]) -> Figure:
    """Probability of the taught action over updates, one line a shaping; a dot where the closed form puts p = 0.5.

    How to read: both axes are logarithmic, so equal distances are equal factors. Each dot should lie on its line: it was
    computed from an integral, the line from updates.
    """
    alt = "Probability of the taught action over updates. Updates until it is one half: " + ", ".join(
        f"{name} {n:,.0f}" for name, n in exact.items()
    )
    figure, axes = _figure(7.5, 3.8, alt=alt)
    ax = axes[0, 0]
    for name, values in curves.items():
        style = _shaping_style(name)
        ax.plot(np.arange(1, len(values) + 1), values, **style, label=name)
        ax.plot([exact[name]], [0.5], "o", color=style["color"], markersize=8, markeredgecolor="black")
    ax.axhline(0.5, color="black", linewidth=0.6, alpha=0.4)
    ax.set(xscale="log", yscale="log", xlabel="updates", ylabel="probability of the taught action", ylim=(None, 1.5))
    ax.legend(frameon=False, loc=(0.34, 0.45))
    return figure


def break_even_curves(advantage_right: float = 1.0, advantage_wrong: float = -1.0) -> Figure:
    """The share of right guidance below which a taught token sinks, over the student's probability of it.

    How to read: above a shaping's line the token rises on average, below it sinks. A line at the top left means that rare
    tokens sink unless nearly all guidance is right.
    """
    p = torch.logspace(-8, 0, 4001, dtype=torch.float64)
    alt = (
        "Share of right guidance that a taught token needs to rise, over its probability: near 100 % under intended for "
        "rare tokens, near 50 % under the other shapings"
    )
    figure, axes = _figure(7, 3.6, alt=alt)
    ax = axes[0, 0]
    for name in SHAPINGS:
        up = advantage_right * shape(name, p, torch.full_like(p, advantage_right)).gradient
        down = -advantage_wrong * shape(name, p, torch.full_like(p, advantage_wrong)).gradient
        ax.plot(p, 100 * down / (up + down), **_shaping_style(name), label=name)
    ax.set(
        xscale="log",
        ylim=(0, 103),
        xlabel="student's probability p of the taught token",
        ylabel="right guidance needed, %",
        title=f"A = {advantage_right:+g} when right, {advantage_wrong:+g} when wrong",
    )
    ax.legend(frameon=False, loc="lower left")
    return figure


def taught_tokens(runs: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """What a run did to fixed taught texts: entry token, all other taught tokens, distance from the start; by step.

    How to read: left, the geometric mean probability of the first taught token, on a logarithmic axis, where each
    gridline is a factor of 10; middle, the same of the tokens after it; right, the mean KL(start || now) per token on the
    start's own responses. `runs` maps a shaping to {"step", "entry", "rest", "kl"}.
    """
    panels = (
        ("entry", "probability of the entry token"),
        ("rest", "probability of the other taught tokens"),
        ("kl", "KL(start || now), nats per token"),
    )
    alt = "Entry token, other taught tokens and KL by step. Entry token, first to last: " + "; ".join(
        f"{name} {run['entry'][0]:.1e} to {run['entry'][-1]:.1e}" for name, run in runs.items()
    )
    figure, axes = _figure(11, 3.5, columns=3, alt=alt)
    for ax, (key, label) in zip(axes.flat, panels, strict=True):
        for name, run in runs.items():
            ax.plot(run["step"], run[key], **_shaping_style(name), label=name)
        ax.set(xlabel="step", ylabel=label)
    axes[0, 0].set_yscale("log")
    axes[0, 0].grid(axis="y", alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(runs), frameon=False)
    return figure
