"""Every notebook runs in its short form, and then any of its cells runs again: what a reader does most is go back.

A tier of its own, `make test-again`: `make test` executes each notebook once, by nbmake.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from reading import code_cells, each_notebook, read

from thinktuning_lite.lessons import stamp


@pytest.mark.slow
@each_notebook
def test_every_cell_runs_and_runs_again_after_the_whole(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("THINKTUNING_SMOKE", "1")
    notebook = read(path)
    cells = [notebook.cells.index(cell) for cell in code_cells(notebook)]
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": stamp.NOTEBOOKS}}
    )
    failed = []
    with client.setup_kernel():
        for when, order in (("first", cells), ("again", cells), ("backwards", cells[::-1])):
            for index in order:
                try:
                    client.execute_cell(notebook.cells[index], index)
                except CellExecutionError as error:
                    failed.append(f"{when}, {notebook.cells[index].id}: {error.ename}: {error.evalue}")
            assert failed == []  # a later pass of a notebook that does not run says nothing
