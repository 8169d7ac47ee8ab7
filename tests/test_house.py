"""The house: who may import whom (down only), how large a room may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "thinktuning_lite"
# A wing may import itself and these.
BELOW = {
    "method": set(),
    "classroom": {"method"},
    "models": {"method"},
    "evaluation": {"classroom", "models", "method"},
    "views": {"evaluation", "classroom", "models", "method"},
    "lessons": {"method"},
    "experiments": {"views", "evaluation", "classroom", "models", "method"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Every module of this package that a file imports, wherever the import stands: `a.b` for thinktuning_lite.a.b."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{a.name}" for a in node.names} | {str(node.module)}
        elif isinstance(node, ast.ImportFrom):
            found.add("relative imports hide the direction")
    return {
        name.removeprefix("thinktuning_lite.") for name in found if name.startswith(("thinktuning_lite.", "relative"))
    }


def forbidden(wing: str, source: str) -> set[str]:
    """The imports of `source`, a module of `wing`, that run up or sideways."""
    return {m for m in imported(ast.parse(source)) if m.split(".")[0] not in BELOW[wing] | {wing}}


def wing_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def test_the_wings_are_these_seven():
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and list(p.glob("*.py"))} == set(BELOW)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != PACKAGE], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_down_only(path: Path):
    assert forbidden(wing_of(path), path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("wing", "source"),
    [
        ("method", "from thinktuning_lite.classroom import problems"),
        ("method", "def f():\n    import thinktuning_lite.views.plots"),
        ("models", "from thinktuning_lite.classroom.load import load_classroom"),
        ("lessons", "from thinktuning_lite import experiments"),
        ("views", "from ..experiments import runs"),
    ],
)
def test_imports_that_run_up_or_sideways_are_found(wing: str, source: str):
    assert forbidden(wing, source)


@pytest.mark.parametrize("wing", BELOW)
def test_each_wing_says_what_lives_there(wing: str):
    said = ast.get_docstring(ast.parse((PACKAGE / wing / "__init__.py").read_text(encoding="utf-8")))
    assert said and len(said.splitlines()) <= 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_is_over_400_lines_and_no_function_over_60(path: Path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 > 60] == []
