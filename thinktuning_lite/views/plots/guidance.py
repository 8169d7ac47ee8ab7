"""Figures of guidance: the idea, schedules, what teachers earn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from thinktuning_lite.method.teacher import guided_fraction
from thinktuning_lite.views.plots.style import CYCLE, DASHES, GREY, STUDENT_COLOUR, TEACHER_COLOUR, _bar, _figure


def schedules(total_steps: int, start: float, end: float) -> Figure:
    """The guided fraction over the guidance phase and beyond, for each schedule.

    How to read: all begin at `start`; after `total_steps` guidance is off whatever the schedule.
    """
    alt = (
        f"Guided fraction over steps: constant at {start:g}; linear and cosine from {start:g} to {end:g}; all 0 from "
        f"step {total_steps} on"
    )
    figure, axes = _figure(6.5, 3.2, alt=alt)
    ax = axes[0, 0]
    steps = np.arange(int(total_steps * 1.3) + 1)
    for i, name in enumerate(("constant", "linear", "cosine")):
        values = [guided_fraction(int(s), total_steps, start, end, name) for s in steps]
        ax.step(steps, values, where="post", color=CYCLE[i + 1], linestyle=DASHES[i + 1], label=name, linewidth=1.8)
    ax.set(xlabel="step", ylabel="guided fraction of a group", ylim=(0, start * 1.15))
    ax.legend(frameon=False)
    return figure


def idea() -> Figure:
    """The method in one picture: a group of four wrong rollouts under GRPO, and with one of them guided.

    How to read: a bar is a rollout, blue what the student sampled, hatched orange what the teacher wrote after it; to its
    right the reward r and the advantage A, computed by `grpo.group_advantages`. On the left all rewards are equal, so no
    advantage exists; on the right one rollout stands out, and its tokens can be learned from.
    """
    from thinktuning_lite.method.grpo import group_advantages

    own = ("23*4=82. \\boxed{82}", "23*4=96. \\boxed{96}", "23*4=82. \\boxed{82}", "23*4=87. \\boxed{87}")
    taught = "Wait ... 20*4=80. 3*4=12. \\boxed{92}"
    alt = (
        "Left, GRPO: four wrong rollouts, every reward 0, every advantage 0. Right, ThinkTuning: the teacher finished the "
        "second one, its reward is 1 and its advantage +1.50, that of the others -0.50"
    )
    figure, axes = _figure(11, 3.5, columns=2, width_ratios=(1, 1.55), alt=alt)
    panels = (
        ("GRPO: the student alone", (0.0, 0.0, 0.0, 0.0), "no advantage, nothing to learn"),
        ("ThinkTuning: the teacher finishes one", (0.0, 1.0, 0.0, 0.0), "the guided rollout stands out"),
    )
    for ax, (title, rewards, verdict) in zip(axes.flat, panels, strict=True):
        advantages = group_advantages(torch.tensor(rewards), len(rewards)).tolist()
        end = 9.0 if any(rewards) else 4.0
        for i, (text, reward, advantage) in enumerate(zip(own, rewards, advantages, strict=True)):
            _bar(ax, 0, -i, 3.9, text, STUDENT_COLOUR, "")
            if reward:
                _bar(ax, 4.0, -i, 5.0, taught, TEACHER_COLOUR, "//")
            colour = TEACHER_COLOUR if reward else "black"
            ax.text(end + 0.3, 0.35 - i, f"r = {reward:.0f}", fontsize=10, va="center", color=colour)
            ax.text(
                end + 1.3,
                0.35 - i,
                f"A = {advantage:+.2f}" if advantage else "A = 0",
                fontsize=10,
                va="center",
                color=colour,
                weight="bold" if reward else "normal",
            )
        ax.set(xlim=(-0.1, end + 3), ylim=(-3.8, 1.6))
        ax.text(0, 1.2, title, fontsize=11, weight="bold")
        ax.text(0, -3.65, verdict, fontsize=10, color=GREY)
        ax.axis("off")
    figure.suptitle(
        "23 bags of 4: how many?  One group of rollouts, the right answer is 92", fontsize=10, x=0.01, ha="left"
    )
    return figure


def advantages_by_teacher(panels: dict[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Advantages of own and of guided rollouts, one panel for each teacher: {name: (own, guided)}; shares of each kind.

    How to read: orange hatched bars right of 0 mean that what the teacher wrote will be learned, left of 0 that it will be
    unlearned; the dashed line is the mean of the guided ones. A panel without orange had no guidance.
    """
    rows = -(-len(panels) // 2)
    alt = "Histograms of advantages, mean of the guided rollouts: " + "; ".join(
        f"{name} {np.mean(guided):+.2f}" if len(guided) else f"{name}, none guided"
        for name, (_, guided) in panels.items()
    )
    figure, axes = _figure(
        8, 2.5 * rows + 0.4, columns=min(2, len(panels)), rows=rows, sharex=True, sharey=True, alt=alt
    )
    bins, handles = np.linspace(-3, 3, 25), {}
    for ax, (name, (own, guided)) in zip(axes.flat, panels.items(), strict=False):
        for values, colour, hatch, who in (
            (own, STUDENT_COLOUR, None, "own"),
            (guided, TEACHER_COLOUR, "//", "guided"),
        ):
            if len(values):
                *_, [handles[f"{who} rollouts"]] = ax.hist(
                    values,
                    bins,
                    weights=np.full(len(values), 1 / len(values)),
                    histtype="stepfilled",
                    alpha=0.35,
                    color=colour,
                    edgecolor=colour,
                    linewidth=1.6,
                    hatch=hatch,
                )
        if len(guided):
            mean = float(np.mean(guided))
            ax.axvline(mean, color=TEACHER_COLOUR, linestyle="--", linewidth=1.4)
            ax.annotate(
                f"{mean:+.2f}",
                (mean, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -2),
                textcoords="offset points",
                fontsize=9,
                color=TEACHER_COLOUR,
                va="top",
            )
        ax.set_title(f"{name}: {len(own)} own, {len(guided)} guided", fontsize=10, loc="left")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of its kind")
    for ax in axes[-1]:
        ax.set_xlabel("advantage")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, frameon=False)
    return figure
