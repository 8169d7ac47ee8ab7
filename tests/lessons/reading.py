"""What the tests of the committed notebooks share: reading cells, tables and names."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import re
from collections.abc import Collection
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from thinktuning_lite.lessons import stamp

PATHS = sorted(stamp.NOTEBOOKS.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def python_of(cell: NotebookNode) -> ast.Module:
    """A cell's code without magics."""
    return ast.parse(re.sub(r"(?m)^[%!].*$", "pass", cell.source))


WRAPPED = 60  # what a cell counts at most whose style says that its text may be broken anywhere


class _Tables(HTMLParser):
    """The texts of each table's cells, row by row; a cell that spans columns counts for none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._cell: str | None = None
        self._spans = 1
        self._most: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            given = dict(attrs)
            self._cell, self._spans = "", int(given.get("colspan") or 1)
            self._most = WRAPPED if "overflow-wrap:anywhere" in (given.get("style") or "") else None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None and self.tables and self.tables[-1]:
            self.tables[-1][-1] += [self._cell.strip()[: self._most]] if self._spans == 1 else [""] * self._spans
            self._cell = None


def table_widths(html: str) -> list[int]:
    """Characters that each table of `html` needs: its columns' longest cells, and two between columns."""
    parser = _Tables()
    parser.feed(html)
    widths = []
    for rows in parser.tables:
        columns = max((len(row) for row in rows), default=0)
        padded = [[""] * (columns - len(row)) + row for row in rows]  # a row label that spans rows stands on the left
        widths.append(sum(max(len(row[i]) for row in padded) + 2 for i in range(columns)) - 2)
    return widths


# ---------------------------------------------------------------- names: what a cell takes from others and gives to them


class _Names(ast.NodeVisitor):
    """Global names that a cell reads before it binds them itself, and those it binds, in the order of execution.

    What a function's body reads counts as read where the function is defined: a later cell that binds the name anew
    changes what the function does.
    """

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.bound: set[str] = set()
        self._local: list[set[str]] = []

    def _load(self, name: str) -> None:
        if not any(name in names for names in self._local) and name not in self.bound and not hasattr(builtins, name):
            self.read.add(name)

    def _store(self, name: str) -> None:
        (self._local[-1] if self._local else self.bound).add(name)

    def visit_Name(self, node: ast.Name) -> None:
        self._store(node.id) if isinstance(node.ctx, ast.Store) else self._load(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self._load(node.target.id)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._store(node.name)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self._store((alias.asname or alias.name).split(".")[0])

    visit_ImportFrom = visit_Import

    def _function(self, node: ast.FunctionDef | ast.Lambda) -> None:
        arguments = node.args
        for default in [*arguments.defaults, *(d for d in arguments.kw_defaults if d)]:
            self.visit(default)
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        inside = {a.arg for a in named if a}
        body = node.body if isinstance(node.body, list) else [node.body]
        inside |= _stored_within(body)
        self._local.append(inside)
        for part in body:
            self.visit(part)
        self._local.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._store(node.name)
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
            self.visit(part)
        self._store(node.name)
        self._local.append(set())
        for statement in node.body:
            self.visit(statement)
        self._local.pop()

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self.visit(node.generators[0].iter)
        self._local.append(set())
        for i, generator in enumerate(node.generators):
            if i:
                self.visit(generator.iter)
            self.visit(generator.target)
            for condition in generator.ifs:
                self.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self._local.pop()

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension


def _stored_within(body: list[ast.AST]) -> set[str]:
    """Names bound anywhere in a function's body, nested functions' own names aside."""
    found: set[str] = set()
    todo = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(a.asname or a.name).split(".")[0] for a in node.names}
        todo += ast.iter_child_nodes(node)
    return found


def names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """(read from other cells, bound for other cells) by a cell."""
    visitor = _Names()
    visitor.visit(tree)
    return visitor.read, visitor.bound


def overwritten(trees: dict[str, ast.Module]) -> list[str]:
    """What would make a cell see other inputs when run again after the whole: "cell: name, bound anew by later cell".

    `trees`: the code cells by id, in order. An import of the same module by a later cell binds nothing anew.
    """
    known = {cell: names(tree) for cell, tree in trees.items()}
    order = list(trees)
    found = []
    for i, cell in enumerate(order):
        for name in sorted(known[cell][0]):
            for later in order[i + 1 :]:
                if name in known[later][1] and not _imports(trees[later], name):
                    found.append(f"{cell}: {name}, bound anew by {later}")
    return found


def _imports(tree: ast.Module, name: str) -> bool:
    """Whether `tree` binds `name` by imports only."""
    rest = ast.Module([s for s in tree.body if not isinstance(s, (ast.Import, ast.ImportFrom))], [])
    return name not in names(rest)[1]


def undefined(trees: dict[str, ast.Module], known: Collection[str] = ("display", "get_ipython")) -> list[str]:
    """Names that a cell reads at once or in a function and no cell binds before the whole has run: "cell: name"."""
    bound = set(known).union(*(names(tree)[1] for tree in trees.values()))
    return [f"{cell}: {name}" for cell, tree in trees.items() for name in sorted(names(tree)[0] - bound)]


IMPORTED = re.compile(r"^(?:from (thinktuning_lite[\w.]*) import ([\w, ]+)|import (thinktuning_lite[\w.]*))", re.M)
FILE = re.compile(r"`([\w/]+\.(?:py|js|css|yaml))`")
FOLDER = re.compile(r"(?<![\w/])(thinktuning_lite/[\w/]+)")


def stale(text: str) -> list[str]:
    """What `text` (code, prose or a shell line) names of this package that is not there: modules, their names, files."""
    found = []
    for module, imported, alone in IMPORTED.findall(text):
        for name in [n.split(" as ")[0].strip() for n in imported.split(",")] if imported else [""]:
            if not _importable(module or alone, name):
                found.append(f"{module or alone} {name}".strip())
    root = stamp.ROOT
    files = [f for f in FILE.findall(text) if not any((root / base / f).exists() for base in ("", "thinktuning_lite"))]
    folders = [f for f in FOLDER.findall(text) if not (root / f).exists() and not (root / f"{f}.py").exists()]
    return found + files + folders


def _importable(module: str, name: str) -> bool:
    try:
        if importlib.util.find_spec(module) is None:
            return False
        return not name or hasattr(importlib.import_module(module), name) or _importable(f"{module}.{name}", "")
    except ModuleNotFoundError:
        return False
