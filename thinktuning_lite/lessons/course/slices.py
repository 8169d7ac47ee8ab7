"""Which cells an answer needs: so that grading runs an exercise, not the trainings around it."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A code cell: its source without magics, the names it reads from others and those it binds for them."""

    source: str
    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    imports: dict[str, str] = field(default_factory=dict)  # name -> the import statement that binds it


def cell(source: str) -> Cell:
    """Read a cell. One that is no Python binds what its lines seem to define, so that its error is told where it counts."""
    source = re.sub(r"(?m)^\s*[%!].*$", "", source)
    try:
        statements = ast.parse(source).body
        reads, binds = _names(statements)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        seen = re.findall(r"(?m)^(?:def|class) +(\w+)|^(\w+) *=", source)
        return Cell(source, binds=frozenset(a or b for a, b in seen))
    imports = {
        (alias.asname or alias.name).split(".")[0]: ast.unparse(statement)
        for statement in statements
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        for alias in statement.names
    }
    return Cell(source, frozenset(reads), frozenset(binds), imports)


def _names(statements: Sequence[ast.stmt]) -> tuple[set[str], set[str]]:
    """Names read before any statement has bound them, and names bound."""
    reads: set[str] = set()
    binds: set[str] = set()
    for statement in statements:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        own = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
        first_reads = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign))  # `x = x + 1` needs an older x
        reads |= _global_reads(table) - binds - (set() if first_reads else own)
        binds |= own
    return reads - set(dir(builtins)), binds


def _global_reads(table: symtable.SymbolTable) -> set[str]:
    at_top = table.get_type() == "module"
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (at_top or s.is_global())}
    return found.union(*(_global_reads(child) for child in table.get_children()))


def needed(cells: Sequence[Cell], name: str, before: int) -> list[str]:
    """The sources to run, in order, for `name` as it stands when cell `before` is reached. Empty when nothing binds it.

    A cell comes whole, or, where all it has to give is a module, as its import statement alone.
    """
    found = _binding(cells, name, before)
    if found is None:
        return []
    parts: dict[tuple[int, int], str] = {}
    todo, seen = [found], set()
    while todo:
        index = todo.pop()
        if index in seen:
            continue
        seen.add(index)
        parts[index, 1] = cells[index].source
        for read in cells[index].reads:
            at = _binding(cells, read, index)
            if at is None or at == index:
                at = _binding(cells, read, before)  # a function may read what is bound after it
            if at is None or at in seen:
                continue
            if read in cells[at].imports:
                statement = cells[at].imports[read]
                parts[at, 0] = "\n".join(sorted({*parts.get((at, 0), "").split("\n"), statement} - {""}))
            else:
                todo.append(at)
    return [parts[key] for key in sorted(parts)]


def _binding(cells: Sequence[Cell], name: str, before: int) -> int | None:
    """The last cell up to `before`, `before` not included, that binds `name`."""
    return next((i for i in reversed(range(min(before, len(cells)))) if name in cells[i].binds), None)
