"""Two logs side by side in a notebook."""

from __future__ import annotations

from ipywidgets import HBox

from thinktuning_lite.views.inspector import Inspector
from thinktuning_lite.views.text import visible


def beside(left: Inspector, right: Inspector) -> HBox:
    """Both in a row: a group chosen in one shows the other's of that question, at the step nearest to it.

    Of two checkpoints on the same rollouts, `Inspector.compare(policy, other)` shows the ratio in one inspector. As a page
    without kernel: `left.to_html(path, beside=right)`.
    """
    following = False

    def follow(one: Inspector, other: Inspector) -> None:
        nonlocal following
        same = [g for g in other.index.groups if visible(g.question) == one.group["question"]]
        if following or not same:
            return
        nearest = min(same, key=lambda g: abs(g.step - one.group["step"]))
        following = True  # what the other then shows does not move this one
        try:
            other.select(nearest.step, nearest.group)
        finally:
            following = False

    left.observe(lambda _: follow(left, right), "group")
    right.observe(lambda _: follow(right, left), "group")
    follow(left, right)
    for inspector in (left, right):
        inspector.layout.width = "50%"
    return HBox([left, right])
