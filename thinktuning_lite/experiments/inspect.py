"""`thinktuning inspect RUN`: the inspector's page of a run, without Jupyter."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from thinktuning_lite.experiments.commands import inspect_parser
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.method.dumps import log_or_rollouts
from thinktuning_lite.views.inspector import Inspector

GROUPS = 1000  # in a page, unless told otherwise


def main(arguments: list[str] | None = None) -> None:
    """Write the page and open it. Raises SystemExit, saying what is wrong, for what holds no rollouts."""
    options = inspect_parser().parse_args(arguments)
    quiet()
    runs = [run for run in (options.run, options.other) if run is not None]
    try:
        inspectors = [_inspector(run, getattr(options, "tokenizer", None)) for run in runs]
    except (ValueError, OSError) as error:
        raise SystemExit(f"thinktuning inspect: {error}") from error
    out = getattr(options, "out", (runs[0] if runs[0].is_dir() else runs[0].parent) / "inspector.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    first, *beside = inspectors
    first.to_html(out, getattr(options, "groups", GROUPS), *beside)
    print(f"{' and '.join(str(len(i.index.groups)) for i in inspectors)} groups; the page: {out}")
    if not getattr(options, "no_open", False) and not webbrowser.open(out.resolve().as_uri()):
        print("no browser was found here: open that file in one")


def _inspector(run: Path, tokenizer: str | None) -> Inspector:
    from transformers import AutoTokenizer

    source = log_or_rollouts(run)
    named = None if tokenizer is None else AutoTokenizer.from_pretrained(tokenizer)
    return Inspector(source, named, title=run.resolve().name if run.is_dir() else None)
