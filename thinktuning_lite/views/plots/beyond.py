"""Figures of notebook 07: gains of many arms, fractions and tokens over steps, gain against the teacher's accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from thinktuning_lite.views.plots.style import BLUE, CYCLE, DASHES, GREY, ORANGE, _end_labels, _figure


def arm_differences(comparisons: Sequence[Mapping], arms: Sequence[str], references: Sequence[str]) -> Figure:
    """Each arm's difference to each reference, in points of accuracy with its 95 % interval; a panel a reference.

    How to read: an interval that crosses the line at 0 shows no difference. Filled: better or worse also after Holm's
    correction for all comparisons of the table; hollow: no difference shown. `comparisons` as results.json of
    `thinktuning beyond` has them.
    """
    shown = [c for c in comparisons if c["arm"] in arms and c["reference"] in references]
    alt = "Differences in points of accuracy: " + "; ".join(
        f"{c['arm']} minus {c['reference']} {100 * c['difference']['estimate']:+.1f} "
        f"[{100 * c['difference']['low']:.1f}, {100 * c['difference']['high']:.1f}]"
        for c in shown
    )
    figure, axes = _figure(3.2 + 3.1 * len(references), 0.9 + 0.3 * len(arms), len(references), sharey=True, alt=alt)
    for ax, reference in zip(axes.flat, references, strict=True):
        for c in (c for c in shown if c["reference"] == reference):
            y, d = -list(arms).index(c["arm"]), c["difference"]
            colour = {"better": BLUE, "worse": ORANGE}.get(c["verdict"], GREY)
            ax.plot([100 * d["low"], 100 * d["high"]], [y, y], color=colour, linewidth=2)
            ax.plot(100 * d["estimate"], y, "o", color=colour, markerfacecolor="white" if colour == GREY else colour)
        ax.axvline(0, color="black", linewidth=0.8, alpha=0.5)
        ax.set(xlabel=f"points above {reference}", ylim=(-len(arms) + 0.4, 0.6))
        ax.set_yticks([-i for i in range(len(arms))], arms)
    return figure


def guidance_over_steps(runs: Mapping[str, Sequence[Sequence[Mapping]]], rollouts: int) -> Figure:
    """Left: the guided fraction of each step. Right: the teacher's tokens in the loss, added up. A line an arm.

    How to read: mean over seeds, with their range as a band. An arm that ends lower on the right spent less of the teacher.
    `runs`: {arm: metrics of each seed}; `rollouts` a step.
    """
    fractions = {
        a: np.array([[r.get("guidance/fraction") or 0.0 for r in s] for s in seeds]) for a, seeds in runs.items()
    }
    lengths = {
        a: np.array([[r.get("guidance/teacher_tokens") or 0.0 for r in s] for s in seeds]) for a, seeds in runs.items()
    }
    spent = {a: (fractions[a] * rollouts * lengths[a]).cumsum(1) / 1000 for a in runs}
    alt = "Guided fraction, first and last step, and thousands of teacher tokens in all: " + "; ".join(
        f"{a} {fractions[a].mean(0)[0]:.2f} to {fractions[a].mean(0)[-1]:.2f}, {spent[a].mean(0)[-1]:.1f}" for a in runs
    )
    figure, axes = _figure(10.5, 3.6, columns=2, alt=alt)
    ends = []
    for ax, values, label in zip(
        axes.flat, (fractions, spent), ("guided fraction", "teacher tokens, thousands"), strict=True
    ):
        at = []
        for i, (arm, curves) in enumerate(values.items()):
            steps, colour = np.arange(1, curves.shape[1] + 1), CYCLE[i % len(CYCLE)]
            ax.plot(steps, curves.mean(0), color=colour, linestyle=DASHES[i % len(DASHES)], linewidth=1.8)
            ax.fill_between(steps, curves.min(0), curves.max(0), color=colour, alpha=0.12, linewidth=0)
            at.append((steps[-1], curves.mean(0)[-1], arm, colour))
        ax.set(xlabel="step", ylabel=label, xlim=(0, None), ylim=(0, None))
        ends.append((ax, at))
    figure.draw_without_rendering()
    for ax, at in ends:
        _end_labels(ax, at)
    return figure


def gain_by_teacher(points: Mapping[str, Sequence[tuple[float, Mapping]]]) -> Figure:
    """Gain over GRPO (points, 95 % interval) against the share of the teacher's phrases that end right; a line a shaping.

    How to read: below 0 guidance harms. `points`: {shaping: [(share right, difference with estimate, low, high), ...]}.
    """
    alt = "Gain over GRPO in points, by the teacher's accuracy: " + "; ".join(
        f"{name}: "
        + ", ".join(f"{100 * x:.0f} % {100 * d['estimate']:+.1f}" for x, d in sorted(at, key=lambda p: p[0]))
        for name, at in points.items()
    )
    figure, axes = _figure(7.2, 3.8, alt=alt)
    ax = axes[0, 0]
    ends = []
    for i, (name, at) in enumerate(points.items()):
        colour = (BLUE, ORANGE, *CYCLE[3:])[i]
        at = sorted(at, key=lambda p: p[0])
        x = np.array([100 * p[0] for p in at]) + 0.6 * i  # beside each other, not on top
        y, low, high = (np.array([100 * p[1][k] for p in at]) for k in ("estimate", "low", "high"))
        ax.errorbar(x, y, [y - low, high - y], color=colour, marker="os^v"[i], linestyle=DASHES[i + 1], capsize=3)
        ends.append((x[-1], y[-1], name, colour))
    ax.axhline(0, color="black", linewidth=0.8, alpha=0.5)
    ax.set(xlabel="teacher's phrases that end right, %", ylabel="right at T=1, points above GRPO")
    figure.draw_without_rendering()
    _end_labels(ax, ends)
    return figure
