"""Figures of evaluation: differences, intervals, transitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from thinktuning_lite.views.plots.style import BLUE, CYCLE, DASHES, GREY, ORANGE, _figure, _frame, _wrapped


def difference_forest(rows: Sequence, reference: str = "GRPO") -> Figure:
    """Every method's difference to the reference, in points of accuracy with its 95 % interval; a panel a benchmark.

    How to read: an interval that crosses the line at 0 shows no difference. Filled: better or worse also after Holm's
    correction for all comparisons; hollow: no difference shown. `rows` are `table.Line`s.
    """
    rows = [r for r in rows if r.difference is not None]
    tasks, methods = list(dict.fromkeys(r.task for r in rows)), list(dict.fromkeys(r.method for r in rows))
    alt = (
        f"Difference to {reference} in points of accuracy with its 95 % interval, for {len(methods)} methods on "
        f"{len(tasks)} benchmarks: "
        + "; ".join(
            f"{r.method} on {r.task} {100 * r.difference.estimate:+.1f}"
            for r in rows
            if r.verdict in ("better", "worse")
        )
    )
    figure, axes = _figure(4 + 2.6 * len(tasks), 0.8 + 0.3 * len(methods), columns=len(tasks), sharey=True, alt=alt)
    for ax, task in zip(axes.flat, tasks, strict=True):
        for r in (r for r in rows if r.task == task):
            y, d = -methods.index(r.method), r.difference
            colour = {"better": BLUE, "worse": ORANGE}.get(r.verdict, GREY)
            ax.plot([100 * d.low, 100 * d.high], [y, y], color=colour, linewidth=2)
            ax.plot(100 * d.estimate, y, "o", color=colour, markerfacecolor="white" if colour == GREY else colour)
        ax.axvline(0, color="black", linewidth=0.8, alpha=0.5)
        ax.set(xlabel=f"points above {reference}", title=task.removeprefix("tt_tiny_"))
        ax.set_yticks([-i for i in range(len(methods))], methods)
    return figure


def response_lengths(lengths: dict[str, Sequence[float]]) -> Figure:
    """The distribution of response lengths in tokens, one cumulative line a method.

    How to read: the height at x is the share of responses of at most x tokens; a line further to the right is longer.
    """
    alt = "Cumulative distribution of response lengths. Median tokens: " + ", ".join(
        f"{name} {np.median(values):.0f}" for name, values in lengths.items()
    )
    figure, axes = _figure(7, 3.4, alt=alt)
    ax = axes[0, 0]
    for i, (name, values) in enumerate(lengths.items()):
        ordered = np.sort(np.asarray(values, dtype=float))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        ax.step(
            ordered,
            100 * share,
            where="post",
            color=CYCLE[i % len(CYCLE)],
            linestyle=DASHES[i % len(DASHES)],
            linewidth=1.8,
            label=name,
        )
    ax.set(xlabel="tokens a response", ylabel="responses of at most that many, %", ylim=(0, 101))
    ax.legend(frameon=False, loc="lower right")
    return figure


def transition_bars(counts: dict[str, dict[str, int]]) -> Figure:
    """From the first stated answer to the last: shares of responses that corrected themselves, or spoilt a right answer.

    How to read: blue to the right of 0 is what reflection mends, orange to the left what it spoils; responses that keep
    their answer, or state one only, are not drawn. `counts` maps a method to `behaviours.transitions`.
    """
    alt = "Shares of responses that mended their first answer, and that spoilt it: " + "; ".join(
        f"{name} {100 * c['wrong to right'] / sum(c.values()):.1f} %, {100 * c['right to wrong'] / sum(c.values()):.1f} %"
        for name, c in counts.items()
    )
    figure, axes = _figure(7, 0.9 + 0.32 * len(counts), alt=alt)
    ax = axes[0, 0]
    for i, count in enumerate(counts.values()):
        total = sum(count.values())
        mended, spoilt = (100 * count[k] / total for k in ("wrong to right", "right to wrong"))
        ax.barh(-i, mended, color=BLUE)
        ax.barh(-i, -spoilt, color=ORANGE)
        ax.text(mended, -i, f" {mended:.1f}", va="center", fontsize=8)
        ax.text(-spoilt, -i, f"{spoilt:.1f} ", va="center", ha="right", fontsize=8)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.margins(x=0.15)
    ax.set_yticks([-i for i in range(len(counts))], list(counts))
    ax.set(xlabel="% of responses: right to wrong (left), wrong to right (right)")
    return figure


def run_intervals(right: Sequence[Sequence[float]]) -> Figure:
    """Runs of one model on the same questions, best first, each with its 95 % Wilson interval; (runs, questions) of 0/1.

    How to read: a dot is a run's share of right answers. All runs have the same truth, near the dashed mean of them all;
    what separates the dots is sampling alone.
    """
    from thinktuning_lite.evaluation.statistics import (
        proportion_interval,  # needs the extra `eval`, which the main job does without
    )

    right = np.asarray(right, dtype=float)
    questions, shares = right.shape[1], np.sort(100 * right.mean(axis=1))[::-1]
    alt = (
        f"{len(shares)} runs of one model on {questions} questions with 95 % intervals: best {shares[0]:.1f} %, worst "
        f"{shares[-1]:.1f} %, mean {shares.mean():.1f} %"
    )
    figure, axes = _figure(7, 0.9 + 0.17 * len(shares), alt=alt)
    ax = axes[0, 0]
    for y, share in enumerate(shares):
        low, high = proportion_interval(round(share * questions / 100), questions)
        ax.plot([100 * low, 100 * high], [-y, -y], color=GREY, linewidth=1.6)
        ax.plot(share, -y, "o", color=BLUE, markersize=5)
    ax.axvline(shares.mean(), color="black", linestyle="--", linewidth=1)
    for y, name, dy in ((0, "best", 0.62), (len(shares) - 1, "worst", -0.62)):
        ax.text(shares[y], -y + dy, f"{name}: {shares[y]:.1f}", ha="center", va="center", fontsize=8, color=BLUE)
    ax.text(
        shares.mean(),
        1.0,
        f"mean {shares.mean():.1f}",
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=8,
    )
    ax.set(xlabel=f"right, % of {questions} questions", ylabel="one run each", yticks=[], ylim=(0.0 - len(shares), 1.1))
    return figure


def accuracy_by_steps(cells: dict[str, dict[int, dict[str, float]]]) -> Figure:
    """Right answers by the number of steps of a problem, a line a method, with 95 % Wilson intervals.

    How to read: methods stand beside each other within a number of steps; compare the intervals there, and the slopes.
    `cells` maps a method to {steps: fields of a `behaviours.Cell`}.
    """
    alt = "Right answers in % by the number of steps of a problem: " + "; ".join(
        f"{name} " + ", ".join(f"{100 * cell['accuracy']:.0f}" for _, cell in sorted(by_steps.items()))
        for name, by_steps in cells.items()
    )
    figure, axes = _figure(8.5, 3.8, alt=alt)
    ax = axes[0, 0]
    for i, (name, by_steps) in enumerate(cells.items()):
        found = sorted(by_steps.items())
        x = [steps + 0.09 * (i - (len(cells) - 1) / 2) for steps, _ in found]
        y = np.array([100 * cell["accuracy"] for _, cell in found])
        low, high = (np.array([100 * cell[end] for _, cell in found]) for end in ("low", "high"))
        ax.errorbar(
            x,
            y,
            (y - low, high - y),
            color=CYCLE[i % len(CYCLE)],
            linestyle=DASHES[i % len(DASHES)],
            marker="os^DvP"[i % 6],
            markersize=5,
            linewidth=1.4,
            elinewidth=1,
            label=name,
        )
    steps = sorted({s for by_steps in cells.values() for s in by_steps})
    ax.set(xlabel="steps of the problem", ylabel="right, %", xticks=steps)
    ax.set_ylim(top=101)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def disagreement(question: str, answer: str, right: str, responses: dict[str, str], title: str = "") -> Figure:
    """A question that one method gets right and another wrong, both responses beside each other, as text.

    How to read: the solid blue frame holds the right response, the dashed orange one the wrong. The fields are those of a
    `behaviours.Disagreement`.
    """
    width = 56
    texts = {name: _wrapped(text, width) for name, text in responses.items()}
    top = _wrapped(f"{question}  (right: {answer})", 2 * width + 6)
    lines = len(top) + max(map(len, texts.values())) + 4
    alt = (
        f"One question with two responses: {right} is right, "
        + " and ".join(name for name in responses if name != right)
        + " is wrong"
    )
    figure, axes = _figure(10, 0.19 * lines + 0.3, alt=alt)
    ax = axes[0, 0]
    ax.set(xlim=(0, 2), ylim=(-lines, 0))
    ax.axis("off")
    style = dict(va="top", fontsize=8.5, family="monospace", parse_math=False)
    ax.set_title(title, fontsize=9, loc="left")
    ax.text(0, -0.2, "\n".join(top), **style)
    for i, (name, text) in enumerate(texts.items()):
        good, y = name == right, -len(top) - 1.0
        ax.add_patch(_frame(i + 0.005, y, 0.98, -lines - y, BLUE if good else ORANGE, "-" if good else "--"))
        ax.text(
            i + 0.02,
            y - 0.3,
            f"{name}: {'right' if good else 'wrong'}",
            color=BLUE if good else ORANGE,
            weight="bold",
            **style,
        )
        ax.text(i + 0.02, y - 1.7, "\n".join(text), **style)
    return figure
