"""Figures of GRPO's parts: groups, clip, KL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from thinktuning_lite.views.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    STUDENT_COLOUR,
    TEACHER_COLOUR,
    _figure,
    _listed,
)


def group_bars(rewards: Sequence[float], advantages: Sequence[float], guided: Sequence[bool] | None = None) -> Figure:
    """One group: each rollout's reward (left) and advantage (right); guided ones hatched and orange.

    How to read: advantages are rewards relative to the group, so they sum to 0; equal rewards give no bars at all.
    """
    guided = guided or [False] * len(rewards)
    alt = f"One group of {len(rewards)} rollouts. Rewards {_listed(rewards)}; advantages {_listed(advantages)}" + (
        f"; guided: rollout {', '.join(str(i) for i, g in enumerate(guided) if g)}" if any(guided) else ""
    )
    figure, axes = _figure(8, 2.8, columns=2, alt=alt)
    x = np.arange(len(rewards))
    for ax, values, label in zip(
        axes.flat, (rewards, advantages), ("reward", "advantage (std of the group)"), strict=True
    ):
        bars = ax.bar(x, values, color=[TEACHER_COLOUR if g else STUDENT_COLOUR for g in guided])
        for bar, value, g in zip(bars, values, guided, strict=True):
            bar.set_hatch("//" if g else "")
            bar.set_edgecolor("white")
            ax.annotate(
                f"{value:.2f}",
                (bar.get_x() + bar.get_width() / 2, value),
                ha="center",
                fontsize=8,
                va="bottom" if value >= 0 else "top",
            )
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xlabel="rollout", ylabel=label, xticks=x)
        ax.margins(y=0.2)
    if any(guided):
        axes[0, 0].set_title("orange, hatched: guided", loc="left", fontsize=9, color=TEACHER_COLOUR)
    return figure


def advantage_by_rightness(group_size: int = 8) -> Figure:
    """Advantage of a right and of a wrong rollout over how many of their group are right, GRPO beside Dr. GRPO.

    How to read: GRPO's curves bend away at the edges: a lone right rollout, and a lone wrong one, weigh the most. Dr.
    GRPO's are straight lines. With 0 or all right there is nothing to compare, and both are 0 there.
    """
    alt = (
        f"Advantage of a right and of a wrong rollout by how many of {group_size} are right: straight lines under Dr. "
        "GRPO; under GRPO curves that grow steep where few are right, or few wrong"
    )
    figure, axes = _figure(7, 3.4, alt=alt)
    ax = axes[0, 0]
    k = np.arange(1, group_size)
    share = k / group_size
    std = np.sqrt(k * (group_size - k) / (group_size * (group_size - 1)))
    for name, scale, colour, dash in (("GRPO", std, BLUE, "-"), ("Dr. GRPO", np.ones_like(std), ORANGE, "--")):
        for values, who, x in (((1 - share) / scale, "right", k[0]), (-share / scale, "wrong", k[-1])):
            ax.plot(k, values, dash, marker="o" if who == "right" else "x", color=colour, linewidth=1.8)
            at = values[0] if who == "right" else values[-1]
            ax.annotate(
                f"{name}, {who}",
                (x, at),
                xytext=(-8 if who == "right" else 8, 0),
                color=colour,
                fontsize=9,
                textcoords="offset points",
                ha="right" if who == "right" else "left",
                va="center",
            )
    ax.plot([0, group_size], [0, 0], "ks", markersize=4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(
        xlabel=f"right rollouts in a group of {group_size}",
        ylabel="advantage",
        xticks=range(group_size + 1),
        xlim=(-0.7, group_size + 0.7),
    )
    return figure


def clip_objective(epsilon: float = 0.2) -> Figure:
    """The clipped objective of one token over its importance ratio, for A = +1 and A = -1.

    How to read: training climbs these curves. Where a curve is flat (dotted) the token has no gradient: it has moved as
    far as the clip allows. The other side is never flat: a token that moved the wrong way is always called back.
    """
    alt = (
        f"The clipped objective over the importance ratio: for A = +1 it rises and is flat above {1 + epsilon:g}; for "
        f"A = -1 it falls and is flat below {1 - epsilon:g}"
    )
    figure, axes = _figure(8, 2.9, columns=2, alt=alt)
    ratio = np.linspace(0.4, 1.6, 241)
    for ax, advantage in zip(axes.flat, (1, -1), strict=True):
        flat = ratio > 1 + epsilon if advantage > 0 else ratio < 1 - epsilon
        value = np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)
        ax.plot(ratio[~flat], value[~flat], color=BLUE, linewidth=2)
        ax.plot(ratio[flat], value[flat], ":", color=ORANGE, linewidth=2.5)
        ax.annotate(
            "no gradient",
            (ratio[flat].mean(), value[flat][0]),
            xytext=(0, 6),
            textcoords="offset points",
            color=ORANGE,
            ha="center",
            fontsize=9,
        )
        ax.axvspan(1 - epsilon, 1 + epsilon, color=GREY, alpha=0.15, linewidth=0)
        ax.plot([1], [advantage], "ko", markersize=5)
        ax.annotate(
            "first iteration",
            (1, advantage),
            xytext=(7 * advantage, -13),
            textcoords="offset points",
            fontsize=8,
            ha="left" if advantage > 0 else "right",
        )
        ax.set(xlabel="importance ratio", ylabel="objective of the token", title=f"A = {advantage:+d}")
        ax.margins(y=0.15)
    return figure


def kl_estimators() -> Figure:
    """What k1, k2 and k3 say of one token, over log(p / q), policy p against reference q.

    How to read: all agree near 0. k1 may be negative; k2 and k3 never are. To the left the policy made the token less
    likely than the reference: there k3 grows exponentially.
    """
    alt = (
        "Three estimates of the KL over log(p / q): k1 a straight line through 0, k2 a parabola, k3 near 0 like k2 but "
        "steep to the left and nearly a line to the right"
    )
    figure, axes = _figure(6.5, 3.2, alt=alt)
    ax = axes[0, 0]
    x = np.linspace(-2, 2.6, 231)
    curves = (("k1", x, "-"), ("k2", x**2 / 2, "--"), ("k3", np.exp(-x) + x - 1, "-."))
    for (name, y, dash), colour in zip(curves, (BLUE, ORANGE, GREEN), strict=True):
        ax.plot(x, y, dash, color=colour, linewidth=1.8)
        ax.annotate(name, (x[-1], y[-1]), xytext=(5, 0), textcoords="offset points", color=colour, va="center")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel="log(p / q) of the sampled token, nats", ylabel="estimate of the KL, nats")
    return figure
