"""For maintainers: set-up cells, badges, measured times, paired texts, and the run that fills in outputs."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning_lite.lessons.runtime import smoke
from thinktuning_lite.lessons.setup import CLONE, ROOT

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS = ROOT / "notebooks"
DEFAULT_REPO = "OWNER/thinktuning_lite"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PLACEHOLDER_TIME = "measured by the run"

_SETUP = """\
#@title Set-up: run this cell first
# stamped by python -m thinktuning_lite.lessons.stamp
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPO = "{repo}"
spec = find_spec("thinktuning_lite")
if spec is None or spec.origin is None:  # a mere folder of that name has no origin
    places = [Path(p).resolve() for p in ("..", ".", "thinktuning_lite", "{clone}")]
    home = next((p for p in places if (p / "thinktuning_lite/lessons/setup.py").exists()), None)
    if home is None:  # no checkout around: Colab and the like
        home, part = places[-1], Path("{clone}.part")
        if REPO.startswith("OWNER/"):
            raise RuntimeError("Set REPO above to the owner/name of this notebook's repository.")
        if home.exists():
            raise RuntimeError(f"{{home}} is half a clone: delete that folder, run this cell again.")
        shutil.rmtree(part, ignore_errors=True)
        clone = ["git", "clone", "-q", "--depth=1", f"https://github.com/{{REPO}}", str(part)]
        done = subprocess.run(clone, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{{REPO}} not cloned ({{done.stderr.strip()}}): check the network.")
        part.rename(home)
    sys.path.insert(0, str(home))
    sys.modules.pop("thinktuning_lite", None)  # the mere folder, if an earlier cell took it
from thinktuning_lite.lessons.setup import prepare

prepare()
"""
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# The last part of an exercise cell's id -> its tag.
EXERCISE_TAGS = {"stub": "exercise", "check": "exercise-check", "solution": "solution"}
COLLAPSED = ("setup", "check")  # cells so tagged show their output and, at a click, their source


def setup_source(repo: str = DEFAULT_REPO) -> str:
    """The set-up cell of every notebook, for the repository `owner/name` that hosts them."""
    return _SETUP.format(repo=repo, clone=CLONE).rstrip()


def badge(repo: str, name: str) -> str:
    """The first line of a notebook: HTML, because a line that starts with a comment is not read as markdown."""
    url = f"https://colab.research.google.com/github/{repo}/blob/main/notebooks/{name}"
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    return f'<!-- badge --><a href="{url}"><img src="{image}" alt="Open in Colab"></a>'


def stamp(notebook: NotebookNode, name: str, repo: str) -> None:
    """Put the set-up cell and the badge into a notebook, in place; outputs and everything else stay.

    Raises ValueError, naming the notebook, without exactly one cell tagged "setup" or without the badge line.
    """
    cells = [c for c in notebook.cells if "setup" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{name} has {len(cells)} cells tagged 'setup': it needs exactly one")
    cells[0].source = setup_source(repo)
    first, *rest = notebook.cells[0].source.split("\n")
    if not first.startswith("<!-- badge -->"):
        raise ValueError(f"{name}: the first line of the first cell must be '<!-- badge -->', not {first[:40]!r}")
    notebook.cells[0].source = "\n".join([badge(repo, name), *rest])


def dress(notebook: NotebookNode) -> None:
    """Give a notebook the metadata that all share, in place: one kernel, tagged exercises, collapsed cells."""
    notebook.metadata["kernelspec"] = dict(KERNEL)
    for cell in notebook.cells:
        exercise = re.fullmatch(r"ex\d+-(\w+)", cell.id)
        tag = EXERCISE_TAGS.get(exercise[1]) if exercise else None
        if tag and tag not in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), tag]
        if cell.cell_type == "code" and set(COLLAPSED) & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = cell.metadata.get("jupyter", {}) | {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # the same on Colab


def text_of(notebook: NotebookNode, name: str) -> str:
    """A notebook's cells as jupytext's py:percent, without outputs: what a reviewer reads as a diff."""
    import copy

    import jupytext

    bare = copy.deepcopy(notebook)
    bare.metadata = {"jupytext": {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags,-all"}}
    said = (
        f"# Made from {name} by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.\n\n"
    )
    return said + jupytext.writes(bare, fmt="py:percent")


def record_time(notebook: NotebookNode, seconds: float, gigabytes: float) -> None:
    """Write what the run took into the header line `**Time:** ...`, in place.

    Raises ValueError when the first cell has no such line.
    """
    took = f"{seconds / 60:.1f} min, {gigabytes:.1f} GB of memory, on {os.cpu_count()} CPU cores without a GPU"
    header = notebook.cells[0]
    header.source, n = re.subn(r"(?m)^\*\*Time:\*\* .*$", f"**Time:** {took} ({PLACEHOLDER_TIME})", header.source)
    if n != 1:
        raise ValueError(f"the first cell has {n} lines '**Time:** ...': it needs exactly one")


def recorded_time(notebook: NotebookNode) -> str | None:
    """What `record_time` wrote ("1.2 min, ..."), or None for a notebook never executed in full."""
    match = re.search(rf"(?m)^\*\*Time:\*\* (.+) \({PLACEHOLDER_TIME}\)$", notebook.cells[0].source)
    return match and match[1]


def stamp_map(start: NotebookNode, times: dict[str, str | None]) -> None:
    """Fill the last column of the rows `| [name](name.ipynb) | ... | ... |` in 00_start_here's map, in place.

    `times`: notebook stem -> its recorded time, None when not measured yet; what is not in it is "planned".
    """

    def row(match: re.Match[str]) -> str:
        took = times.get(match[2], "planned") or "not measured yet"
        return f"{match[1]} {took.split(',')[0]} |"

    for cell in start.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"(?m)^(\| `?\[?(\d\d_\w+).*\|)[^|\n]*\|$", row, cell.source)


def stamped_repo(notebooks: Iterable[NotebookNode]) -> str:
    """The repository that the notebooks name now."""
    for notebook in notebooks:
        for cell in notebook.cells:
            match = re.search(r'^REPO = "([^"]+)"$', cell.source, re.M)
            if match:
                return match[1]
    return DEFAULT_REPO


def text_path(path: Path) -> Path:
    """Where a notebook's text lies."""
    return path.parent / "text" / f"{path.stem}.py"


def stamp_all(repo: str | None = None, folder: Path = NOTEBOOKS) -> dict[str, str | None]:
    """Stamp every notebook of `folder` and write its text beside it, in `folder`/text; what is as it should be stays.

    `repo`: None keeps the repository they name. Returns the recorded times by stem.
    """
    paths = sorted(folder.glob("*.ipynb"))
    notebooks = {path: _read(path) for path in paths}
    repo = repo or stamped_repo(notebooks.values())
    times = {path.stem: recorded_time(notebook) for path, notebook in notebooks.items()}
    for path, notebook in notebooks.items():
        before = json.dumps(notebook)
        stamp(notebook, path.name, repo)
        dress(notebook)
        clean(notebook)
        if path.name.startswith("00_"):
            stamp_map(notebook, times)
        if json.dumps(notebook) != before:
            _write(notebook, path)
        text, twin = text_of(notebook, path.name), text_path(path)
        if not twin.exists() or twin.read_text(encoding="utf-8") != text:
            twin.parent.mkdir(exist_ok=True)
            twin.write_text(text, encoding="utf-8", newline="\n")
    return times


def execute(path: Path) -> None:
    """Run a notebook in full, keep its outputs without traces of this machine, and record what it took.

    Raises what a cell raises (nbclient.exceptions.CellExecutionError); the file then stays as it was.
    """
    import resource

    from nbclient import NotebookClient

    notebook = _read(path)
    began = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    seconds = time.perf_counter() - began
    unit = 1e9 if sys.platform == "darwin" else 1e6  # getrusage counts bytes there, kilobytes elsewhere
    clean(notebook)
    record_time(notebook, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit)
    _write(notebook, path)


def clean(notebook: NotebookNode) -> None:
    """Drop what changes from run to run or names this machine, in place.

    Widgets and their state (the inspector's static twin stays), execution metadata, objects' addresses and the random names of styled tables go; paths below the
    repository become relative.
    """
    notebook.metadata.pop("widgets", None)
    styled: dict[str, str] = {}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            text = json.dumps(cell.outputs).replace(f"{ROOT}/", "").replace(str(ROOT), ".")
            text = re.sub(r" at 0x[0-9a-f]+", "", text)
            text = re.sub(r"\bT_[0-9a-f]{5}(?=_|\b)", lambda m: styled.setdefault(m[0], f"T_{len(styled):05d}"), text)
            outputs = _nodes(json.loads(text))
            cell.outputs = [o for o in outputs if WIDGET_VIEW not in o.get("data", {})]  # its kernel is gone
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):  # which every page can show: not a second time in HTML
                    output["data"].pop("text/html", None)


def _nodes(outputs: list[dict]) -> list:
    from nbformat import from_dict

    return [from_dict(output) for output in outputs]


def _read(path: Path) -> NotebookNode:
    import nbformat

    return nbformat.read(path, as_version=4)


def _write(notebook: NotebookNode, path: Path) -> None:
    import nbformat

    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", metavar="OWNER/NAME", help="the GitHub repository that hosts the notebooks")
    parser.add_argument("--times", action="store_true", help="print the measured time of each notebook")
    parser.add_argument("--execute", nargs="+", type=Path, default=[], metavar="NOTEBOOK", help="run these first")
    options = parser.parse_args()
    if options.repo and not re.fullmatch(r"[\w.-]+/[\w.-]+", options.repo):
        parser.error(f"--repo is {options.repo!r}: give owner/name, as in github.com/owner/name")
    if options.execute and smoke():
        parser.error("--execute records times and outputs of full runs: unset THINKTUNING_SMOKE")
    stamp_all(options.repo)
    for path in options.execute:
        execute(path.resolve())
        print(f"{path.name}: {recorded_time(_read(path))}")
    times = stamp_all(options.repo)
    if options.times:
        print("\n".join(f"{name}: {took or 'not measured yet'}" for name, took in times.items()))


if __name__ == "__main__":
    main()
