"""`thinktuning inspect RUN`: the inspector's page of a run, without Jupyter."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from thinktuning_lite.experiments.commands import inspect_parser
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.method.dumps import log_or_rollouts

GROUPS = 1000  # in a page, unless told otherwise


def main(arguments: list[str] | None = None) -> None:
    """Write the page and open it. Raises SystemExit, saying what is wrong, for what holds no rollouts."""
    options = inspect_parser().parse_args(arguments)
    quiet()
    try:
        source = log_or_rollouts(options.run)
        inspector = _inspector(source, getattr(options, "tokenizer", None))
    except ValueError as error:
        raise SystemExit(f"thinktuning inspect: {error}") from error
    beside = source.parent if isinstance(source, Path) else options.run if options.run.is_dir() else options.run.parent
    out = getattr(options, "out", beside / "inspector.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    inspector.to_html(out, groups=getattr(options, "groups", GROUPS))
    print(f"{inspector.listing['total']} groups; the page: {out}")
    if not getattr(options, "no_open", False) and not webbrowser.open(out.resolve().as_uri()):
        print("no browser was found here: open that file in one")


def _inspector(source: object, tokenizer: str | None) -> object:
    from thinktuning_lite.views.inspector import Inspector

    if tokenizer is None:
        return Inspector(source)
    from transformers import AutoTokenizer

    return Inspector(source, AutoTokenizer.from_pretrained(tokenizer))
