"""For maintainers: set-up cells, badges, measured times, and the run that fills in outputs."""

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

if TYPE_CHECKING:
    from nbformat import NotebookNode
from thinktuning_lite.lessons.setup import CLONE, ROOT

NOTEBOOKS = ROOT / "notebooks"
DEFAULT_REPO = "OWNER/thinktuning_lite"
PLACEHOLDER_TIME = "measured by the run"

_SETUP = """\
# set-up cell: stamped by python -m thinktuning_lite.lessons.stamp
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPO = "{repo}"
if find_spec("thinktuning_lite") is None:
    home = Path("..").resolve()
    if not (home / "thinktuning_lite" / "lessons" / "setup.py").exists():  # no checkout around: Colab and the like
        home = Path("{clone}").resolve()
        if not home.exists() and REPO.startswith("OWNER/"):
            raise RuntimeError("Set REPO above to the owner/name of the repository that holds this notebook.")
        if not home.exists():
            subprocess.run(["git", "clone", "--quiet", "--depth=1", f"https://github.com/{{REPO}}", home], check=True)
    sys.path.insert(0, str(home))
from thinktuning_lite.lessons.setup import prepare

prepare()
"""


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


def stamp_all(repo: str | None = None, folder: Path = NOTEBOOKS) -> dict[str, str | None]:
    """Stamp every notebook of `folder`; None keeps the repository they name. Returns the recorded times by stem."""
    paths = sorted(folder.glob("*.ipynb"))
    notebooks = {path: _read(path) for path in paths}
    repo = repo or stamped_repo(notebooks.values())
    times = {path.stem: recorded_time(notebook) for path, notebook in notebooks.items()}
    for path, notebook in notebooks.items():
        before = [cell.source for cell in notebook.cells]
        stamp(notebook, path.name, repo)
        if path.name.startswith("00_"):
            stamp_map(notebook, times)
        if [cell.source for cell in notebook.cells] != before:
            _write(notebook, path)
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
    """Drop widget state and execution metadata, and make paths below the repository relative, in place."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            text = json.dumps(cell.outputs)
            cell.outputs = _nodes(json.loads(text.replace(f"{ROOT}/", "").replace(str(ROOT), ".")))
            for output in cell.outputs:
                if "image/png" in output.get(
                    "data", {}
                ):  # a widget's static twin stays, the view of a dead kernel goes
                    output["data"].pop("application/vnd.jupyter.widget-view+json", None)


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
