"""The figures: each says in words what it shows, a notebook shows those words, and a token strip reads like a sentence."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from thinktuning_lite.views import plots

PROBES = [{"step": 0, "a: x": 0.1, "a: y": 0.2}, {"step": 4, "a: x": 0.4, "a: y": 0.3}]
METRICS = [{"step": s, "reward": 0.5 + s, "completions/mean_length": 30.0, "guidance/fraction": 0.1} for s in range(3)]
DIFFERENCE = SimpleNamespace(low=0.01, high=0.05, estimate=0.03)
LINE = SimpleNamespace(task="tt_tiny_test", method="SFT", difference=DIFFERENCE, verdict="better")
CELL = {"accuracy": 0.5, "low": 0.4, "high": 0.6}
RUN = {"step": [0, 2], "entry": [1e-6, 0.5], "rest": [0.9, 0.9], "kl": [0.0, 0.01]}
GAIN = {"estimate": 0.03, "low": 0.01, "high": 0.05}
COMPARED = {"arm": "x", "reference": "grpo", "difference": GAIN, "verdict": "better"}
FIGURES: dict[str, tuple[Callable[[], Figure], str]] = {  # name -> (how to draw it, words that must be in its alt)
    "accuracy_by_steps": (lambda: plots.accuracy_by_steps({"GRPO": {2: CELL, 4: CELL}}), "GRPO 50, 50"),
    "advantage_by_rightness": (plots.advantage_by_rightness, "Dr. GRPO"),
    "advantages_by_teacher": (lambda: plots.advantages_by_teacher({"off": ([0.1], []), "on": ([0.1], [2.0])}), "on +2.00"),
    "arm_differences": (lambda: plots.arm_differences([COMPARED], ["x"], ["grpo"]), "x minus grpo +3.0 [1.0, 5.0]"),
    "arms_over_steps": (lambda: plots.arms_over_steps({"arm": [PROBES]}, {"a: x": "share"}, 2), "arm 0.4"),
    "bandit_curves": (lambda: plots.bandit_curves({"plain": [0.1, 0.6]}, {"plain": 12.0}), "plain 12"),
    "break_even_curves": (plots.break_even_curves, "intended"),
    "clip_objective": (plots.clip_objective, "flat above 1.2"),
    "difference_forest": (lambda: plots.difference_forest([LINE]), "SFT on tt_tiny_test +3.0"),
    "disagreement": (lambda: plots.disagreement("q", "1", "A", {"A": "x", "B": "y"}), "A is right, B is wrong"),
    "gain_by_teacher": (lambda: plots.gain_by_teacher({"released": [(1.0, GAIN), (0.5, GAIN)]}), "50 % +3.0, 100 % +3.0"),
    "group_bars": (lambda: plots.group_bars([0, 1], [-0.7, 0.7], guided=[False, True]), "guided: rollout 1"),
    "guidance_over_steps": (lambda: plots.guidance_over_steps({"x": [METRICS]}, 64), "x 0.10 to 0.10"),
    "idea": (plots.idea, "+1.50"),
    "kl_estimators": (plots.kl_estimators, "k2 a parabola"),
    "learning_curves": (lambda: plots.learning_curves({"GRPO": [METRICS]}), "GRPO 2.50"),
    "length_drift": (lambda: plots.length_drift({"grpo": {"right": [20, 10], "wrong": [20, 30]}}), "20 to 30"),
    "live_figure": (lambda: plots.live_figure(METRICS), "step 2"),
    "log_probability_strip": (lambda: plots.log_probability_strip({"student": [1e-6, 1e-6]}, "p"), "student 1.0e-06"),
    "memory_bars": (lambda: plots.memory_bars({"lora": {"weights": 2**30}}, {"T4": 15 * 2**30}), "lora 1.0"),
    "panels_over_steps": (lambda: plots.panels_over_steps(PROBES, {"a": ["a: x", "a: y"]}, 2, 4), "a: x 0.1 to 0.4"),
    "response_lengths": (lambda: plots.response_lengths({"GRPO": [10, 20, 30]}), "GRPO 20"),
    "reward_and_accuracy": (lambda: plots.reward_and_accuracy({"GRPO": [0.1]}, {"GRPO": (0.5, 0.1)}, (0.4, 0.1), 0.6), "50 %"),
    "run_intervals": (lambda: plots.run_intervals([[1, 0], [1, 1]]), "best 100.0 %, worst 50.0 %"),
    "sample_curves": (lambda: plots.sample_curves({"pass@k": [0.2, 0.5]}), "pass@k 20 to 50"),
    "schedules": (lambda: plots.schedules(8, 0.1, 0.01), "from 0.1 to 0.01"),
    "taught_tokens": (lambda: plots.taught_tokens({"plain": RUN}), "plain 1.0e-06 to 5.0e-01"),
    "token_strip": (lambda: plots.token_strip(["28", "\n\n", "Wait"], [1, 1e-6, 1], [0, 1, 1], "p"), "number 1, at 1e-06"),
    "transition_bars": (lambda: plots.transition_bars({"GRPO": {"wrong to right": 1, "right to wrong": 3}}), "GRPO 25.0 %, 75.0 %"),
    "weight_curves": (lambda: plots.weight_curves((1.0, -1.0)), "A = 1, -1"),
}  # fmt: skip
ELSEWHERE = {"DescribedFigure", "inspector_figure", "advantages_by_author"}  # tested with the inspector and the runs


def test_every_figure_is_tried():
    functions = {name for name in dir(plots) if callable(getattr(plots, name)) and not name.startswith("_")}
    assert functions - ELSEWHERE == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_in_words_what_it_shows(name: str):
    draw, words = FIGURES[name]
    figure = draw()
    assert words in figure.alt and "nan" not in figure.alt


def test_a_notebook_shows_the_words_wherever_it_is_read():
    figure = plots.token_strip(["<b>", "two"], [0.5, 0.1], [0, 0], 'a "strip"')
    data, metadata = figure._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == figure.alt == data["text/plain"].replace("\n", " ")
    assert 'alt="a &quot;strip&quot;: &lt;b&gt;two' in data["text/html"]
    assert data["text/html"].startswith(f'<img src="data:image/png;base64,{data["image/png"]}"')


def tiles(figure: Figure) -> list[Rectangle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]


def test_a_strip_is_dark_where_a_token_is_unlikely_as_in_the_inspector():
    drawn = [
        to_rgb(t.get_facecolor()) for t in tiles(plots.token_strip(["a", "b", "c"], [1, 1e-3, 1e-6], [0] * 3, "p"))
    ]
    assert drawn[0] == (1, 1, 1)
    assert np.allclose(np.array(drawn[2]) * 255, [11, 60, 111])  # DARK_BLUE of inspector.js
    assert sum(drawn[0]) > sum(drawn[1]) > sum(drawn[2])


def test_a_strip_reads_like_a_sentence():
    a, b, break_, c = tiles(plots.token_strip(["a", "seventeen", "\n\n", "c"], [1] * 4, [0] * 4, "p"))
    assert b.get_width() > 2 * a.get_width()  # as wide as its text
    assert a.get_y() == b.get_y() == break_.get_y() > c.get_y() and c.get_x() == 0  # a line break starts a line
    many = tiles(plots.token_strip(["word"] * 60, [1] * 60, [0] * 60, "p"))
    assert len({t.get_y() for t in many}) == 3 and max(t.get_x() + t.get_width() for t in many) < 134
