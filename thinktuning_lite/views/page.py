"""The inspector as one file that needs neither kernel nor network. All text reaches it as JSON, or escaped."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path

import numpy as np

from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.views.text import visible

HERE = Path(__file__).parent


def listed_floats(data: bytes) -> list[float | None]:
    """float32 bytes as numbers that JSON can hold, to the digits that float32 has."""
    return [float(f"{x:.6g}") if math.isfinite(x) else None for x in np.frombuffer(data, np.float32).tolist()]


def page(data: dict, groups: list[list[Rollout]]) -> str:
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
        f"<tr><td>{_or_missing(r.reward, '.3g')}</td><td>{_or_missing(r.advantage, '+.3g')}</td><td>{'guided' if r.guided else 'own'}</td>"
        f"<td><bdi>{html.escape(visible(r.text))}</bdi></td></tr>"
        for r in rollouts
    )
    first = rollouts[0]
    return (
        f"<h2>step {first.step}, group {first.group}: <bdi>{html.escape(visible(first.question))}</bdi></h2>"
        f"<table><tr><th>reward</th><th>advantage</th><th>who</th><th>text</th></tr>{rows}</table>"
    )


def _or_missing(x: float, form: str) -> str:
    return "missing" if math.isnan(x) else f"{x:{form}}"
