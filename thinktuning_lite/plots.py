"""The figures, each a function that returns a matplotlib Figure and says in its docstring how to read it.

Colours are Okabe and Ito's, told apart with every common kind of colour blindness; lines also differ in dash or carry a
direct label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinktuning_lite.rollouts import Rollout, read_rollouts
from thinktuning_lite.shaping import SHAPINGS, AASConstants, shape
from thinktuning_lite.teacher import guided_fraction

BLUE, ORANGE, GREEN, PURPLE, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676", "#56B4E9"
CYCLE = (GREY, BLUE, ORANGE, GREEN, PURPLE, SKY)
DASHES = ("-", "-", "--", "-.", ":", (0, (5, 1, 1, 1)))
STUDENT_COLOUR, TEACHER_COLOUR = BLUE, ORANGE


def _figure(width: float, height: float, columns: int = 1, rows: int = 1, **kwargs) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
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


def learning_curves(runs: dict[str, list[list[dict]]]) -> Figure:
    """Reward, length and guided share over training; one line a method, its band the range over seeds.

    How to read: while guidance is on, the reward of a guided method holds the teacher's answers too; what the student
    learned is what remains after the guided share has gone to 0. `runs` maps a method to its seeds' metrics rows.
    """
    panels = (("reward", "reward (share right)"), ("completions/mean_length", "tokens a response"),
              ("guidance/fraction", "guided share of rollouts"))
    figure, axes = _figure(11, 3.4, columns=3)
    for ax, (key, label) in zip(axes.flat, panels, strict=True):
        for i, (name, seeds) in enumerate(runs.items()):
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
    figure, axes = _figure(7, 3.4)
    ax = axes[0, 0]
    bins = np.linspace(-3, 3, 25)
    for guided, colour, name in ((False, STUDENT_COLOUR, "own"), (True, TEACHER_COLOUR, "guided")):
        values = [r.advantage for r in rollouts if r.guided == guided]
        if not values:
            continue
        ax.hist(values, bins, weights=np.full(len(values), 1 / len(values)), histtype="stepfilled", alpha=0.35,
                color=colour, edgecolor=colour, linewidth=1.6, hatch="//" if guided else None,
                label=f"{name} rollouts (n={len(values)})")
    ax.set(xlabel="advantage (group-relative, in sample standard deviations)", ylabel="share of rollouts")
    ax.legend(frameon=False)
    return figure


def group_bars(rewards: Sequence[float], advantages: Sequence[float], guided: Sequence[bool] | None = None) -> Figure:
    """One group: each rollout's reward (left) and advantage (right); guided ones hatched and orange.

    How to read: advantages are rewards relative to the group, so they sum to 0; equal rewards give no bars at all.
    """
    guided = guided or [False] * len(rewards)
    figure, axes = _figure(8, 2.8, columns=2)
    x = np.arange(len(rewards))
    for ax, values, label in zip(axes.flat, (rewards, advantages), ("reward", "advantage (std of the group)"), strict=True):
        bars = ax.bar(x, values, color=[TEACHER_COLOUR if g else STUDENT_COLOUR for g in guided])
        for bar, value, g in zip(bars, values, guided, strict=True):
            bar.set_hatch("//" if g else "")
            bar.set_edgecolor("white")
            ax.annotate(f"{value:.2f}", (bar.get_x() + bar.get_width() / 2, value), ha="center", fontsize=8,
                        va="bottom" if value >= 0 else "top")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xlabel="rollout", ylabel=label, xticks=x)
        ax.margins(y=0.2)
    if any(guided):
        axes[0, 0].set_title("orange, hatched: guided", loc="left", fontsize=9, color=TEACHER_COLOUR)
    return figure


def token_strip(tokens: Sequence[str], values: Sequence[float], author: Sequence[int], label: str,
                columns: int = 14) -> Figure:
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


def _box(x: float, y: float, face: str, edge: str, dash: str):
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.04, y + 0.04), 0.92, 0.9, facecolor=face, edgecolor=edge, linestyle=dash, linewidth=1.6)


def _visible(token: str) -> str:
    """White space made visible, so that a blank token is not an empty box."""
    text = token.replace("\n", "↵")
    return text if text.strip() else text.replace(" ", "␣")


def weight_curves(advantage: float, constants: AASConstants = AASConstants(), names: Sequence[str] = tuple(SHAPINGS)) -> Figure:
    """Gradient weight s(p, A) of each shaping over the student's probability p of a taught token, at one advantage.

    How to read: at the left edge are the tokens that the student finds unlikely, where the shapings differ most; a
    weight near 0 there means that the token is hardly learned. The released variant jumps at its pole p = 0.001.
    """
    p = torch.logspace(-8, 0, 2001, dtype=torch.float64)
    figure, axes = _figure(7.5, 4)
    ax = axes[0, 0]
    for i, name in enumerate(names):
        s = shape(name, p, torch.full_like(p, advantage), constants).gradient
        ax.plot(p, s, color=CYCLE[(i + 1) % len(CYCLE)], linestyle=DASHES[(i + 1) % len(DASHES)], label=name, linewidth=1.8)
    ax.set(xscale="log", yscale="log", ylim=(1e-7, 1e3), xlabel="student's probability p of the taught token",
           ylabel="gradient weight s(p, A)", title=f"A = {advantage:+g}")
    ax.legend(frameon=False)
    return figure


def schedules(total_steps: int, start: float, end: float) -> Figure:
    """The guided fraction over the guidance phase and beyond, for each schedule.

    How to read: all begin at `start`; after `total_steps` guidance is off whatever the schedule.
    """
    figure, axes = _figure(6.5, 3.2)
    ax = axes[0, 0]
    steps = np.arange(int(total_steps * 1.3) + 1)
    for i, name in enumerate(("constant", "linear", "cosine")):
        values = [guided_fraction(int(s), total_steps, start, end, name) for s in steps]
        ax.step(steps, values, where="post", color=CYCLE[i + 1], linestyle=DASHES[i + 1], label=name, linewidth=1.8)
    ax.set(xlabel="step", ylabel="guided fraction of a group", ylim=(0, start * 1.15))
    ax.legend(frameon=False)
    return figure


def rollout_strip(rollout: Rollout, tokenizer, quantity: str = "probability") -> Figure:
    """`token_strip` of a logged rollout, shaded by `quantity`: "probability" or "weight"."""
    values = [float(np.exp(x)) for x in rollout.logps] if quantity == "probability" else rollout.weights
    tokens = [tokenizer.decode([i]) for i in rollout.token_ids]
    return token_strip(tokens, values, rollout.author, f"{quantity} of each token; advantage {rollout.advantage:+.2f}")
