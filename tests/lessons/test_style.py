"""The house style of the notebooks' sources: essays, with code that is short, narrow and may be run again."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import pytest
from reading import (
    PATHS,
    code_cells,
    each_notebook,
    names,
    overwritten,
    python_of,
    read,
    stale,
    table_widths,
    tagged,
    undefined,
)

from thinktuning_lite.lessons import stamp


@each_notebook
def test_no_code_line_is_wider_than_100_characters(path: Path):
    notebook = read(path)
    fenced = [
        m for c in notebook.cells if c.cell_type == "markdown" for m in re.findall(r"(?ms)^```\w*\n(.*?)^```", c.source)
    ]
    lines = [line for text in [c.source for c in code_cells(notebook)] + fenced for line in text.splitlines()]
    assert [line for line in lines if len(line) > 100] == []


@each_notebook
def test_half_of_the_code_cells_have_at_most_8_lines(path: Path):
    assert statistics.median(len(c.source.splitlines()) for c in code_cells(read(path))) <= 8


@each_notebook
def test_set_up_and_checks_of_claims_are_collapsed(path: Path):
    notebook = read(path)
    assert len(tagged(notebook, "setup")) == 1
    for cell in tagged(notebook, "setup") + tagged(notebook, "check"):
        assert cell.metadata.jupyter.source_hidden is True and cell.metadata.cellView == "form", cell.id
    assert tagged(notebook, "setup")[0].source.startswith("#@title ")


@each_notebook
def test_no_module_goes_by_one_letter(path: Path):
    imports = [
        alias
        for cell in code_cells(read(path))
        for node in ast.walk(python_of(cell))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    assert [a.name for a in imports if len(a.asname or a.name) == 1] == []


@each_notebook
def test_exercises_are_tagged(path: Path):
    notebook = read(path)
    for part, tag in stamp.EXERCISE_TAGS.items():
        ids = [cell.id for cell in notebook.cells if re.fullmatch(rf"ex\d+-{part}", cell.id)]
        assert ids and [cell.id for cell in tagged(notebook, tag)] == ids


def test_all_notebooks_name_one_kernel():
    assert {str(dict(read(path).metadata.kernelspec)) for path in PATHS} == {str(stamp.KERNEL)}


@each_notebook
def test_no_cell_reads_a_name_that_a_later_cell_binds_anew(path: Path):
    """So a reader may go back and run any cell again. (test_again.py does it; this test is its quick half.)"""
    assert overwritten({cell.id: python_of(cell) for cell in code_cells(read(path))}) == []


@each_notebook
def test_every_name_that_a_cell_reads_is_bound_by_some_cell(path: Path):
    assert undefined({cell.id: python_of(cell) for cell in code_cells(read(path))}) == []


@each_notebook
def test_modules_names_and_files_of_the_package_are_where_the_notebook_says(path: Path):
    found = {cell.id: stale(cell.source) for cell in read(path).cells}
    assert {cell: names for cell, names in found.items() if names} == {}


# ---------------------------------------------------------------- the instruments


@pytest.mark.parametrize(
    ("source", "reads", "binds"),
    [
        ("x = y", {"y"}, {"x"}),
        ("x = 1\nx", set(), {"x"}),
        ("x += 1", {"x"}, {"x"}),
        ("[a for a in b if c]", {"b", "c"}, set()),
        ("for i, j in z:\n    print(i, k)", {"z", "k"}, {"i", "j"}),
        ("def f(a, b=d):\n    g = a\n    return g + h", {"d", "h"}, {"f"}),
        ("def f():\n    return f()", set(), {"f"}),
        ("import os.path as p\nfrom m import n", set(), {"p", "n"}),
        ("class A(B):\n    c = d\n    def e(self):\n        return q", {"B", "d", "q"}, {"A"}),
        ("lambda v: v + w", {"w"}, set()),
        ("{k: v for k, v in m.items()}", {"m"}, set()),
        ("if (t := u):\n    pass", {"u"}, {"t"}),
    ],
)
def test_names_of_a_cell(source: str, reads: set[str], binds: set[str]):
    assert names(ast.parse(source)) == (reads, binds)


def test_a_cell_whose_input_a_later_one_replaces_is_found():
    sources = {"one": "rows = [1]", "two": "rows[0]", "three": "rows = {}", "four": "rows = 2\nrows + 1"}
    trees = {name: ast.parse(source) for name, source in sources.items()}
    assert overwritten(trees) == ["two: rows, bound anew by three", "two: rows, bound anew by four"]
    assert overwritten({name: trees[name] for name in ("one", "two")}) == []
    again = {"one": "import os", "two": "os.name", "three": "import os"}
    assert overwritten({name: ast.parse(source) for name, source in again.items()}) == []


def test_widths_of_tables():
    html = "<table><tr><th></th><th>abc</th></tr><tr><th>row 1</th><td>12345</td></tr></table>"
    assert table_widths(html) == [5 + 2 + 5]
    spans = "<table><tr><th colspan='2'>as long as it likes</th></tr><tr><td>ab</td><td>cd</td></tr></table>"
    assert table_widths(spans + html) == [6, 12]


def test_what_no_cell_binds_is_found():
    trees = {"one": ast.parse("import os\nx = y"), "two": ast.parse("def f():\n    return os.name + z + x")}
    assert undefined(trees) == ["one: y", "two: z"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("from thinktuning_lite.lessons import stamp, checks", []),
        ("from thinktuning_lite import baselines", ["thinktuning_lite baselines"]),
        ("from thinktuning_lite.baselines import PROMPTED", ["thinktuning_lite.baselines PROMPTED"]),
        ("| `plan` | `models/planner.py` |", []),
        ("| `plan` | `planner.py` |", ["planner.py"]),
        ("--include_path thinktuning_lite/tasks --tasks x", ["thinktuning_lite/tasks"]),
        ("--include_path thinktuning_lite/evaluation/tasks", []),
    ],
)
def test_what_the_package_no_longer_has_is_found(text: str, wanted: list[str]):
    assert stale(text) == wanted
