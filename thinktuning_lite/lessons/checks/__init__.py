"""What the exercises call: a check looks at the reader's answer and says ✓, or ✗ with a hint.

One module a notebook; none raises on a wrong answer, so that a notebook runs top to bottom with its exercises unsolved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any


@dataclass(frozen=True)
class Result:
    """A check's verdict; a notebook shows its message as the cell's output."""

    passed: bool
    message: str

    def __repr__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.message}"


def passed(message: str) -> Result:
    """The verdict of a right answer."""
    return Result(True, message)


def hint(message: str) -> Result:
    """The verdict of a wrong answer, with the hint that helps this mistake."""
    return Result(False, message)


def exercise(check: Callable[..., Result]) -> Callable[..., Result]:
    """Turn what goes wrong inside an answer (an exception, or `...`/None for an unsolved stub) into a hint."""

    @wraps(check)
    def safe(*answers: Any) -> Result:
        if any(a is None or a is ... for a in answers):
            return hint("Not solved yet: replace the `...` with your answer.")
        try:
            with _exit_raises():
                return check(*answers)
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever a reader's code raises is for the reader, not for the notebook
            return hint(f"Your code raised {type(error).__name__}: {error}")

    return safe


@contextmanager
def _exit_raises() -> Iterator[None]:
    """Make `exit()` raise SystemExit, as in plain Python; in a notebook it would end the kernel soon after the cell."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        yield
        return

    def refuse() -> None:
        raise SystemExit("exit() was called")

    asked, shell.ask_exit = shell.ask_exit, refuse
    try:
        yield
    finally:
        shell.ask_exit = asked
