"""The advantage inspector: every token of every rollout of a group, who wrote it and what it weighs in the loss, live.

`Inspector` shows the groups and numbers of inspection.py: as a widget (anywidget; its browser part is
inspector.js), as a page that needs no kernel (`to_html`) and as a figure (`figure`).
"""

from __future__ import annotations

import html
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from torch import Tensor

from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.method.shaping import SHAPINGS, gamma_intended, gamma_released, shape
from thinktuning_lite.views import plots
from thinktuning_lite.views.inspection import (
    CASES,
    FILTERS,
    SORTS,
    Group,
    Numbers,
    RolloutIndex,
    Row,
    Settings,
    detect,
    differing,
    recompute,
    visible,
)

HERE = Path(__file__).parent
LISTED = 200  # groups in the browser's list at a time
FALLBACKS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)


class Inspector(anywidget.AnyWidget):
    """Show the groups of a training run, token by token, and recompute them under other settings.

    Args:
        source: the path of a rollout log (rollouts.jsonl), a ThinkTuningTrainer that writes one, or a list of Rollouts.
        tokenizer: what turns token ids into text. Default: the trainer's, else one found beside the log, else the tiny
            classroom's where it fits; failing that, token ids are shown.
        settings: what the run used. Default: the trainer's, else what reproduces the logged weights (`detect`).

    Raises ValueError for a source without rollouts or a trainer without a log, FileNotFoundError for a missing log.
    """

    _esm = HERE / "inspector.js"
    _css = HERE / "inspector.css"
    ui = traitlets.Dict().tag(sync=True)  # what the controls say, written by the browser; rollout -1: the guided one
    choices = traitlets.Dict().tag(sync=True)
    listing = traitlets.Dict().tag(sync=True)
    group = traitlets.Dict().tag(sync=True)
    numbers = traitlets.Dict().tag(sync=True)

    def __init__(self, source: Any, tokenizer: Any = None, settings: Settings | None = None) -> None:
        if hasattr(source, "rollout_log"):
            tokenizer = tokenizer or source.processing_class
            settings = settings or _settings_of(source.args)
            if source.rollout_log is None:
                raise ValueError("this trainer writes no rollout log: set rollout_log_steps above 0 in its config")
            source = source.rollout_log.path
        self.index = RolloutIndex(list(source) if isinstance(source, (list, tuple)) else source)
        if not self.index.groups:
            raise ValueError(f"{self.index.path or 'the list'} holds no whole group of rollouts yet")
        self._tokenizer = tokenizer or _find_tokenizer(self.index)
        self._texts: dict[int, str] = {}
        self._policies: tuple | None = None
        self._scores: dict[str, tuple] = {}
        self._version = 0
        self.logged = settings or detect(self._read(g) for g in _sample(self.index.groups))
        super().__init__()
        self.choices = _choices(self.logged)
        first = max(self.index.groups, key=lambda g: (bool(g.guided) + (g.spread > 0), -g.step, -g.group))
        self.ui = _as_ui(self.logged) | {
            "step": -1,
            "filter": "all",
            "sort": "step",
            "group": first.key,
            "rollout": -1,
            "colour": "author",
            "reload": 0,
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
        return Settings(ui["shaping"], ui["mask"], constants, ui["epsilon"], ui["scale"])

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
        start = sum(len(x.token_ids) for x in self._rollouts[:i])
        here = slice(start, start + len(r.token_ids))
        p, curves = self._curves()
        return plots.inspector_figure(
            title=f"step {r.step}, group {r.group}: {visible(r.question)}",
            rewards=[x.reward for x in self._rollouts],
            before=n.before.tolist(),
            after=n.after.tolist(),
            guided=[x.guided for x in self._rollouts],
            shown=i,
            tokens=self._tokens(r),
            author=r.author,
            p=n.p[here].tolist(),
            weight=n.weight[here].tolist(),
            shaped=(n.case[here] > 0).tolist(),
            curve=(p.tolist(), curves[i].tolist()),
            shaping=self.settings.shaping,
        )

    def to_html(self, path: str | Path, groups: int = 12) -> Path:
        """Write a page that needs neither kernel nor network: the listed groups, at most `groups`, as settings stand.

        Group, rollout, colour and the exact numbers of each token stay live in it; the sliders need a kernel. Returns
        the path.
        """
        keys = [self.ui["group"], *(row["key"] for row in self.listing["groups"])]
        keys = list(dict.fromkeys(keys))[:groups]
        chosen = {g.key: g for g in self.index.groups if g.key in keys}
        rows = sorted((_listed(g) for g in chosen.values()), key=lambda row: keys.index(row["key"]))
        data = {
            "ui": self.ui,
            "choices": self.choices | {"static": True},
            "listing": self.listing | {"groups": rows, "total": len(rows)},
            "views": {key: self._view(chosen[key]) for key in keys},
        }
        path = Path(path)
        path.write_text(_page(data, [self._read(g)[0] for g in chosen.values()]), encoding="utf-8")
        return path

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and for whoever cannot show it (a page without kernel, GitHub, a PDF) its static twin."""
        from IPython.core.pylabtools import print_figure

        data, metadata = super()._repr_mimebundle_(**kwargs)
        summary = f"Inspector: {len(self.index.groups)} groups, steps {self._steps()[0]} to {self._steps()[-1]}"
        figure = self.figure()
        image, alt = print_figure(figure, "png", base64=True), f"{summary}. Shown: {figure.alt}"
        return data | {"image/png": image, "text/plain": summary}, metadata | {"image/png": {"alt": alt}}

    # -------------------------------------------------------- what the browser is sent

    @traitlets.observe("ui")
    def _on_ui(self, change: Any) -> None:
        old, new = change["old"], change["new"]
        if not old:
            return
        changed = {key for key in new if new[key] != old.get(key)}
        if "reload" in changed:
            self.refresh()
        elif changed & {"step", "filter", "sort"}:
            self._list()
        if "group" in changed:
            self._load()
        elif changed - {"rollout", "colour", "reload", "step", "filter", "sort"}:
            self._recompute()

    def _list(self) -> None:
        ui = self.ui
        keep = FILTERS[ui["filter"]][1]
        found = [g for g in self.index.groups if keep(g) and ui["step"] in (-1, g.step)]
        found.sort(key=SORTS[ui["sort"]][1])
        self.listing = {
            "groups": [_listed(g) for g in found[:LISTED]],
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
        self._numbers = recompute(self._rollouts, self.settings, *self._scored(self._rollouts), self._batch)
        self.numbers = self._packed() | {"version": self._version}

    def _view(self, group: Group) -> dict:
        """What the static page holds of a group; the shown one is put back afterwards."""
        shown = self._rollouts, self._batch, self._numbers
        try:
            self._rollouts, self._batch = self._read(group)
            self._numbers = recompute(self._rollouts, self.settings, *self._scored(self._rollouts), self._batch)
            packed = {k: _listed_floats(v) if isinstance(v, bytes) else v for k, v in self._packed().items()}
            return {"group": self._described(self._rollouts), "numbers": packed}
        finally:
            self._rollouts, self._batch, self._numbers = shown

    def _described(self, rollouts: list[Rollout]) -> dict:
        first = rollouts[0]
        return {
            "key": f"{first.step}/{first.group}",
            "step": first.step,
            "group": first.group,
            "question": visible(first.question),
            "rollouts": [
                {"reward": r.reward, "guided": r.guided, "tokens": self._tokens(r), "author": r.author}
                for r in rollouts
            ],
        }

    def _packed(self) -> dict:
        """The numbers as the browser reads them: float32 in bytes, one row after another."""
        n = self._numbers
        tokens = torch.stack([n.p, n.p_old, n.ratio, n.weight, n.advantage, n.slope, n.gradient, n.case])
        p, curves = self._curves()
        return {
            "values": _bytes(torch.cat([tokens, n.weights_by])),
            "curve_p": _bytes(p),
            "curves": _bytes(curves),
            "before": [None if math.isnan(x) else x for x in n.before.tolist()],
            "after": n.after.tolist(),
            "gamma": {
                name: f(n.after, self.settings.constants).tolist()
                for name, f in (("intended", gamma_intended), ("released", gamma_released))
            },
            "why": self._why(),
            "note": self._note(),
        }

    def _curves(self) -> tuple[Tensor, Tensor]:
        """Probabilities (M,) and the weight of a shaped token there, (G, M), for each rollout's advantage."""
        c = self.settings.constants
        near_pole = torch.tensor(
            [abs(g) * (1 + d) for g in (c.gamma_min, c.gamma_max) for d in (-1e-3, 1e-3, 0.03, 0.1)]
        )
        p = torch.cat([torch.logspace(-8, 0, 161), near_pole, torch.tensor([c.fallback_probability * 0.999])])
        p = p[(p >= 1e-8) & (p <= 1)].sort().values
        return p, shape(self.settings.shaping, p[None, :], self._numbers.after[:, None], c).weight

    def _why(self) -> list[str]:
        """The arithmetic of each rollout's advantage, in words."""
        rewards, scale = [r.reward for r in self._rollouts], self.settings.scale
        if len(rewards) < 2:
            return ["A is as logged: a group of one has nothing to compare with."]
        mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
        if scale == "batch":
            spread = statistics.stdev([row.reward for row in self._batch])
        if statistics.stdev(rewards) == 0:
            return [
                f"A = 0: all {len(rewards)} rewards of this group are equal, so there is nothing to learn from."
            ] * len(rewards)
        out = []
        for reward, a in zip(rewards, self._numbers.after.tolist(), strict=True):
            by = "" if scale == "none" else f" / (std {spread:.3g} + 0.0001)"
            side = "worse than" if a < 0 else "better than" if a > 0 else "just at"
            out.append(
                f"A = (reward {reward:.3g} − mean {mean:.3g}){by} = {a:+.3g}: {side} the mean of its "
                f"{'group' if scale != 'batch' else 'group, by the spread of the step'}."
            )
        return out

    def _note(self) -> str:
        """Whether the settings are those of the log, and whether the clip can act."""
        advantages, weights = differing(self._rollouts, self._numbers)
        tokens = len(self._numbers.p)
        if self._policies:
            return "Probabilities are those of compare(); the ratio of unshaped tokens is taken to them."
        if advantages or weights:
            text = (
                f"What if: {weights} of {tokens} weights and {advantages} of {len(self._rollouts)} advantages differ "
                "from the log."
            )
        else:
            text = "These settings give the logged weights and advantages."
        return (
            text + " Every ratio is 1 (first iteration), so the clip is idle; compare() sets a later policy beside it."
        )

    # -------------------------------------------------------- helpers

    def _read(self, group: Group) -> tuple[list[Rollout], list[Row]]:
        return self.index.rollouts(group), self.index.step_rows(group.step)

    def _steps(self) -> list[int]:
        return sorted({g.step for g in self.index.groups})

    def _keys(self) -> set[tuple[int, int]]:
        return {(g.step, g.group) for g in self.index.groups}

    def _tokens(self, r: Rollout) -> list[str]:
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


@torch.no_grad()
def score_tokens(
    model: Any, tokenizer: Any, rollouts: list[Rollout], messages: Callable[[str], list[dict]], temperature: float = 1.0
) -> list[list[float]]:
    """Log-probabilities of the rollouts' tokens under `model`, one list a rollout, each scored by itself."""
    was_training = model.training
    model.eval()
    try:
        out = []
        for r in rollouts:
            prompt = tokenizer.apply_chat_template(messages(r.question), add_generation_prompt=True, tokenize=False)
            prefix = tokenizer.encode(prompt, add_special_tokens=False)
            tokens = torch.tensor([prefix + r.token_ids], device=model.device)
            logits = model(tokens, logits_to_keep=len(r.token_ids) + 1).logits[0, :-1].float() / temperature
            out.append(logits.log_softmax(-1).gather(1, tokens[0, len(prefix) :, None])[:, 0].tolist())
        return out
    finally:
        model.train(was_training)


def _settings_of(args: Any) -> Settings:
    return Settings(args.shaping, args.shaping_mask, args.constants, args.epsilon, args.scale_rewards)


def _as_ui(s: Settings) -> dict:
    return {
        "shaping": s.shaping,
        "mask": s.mask,
        "gamma_min": s.constants.gamma_min,
        "gamma_max": s.constants.gamma_max,
        "fallback": s.constants.fallback_probability,
        "epsilon": s.epsilon,
        "scale": s.scale,
    }


def _choices(logged: Settings) -> dict:
    c = logged.constants
    return {
        "shapings": list(SHAPINGS),
        "filters": {k: v[0] for k, v in FILTERS.items()},
        "sorts": {k: v[0] for k, v in SORTS.items()},
        "cases": list(CASES),
        "logged": _as_ui(logged),
        "masks": {"guided": "whole guided response", "teacher": "teacher's tokens only"},
        "scales": {"group": "group std", "batch": "std of the step", "none": "none (Dr. GRPO)"},
        "fallbacks": sorted({*FALLBACKS, c.fallback_probability}),
        "gamma_limit": max(0.01, 2 * abs(c.gamma_min), 2 * abs(c.gamma_max)),
        "advantages": [c.advantage_max, c.advantage_min],
        "formulas": {
            "intended": "p / (p + γ)",
            "released": "p / (p + γ)",
            "luffy": f"p / (p + {c.luffy_gamma:g})",
            "plain": "1",
        },
    }


def _listed(g: Group) -> dict:
    question = visible(g.question)
    mean = statistics.fmean(g.rewards)
    reward = f"reward {mean:.2f} ± {g.spread:.2f}" if g.spread else f"no signal, all {mean:.3g}"
    parts = [f"step {g.step} group {g.group}", f"{g.guided} guided", reward, f"rarest p {math.exp(g.least_logp):.0e}"]
    # The isolates keep a right-to-left question from turning the line around.
    return {"key": g.key, "label": " · ".join(parts) + f" · \u2068{question[:70]}\u2069"}


def _sample(groups: list[Group], n: int = 4) -> list[Group]:
    """A few groups to detect the settings by: those with guidance and a signal first."""
    return sorted(groups, key=lambda g: (-(g.guided > 0) - (g.spread > 0), g.step))[:n]


def _find_tokenizer(index: RolloutIndex) -> Any:
    """A tokenizer beside the log, or the tiny classroom's, that turns the logged ids into the logged text; or None."""
    from transformers import AutoTokenizer

    from thinktuning_lite.classroom.load import TINY_CLASSROOM

    beside = (
        [p for pattern in ("", "*/") for p in index.path.parent.glob(f"{pattern}tokenizer.json")] if index.path else []
    )
    rollout = index.rollouts(index.groups[0])[0]
    for folder in (*(path.parent for path in beside[:1]), TINY_CLASSROOM):
        if not (folder / "tokenizer.json").exists():
            continue
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if max(rollout.token_ids, default=0) < len(tokenizer):
            if tokenizer.decode(rollout.token_ids, skip_special_tokens=True).strip() == rollout.text.strip():
                return tokenizer
    return None


def _bytes(x: Tensor) -> bytes:
    return x.to(torch.float32).contiguous().numpy().tobytes()


def _listed_floats(data: bytes) -> list[float | None]:
    """float32 bytes as numbers that JSON can hold, to the digits that float32 has."""
    return [float(f"{x:.6g}") if math.isfinite(x) else None for x in np.frombuffer(data, np.float32).tolist()]


def _page(data: dict, groups: list[list[Rollout]]) -> str:
    """The static page. All text reaches it as JSON in which no tag can begin, or escaped."""
    packed = json.dumps(data, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    script = (HERE / "inspector.js").read_text(encoding="utf-8")
    css = (HERE / "inspector.css").read_text(encoding="utf-8")
    plain = "".join(_plain(rollouts) for rollouts in groups)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Advantage inspector</title><style>body {{ margin: 1rem; background: #fff; }}
{css}</style></head>
<body><main id="inspector"></main><noscript>{plain}</noscript>
<script type="application/json" id="data">{packed}</script>
<script type="module">{script}
showStatic(document.getElementById("inspector"), JSON.parse(document.getElementById("data").textContent));
</script></body></html>
"""


def _plain(rollouts: list[Rollout]) -> str:
    """A group as plain HTML, for readers without scripts."""
    rows = "".join(
        f"<tr><td>{r.reward:.3g}</td><td>{r.advantage:+.3g}</td><td>{'guided' if r.guided else 'own'}</td>"
        f"<td><bdi>{html.escape(visible(r.text))}</bdi></td></tr>"
        for r in rollouts
    )
    first = rollouts[0]
    return (
        f"<h2>step {first.step}, group {first.group}: <bdi>{html.escape(visible(first.question))}</bdi></h2>"
        f"<table><tr><th>reward</th><th>advantage</th><th>who</th><th>text</th></tr>{rows}</table>"
    )
