"""Equations in a text (`23*4=92`): which are there, which hold, where the first does not. For rewards, tools and counts."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Not behind an operation: the end of a longer sum is no equation of its own.
_EQUATION = re.compile(r"(?<![\d.+*/-])(?<![\d)] [+*/-] )(\d+)\s*([-+*])\s*(\d+)\s*=\s*(-?\d+)(?!\d|\.\d)")


@dataclass(frozen=True)
class Equation:
    """`left op right = said` as a text states it, op one of + - *."""

    left: int
    op: str
    right: int
    said: int

    @property
    def result(self) -> int:
        return calculate(self.left, self.op, self.right)

    @property
    def holds(self) -> bool:
        return self.said == self.result

    @property
    def trivial(self) -> bool:
        """Whether nothing is worked out: plus or minus 0, times 0 or 1."""
        idle = (0, 1) if self.op == "*" else (0,)
        return self.right in idle or (self.op != "-" and self.left in idle)


def calculate(left: int, op: str, right: int) -> int:
    """`left op right`. Raises KeyError for an operation other than + - *."""
    return {"+": left + right, "-": left - right, "*": left * right}[op]


def equations(text: str) -> list[Equation]:
    """Every equation of whole numbers with one operation, in order; decimals and longer sums (`2+3+4=9`) are left out."""
    return [Equation(int(a), op, int(b), int(said)) for a, op, b, said in _EQUATION.findall(text)]


def share_that_holds(text: str) -> float:
    """The share of a text's equations that hold, 0 to 1; 0 without any."""
    found = equations(text)
    return sum(e.holds for e in found) / len(found) if found else 0.0


def share_before_error(text: str) -> float:
    """The share of a text's equations that stand before the first false one, 0 to 1; 0 without any."""
    found = equations(text)
    sound = next((i for i, e in enumerate(found) if not e.holds), len(found))
    return sound / len(found) if found else 0.0


def padding(text: str) -> int:
    """How many of a text's equations do nothing: trivial ones, and those that were stated before.

    What a student writes who is paid by the equation. A second look at the same problem repeats equations, too: read
    the count beside the behaviours of the same responses.
    """
    found = equations(text)
    return sum(e.trivial or e in found[:i] for i, e in enumerate(found))


_ASKED = re.compile(_EQUATION.pattern.split(r"\s*=")[0] + r"(\s*)=$")


def next_result(text: str) -> str | None:
    """What comes next in a text that ends with an equation's `=` (`... 23*4=`): the result as it would be written there.

    None for any other text. White space stands behind the `=` when it stands before it.
    """
    found = _ASKED.search(text)
    if found is None:
        return None
    left, op, right, space = found.groups()
    return space + str(calculate(int(left), op, int(right)))
