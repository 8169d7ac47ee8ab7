"""The advantage inspector: every token of every rollout of a group, who wrote it and what it weighs in the loss, live.

`Inspector` shows the groups and numbers of inspection.py: as a widget (anywidget; its browser part is
inspector.js), as a page that needs no kernel (`to_html`) and as a figure (`figure`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import torch
import traitlets

from thinktuning_lite.method.rollouts import UNKNOWN_TOKEN, Rollout, pieces
from thinktuning_lite.views import plots
from thinktuning_lite.views.compact import TOGETHER, InForce, Shown, as_text, compact, deflated
from thinktuning_lite.views.exchange import (
    as_ui,
    finite,
    floats,
    listed,
    offered,
    page_of,
    replaced,
    settings_of,
    settings_of_run,
)
from thinktuning_lite.views.index import FILTERS, SORTS, Group, RolloutIndex, Row, find_tokenizer
from thinktuning_lite.views.inspection import Numbers, Settings, detect, recompute
from thinktuning_lite.views.packing import curves, note, packed
from thinktuning_lite.views.page import PLAIN, page, rows_of
from thinktuning_lite.views.scoring import score_tokens
from thinktuning_lite.views.text import visible

HERE = Path(__file__).parent
LISTED = 200  # groups in the browser's list at a time
# The twin in a notebook. JupyterLab and Notebook put a line of text where a widget has no kernel; behind its twin it goes.
TWIN = """<div class="tti-twin" data-of="{id}">{image}</div><style>
.jp-OutputArea-child:has(.tti-twin) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*)) {{ display: none; }}
</style>"""


class Inspector(anywidget.AnyWidget):
    """Show the groups of a training run, token by token, and recompute them under other settings.

    Args:
        source: the path of a rollout log (rollouts.jsonl), a ThinkTuningTrainer that writes one, or a list of Rollouts.
        tokenizer: what turns token ids into text. Default: the trainer's, else one found beside the log, else the tiny
            classroom's where it fits; failing that, token ids are shown.
        settings: what the run used. Default: the trainer's, else what reproduces the logged weights (`detect`).
        title: which log this is; default: the name of the folder it lies in.

    Raises ValueError for a source without rollouts or a trainer without a log, FileNotFoundError for a missing log.
    """

    _esm = HERE / "inspector.js"
    _css = HERE / "inspector.css"
    ui = traitlets.Dict().tag(sync=True)  # what the controls say, written by the browser; rollout -1: the guided one
    choices = traitlets.Dict().tag(sync=True)
    listing = traitlets.Dict().tag(sync=True)
    group = traitlets.Dict().tag(sync=True)
    numbers = traitlets.Dict().tag(sync=True)
    twin = traitlets.Unicode().tag(sync=True)  # by which the widget finds its static twin in the page

    def __init__(
        self, source: Any, tokenizer: Any = None, settings: Settings | None = None, title: str | None = None
    ) -> None:
        if hasattr(source, "rollout_log"):
            tokenizer = tokenizer or source.processing_class
            settings = settings or settings_of(source.args)
            if source.rollout_log is None:
                raise ValueError("this trainer writes no rollout log: set rollout_log_steps above 0 in its config")
            source = source.rollout_log.path
        self.index = RolloutIndex(list(source) if isinstance(source, (list, tuple)) else source)
        if not self.index.groups:
            raise ValueError(f"{self.index.path or 'the list'} holds no whole group of rollouts yet")
        self.title = title or (self.index.path.resolve().parent.name if self.index.path else "Advantage inspector")
        self._tokenizer = tokenizer or find_tokenizer(self.index)
        self._texts: dict[int, str] = {}
        self._policies: tuple | None = None
        self._scores: dict[str, tuple] = {}
        self._version = 0
        self.logged = (
            settings or settings_of_run(self.index.run) or detect(self._read(g) for g in _sample(self.index.groups))
        )
        super().__init__(twin=uuid4().hex)
        self.choices = offered(self.logged)
        first = max(self.index.groups, key=lambda g: (bool(g.guided) + (g.spread > 0), -g.step, -g.group))
        self.ui = as_ui(self.logged) | {
            "step": -1,
            "filter": "all",
            "sort": "step",
            "group": first.key,
            "rollout": -1,
            "colour": "author",
            "reload": 0,
            "search": "",
            "pushes": 0,
        }
        self._list()
        self._load()

    # -------------------------------------------------------- what a program asks

    @property
    def settings(self) -> Settings:
        """The settings as the sliders stand."""
        ui = self.ui
        constants = replace(
            self.logged.constants,
            gamma_min=ui["gamma_min"],
            gamma_max=ui["gamma_max"],
            fallback_probability=ui["fallback"],
        )
        loss = replace(
            self.logged.loss,
            **{name: ui[name] for name in ("loss_type", "importance_sampling_level", "epsilon", "beta")},
        )
        return replace(
            self.logged, shaping=ui["shaping"], mask=ui["mask"], constants=constants, scale=ui["scale"], loss=loss
        )

    def select(self, step: int, group: int, rollout: int | None = None) -> Inspector:
        """Show another group (and rollout); returns self."""
        if (step, group) not in self._keys():
            raise ValueError(f"there is no group {group} at step {step}: steps are {self._steps()[:20]} ...")
        self.ui = self.ui | {"group": f"{step}/{group}", "rollout": -1 if rollout is None else rollout}
        return self

    def compare(
        self,
        policy: Any,
        other: Any = None,
        *,
        temperature: float = 1.0,
        messages: Callable[[str], list[dict]] = lambda question: [{"role": "user", "content": question}],
    ) -> Inspector:
        """Set `policy`'s probabilities of the same tokens in place of the logged ones; returns self.

        Ratios are then policy / log, or policy / other when another model is given, and the clip acts on them.
        `messages` makes the prompt of a question (the log keeps the question alone); `temperature` is the sampling one.
        Groups are scored when they are shown. Raises ValueError without a tokenizer.
        """
        if self._tokenizer is None:
            raise ValueError(
                "compare needs the run's tokenizer to ask the question again: Inspector(source, tokenizer)"
            )
        if UNKNOWN_TOKEN in self._rollouts[0].token_ids:
            raise ValueError("compare needs the token ids, which whoever recorded these rollouts did not keep")
        self._policies, self._scores = (policy, other, messages, temperature), {}
        self._load()
        return self

    def refresh(self) -> Inspector:
        """Read what a running training has appended to its log; returns self."""
        self.index.refresh()
        self._list()
        self._load()
        return self

    def current(self) -> tuple[list[Rollout], Numbers]:
        """The shown group and its numbers under the settings as they stand."""
        return self._rollouts, self._numbers

    def figure(self) -> plots.DescribedFigure:
        """The static twin: the shown group's advantages, the weight curve and the shown rollout's tokens."""
        guided = [i for i, r in enumerate(self._rollouts) if r.guided]
        i = min(self.ui["rollout"], len(self._rollouts) - 1) if self.ui["rollout"] >= 0 else (guided or [0])[0]
        r, n = self._rollouts[i], self._numbers
        first, last = page_of(r)
        start = sum(len(x.token_ids) for x in self._rollouts[:i])
        here = slice(start + first, start + last)
        left_out = f" (tokens {first + 1} to {last} of {len(r.token_ids)})" if last - first < len(r.token_ids) else ""
        p, weights = curves(self.settings, n.after)
        return plots.inspector_figure(
            title=f"step {r.step}, group {r.group}{left_out}: {visible(r.question)}",
            rewards=[x.reward for x in self._rollouts],
            before=n.before.tolist(),
            after=n.after.tolist(),
            guided=[x.guided for x in self._rollouts],
            shown=i,
            tokens=self._tokens(r)[first:last],
            author=r.author[first:last],
            p=n.p[here].tolist(),
            weight=n.weight[here].tolist(),
            shaped=(n.case[here] > 0).tolist(),
            curve=(p.tolist(), weights[i].tolist()),
            shaping=self.settings.shaping,
        )

    def pushes(self, step: int, n: int = 20) -> list[dict]:
        """The `n` tokens of a step with the largest push, largest first: group, rollout, token, text and push."""
        found = []
        for group in (g for g in self.index.groups if g.step == step):
            rollouts, batch = self._read(group)
            push = self._recomputed(rollouts, batch).push
            ends = torch.tensor([len(r.token_ids) for r in rollouts]).cumsum(0)
            for k in push.abs().nan_to_num(nan=0.0).topk(min(n, len(push))).indices.tolist():
                i = int((ends <= k).sum())
                token = k - (int(ends[i - 1]) if i else 0)
                text = self._tokens(rollouts[i])[token]
                found.append(
                    {
                        "group": group.key,
                        "rollout": i,
                        "token": token,
                        "text": text,
                        "push": float(push[k].nan_to_num(nan=0.0)),
                    }
                )
        return sorted((x for x in found if x["push"]), key=lambda x: -abs(x["push"]))[:n]

    def to_html(self, path: str | Path, groups: int = 1000, beside: Inspector | None = None) -> Path:
        """Write a page that needs neither kernel nor network: the listed groups, at most `groups`, as settings stand.

        Everything but the what-if controls stays live in it. p is kept to about three digits, other numbers to four.
        `beside`: another log, to stand to the right: a group chosen in one shows the other's of that question. Returns the
        path.
        """
        panes = [self._pane(groups)] + ([] if beside is None else [beside._pane(groups)])
        path = Path(path)
        path.write_text(page(panes, [self._read(g)[0] for g in self._wanted()[:PLAIN]]), encoding="utf-8")
        return path

    def _pane(self, groups: int) -> dict:
        """What the static page holds of this log."""
        shown = next((g for g in self.index.groups if g.key == self.ui["group"]), self.index.groups[0])
        chosen = [shown, *(g for g in self._wanted() if g.key != shown.key)][:groups]
        words: dict[str, int] = {}
        force = InForce(self.settings.shaping, self.settings.constants.luffy_gamma)
        pieces = [
            compact([self._shown(g) for g in chosen[i : i + TOGETHER]], words, force)
            for i in range(0, len(chosen), TOGETHER)
        ]
        rows = rows_of(sorted(chosen, key=SORTS[self.ui["sort"]][1]))
        steps = sorted({g.step for g in chosen})
        index = {
            "listing": {"groups": rows, "total": len(rows), "steps": steps, "incomplete": 0},
            "places": {g.key: i for i, g in enumerate(chosen)},
            "words": list(words),
            "luffy_gamma": force.luffy_gamma,
            "curve_p": curves(self.settings, self._numbers.after)[0].tolist(),
        }
        return {
            "title": self.title,
            "ui": self.ui | {"group": shown.key, "search": "", "filter": "all", "step": -1},
            "choices": self.choices | {"static": True},
            "index": deflated(as_text(index)),
            "pieces": pieces,
        }

    def _shown(self, group: Group) -> Shown:
        rollouts, batch = self._read(group)
        sent = self._packed(rollouts, batch, self._recomputed(rollouts, batch))
        values, weights = sent.pop("values").numpy(), sent.pop("curves").numpy()
        sent.pop("curve_p")
        return Shown(self._described(rollouts), sent, values, weights)

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Two outputs: the static twin, then the widget, which hides the twin for as long as it lives.

        A page without this kernel (a notebook opened again, GitHub, a PDF) thus has the twin. In one output with both,
        JupyterLab would take the widget, and say "model not found" when its kernel is gone.
        """
        from IPython.display import display

        summary = f"Inspector: {len(self.index.groups)} groups, steps {self._steps()[0]} to {self._steps()[-1]}"
        figure = self.figure()
        figure.alt = f"{summary}. Shown: {figure.alt}"
        twin, metadata = figure._repr_mimebundle_()
        twin["text/html"] = TWIN.format(id=self.twin, image=twin["text/html"])
        display(twin, metadata=metadata, raw=True)
        display(super()._repr_mimebundle_(**kwargs)[0] | {"text/plain": summary}, raw=True)

    # -------------------------------------------------------- what the browser is sent

    @traitlets.observe("ui")
    def _on_ui(self, change: Any) -> None:
        old, new = change["old"], change["new"]
        if not old:
            return
        changed = {key for key in new if new[key] != old.get(key)}
        if "reload" in changed:
            self.refresh()
        elif "pushes" in changed:
            self.listing = self.listing | {"pushes": self.pushes(self._rollouts[0].step)}
        elif changed & {"step", "filter", "sort", "search"}:
            self._list()
        if "group" in changed:
            self._load()
        elif changed - {"rollout", "colour", "reload", "step", "filter", "sort", "search", "pushes"}:
            self._recompute()

    def _wanted(self) -> list[Group]:
        """The groups that step, filter and search leave, in the order chosen."""
        ui = self.ui
        keep = FILTERS[ui["filter"]][1]
        found = [g for g in self.index.groups if keep(g) and ui["step"] in (-1, g.step)]
        if ui["search"]:
            holds = self.index.holding(ui["search"])
            found = [g for g in found if g.key in holds]
        return sorted(found, key=SORTS[ui["sort"]][1])

    def _list(self) -> None:
        found = self._wanted()
        self.listing = {
            "groups": [listed(g) for g in found[:LISTED]],
            "total": len(found),
            "steps": self._steps(),
            "incomplete": self.index.incomplete,
        }

    def _load(self) -> None:
        """The shown group: its texts, then its numbers."""
        group = next((g for g in self.index.groups if g.key == self.ui["group"]), self.index.groups[0])
        self._rollouts, self._batch = self._read(group)
        with self.hold_sync():  # texts and numbers arrive together
            self.group = self._described(self._rollouts)
            self._recompute()

    def _recompute(self) -> None:
        self._version += 1
        self._numbers = self._recomputed(self._rollouts, self._batch)
        sent = self._packed(self._rollouts, self._batch, self._numbers)
        self.numbers = {k: floats(v) if isinstance(v, torch.Tensor) else v for k, v in sent.items()} | {
            "version": self._version
        }

    def _recomputed(self, rollouts: list[Rollout], batch: list[Row], settings: Settings | None = None) -> Numbers:
        return recompute(rollouts, settings or self.settings, *self._scored(rollouts), batch)

    def _described(self, rollouts: list[Rollout]) -> dict:
        first = rollouts[0]
        return {
            "key": f"{first.step}/{first.group}",
            "step": first.step,
            "group": first.group,
            "question": visible(first.question),
            "rollouts": [
                {
                    "reward": finite([r.reward])[0],
                    "guided": r.guided,
                    "rewards": {k: v if v is None else finite([v])[0] for k, v in (r.rewards or {}).items()},
                    "finish": r.finish,
                    "replaced": replaced(r),
                    "tokens": self._tokens(r),
                    "author": r.author,
                }
                for r in rollouts
            ],
        }

    def _packed(self, rollouts: list[Rollout], batch: list[Row], numbers: Numbers) -> dict:
        as_run = numbers if self.settings == self.logged else self._recomputed(rollouts, batch, self.logged)
        sent = packed(rollouts, batch, self.settings, numbers, as_run.push)
        return sent | {"note": note(rollouts, numbers, compared=bool(self._policies))}

    # -------------------------------------------------------- helpers

    def _read(self, group: Group) -> tuple[list[Rollout], list[Row]]:
        return self.index.rollouts(group), self.index.step_rows(group.step)

    def _steps(self) -> list[int]:
        return sorted({g.step for g in self.index.groups})

    def _keys(self) -> set[tuple[int, int]]:
        return {(g.step, g.group) for g in self.index.groups}

    def _tokens(self, r: Rollout) -> list[str]:
        if UNKNOWN_TOKEN in r.token_ids:
            return [visible(piece) for piece in pieces(r.text)]
        for i in r.token_ids:
            if i not in self._texts:
                self._texts[i] = f"‹{i}›" if self._tokenizer is None else visible(self._tokenizer.decode([i]))
        return [self._texts[i] for i in r.token_ids]

    def _scored(self, rollouts: list[Rollout]) -> tuple:
        """(logps, old_logps) by compare()'s models, or (None, None)."""
        if not self._policies:
            return None, None
        policy, other, messages, temperature = self._policies
        key = f"{rollouts[0].step}/{rollouts[0].group}"
        if key not in self._scores:
            self._scores[key] = tuple(
                m and score_tokens(m, self._tokenizer, rollouts, messages, temperature) for m in (policy, other)
            )
        return self._scores[key]


def _sample(groups: list[Group], n: int = 4) -> list[Group]:
    """A few groups to detect the settings by: those with guidance and a signal first."""
    return sorted(groups, key=lambda g: (-(g.guided > 0) - (g.spread > 0), g.step))[:n]
