"""The committed outputs: read well where no kernel runs, by a screen reader, and as a diff."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from reading import code_cells, each_notebook, read, table_widths


def outputs(path: Path) -> Iterator[tuple[str, NotebookNode]]:
    """(cell id, output) of every output of a notebook."""
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            yield cell.id, output


@each_notebook
def test_every_image_says_in_words_what_it_shows(path: Path):
    silent = [
        cell
        for cell, output in outputs(path)
        if "image/png" in output.get("data", {})
        if len(output.metadata.get("image/png", {}).get("alt", "")) < 20
    ]
    assert silent == []


@each_notebook
def test_no_output_carries_the_address_of_an_object(path: Path):
    address = re.compile(r" at 0x[0-9a-f]+")
    texts = [(cell, o.get("text", "") + str(o.get("data", {}).get("text/plain", ""))) for cell, o in outputs(path)]
    assert [cell for cell, text in texts if address.search(text)] == []


@each_notebook
def test_tables_are_at_most_130_characters_wide(path: Path):
    wide = {
        cell: max(table_widths(output.data["text/html"]), default=0)
        for cell, output in outputs(path)
        if "text/html" in output.get("data", {})
    }
    assert {cell: width for cell, width in wide.items() if width > 130} == {}


@each_notebook
def test_printed_lines_are_at_most_200_characters_long(path: Path):
    printed = [(cell, line) for cell, o in outputs(path) for line in o.get("text", "").splitlines()]
    assert [(cell, line) for cell, line in printed if len(line) > 200] == []
