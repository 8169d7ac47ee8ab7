"""Figures of training runs: curves, rewards, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.views.plots.style import (
    BLUE,
    CYCLE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STUDENT_COLOUR,
    TEACHER_COLOUR,
    _band,
    _figure,
)


def learning_curves(runs: dict[str, list[list[dict]]]) -> Figure:
    """Reward, length and guided share over training; one line a method, its band the range over seeds.

    How to read: while guidance is on, the reward of a guided method holds the teacher's answers too; what the student
    learned is what remains after the guided share has gone to 0. `runs` maps a method to its seeds' metrics rows.
    """
    panels = (
        ("reward", "reward (share right)"),
        ("completions/mean_length", "tokens a response"),
        ("guidance/fraction", "guided share of rollouts"),
    )
    alt = "Reward, tokens a response and guided share over steps. Last reward, mean over seeds: " + ", ".join(
        f"{name} {np.mean([rows[-1].get('reward') or 0 for rows in seeds]):.2f}" for name, seeds in runs.items()
    )
    figure, axes = _figure(11, 3.4, columns=3, alt=alt)
    for ax, (key, label) in zip(axes.flat, panels, strict=True):
        for i, seeds in enumerate(runs.values()):
            _band(ax, seeds, key, CYCLE[i % len(CYCLE)], DASHES[i % len(DASHES)])
        ax.set(xlabel="step", ylabel=label)
        ax.set_ylim(bottom=0)
    handles = [axes.flat[0].lines[i] for i in range(len(runs))]
    figure.legend(handles, list(runs), loc="outside upper center", ncols=min(3, len(runs)), frameon=False)
    return figure


def advantages_by_author(log: str | Path) -> Figure:
    """Group-relative advantages of own and of guided rollouts, as shares of each kind.

    How to read: a right answer is worth more the fewer of its group are right, so guided rollouts, which rescue hard
    groups, sit further to the right; mass at 0 is groups whose rewards are all equal.
    """
    rollouts = list(read_rollouts(log))
    by_author = {
        name: [r.advantage for r in rollouts if r.guided == guided]
        for name, guided in (("own", False), ("guided", True))
    }
    alt = "Histogram of advantages. " + "; ".join(
        f"{name}: mean {np.mean(a):+.2f} of {len(a)}" for name, a in by_author.items() if a
    )
    figure, axes = _figure(7, 3.4, alt=alt)
    ax = axes[0, 0]
    bins = np.linspace(-3, 3, 25)
    for (name, values), colour in zip(by_author.items(), (STUDENT_COLOUR, TEACHER_COLOUR), strict=True):
        if not values:
            continue
        ax.hist(
            values,
            bins,
            weights=np.full(len(values), 1 / len(values)),
            histtype="stepfilled",
            alpha=0.35,
            color=colour,
            edgecolor=colour,
            linewidth=1.6,
            hatch="//" if name == "guided" else None,
            label=f"{name} rollouts (n={len(values)})",
        )
    ax.set(xlabel="advantage (group-relative, in sample standard deviations)", ylabel="share of rollouts")
    ax.legend(frameon=False)
    return figure


def length_drift(curves: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """Mean length of right and of wrong answers over updates, a panel for each aggregation.

    How to read: nothing in this toy rewards length, so a curve that leaves its start was moved by the aggregation alone.
    `curves` maps an aggregation to {"right": lengths, "wrong": lengths}.
    """
    alt = "Mean length over updates, first to last: " + "; ".join(
        f"{how}, {who} answers {lengths[0]:.0f} to {lengths[-1]:.0f}"
        for how, both in curves.items()
        for who, lengths in both.items()
    )
    figure, axes = _figure(8, 3, columns=len(curves), sharey=True, alt=alt)
    for ax, (how, both) in zip(axes.flat, curves.items(), strict=True):
        for (who, lengths), colour, dash in zip(both.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
            ax.plot(lengths, dash, color=colour, linewidth=1.8, label=f"{who} answers")
        ax.set(xlabel="update", title=how, ylim=(0, None))
    axes[0, 0].set_ylabel("mean length, tokens")
    axes[0, 0].legend(frameon=False)
    return figure


def reward_and_accuracy(
    rewards: dict[str, Sequence[float]],
    accuracy: dict[str, tuple[float, float]],
    start: tuple[float, float],
    greedy: float,
    smooth: int = 10,
) -> Figure:
    """Training reward over steps (left) and validation accuracy at T=1 before and after (right), one colour a run.

    How to read: left, thin lines are single steps, thick ones a running mean over `smooth` of them. Right, bars are 95 %
    intervals; the dotted line is what the start reaches greedily. `accuracy` and `start` are (mean, half-width), shares of 1.
    """
    alt = f"Training reward over steps, and validation accuracy at T = 1: start {100 * start[0]:.0f} %, " + ", ".join(
        f"{name} {100 * v[0]:.0f} %" for name, v in accuracy.items()
    )
    figure, axes = _figure(9, 3.3, columns=2, width_ratios=(2, 1), sharey=True, alt=alt)
    left, right = axes.flat
    colours = dict(zip(rewards, (BLUE, ORANGE, GREEN), strict=False))
    for name, values in rewards.items():
        values = np.asarray(values)
        left.plot(np.arange(1, len(values) + 1), values, color=colours[name], alpha=0.3, linewidth=0.8)
        n = min(smooth, len(values))
        mean = np.convolve(values, np.ones(n) / n, "valid")
        left.plot(
            np.arange(n, len(values) + 1),
            mean,
            color=colours[name],
            linewidth=2,
            linestyle="-" if colours[name] == BLUE else "--",
            label=name,
        )
    left.set(xlabel="step", ylabel="share right")
    left.legend(frameon=False, loc="lower right")
    points = {"start": (start, GREY)} | {name: (v, colours[name]) for name, v in accuracy.items()}
    for i, (value, colour) in enumerate(points.values()):
        right.errorbar(i, value[0], yerr=value[1], fmt="o", color=colour, capsize=5, linewidth=1.8)
        right.annotate(
            f"{100 * value[0]:.0f} %",
            (i, value[0]),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    right.axhline(greedy, color="black", linestyle=":", linewidth=1.2)
    right.annotate("start, greedy", (-0.4, greedy), xytext=(0, 4), textcoords="offset points", fontsize=8)
    right.set(
        xticks=range(len(points)),
        xticklabels=list(points),
        xlim=(-0.5, len(points) - 0.3),
        title="validation, sampled at T = 1",
    )
    return figure


def live_figure(rows: Sequence[dict], total_steps: int | None = None) -> Figure:
    """A running training, from its metrics rows ({"step", metric: value}): reward, signal, truncation, weights.

    How to read: top left, guided rollouts (orange) should earn more than own ones (blue) while guidance is on. Top right,
    the share of groups without any advantage, near 1 means that nothing is learned, and of rollouts cut off, near 0 when
    healthy. Bottom left, mean AAS weight by who wrote the token; bottom right, the norm of the gradient.
    """
    panels = (
        (
            "reward",
            (
                ("reward", "all", GREY, "-"),
                ("guidance/reward/own", "own", BLUE, "-"),
                ("guidance/reward/guided", "guided", ORANGE, "--"),
            ),
        ),
        (
            "share",
            (
                ("frac_reward_zero_std", "groups without advantage", PURPLE, "-"),
                ("completions/clipped_ratio", "rollouts cut off", "black", ":"),
            ),
        ),
        (
            "mean weight",
            (
                ("guidance/weight/own", "student's tokens", BLUE, "-"),
                ("guidance/weight/teacher", "teacher's tokens", ORANGE, "--"),
            ),
        ),
        ("gradient norm", (("grad_norm", "gradient norm", GREEN, "-"),)),
    )
    alt = f"A run at step {rows[-1]['step'] if rows else 0}: reward, share of groups without advantage, weights, gradient norm"
    figure, axes = _figure(10, 4.6, columns=2, rows=2, sharex=True, alt=alt)
    for ax, (label, lines) in zip(axes.flat, panels, strict=True):
        for key, name, colour, dash in lines:
            known = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if known:
                ax.plot(*zip(*known, strict=True), color=colour, linestyle=dash, marker=".", markersize=4, label=name)
        ax.set(ylabel=label, xlim=(0, total_steps or None))
        ax.set_ylim(bottom=0)
        if len(lines) > 1 and ax.lines:
            ax.legend(frameon=False, fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("step")
    return figure


def sample_curves(curves: dict[str, Sequence[float]]) -> Figure:
    """Shares of questions by the number of samples k = 1, 2, ..., a line a way to count, each labelled at its end.

    How to read: at k = 1 all say the same. Unbiased pass@k is what k fresh samples would find; a plug-in line that lies
    below it is biased, not careful.
    """
    alt = "Questions in % by samples k, first and last: " + "; ".join(
        f"{name} {100 * values[0]:.0f} to {100 * values[-1]:.0f}" for name, values in curves.items()
    )
    figure, axes = _figure(7, 3.4, alt=alt)
    ax = axes[0, 0]
    for i, (name, values) in enumerate(curves.items()):
        k = np.arange(1, len(values) + 1)
        colour = (BLUE, SKY, ORANGE, GREEN)[i % 4]
        ax.plot(
            k, 100 * np.asarray(values), color=colour, linestyle=DASHES[1 + i % 5], marker="os^D"[i % 4], markersize=4
        )
        ax.annotate(
            name,
            (k[-1], 100 * values[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color="black",
        )
    ax.set(xlabel="samples a question, k", ylabel="questions, %")
    ax.margins(x=0.02)
    return figure
