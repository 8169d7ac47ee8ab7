"""What all figures share: colours, bands, boxes, labels."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinktuning_lite.method.shaping import SHAPINGS

BLUE, ORANGE, GREEN, PURPLE, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676", "#56B4E9"
CYCLE = (GREY, BLUE, ORANGE, GREEN, PURPLE, SKY)
DASHES = ("-", "-", "--", "-.", ":", (0, (5, 1, 1, 1)))
STUDENT_COLOUR, TEACHER_COLOUR = BLUE, ORANGE


class DescribedFigure(Figure):
    """A matplotlib Figure with `alt`, what it shows in words; a notebook shows it as an image with that text.

    JupyterLab and nbconvert's page take alternative text from HTML alone (seen in 4.6 and 7.17), so a live kernel sends an
    <img>. A committed notebook keeps the PNG (`lessons.stamp.clean`), which every page can show, with the text in its
    metadata, where nbconvert's classic page looks for it.
    """

    def __init__(self, *args: Any, alt: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alt = alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        from IPython.core.pylabtools import print_figure

        image, alt = print_figure(self, "png", base64=True), _drawable(self.alt)
        tag = f'<img src="data:image/png;base64,{image}" alt="{html.escape(alt)}">'
        bundle = {"image/png": image, "text/html": tag, "text/plain": textwrap.fill(alt, 120)}
        return bundle, {"image/png": {"alt": alt}}


def _figure(
    width: float, height: float, columns: int = 1, rows: int = 1, *, alt: str, **kwargs: Any
) -> tuple[DescribedFigure, np.ndarray]:
    """A figure of `rows` x `columns` axes without spines at the top and the right; `alt` says what it will show."""
    figure = DescribedFigure(figsize=(width, height), layout="constrained", alt=alt)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _band(ax: Axes, runs: list[list[dict]], key: str, colour: str, dash, smooth: int = 5) -> float:
    """Mean over seeds of a smoothed metric, with the range of the seeds as a band; returns the last mean."""
    length = min(len(r) for r in runs)
    kernel = np.ones(smooth) / smooth
    curves = []
    for rows in runs:
        values = np.array([row.get(key) if row.get(key) is not None else 0.0 for row in rows[:length]])
        padded = np.concatenate([np.full(smooth - 1, values[0]), values])
        curves.append(np.convolve(padded, kernel, "valid"))
    steps = [row["step"] for row in runs[0][:length]]
    mean = np.mean(curves, axis=0)
    ax.plot(steps, mean, color=colour, linestyle=dash, linewidth=1.8)
    ax.fill_between(steps, np.min(curves, axis=0), np.max(curves, axis=0), color=colour, alpha=0.18, linewidth=0)
    return float(mean[-1])


def _listed(values: Sequence[float], digits: int = 2) -> str:
    """Numbers for alternative text: "0.5, 0.25, ...", the first eight."""
    return ", ".join(f"{v:.{digits}g}" for v in list(values)[:8]) + (" ..." if len(values) > 8 else "")


def _visible(token: str) -> str:
    """White space made visible, so that a blank token is not an empty box."""
    text = token.replace("\n", "↵")
    return text if text.strip() else text.replace(" ", "␣")


def _bar(ax: Axes, x: float, y: float, width: float, text: str, colour: str, hatch: str) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x, y), width, 0.7, facecolor=colour, alpha=0.2, hatch=hatch, edgecolor=colour, linewidth=0))
    ax.add_patch(Rectangle((x, y), width, 0.7, fill=False, edgecolor=colour, linewidth=1.4))
    box = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1) if hatch else None
    ax.text(x + width / 2, y + 0.35, text, ha="center", va="center", fontsize=9, parse_math=False, bbox=box)


def _shaping_style(name: str) -> dict:
    """The colour and dash that a shaping has in every figure of notebook 03; plain is a broad band, for others lie on it."""
    if name == "plain":
        return {"color": PURPLE, "linestyle": "-", "linewidth": 6, "alpha": 0.4, "zorder": 1}
    i = list(SHAPINGS).index(name) + 1
    return {"color": CYCLE[i], "linestyle": DASHES[i], "linewidth": 2}


def _end_labels(ax: Axes, ends: Sequence[tuple[float, float, str, str]], size: float = 8.5) -> None:
    """Label lines at their right ends (x, y, text, colour); labels that would overlap are moved apart, top to bottom."""
    gap = 1.25 * size / (72 * ax.get_window_extent().height / ax.figure.dpi)  # of the axes' height
    to_axes = ax.transData + ax.transAxes.inverted()
    spots = sorted(((to_axes.transform((x, y))[1], text, colour) for x, y, text, colour in ends), reverse=True)
    heights = [h for h, _, _ in spots]
    for i in range(1, len(heights)):
        heights[i] = min(heights[i], heights[i - 1] - gap)
    low = min(0.0, *heights) if heights else 0.0
    for height, (_, text, colour) in zip(heights, spots, strict=True):
        ax.text(1.02, height - low, text, color=colour, fontsize=size, va="center", transform=ax.transAxes)


def _guidance_band(ax: Axes, until: float) -> None:
    if until:
        ax.axvspan(0, until, color="#EEEEEE", zorder=0)
        ax.text(
            until / 2,
            1.01,
            "guidance on",
            ha="center",
            va="bottom",
            fontsize=8,
            color="#555555",
            transform=ax.get_xaxis_transform(),
        )


def _drawable(text: str) -> str:
    """Text that the default font can draw: what it has no glyph for becomes �."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return "".join(c if font.get_char_index(ord(c)) else "\ufffd" for c in text)


def _wrapped(text: str, width: int) -> list[str]:
    parts = text.replace("\n\n", "\n").split("\n")
    return [line for part in parts for line in textwrap.wrap(_drawable(part), width) or [""]]


def _frame(x: float, y: float, width: float, height: float, edge: str, dash: str):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor="none", edgecolor=edge, linestyle=dash, linewidth=1.4)
