"""A live view of a training in the notebook: curves and a sample of rollouts, redrawn in place."""

from __future__ import annotations

import html
import time
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from IPython.display import HTML, DisplayHandle, Image
from transformers import TrainerCallback

from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.views import plots
from thinktuning_lite.views.index import RolloutIndex
from thinktuning_lite.views.text import visible

SHARE = 0.05  # of the time, at most, for drawing


class LiveView(TrainerCallback):
    """Pass to ThinkTuningTrainer(callbacks=[LiveView()]); draws while `train` runs in a notebook cell.

    Reward, guided against own, groups without advantage, truncation, weights by author, gradient norm; with
    `rollout_log_steps` in the config also a sample of the last logged rollouts. Redrawn at most every `seconds`, and
    never so often that drawing takes over a twentieth of the time. What is on the screen stays when the cell is
    interrupted; training again with the same object goes on with the same curves. A view that cannot draw warns once
    and lets training run.
    """

    def __init__(self, seconds: float = 2.0, samples: int = 4) -> None:
        self.seconds, self.samples = seconds, samples
        self.rows: list[dict] = []
        self._curves: DisplayHandle | None = None
        self._rollouts: DisplayHandle | None = None
        self._index: RolloutIndex | None = None
        self._next = 0.0
        self._broken = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows = [row for row in self.rows if row["step"] <= state.global_step]
        self._curves = self._rollouts = None  # a new cell, a new place
        self._log = Path(args.output_dir) / "rollouts.jsonl"
        self._total = state.max_steps
        self._next = 0.0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and "loss" in (logs or {}):
            self.rows.append({"step": state.global_step, **logs})
            self._draw_if_due()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._next = 0.0
        self._draw_if_due()

    def _draw_if_due(self) -> None:
        began = time.monotonic()
        if self._broken or not self.rows or began < self._next:
            return
        try:
            self.draw()
        except Exception as error:  # a picture is not worth a training
            self._broken = True
            warnings.warn(f"the live view cannot draw and is off: {error!r}", stacklevel=2)
        took = time.monotonic() - began
        self._next = began + took + max(self.seconds, took / SHARE)

    def draw(self) -> None:
        """Draw what is known now, in place."""
        picture = BytesIO()
        figure = plots.live_figure(self.rows, self._total)
        figure.savefig(picture, format="png", dpi=80)
        self._curves = _show(self._curves, Image(picture.getvalue(), format="png", alt=figure.alt))
        rollouts = self._sample()
        if rollouts:
            self._rollouts = _show(self._rollouts, HTML(_as_html(rollouts)))

    def _sample(self) -> list[Rollout]:
        """Rollouts of the last whole logged step, guided ones first."""
        if not self._log.exists():
            return []
        if self._index is None or self._index.path != self._log:
            self._index = RolloutIndex(self._log)
        self._index.refresh()
        groups = self._index.groups
        if not groups:
            return []
        group = max((g for g in groups if g.step == groups[-1].step), key=lambda g: (g.guided, g.spread))
        return sorted(self._index.rollouts(group), key=lambda r: (not r.guided, -abs(r.advantage)))[: self.samples]


def _show(handle: DisplayHandle | None, what: Any) -> DisplayHandle:
    if handle is None:
        handle = DisplayHandle()
        handle.display(what)
    else:
        handle.update(what)
    return handle


def _as_html(rollouts: list[Rollout]) -> str:
    """Rollouts of one group as a table; model text is escaped, and set apart from the direction of the page."""
    rows = "".join(
        f"<tr><td>{'guided' if r.guided else 'own'}</td><td>{r.reward:.3g}</td><td>{r.advantage:+.2f}</td>"
        f'<td style="text-align:left; overflow-wrap:anywhere"><bdi>{html.escape(visible(r.text))}</bdi></td></tr>'
        for r in rollouts
    )
    first = rollouts[0]
    return (
        f"<p>Step {first.step}: <bdi>{html.escape(visible(first.question))}</bdi></p>"
        f"<table><thead><tr><th>who</th><th>reward</th><th>advantage</th><th>text</th></tr></thead>{rows}</table>"
    )
