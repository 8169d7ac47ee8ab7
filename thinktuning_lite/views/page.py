"""The inspector as one file that needs neither kernel nor network. All text reaches it as JSON, or escaped."""

from __future__ import annotations

import html
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.views.exchange import listed
from thinktuning_lite.views.index import FILTERS, SORTS, Group
from thinktuning_lite.views.text import visible

HERE = Path(__file__).parent
PLAIN = 5  # groups for readers without scripts


def rows_of(groups: Sequence[Group]) -> list[dict]:
    """The list of groups as a page holds it: beside each label, which filters let it pass and its place in each order."""
    order = [{g.key: i for i, g in enumerate(sorted(groups, key=key))} for _, key in SORTS.values()]
    return [
        listed(g)
        | {
            "step": g.step,
            "asked": f"{zlib.crc32(g.question.encode('utf-8', 'replace')):x}",  # by which two logs find the same question
            "in": [int(keep(g)) for _, keep in FILTERS.values()],
            "rank": [places[g.key] for places in order],
        }
        for g in groups
    ]


def page(panes: Sequence[dict], plain: Sequence[list[Rollout]]) -> str:
    """The page of one inspector, or of two side by side; `plain`: groups in words for readers without scripts."""
    packed = json.dumps(list(panes), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in ("inspector.js", "page.js"))
    css = (HERE / "inspector.css").read_text(encoding="utf-8")
    title = ", ".join(pane["title"] for pane in panes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{html.escape(title)}</title><style>body {{ margin: 1rem; background: #fff; }}
{css}</style></head>
<body><main id="inspector" class="tti-panes"></main><noscript>{"".join(map(_plain, plain[:PLAIN]))}</noscript>
<script type="application/json" id="data">{packed}</script>
<script type="module">{script}
showPage(document.getElementById("inspector"), JSON.parse(document.getElementById("data").textContent));
</script></body></html>
"""


def _plain(rollouts: list[Rollout]) -> str:
    """A group as plain HTML."""
    rows = "".join(
        f"<tr><td>{_or_missing(r.reward, '.3g')}</td><td>{_or_missing(r.advantage, '+.3g')}</td>"
        f"<td>{'guided' if r.guided else 'own'}</td><td><bdi>{html.escape(visible(r.text))}</bdi></td></tr>"
        for r in rollouts
    )
    first = rollouts[0]
    return (
        f"<h2>step {first.step}, group {first.group}: <bdi>{html.escape(visible(first.question))}</bdi></h2>"
        f"<table><tr><th>reward</th><th>advantage</th><th>who</th><th>text</th></tr>{rows}</table>"
    )


def _or_missing(x: float, form: str) -> str:
    return "missing" if math.isnan(x) else f"{x:{form}}"
