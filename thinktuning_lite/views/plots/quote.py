"""Figures of the movie-quote experiment: probes over steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinktuning_lite.views.plots.style import BLUE, CYCLE, DASHES, GREEN, ORANGE, _end_labels, _figure, _guidance_band


def arms_over_steps(
    runs: dict[str, list[list[dict]]], panels: dict[str, str], guided_until: int, all_arms: Sequence[str] = ()
) -> Figure:
    """Probes over training, a panel for each key of `panels` (key -> axis label), a line an arm, a band over its seeds.

    How to read: guidance is on in the grey part; what a line keeps to the right of it is the student's own. The letters at
    the right are the arms' names up to their first hyphen; arms that end at the same height share a label. `runs` maps an
    arm to its seeds' probes, a dict a step; markers tell apart lines that lie on each other. With `all_arms` an arm's
    colour is that of its place there, the same from figure to figure.
    """
    alt = "Last values, mean over seeds: " + "; ".join(
        f"{label}: " + ", ".join(f"{n} {np.mean([rows[-1][key] for rows in runs[n]]):.2g}" for n in runs)
        for key, label in panels.items()
    )
    figure, axes = _figure(4.6 * len(panels) + 0.5, 4.2, columns=len(panels), alt=alt)
    ends = []
    for ax, (key, label) in zip(axes.flat, panels.items(), strict=True):
        at = _draw_arms(ax, runs, key, list(all_arms or runs))
        share = 0 <= ax.dataLim.y0 and ax.dataLim.y1 <= 1
        ax.set(xlabel="step", ylabel=label, xlim=(0, None), **({"ylim": (-0.03, 1.03)} if share else {}))
        _guidance_band(ax, guided_until)
        ends.append((ax, at))
    if len(runs) > 1:
        figure.legend(
            *axes[0, 0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=min(8, len(runs)),
            frameon=False,
            fontsize=9,
        )
    figure.draw_without_rendering()  # the layout decides how far apart labels must be
    for ax, labels in ends:
        _end_labels(ax, labels)
    return figure


def _draw_arms(
    ax: Axes, runs: dict[str, list[list[dict]]], key: str, order: list[str]
) -> list[tuple[float, float, str, str]]:
    """One panel's lines and bands; returns their end labels (x, y, text, colour), one where several end alike."""
    colours = (*CYCLE, "#000000", "#E69F00")
    at: dict[float, list[tuple[str, str, float]]] = {}
    for name, seeds in runs.items():
        i = order.index(name)
        steps = [row["step"] for row in seeds[0]]
        values = np.array([[row[key] for row in rows] for rows in seeds])
        colour, marker = colours[i % len(colours)], "os^vDPX*"[i % 8]
        ax.plot(
            steps,
            values.mean(0),
            color=colour,
            linestyle=DASHES[i % len(DASHES)],
            marker=marker,
            markersize=4.5,
            markevery=(i % 2, 2),
            linewidth=1.6,
            label=name,
        )
        ax.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.12, linewidth=0)
        last = float(values.mean(0)[-1])
        at.setdefault(round(last, 2), []).append((name.split("-")[0], colour, last))
    return [
        (steps[-1], group[0][2], " ".join(n for n, _, _ in group), group[0][1] if len(group) == 1 else "black")
        for group in at.values()
    ]


def panels_over_steps(
    rows: Sequence[dict], panels: dict[str, Sequence[str]], guided_until: int, total_steps: int, columns: int = 3
) -> Figure:
    """One run's probes, a panel for each key of `panels` (axis label -> the rows' keys drawn in it), labelled at the right.

    How to read: guidance is on in the grey part. A panel whose label holds "log" has a logarithmic axis; values between 0
    and 1 have the whole of it. Keys are labelled without what stands before or after a colon if that is shared.
    """
    alt = "One run over its steps, first and last values: " + "; ".join(
        f"{key} {rows[0][key]:.2g} to {rows[-1][key]:.2g}" for keys in panels.values() for key in keys
    )
    figure, axes = _figure(
        4.1 * columns, 2.6 * -(-len(panels) // columns), columns=columns, rows=-(-len(panels) // columns), alt=alt
    )
    ends = []
    for ax, (label, keys) in zip(axes.flat, panels.items(), strict=False):
        parts = [key.split(": ") for key in keys]
        part = next((i for i in range(len(parts[0])) if len({p[i] for p in parts}) == len(parts)), 0)
        for i, key in enumerate(keys):
            ax.plot(
                [r["step"] for r in rows],
                [r[key] for r in rows],
                color=(BLUE, ORANGE, GREEN)[i % 3],
                linestyle=("-", "--", "-.")[i % 3],
                marker="os^"[i % 3],
                markersize=3.5,
                linewidth=1.7,
            )
        ax.set(xlabel="step", ylabel=label, xlim=(0, total_steps))
        if "log" in label:
            ax.set_yscale("log")
            ax.set_ylim(min(1e-6, *(r[k] for r in rows for k in keys)), 2)
        elif all(0 <= r[k] <= 1 for r in rows for k in keys):
            ax.set_ylim(-0.03, 1.03)
        else:
            ax.set_ylim(0, 1.08 * max(r[k] for r in rows for k in keys))
        _guidance_band(ax, min(guided_until, total_steps))
        ends.append(
            (
                ax,
                [
                    (rows[-1]["step"], rows[-1][k], p[part], (BLUE, ORANGE, GREEN)[i % 3])
                    for i, (k, p) in enumerate(zip(keys, parts, strict=True))
                ],
            )
        )
    for ax in list(axes.flat)[len(panels) :]:
        ax.axis("off")
    figure.draw_without_rendering()
    for ax, labels in ends:
        _end_labels(ax, labels)
    return figure
