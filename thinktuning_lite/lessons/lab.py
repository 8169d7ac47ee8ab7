"""`thinktuning lab`: the first notebook in JupyterLab."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from thinktuning_lite.lessons.setup import ROOT

FIRST = ROOT / "notebooks" / "00_start_here.ipynb"


def main(arguments: list[str] | None = None) -> None:
    """Open JupyterLab and wait for it. Raises SystemExit, saying what to do, without notebooks or without JupyterLab."""
    if not FIRST.exists():
        raise SystemExit("thinktuning lab: the notebooks are in the repository, not in an installed package: clone it")
    if find_spec("jupyterlab") is None:
        raise SystemExit(
            f'thinktuning lab: JupyterLab is not installed: pip install -c constraints.txt -e ".[dev]" in {ROOT}'
        )
    raise SystemExit(subprocess.run([sys.executable, "-m", "jupyterlab", str(FIRST)], check=False).returncode)
