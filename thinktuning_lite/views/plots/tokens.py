"""Figures of single tokens: strips of a rollout."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.views.plots.style import (
    CYCLE,
    GREEN,
    STUDENT_COLOUR,
    TEACHER_COLOUR,
    _box,
    _drawable,
    _figure,
    _visible,
)


def token_strip(
    tokens: Sequence[str], values: Sequence[float], author: Sequence[int], label: str, columns: int = 14
) -> Figure:
    """The tokens of one completion as boxes shaded by a quantity in 0..1 (probability, weight); darker is larger.

    How to read: left to right, top to bottom; the teacher's tokens have an orange frame, the student's a blue one. The
    number under a token is its value.
    """
    rows = -(-len(tokens) // columns)
    figure, axes = _figure(0.75 * columns, 0.62 * rows + 0.5)
    ax = axes[0, 0]
    for i, (token, value, who) in enumerate(zip(tokens, values, author, strict=True)):
        x, y = i % columns, -(i // columns)
        shade = 1 - 0.75 * float(np.clip(value, 0, 1))
        ax.add_patch(_box(x, y, str(shade), TEACHER_COLOUR if who else STUDENT_COLOUR, "--" if who else "-"))
        ink = "white" if shade < 0.5 else "black"
        ax.text(x + 0.5, y + 0.62, _visible(token), ha="center", va="center", fontsize=8, color=ink, parse_math=False)
        ax.text(x + 0.5, y + 0.22, f"{value:.2g}", ha="center", va="center", fontsize=6.5, color=ink)
    ax.set(xlim=(-0.05, columns + 0.05), ylim=(1 - rows - 0.1, 1.1))
    ax.axis("off")
    ax.set_title(f"{label}   (solid blue frame: student, dashed orange frame: teacher)", fontsize=9, loc="left")
    return figure


def rollout_strip(rollout: Rollout, tokenizer, quantity: str = "probability") -> Figure:
    """`token_strip` of a logged rollout, shaded by `quantity`: "probability" or "weight"."""
    values = [float(np.exp(x)) for x in rollout.logps] if quantity == "probability" else rollout.weights
    tokens = [tokenizer.decode([i]) for i in rollout.token_ids]
    return token_strip(tokens, values, rollout.author, f"{quantity} of each token; advantage {rollout.advantage:+.2f}")


def log_probability_strip(values: dict[str, Sequence[float]], label: str) -> Figure:
    """Probabilities over many orders of magnitude: a row of dots for each name, its median as a bar with the number.

    How to read: the axis is logarithmic, each grid line to the left is a factor of 10 (or more) less likely; 1e-6 means
    once in a million rollouts.
    """
    figure, axes = _figure(8.5, 0.75 * len(values) + 1)
    ax = axes[0, 0]
    jitter = np.random.default_rng(0)
    for i, (name, ps) in enumerate(values.items()):
        colour, ps = CYCLE[i + 1], np.asarray(ps)
        ax.scatter(ps, -i + jitter.uniform(-0.18, 0.18, len(ps)), s=10, color=colour, alpha=0.35, linewidth=0)
        median = float(np.median(ps))
        ax.plot([median, median], [-i - 0.3, -i + 0.3], color="black", linewidth=1.6)
        ax.annotate(f"median {median:.2g}", (median, -i + 0.33), ha="center", va="bottom", fontsize=8)
    ax.set(xscale="log", xlabel=label, yticks=[-i for i in range(len(values))], ylim=(-len(values) + 0.4, 0.75))
    ax.set_xlim(right=3)
    ax.set_yticklabels(list(values))
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    return figure


def inspector_figure(
    *,
    title: str,
    rewards: Sequence[float],
    before: Sequence[float],
    after: Sequence[float],
    guided: Sequence[bool],
    shown: int,
    tokens: Sequence[str],
    author: Sequence[int],
    p: Sequence[float],
    weight: Sequence[float],
    shaped: Sequence[bool],
    curve: tuple[Sequence[float], Sequence[float]],
    shaping: str,
    columns: int = 14,
) -> Figure:
    """The inspector without a kernel: a group's advantages, the weight curve, and the tokens of rollout `shown`.

    How to read: top left, grey bars are the own rollouts compared among themselves, coloured ones the whole group, hatched
    orange the guided rollout. Top right, the weight of a shaped token over its probability; diamonds are the teacher's
    tokens, circles the student's. Below, the darker a token the less likely; the number is its weight.
    """
    rows = -(-len(tokens) // columns)
    figure = Figure(figsize=(0.75 * columns, 3.1 + 0.62 * rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.1, 0.62 * rows))
    bars, line = top.subplots(1, 2)
    _before_after(bars, rewards, before, after, guided)
    line.plot(*curve, color=GREEN, linewidth=1.8)
    for who, marker, colour in ((0, "o", STUDENT_COLOUR), (1, "D", TEACHER_COLOUR)):
        at = [i for i, a in enumerate(author) if a == who]
        line.plot(
            np.clip([p[i] for i in at], 1e-8, 1),
            np.clip([weight[i] for i in at], 1e-4, 1e3),
            marker,
            color=colour,
            markersize=5,
            alpha=0.6,
            fillstyle="full" if who else "none",
            linestyle="none",
        )
    line.set(
        xscale="log",
        yscale="log",
        xlim=(1e-8, 2),
        ylim=(5e-5, 2e3),
        xlabel="probability p of the token",
        ylabel=f"weight, {shaping}",
        title=f"rollout {shown}, A = {after[shown]:+.2f}",
    )
    for ax in (bars, line):
        ax.spines[["top", "right"]].set_visible(False)
    _inspected_strip(bottom.subplots(), tokens, author, p, weight, shaped, columns)
    figure.suptitle(
        textwrap.fill(_drawable(textwrap.shorten(title, 240, placeholder=" …")), 120), fontsize=10, parse_math=False
    )
    return figure


def _before_after(
    ax: Axes, rewards: Sequence[float], before: Sequence[float], after: Sequence[float], guided: Sequence[bool]
) -> None:
    x = np.arange(len(after))
    ax.bar(x - 0.2, np.nan_to_num(before), 0.38, color="#A0A0A0")
    for i, (value, g) in enumerate(zip(after, guided, strict=True)):
        ax.bar(
            i + 0.2,
            value,
            0.38,
            color=TEACHER_COLOUR if g else STUDENT_COLOUR,
            hatch="//" if g else "",
            edgecolor="white",
        )
        ax.annotate(f"{value:+.2f}", (i + 0.2, value), ha="center", va="bottom" if value >= 0 else "top", fontsize=7)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(x, [f"{i}\nr={r:.3g}" for i, r in enumerate(rewards)], fontsize=8)
    ax.set(ylabel="advantage", title="grey: own rollouts alone; colour: whole group")
    ax.margins(y=0.15)


def _inspected_strip(
    ax: Axes,
    tokens: Sequence[str],
    author: Sequence[int],
    p: Sequence[float],
    weight: Sequence[float],
    shaped: Sequence[bool],
    columns: int,
) -> None:
    for i, token in enumerate(tokens):
        x, y = i % columns, -(i // columns)
        shade = 1 - 0.85 * float(np.clip(-np.log10(max(p[i], 1e-9)) / 6, 0, 1))
        ink = "white" if shade < 0.5 else "black"
        ax.add_patch(
            _box(x, y, str(shade), TEACHER_COLOUR if author[i] else STUDENT_COLOUR, "--" if author[i] else "-")
        )
        text = _drawable(token if len(token) < 12 else token[:10] + "…")
        ax.text(x + 0.5, y + 0.62, text, ha="center", va="center", fontsize=8, color=ink, parse_math=False)
        ax.text(
            x + 0.5,
            y + 0.22,
            f"{weight[i]:.3g}" if shaped[i] else "–",
            ha="center",
            va="center",
            fontsize=6.5,
            color=ink,
        )
    ax.set(xlim=(-0.05, columns + 0.05), ylim=(-(-(-len(tokens) // columns)) + 1 - 0.1, 1.1))
    ax.axis("off")
    ax.set_title(
        "darker: less likely; number: weight (–: not shaped); solid blue frame: student, dashed orange: teacher",
        fontsize=9,
        loc="left",
    )
