"""Figures of tokens: one rollout, probabilities over many orders of magnitude, the inspector without a kernel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinktuning_lite.views.plots.style import (
    CYCLE,
    GREEN,
    STUDENT_COLOUR,
    TEACHER_COLOUR,
    DescribedFigure,
    _drawable,
    _figure,
    _listed,
    _visible,
)

WIDTH, LINE = 10.5, 0.46  # inches of a strip and of a line of it
CHARACTERS = 132  # of the strip's font in a line
LIKELY, UNLIKELY = np.array([255, 255, 255]) / 255, np.array([11, 60, 111]) / 255  # as in inspector.js


def token_strip(tokens: Sequence[str], p: Sequence[float], author: Sequence[int], label: str) -> Figure:
    """The tokens of one completion, each on a tile as wide as its text; the darker, the less likely.

    How to read: like a sentence; a line break in the text (↵) starts a new line. The number under a token is its
    probability `p`: white at 1, black-blue at 1e-6 and below, the inspector's scale. Underlined with orange dashes: the
    teacher wrote it.
    """
    places, lines = _places(tokens, numbers := [f"{v:.2g}" for v in p])
    i = int(np.argmin(p))
    text = _visible("".join(tokens)).replace("↵", " ")
    alt = f"{label}: {text}. Least likely token: {_visible(tokens[i])!r}, number {i}, at {p[i]:.1g}"
    figure, axes = _figure(WIDTH, LINE * lines + 0.35, alt=alt)
    _strip(axes[0, 0], tokens, places, lines, p, author, numbers)
    taught = "   (dashed underline: the teacher's)" if any(author) else ""
    axes[0, 0].set_title(f"{label}; darker: less likely{taught}", fontsize=9, loc="left", parse_math=False)
    return figure


def _places(tokens: Sequence[str], numbers: Sequence[str]) -> tuple[list[tuple[int, float, float]], int]:
    """(line, start, width) of each token's tile in characters, and the number of lines."""
    places, line, at = [], 0, 0.0
    for token, number in zip(tokens, numbers, strict=True):
        width = max(len(_shown(token)), 0.75 * len(number)) + 0.9
        if at and at + width > CHARACTERS:
            line, at = line + 1, 0.0
        places.append((line, at, width))
        line, at = (line + 1, 0.0) if "\n" in token else (line, at + width + 0.25)
    return places, places[-1][0] + 1 if places else 1


def _shown(token: str) -> str:
    text = _drawable(_visible(token))
    return text if len(text) < 25 else text[:24] + "…"


def _strip(
    ax: Axes,
    tokens: Sequence[str],
    places: Sequence[tuple[int, float, float]],
    lines: int,
    p: Sequence[float],
    author: Sequence[int],
    numbers: Sequence[str],
) -> None:
    """Draw tiles at `places`, coloured by `p`, on axes of `lines` lines."""
    from matplotlib.patches import Rectangle

    for token, (line, x, width), likely, who, number in zip(tokens, places, p, author, numbers, strict=True):
        share = 0.0 if np.isnan(likely) else float(np.clip(-np.log10(max(likely, 1e-9)) / 6, 0, 1))
        ground = LIKELY + (UNLIKELY - LIKELY) * share
        ink, middle = "white" if share > 0.45 else "black", x + width / 2
        ax.add_patch(Rectangle((x, -line), width, 0.84, facecolor=ground, edgecolor="#9A9A9A", linewidth=0.6))
        if who:
            ax.plot([x, x + width], [-line - 0.06] * 2, color=TEACHER_COLOUR, linestyle=(0, (2, 1)), linewidth=2)
        text = dict(ha="center", va="center", color=ink, parse_math=False)
        ax.text(middle, -line + 0.56, _shown(token), fontsize=8.5, family="monospace", **text)
        ax.text(middle, -line + 0.18, number, fontsize=6.5, **text)
    ax.set(xlim=(-0.2, CHARACTERS + 1), ylim=(0.75 - lines, 0.92))
    ax.axis("off")


def log_probability_strip(values: dict[str, Sequence[float]], label: str) -> Figure:
    """Probabilities over many orders of magnitude: a row of dots for each name, its median as a bar with the number.

    How to read: the axis is logarithmic, each grid line to the left is a factor of 10 (or more) less likely; 1e-6 means
    once in a million rollouts.
    """
    alt = f"Dots on a logarithmic axis: {label}. Medians: " + ", ".join(
        f"{name} {np.median(ps):.1e}" for name, ps in values.items()
    )
    figure, axes = _figure(8.5, 0.75 * len(values) + 1, alt=alt)
    ax = axes[0, 0]
    jitter = np.random.default_rng(0)
    for i, ps in enumerate(values.values()):
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
) -> DescribedFigure:
    """The inspector without a kernel: a group's advantages, the weight curve, and the tokens of rollout `shown`.

    How to read: top left, grey bars are the own rollouts compared among themselves, coloured ones the whole group, hatched
    orange the guided rollout. Top right, the weight of a shaped token over its probability; diamonds are the teacher's
    tokens, circles the student's. Below, the darker a token the less likely; the number is its weight.
    """
    numbers = [f"{w:.3g}" if s else "–" for w, s in zip(weight, shaped, strict=True)]
    places, lines = _places(tokens, numbers)
    alt = (
        f"{_drawable(textwrap.shorten(title, 240, placeholder=' …'))}. Rewards {_listed(rewards)}; advantages "
        f"{_listed(after)}; guided: {sum(guided)}. Rollout {shown}: {len(tokens)} tokens, the teacher's {sum(author)}"
    )
    figure = DescribedFigure(figsize=(WIDTH, 3.4 + LINE * lines), layout="constrained", alt=alt)
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.05, 0.35 + LINE * lines))
    bars, line = top.subplots(1, 2)
    _before_after(bars, rewards, before, after, guided)
    _weight_line(line, curve, p, weight, author)
    line.set(ylabel=f"weight, {shaping}", title=f"rollout {shown}, A = {after[shown]:+.2f}")
    for ax in (bars, line):
        ax.spines[["top", "right"]].set_visible(False)
    _strip(strip := bottom.subplots(), tokens, places, lines, p, author, numbers)
    strip.set_title(
        "darker: less likely; number: weight (–: not shaped); dashed underline: the teacher's", fontsize=9, loc="left"
    )
    figure.suptitle(
        textwrap.fill(_drawable(textwrap.shorten(title, 240, placeholder=" …")), 120), fontsize=10, parse_math=False
    )
    return figure


def _weight_line(
    ax: Axes,
    curve: tuple[Sequence[float], Sequence[float]],
    p: Sequence[float],
    weight: Sequence[float],
    author: Sequence[int],
) -> None:
    """The weight over the probability as a curve, and the rollout's tokens on it."""
    ax.plot(*curve, color=GREEN, linewidth=1.8)
    for who, marker, colour in ((0, "o", STUDENT_COLOUR), (1, "D", TEACHER_COLOUR)):
        at = [i for i, a in enumerate(author) if a == who]
        ax.plot(
            np.clip([p[i] for i in at], 1e-8, 1),
            np.clip([weight[i] for i in at], 1e-4, 1e3),
            marker,
            color=colour,
            markersize=5,
            alpha=0.6,
            fillstyle="full" if who else "none",
            linestyle="none",
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlim=(1e-8, 2),
        ylim=(5e-5, 2e3),
        xlabel="probability p of the token",
    )


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
