"""Figures of the memory planner."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from thinktuning_lite.views.plots.style import CYCLE, _figure


def memory_bars(plans: dict[str, dict[str, int]], cards: dict[str, int]) -> Figure:
    """Predicted memory of a process by part, one stacked bar a setting; dashed lines are the memory of graphics cards.

    How to read: a setting fits a card when its bar ends left of the card's line. `plans` maps a setting to the bytes of its
    parts at the worst moment; `cards` maps a card to its bytes.
    """
    alt = (
        "Predicted memory in GiB: "
        + ", ".join(f"{n} {sum(s.values()) / 2**30:.1f}" for n, s in plans.items())
        + ". Cards: "
        + ", ".join(f"{name} {size / 2**30:.0f}" for name, size in cards.items())
    )
    figure, axes = _figure(9, 1.4 + 0.5 * len(plans), alt=alt)
    ax = axes[0, 0]
    parts = list(dict.fromkeys(part for sizes in plans.values() for part in sizes))
    hatches = ("", "//", "..", "xx", "\\\\", "++", "oo", "--", "||")
    ends = np.zeros(len(plans))
    for i, part in enumerate(parts):
        sizes = np.array([sizes.get(part, 0) / 2**30 for sizes in plans.values()])
        ax.barh(
            range(len(plans)),
            sizes,
            left=ends,
            color=CYCLE[i % len(CYCLE)],
            hatch=hatches[i % len(hatches)],
            edgecolor="white",
            linewidth=0.5,
            label=part,
        )
        ends += sizes
    for i, end in enumerate(ends):
        ax.text(end, i, f" {end:.1f}", va="center", fontsize=8)
    for name, size in cards.items():
        ax.axvline(size / 2**30, color="black", linestyle="--", linewidth=0.9)
        ax.text(size / 2**30, -0.55, name, ha="center", va="bottom", fontsize=8)
    right = max([*ends, *(size / 2**30 for size in cards.values())])
    ax.set(xlabel="memory, GiB", ylim=(len(plans) - 0.5, -0.5), xlim=(0, 1.1 * right))
    ax.set_yticks(range(len(plans)), list(plans))
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure
