"""The figures, each a function that returns a matplotlib Figure and says in its docstring how to read it.

Colours are Okabe and Ito's, told apart with every common kind of colour blindness; lines also differ in dash or carry a
direct label.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thinktuning_lite.rollouts import Rollout, read_rollouts
from thinktuning_lite.shaping import DEFAULT_CONSTANTS, SHAPINGS, AASConstants, shape
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


def weight_curves(
    advantages: Sequence[float] = (1.0, -1.0), constants: AASConstants = DEFAULT_CONSTANTS,
    names: Sequence[str] = tuple(SHAPINGS),
) -> Figure:
    """Gradient weight s(p, A) of each shaping over the student's probability p of a taught token, a panel an advantage.

    How to read: at the left edge are the tokens that the student finds unlikely, where the shapings differ most; a
    weight near 0 there means that the token is hardly learned. A spike is a pole. Both axes are logarithmic.
    """
    p = torch.logspace(-8, 0, 4001, dtype=torch.float64)
    figure, axes = _figure(5 * len(advantages) + 0.5, 4, columns=len(advantages), sharey=True)
    for ax, advantage in zip(axes.flat, advantages, strict=True):
        for name in names:
            s = shape(name, p, torch.full_like(p, advantage), constants).gradient
            ax.plot(p, s, label=name, **_shaping_style(name))
        ax.set(xscale="log", yscale="log", ylim=(1e-8, 1e4), xlabel="student's probability p of the taught token",
               title=f"A = {advantage:+g}")
    axes[0, 0].set_ylabel("gradient weight s(p, A)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names), frameon=False)
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


# ---------------------------------------------------------------- notebook 01


def advantage_by_rightness(group_size: int = 8) -> Figure:
    """Advantage of a right and of a wrong rollout over how many of their group are right, GRPO beside Dr. GRPO.

    How to read: GRPO's curves bend away at the edges: a lone right rollout, and a lone wrong one, weigh the most. Dr.
    GRPO's are straight lines. With 0 or all right there is nothing to compare, and both are 0 there.
    """
    figure, axes = _figure(7, 3.4)
    ax = axes[0, 0]
    k = np.arange(1, group_size)
    share = k / group_size
    std = np.sqrt(k * (group_size - k) / (group_size * (group_size - 1)))
    for name, scale, colour, dash in (("GRPO", std, BLUE, "-"), ("Dr. GRPO", np.ones_like(std), ORANGE, "--")):
        for values, who, x in (((1 - share) / scale, "right", k[0]), (-share / scale, "wrong", k[-1])):
            ax.plot(k, values, dash, marker="o" if who == "right" else "x", color=colour, linewidth=1.8)
            at = values[0] if who == "right" else values[-1]
            ax.annotate(f"{name}, {who}", (x, at), xytext=(-8 if who == "right" else 8, 0), color=colour, fontsize=9,
                        textcoords="offset points", ha="right" if who == "right" else "left", va="center")
    ax.plot([0, group_size], [0, 0], "ks", markersize=4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel=f"right rollouts in a group of {group_size}", ylabel="advantage", xticks=range(group_size + 1),
           xlim=(-0.7, group_size + 0.7))
    return figure


def clip_objective(epsilon: float = 0.2) -> Figure:
    """The clipped objective of one token over its importance ratio, for A = +1 and A = -1.

    How to read: training climbs these curves. Where a curve is flat (dotted) the token has no gradient: it has moved as
    far as the clip allows. The other side is never flat: a token that moved the wrong way is always called back.
    """
    figure, axes = _figure(8, 2.9, columns=2)
    ratio = np.linspace(0.4, 1.6, 241)
    for ax, advantage in zip(axes.flat, (1, -1), strict=True):
        flat = ratio > 1 + epsilon if advantage > 0 else ratio < 1 - epsilon
        value = np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)
        ax.plot(ratio[~flat], value[~flat], color=BLUE, linewidth=2)
        ax.plot(ratio[flat], value[flat], ":", color=ORANGE, linewidth=2.5)
        ax.annotate("no gradient", (ratio[flat].mean(), value[flat][0]), xytext=(0, 6), textcoords="offset points",
                    color=ORANGE, ha="center", fontsize=9)
        ax.axvspan(1 - epsilon, 1 + epsilon, color=GREY, alpha=0.15, linewidth=0)
        ax.plot([1], [advantage], "ko", markersize=5)
        ax.annotate("first iteration", (1, advantage), xytext=(7 * advantage, -13), textcoords="offset points",
                    fontsize=8, ha="left" if advantage > 0 else "right")
        ax.set(xlabel="importance ratio", ylabel="objective of the token", title=f"A = {advantage:+d}")
        ax.margins(y=0.15)
    return figure


def kl_estimators() -> Figure:
    """What k1, k2 and k3 say of one token, over log(p / q), policy p against reference q.

    How to read: all agree near 0. k1 may be negative; k2 and k3 never are. To the left the policy made the token less
    likely than the reference: there k3 grows exponentially.
    """
    figure, axes = _figure(6.5, 3.2)
    ax = axes[0, 0]
    x = np.linspace(-2, 2.6, 231)
    curves = (("k1", x, "-"), ("k2", x**2 / 2, "--"), ("k3", np.exp(-x) + x - 1, "-."))
    for (name, y, dash), colour in zip(curves, (BLUE, ORANGE, GREEN), strict=True):
        ax.plot(x, y, dash, color=colour, linewidth=1.8)
        ax.annotate(name, (x[-1], y[-1]), xytext=(5, 0), textcoords="offset points", color=colour, va="center")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel="log(p / q) of the sampled token, nats", ylabel="estimate of the KL, nats")
    return figure


def length_drift(curves: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """Mean length of right and of wrong answers over updates, a panel for each aggregation.

    How to read: nothing in this toy rewards length, so a curve that leaves its start was moved by the aggregation alone.
    `curves` maps an aggregation to {"right": lengths, "wrong": lengths}.
    """
    figure, axes = _figure(8, 3, columns=len(curves), sharey=True)
    for ax, (how, both) in zip(axes.flat, curves.items(), strict=True):
        for (who, lengths), colour, dash in zip(both.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
            ax.plot(lengths, dash, color=colour, linewidth=1.8, label=f"{who} answers")
        ax.set(xlabel="update", title=how, ylim=(0, None))
    axes[0, 0].set_ylabel("mean length, tokens")
    axes[0, 0].legend(frameon=False)
    return figure


def reward_and_accuracy(
    rewards: dict[str, Sequence[float]], accuracy: dict[str, tuple[float, float]], start: tuple[float, float],
    greedy: float, smooth: int = 10,
) -> Figure:
    """Training reward over steps (left) and validation accuracy at T=1 before and after (right), one colour a run.

    How to read: left, thin lines are single steps, thick ones a running mean over `smooth` of them. Right, bars are 95 %
    intervals; the dotted line is what the start reaches greedily. `accuracy` and `start` are (mean, half-width), shares of 1.
    """
    figure, axes = _figure(9, 3.3, columns=2, width_ratios=(2, 1), sharey=True)
    left, right = axes.flat
    colours = dict(zip(rewards, (BLUE, ORANGE, GREEN), strict=False))
    for name, values in rewards.items():
        values = np.asarray(values)
        left.plot(np.arange(1, len(values) + 1), values, color=colours[name], alpha=0.3, linewidth=0.8)
        n = min(smooth, len(values))
        mean = np.convolve(values, np.ones(n) / n, "valid")
        left.plot(np.arange(n, len(values) + 1), mean, color=colours[name], linewidth=2,
                  linestyle="-" if colours[name] == BLUE else "--", label=name)
    left.set(xlabel="step", ylabel="share right")
    left.legend(frameon=False, loc="lower right")
    points = {"start": (start, GREY)} | {name: (v, colours[name]) for name, v in accuracy.items()}
    for i, (value, colour) in enumerate(points.values()):
        right.errorbar(i, value[0], yerr=value[1], fmt="o", color=colour, capsize=5, linewidth=1.8)
        right.annotate(f"{100 * value[0]:.0f} %", (i, value[0]), xytext=(9, 0), textcoords="offset points", va="center",
                       color=colour)
    right.axhline(greedy, color="black", linestyle=":", linewidth=1.2)
    right.annotate("start, greedy", (-0.4, greedy), xytext=(0, 4), textcoords="offset points", fontsize=8)
    right.set(xticks=range(len(points)), xticklabels=list(points), xlim=(-0.5, len(points) - 0.3),
              title="validation, sampled at T = 1")
    return figure


def idea() -> Figure:
    """The method in one picture: a group of four wrong rollouts under GRPO, and with one of them guided.

    How to read: a bar is a rollout, blue what the student sampled, hatched orange what the teacher wrote after it; to its
    right the reward r and the advantage A, computed by `grpo.group_advantages`. On the left all rewards are equal, so no
    advantage exists; on the right one rollout stands out, and its tokens can be learned from.
    """
    from thinktuning_lite.grpo import group_advantages

    own = ("23*4=82. \\boxed{82}", "23*4=96. \\boxed{96}", "23*4=82. \\boxed{82}", "23*4=87. \\boxed{87}")
    taught = "Wait ... 20*4=80. 3*4=12. \\boxed{92}"
    figure, axes = _figure(11, 3.5, columns=2, width_ratios=(1, 1.55))
    panels = (("GRPO: the student alone", (0.0, 0.0, 0.0, 0.0), "no advantage, nothing to learn"),
              ("ThinkTuning: the teacher finishes one", (0.0, 1.0, 0.0, 0.0), "the guided rollout stands out"))
    for ax, (title, rewards, verdict) in zip(axes.flat, panels, strict=True):
        advantages = group_advantages(torch.tensor(rewards), len(rewards)).tolist()
        end = 9.0 if any(rewards) else 4.0
        for i, (text, reward, advantage) in enumerate(zip(own, rewards, advantages, strict=True)):
            _bar(ax, 0, -i, 3.9, text, STUDENT_COLOUR, "")
            if reward:
                _bar(ax, 4.0, -i, 5.0, taught, TEACHER_COLOUR, "//")
            colour = TEACHER_COLOUR if reward else "black"
            ax.text(end + 0.3, 0.35 - i, f"r = {reward:.0f}", fontsize=10, va="center", color=colour)
            ax.text(end + 1.3, 0.35 - i, f"A = {advantage:+.2f}" if advantage else "A = 0", fontsize=10, va="center",
                    color=colour, weight="bold" if reward else "normal")
        ax.set(xlim=(-0.1, end + 3), ylim=(-3.8, 1.6))
        ax.text(0, 1.2, title, fontsize=11, weight="bold")
        ax.text(0, -3.65, verdict, fontsize=10, color=GREY)
        ax.axis("off")
    figure.suptitle("23 bags of 4: how many?  One group of rollouts, the right answer is 92", fontsize=10, x=0.01, ha="left")
    return figure


def _bar(ax: Axes, x: float, y: float, width: float, text: str, colour: str, hatch: str) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x, y), width, 0.7, facecolor=colour, alpha=0.2, hatch=hatch, edgecolor=colour, linewidth=0))
    ax.add_patch(Rectangle((x, y), width, 0.7, fill=False, edgecolor=colour, linewidth=1.4))
    box = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1) if hatch else None
    ax.text(x + width / 2, y + 0.35, text, ha="center", va="center", fontsize=9, parse_math=False, bbox=box)


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


def advantages_by_teacher(panels: dict[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Advantages of own and of guided rollouts, one panel for each teacher: {name: (own, guided)}; shares of each kind.

    How to read: orange hatched bars right of 0 mean that what the teacher wrote will be learned, left of 0 that it will be
    unlearned; the dashed line is the mean of the guided ones. A panel without orange had no guidance.
    """
    rows = -(-len(panels) // 2)
    figure, axes = _figure(8, 2.5 * rows + 0.4, columns=min(2, len(panels)), rows=rows, sharex=True, sharey=True)
    bins, handles = np.linspace(-3, 3, 25), {}
    for ax, (name, (own, guided)) in zip(axes.flat, panels.items(), strict=False):
        for values, colour, hatch, who in ((own, STUDENT_COLOUR, None, "own"), (guided, TEACHER_COLOUR, "//", "guided")):
            if len(values):
                *_, [handles[f"{who} rollouts"]] = ax.hist(
                    values, bins, weights=np.full(len(values), 1 / len(values)), histtype="stepfilled", alpha=0.35,
                    color=colour, edgecolor=colour, linewidth=1.6, hatch=hatch,
                )
        if len(guided):
            mean = float(np.mean(guided))
            ax.axvline(mean, color=TEACHER_COLOUR, linestyle="--", linewidth=1.4)
            ax.annotate(f"{mean:+.2f}", (mean, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
                        textcoords="offset points", fontsize=9, color=TEACHER_COLOUR, va="top")
        ax.set_title(f"{name}: {len(own)} own, {len(guided)} guided", fontsize=10, loc="left")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of its kind")
    for ax in axes[-1]:
        ax.set_xlabel("advantage")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, frameon=False)
    return figure


# ---------------------------------------------------------------- notebook 03


def _shaping_style(name: str) -> dict:
    """The colour and dash that a shaping has in every figure of notebook 03; plain is a broad band, for others lie on it."""
    if name == "plain":
        return {"color": PURPLE, "linestyle": "-", "linewidth": 6, "alpha": 0.4, "zorder": 1}
    i = list(SHAPINGS).index(name) + 1
    return {"color": CYCLE[i], "linestyle": DASHES[i], "linewidth": 2}


def bandit_curves(curves: dict[str, Sequence[float]], exact: dict[str, float]) -> Figure:
    """Probability of the taught action over updates, one line a shaping; a dot where the closed form puts p = 0.5.

    How to read: both axes are logarithmic, so equal distances are equal factors. Each dot should lie on its line: it was
    computed from an integral, the line from updates.
    """
    figure, axes = _figure(7.5, 3.8)
    ax = axes[0, 0]
    for name, values in curves.items():
        style = _shaping_style(name)
        ax.plot(np.arange(1, len(values) + 1), values, **style, label=name)
        ax.plot([exact[name]], [0.5], "o", color=style["color"], markersize=8, markeredgecolor="black")
    ax.axhline(0.5, color="black", linewidth=0.6, alpha=0.4)
    ax.set(xscale="log", yscale="log", xlabel="updates", ylabel="probability of the taught action", ylim=(None, 1.5))
    ax.legend(frameon=False, loc=(0.34, 0.45))
    return figure


def break_even_curves(advantage_right: float = 1.0, advantage_wrong: float = -1.0) -> Figure:
    """The share of right guidance below which a taught token sinks, over the student's probability of it.

    How to read: above a shaping's line the token rises on average, below it sinks. A line at the top left means that rare
    tokens sink unless nearly all guidance is right.
    """
    p = torch.logspace(-8, 0, 4001, dtype=torch.float64)
    figure, axes = _figure(7, 3.6)
    ax = axes[0, 0]
    for name in SHAPINGS:
        up = advantage_right * shape(name, p, torch.full_like(p, advantage_right)).gradient
        down = -advantage_wrong * shape(name, p, torch.full_like(p, advantage_wrong)).gradient
        ax.plot(p, 100 * down / (up + down), **_shaping_style(name), label=name)
    ax.set(xscale="log", ylim=(0, 103), xlabel="student's probability p of the taught token",
           ylabel="right guidance needed, %",
           title=f"A = {advantage_right:+g} when right, {advantage_wrong:+g} when wrong")
    ax.legend(frameon=False, loc="lower left")
    return figure


def taught_tokens(runs: dict[str, dict[str, Sequence[float]]]) -> Figure:
    """What a run did to fixed taught texts: entry token, all other taught tokens, distance from the start; by step.

    How to read: left, the geometric mean probability of the first taught token, on a logarithmic axis, where each
    gridline is a factor of 10; middle, the same of the tokens after it; right, the mean KL(start || now) per token on the
    start's own responses. `runs` maps a shaping to {"step", "entry", "rest", "kl"}.
    """
    panels = (("entry", "probability of the entry token"), ("rest", "probability of the other taught tokens"),
              ("kl", "KL(start || now), nats per token"))
    figure, axes = _figure(11, 3.5, columns=3)
    for ax, (key, label) in zip(axes.flat, panels, strict=True):
        for name, run in runs.items():
            ax.plot(run["step"], run[key], **_shaping_style(name), label=name)
        ax.set(xlabel="step", ylabel=label)
    axes[0, 0].set_yscale("log")
    axes[0, 0].grid(axis="y", alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(runs), frameon=False)
    return figure


# ---------------------------------------------------------------- notebook 06


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
        ax.text(until / 2, 1.01, "guidance on", ha="center", va="bottom", fontsize=8, color="#555555",
                transform=ax.get_xaxis_transform())


def arms_over_steps(
    runs: dict[str, list[list[dict]]], panels: dict[str, str], guided_until: int, all_arms: Sequence[str] = ()
) -> Figure:
    """Probes over training, a panel for each key of `panels` (key -> axis label), a line an arm, a band over its seeds.

    How to read: guidance is on in the grey part; what a line keeps to the right of it is the student's own. The letters at
    the right are the arms' names up to their first hyphen; arms that end at the same height share a label. `runs` maps an
    arm to its seeds' probes, a dict a step; markers tell apart lines that lie on each other. With `all_arms` an arm's
    colour is that of its place there, the same from figure to figure.
    """
    figure, axes = _figure(4.6 * len(panels) + 0.5, 4.2, columns=len(panels))
    colours = (*CYCLE, "#000000", "#E69F00")
    ends = []
    for ax, (key, label) in zip(axes.flat, panels.items(), strict=True):
        at: dict[float, list[tuple[str, str, float]]] = {}
        for name, seeds in runs.items():
            i = list(all_arms or runs).index(name)
            steps = [row["step"] for row in seeds[0]]
            values = np.array([[row[key] for row in rows] for rows in seeds])
            colour = colours[i % len(colours)]
            ax.plot(steps, values.mean(0), color=colour, linestyle=DASHES[i % len(DASHES)], marker="os^vDPX*"[i % 8],
                    markersize=4.5, markevery=(i % 2, 2), linewidth=1.6, label=name)
            ax.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.12, linewidth=0)
            last = values.mean(0)[-1]
            at.setdefault(round(float(last), 2), []).append((name.split("-")[0], colour, float(last)))
        share = 0 <= ax.dataLim.y0 and ax.dataLim.y1 <= 1
        ax.set(xlabel="step", ylabel=label, xlim=(0, None), **({"ylim": (-0.03, 1.03)} if share else {}))
        _guidance_band(ax, guided_until)
        ends.append((ax, [(steps[-1], group[0][2], " ".join(n for n, _, _ in group), group[0][1] if len(group) == 1 else "black")
                          for group in at.values()]))
    if len(runs) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(8, len(runs)),
                      frameon=False, fontsize=9)
    figure.draw_without_rendering()  # the layout decides how far apart labels must be
    for ax, labels in ends:
        _end_labels(ax, labels)
    return figure


def panels_over_steps(
    rows: Sequence[dict], panels: dict[str, Sequence[str]], guided_until: int, total_steps: int, columns: int = 3
) -> Figure:
    """One run's probes, a panel for each key of `panels` (axis label -> the rows' keys drawn in it), labelled at the right.

    How to read: guidance is on in the grey part. A panel whose label holds "log" has a logarithmic axis; values between 0
    and 1 have the whole of it. Keys are labelled without what stands before or after a colon if that is shared.
    """
    figure, axes = _figure(4.1 * columns, 2.6 * -(-len(panels) // columns), columns=columns, rows=-(-len(panels) // columns))
    ends = []
    for ax, (label, keys) in zip(axes.flat, panels.items(), strict=False):
        parts = [key.split(": ") for key in keys]
        part = next((i for i in range(len(parts[0])) if len({p[i] for p in parts}) == len(parts)), 0)
        for i, key in enumerate(keys):
            ax.plot([r["step"] for r in rows], [r[key] for r in rows], color=(BLUE, ORANGE, GREEN)[i % 3],
                    linestyle=("-", "--", "-.")[i % 3], marker="os^"[i % 3], markersize=3.5, linewidth=1.7)
        ax.set(xlabel="step", ylabel=label, xlim=(0, total_steps))
        if "log" in label:
            ax.set_yscale("log")
            ax.set_ylim(min(1e-6, *(r[k] for r in rows for k in keys)), 2)
        elif all(0 <= r[k] <= 1 for r in rows for k in keys):
            ax.set_ylim(-0.03, 1.03)
        else:
            ax.set_ylim(0, 1.08 * max(r[k] for r in rows for k in keys))
        _guidance_band(ax, min(guided_until, total_steps))
        ends.append((ax, [(rows[-1]["step"], rows[-1][k], p[part], (BLUE, ORANGE, GREEN)[i % 3])
                          for i, (k, p) in enumerate(zip(keys, parts, strict=True))]))
    for ax in list(axes.flat)[len(panels):]:
        ax.axis("off")
    figure.draw_without_rendering()
    for ax, labels in ends:
        _end_labels(ax, labels)
    return figure


# ---------------------------------------------------------------- the inspector and the live view


def inspector_figure(
    *, title: str, rewards: Sequence[float], before: Sequence[float], after: Sequence[float], guided: Sequence[bool],
    shown: int, tokens: Sequence[str], author: Sequence[int], p: Sequence[float], weight: Sequence[float],
    shaped: Sequence[bool], curve: tuple[Sequence[float], Sequence[float]], shaping: str, columns: int = 14,
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
        line.plot(np.clip([p[i] for i in at], 1e-8, 1), np.clip([weight[i] for i in at], 1e-4, 1e3), marker, color=colour,
                  markersize=5, alpha=0.6, fillstyle="full" if who else "none", linestyle="none")
    line.set(xscale="log", yscale="log", xlim=(1e-8, 2), ylim=(5e-5, 2e3), xlabel="probability p of the token",
             ylabel=f"weight, {shaping}", title=f"rollout {shown}, A = {after[shown]:+.2f}")
    for ax in (bars, line):
        ax.spines[["top", "right"]].set_visible(False)
    _inspected_strip(bottom.subplots(), tokens, author, p, weight, shaped, columns)
    figure.suptitle(textwrap.fill(_drawable(textwrap.shorten(title, 240, placeholder=" …")), 120), fontsize=10, parse_math=False)
    return figure


def _before_after(ax: Axes, rewards: Sequence[float], before: Sequence[float], after: Sequence[float],
                  guided: Sequence[bool]) -> None:
    x = np.arange(len(after))
    ax.bar(x - 0.2, np.nan_to_num(before), 0.38, color="#A0A0A0")
    for i, (value, g) in enumerate(zip(after, guided, strict=True)):
        ax.bar(i + 0.2, value, 0.38, color=TEACHER_COLOUR if g else STUDENT_COLOUR, hatch="//" if g else "", edgecolor="white")
        ax.annotate(f"{value:+.2f}", (i + 0.2, value), ha="center", va="bottom" if value >= 0 else "top", fontsize=7)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(x, [f"{i}\nr={r:.3g}" for i, r in enumerate(rewards)], fontsize=8)
    ax.set(ylabel="advantage", title="grey: own rollouts alone; colour: whole group")
    ax.margins(y=0.15)


def _inspected_strip(ax: Axes, tokens: Sequence[str], author: Sequence[int], p: Sequence[float], weight: Sequence[float],
                     shaped: Sequence[bool], columns: int) -> None:
    for i, token in enumerate(tokens):
        x, y = i % columns, -(i // columns)
        shade = 1 - 0.85 * float(np.clip(-np.log10(max(p[i], 1e-9)) / 6, 0, 1))
        ink = "white" if shade < 0.5 else "black"
        ax.add_patch(_box(x, y, str(shade), TEACHER_COLOUR if author[i] else STUDENT_COLOUR, "--" if author[i] else "-"))
        text = _drawable(token if len(token) < 12 else token[:10] + "…")
        ax.text(x + 0.5, y + 0.62, text, ha="center", va="center", fontsize=8, color=ink, parse_math=False)
        ax.text(x + 0.5, y + 0.22, f"{weight[i]:.3g}" if shaped[i] else "–", ha="center", va="center", fontsize=6.5, color=ink)
    ax.set(xlim=(-0.05, columns + 0.05), ylim=(-(-(-len(tokens) // columns)) + 1 - 0.1, 1.1))
    ax.axis("off")
    ax.set_title("darker: less likely; number: weight (–: not shaped); solid blue frame: student, dashed orange: teacher",
                 fontsize=9, loc="left")


def _drawable(text: str) -> str:
    """Text that the default font can draw: what it has no glyph for becomes �."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return "".join(c if font.get_char_index(ord(c)) else "\ufffd" for c in text)


def live_figure(rows: Sequence[dict], total_steps: int | None = None) -> Figure:
    """A running training, from its metrics rows ({"step", metric: value}): reward, signal, truncation, weights.

    How to read: top left, guided rollouts (orange) should earn more than own ones (blue) while guidance is on. Top right,
    the share of groups without any advantage, near 1 means that nothing is learned, and of rollouts cut off, near 0 when
    healthy. Bottom left, mean AAS weight by who wrote the token; bottom right, the norm of the gradient.
    """
    panels = (
        ("reward", (("reward", "all", GREY, "-"), ("guidance/reward/own", "own", BLUE, "-"),
                    ("guidance/reward/guided", "guided", ORANGE, "--"))),
        ("share", (("frac_reward_zero_std", "groups without advantage", PURPLE, "-"),
                   ("completions/clipped_ratio", "rollouts cut off", "black", ":"))),
        ("mean weight", (("guidance/weight/own", "student's tokens", BLUE, "-"),
                         ("guidance/weight/teacher", "teacher's tokens", ORANGE, "--"))),
        ("gradient norm", (("grad_norm", "gradient norm", GREEN, "-"),)),
    )
    figure, axes = _figure(10, 4.6, columns=2, rows=2, sharex=True)
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


def difference_forest(rows: Sequence, reference: str = "GRPO") -> Figure:
    """Every method's difference to the reference, in points of accuracy with its 95 % interval; a panel a benchmark.

    How to read: an interval that crosses the line at 0 shows no difference. Filled: better or worse also after Holm's
    correction for all comparisons; hollow: no difference shown. `rows` are `table.Line`s.
    """
    rows = [r for r in rows if r.difference is not None]
    tasks, methods = list(dict.fromkeys(r.task for r in rows)), list(dict.fromkeys(r.method for r in rows))
    figure, axes = _figure(4 + 2.6 * len(tasks), 0.8 + 0.3 * len(methods), columns=len(tasks), sharey=True)
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
    figure, axes = _figure(7, 3.4)
    ax = axes[0, 0]
    for i, (name, values) in enumerate(lengths.items()):
        ordered = np.sort(np.asarray(values, dtype=float))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        ax.step(ordered, 100 * share, where="post", color=CYCLE[i % len(CYCLE)], linestyle=DASHES[i % len(DASHES)],
                linewidth=1.8, label=name)
    ax.set(xlabel="tokens a response", ylabel="responses of at most that many, %", ylim=(0, 101))
    ax.legend(frameon=False, loc="lower right")
    return figure


def transition_bars(counts: dict[str, dict[str, int]]) -> Figure:
    """From the first stated answer to the last: shares of responses that corrected themselves, or spoilt a right answer.

    How to read: blue to the right of 0 is what reflection mends, orange to the left what it spoils; responses that keep
    their answer, or state one only, are not drawn. `counts` maps a method to `behaviours.transitions`.
    """
    figure, axes = _figure(7, 0.9 + 0.32 * len(counts))
    ax = axes[0, 0]
    for i, (name, count) in enumerate(counts.items()):
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


def memory_bars(plans: dict[str, dict[str, int]], cards: dict[str, int]) -> Figure:
    """Predicted memory of a process by part, one stacked bar a setting; dashed lines are the memory of graphics cards.

    How to read: a setting fits a card when its bar ends left of the card's line. `plans` maps a setting to the bytes of its
    parts at the worst moment; `cards` maps a card to its bytes.
    """
    figure, axes = _figure(9, 1.4 + 0.5 * len(plans))
    ax = axes[0, 0]
    parts = list(dict.fromkeys(part for sizes in plans.values() for part in sizes))
    hatches = ("", "//", "..", "xx", "\\\\", "++", "oo", "--", "||")
    ends = np.zeros(len(plans))
    for i, part in enumerate(parts):
        sizes = np.array([sizes.get(part, 0) / 2**30 for sizes in plans.values()])
        ax.barh(range(len(plans)), sizes, left=ends, color=CYCLE[i % len(CYCLE)], hatch=hatches[i % len(hatches)],
                edgecolor="white", linewidth=0.5, label=part)
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


# ---------------------------------------------------------------- notebook 05


def run_intervals(right: Sequence[Sequence[float]]) -> Figure:
    """Runs of one model on the same questions, best first, each with its 95 % Wilson interval; (runs, questions) of 0/1.

    How to read: a dot is a run's share of right answers. All runs have the same truth, near the dashed mean of them all;
    what separates the dots is sampling alone.
    """
    from thinktuning_lite.statistics import proportion_interval  # needs the extra `eval`, which the main job does without

    right = np.asarray(right, dtype=float)
    questions, shares = right.shape[1], np.sort(100 * right.mean(axis=1))[::-1]
    figure, axes = _figure(7, 0.9 + 0.17 * len(shares))
    ax = axes[0, 0]
    for y, share in enumerate(shares):
        low, high = proportion_interval(round(share * questions / 100), questions)
        ax.plot([100 * low, 100 * high], [-y, -y], color=GREY, linewidth=1.6)
        ax.plot(share, -y, "o", color=BLUE, markersize=5)
    ax.axvline(shares.mean(), color="black", linestyle="--", linewidth=1)
    for y, name, dy in ((0, "best", 0.62), (len(shares) - 1, "worst", -0.62)):
        ax.text(shares[y], -y + dy, f"{name}: {shares[y]:.1f}", ha="center", va="center", fontsize=8, color=BLUE)
    ax.text(shares.mean(), 1.0, f"mean {shares.mean():.1f}", transform=ax.get_xaxis_transform(), ha="center", va="bottom",
            fontsize=8)
    ax.set(xlabel=f"right, % of {questions} questions", ylabel="one run each", yticks=[], ylim=(0.0 - len(shares), 1.1))
    return figure


def sample_curves(curves: dict[str, Sequence[float]]) -> Figure:
    """Shares of questions by the number of samples k = 1, 2, ..., a line a way to count, each labelled at its end.

    How to read: at k = 1 all say the same. Unbiased pass@k is what k fresh samples would find; a plug-in line that lies
    below it is biased, not careful.
    """
    figure, axes = _figure(7, 3.4)
    ax = axes[0, 0]
    for i, (name, values) in enumerate(curves.items()):
        k = np.arange(1, len(values) + 1)
        colour = (BLUE, SKY, ORANGE, GREEN)[i % 4]
        ax.plot(k, 100 * np.asarray(values), color=colour, linestyle=DASHES[1 + i % 5], marker="os^D"[i % 4], markersize=4)
        ax.annotate(name, (k[-1], 100 * values[-1]), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9,
                    color="black")
    ax.set(xlabel="samples a question, k", ylabel="questions, %")
    ax.margins(x=0.02)
    return figure


def accuracy_by_steps(cells: dict[str, dict[int, dict[str, float]]]) -> Figure:
    """Right answers by the number of steps of a problem, a line a method, with 95 % Wilson intervals.

    How to read: methods stand beside each other within a number of steps; compare the intervals there, and the slopes.
    `cells` maps a method to {steps: fields of a `behaviours.Cell`}.
    """
    figure, axes = _figure(8.5, 3.8)
    ax = axes[0, 0]
    for i, (name, by_steps) in enumerate(cells.items()):
        found = sorted(by_steps.items())
        x = [steps + 0.09 * (i - (len(cells) - 1) / 2) for steps, _ in found]
        y = np.array([100 * cell["accuracy"] for _, cell in found])
        low, high = (np.array([100 * cell[end] for _, cell in found]) for end in ("low", "high"))
        ax.errorbar(x, y, (y - low, high - y), color=CYCLE[i % len(CYCLE)], linestyle=DASHES[i % len(DASHES)],
                    marker="os^DvP"[i % 6], markersize=5, linewidth=1.4, elinewidth=1, label=name)
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
    figure, axes = _figure(10, 0.19 * lines + 0.3)
    ax = axes[0, 0]
    ax.set(xlim=(0, 2), ylim=(-lines, 0))
    ax.axis("off")
    style = dict(va="top", fontsize=8.5, family="monospace", parse_math=False)
    ax.set_title(title, fontsize=9, loc="left")
    ax.text(0, -0.2, "\n".join(top), **style)
    for i, (name, text) in enumerate(texts.items()):
        good, y = name == right, -len(top) - 1.0
        ax.add_patch(_frame(i + 0.005, y, 0.98, -lines - y, BLUE if good else ORANGE, "-" if good else "--"))
        ax.text(i + 0.02, y - 0.3, f"{name}: {'right' if good else 'wrong'}", color=BLUE if good else ORANGE, weight="bold",
                **style)
        ax.text(i + 0.02, y - 1.7, "\n".join(text), **style)
    return figure


def _wrapped(text: str, width: int) -> list[str]:
    parts = text.replace("\n\n", "\n").split("\n")
    return [line for part in parts for line in textwrap.wrap(_drawable(part), width) or [""]]


def _frame(x: float, y: float, width: float, height: float, edge: str, dash: str):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor="none", edgecolor=edge, linestyle=dash, linewidth=1.4)
