"""The helper process of `grading`: math-verify behind limits on time and memory. A script of its own, so that it starts
wherever the package was imported from; it imports nothing of the package.

It prints "ready", then answers each line of stdin: a JSON list [answer, gold] with "1" or "0", [answer] with "=" and the
key that equal answers share.
"""

from __future__ import annotations

import json
import os
import re
import sys
from cmath import isfinite
from collections.abc import Callable
from functools import lru_cache
from typing import Any

TIME_LIMIT_S = 0.5  # processor time of one LaTeX comparison
MEMORY_LIMIT_BYTES = 2 << 30  # address space of the helper process
TOLERANCE = 1e-6  # relative, between two values one of which is a decimal


def _serve() -> None:
    """Load math-verify, say "ready", then keep a fork that answers; a fork that was ended answers "0"."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is meant for the training run
    for warm_up in (r"\frac{1}{x}+\sin(y)", r"\{1,2\}", r"[1, \sqrt{2})"):  # the first use imports more
        _verify(warm_up, r"\sqrt{2}")
        _key(warm_up)
    print("ready", flush=True)
    if not hasattr(os, "fork"):
        return _answer_pairs()
    while True:
        child = os.fork()
        if child == 0:
            _answer_pairs()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):  # no more questions
            return None
        print("0", flush=True)


def _answer_pairs() -> None:
    """Answer each line of stdin until it ends."""
    set_limit = _limits()
    replies, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints may mix with the replies
    for line in sys.stdin:
        question, reply = json.loads(line), ""
        set_limit(TIME_LIMIT_S)
        try:
            reply = str(int(_verify(*question))) if len(question) == 2 else "=" + _key(*question)
        except Exception:
            pass  # what cannot be parsed or compared is not equal, and has no key
        set_limit(0)
        print(reply, file=replies, flush=True)


@lru_cache(maxsize=256)  # one gold is compared with many answers, and one answer compared and keyed
def _expressions(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    if re.search(r"\$|\\\(|\\\[|\\boxed", text):  # several formulas, or prose around one
        return parse(text, parsing_timeout=None)
    # first_match: of an answer that cannot be parsed as a whole, no part counts
    whole = f"${' '.join(text.split())}$"
    return parse(whole, [LatexExtractionConfig()], extraction_mode="first_match", parsing_timeout=None)


def _verify(answer: str, gold: str) -> bool:
    from math_verify import verify

    stated, wanted = _expressions(answer), _expressions(gold)
    close = _close(stated[0], wanted[0]) if stated and wanted else None
    if close and _has_decimal(stated[0], wanted[0]) and not wanted[0].free_symbols:
        return True
    return close is not False and verify(wanted, stated, timeout_seconds=None)


def _close(a: Any, b: Any) -> bool | None:
    """Whether two values, or tuples or sets of values, differ by a millionth at most; `None` if that cannot be said.

    Values of formulas are those at fixed values of their variables.

    math-verify compares to a number of decimal places, below which it finds every two values equal.
    """
    from sympy import Expr, FiniteSet, Interval, Symbol, Tuple

    if isinstance(a, Expr) and isinstance(b, Expr):
        if isinstance(a, Symbol) or isinstance(b, Symbol):
            return None  # perhaps words, which math-verify compares letter by letter
        try:
            x, y = _value(a), _value(b)
        except (TypeError, ValueError):  # a function that is only a name, f(x)
            return None
        return abs(x - y) <= TOLERANCE * max(abs(x), abs(y)) if isfinite(x) and isfinite(y) else None
    if isinstance(a, Interval) and isinstance(b, Interval):
        return False if False in (_close(a.start, b.start), _close(a.end, b.end)) else None
    if not isinstance(a, (FiniteSet, Tuple)) or not isinstance(b, (FiniteSet, Tuple)) or len(a.args) != len(b.args):
        return None
    if isinstance(a, FiniteSet) != isinstance(b, FiniteSet) or None in [_size(part) for part in (*a.args, *b.args)]:
        return None
    both = [sorted(side.args, key=float) if isinstance(side, FiniteSet) else side.args for side in (a, b)]
    parts = [_close(x, y) for x, y in zip(*both, strict=True)]
    return False if False in parts else None


def _size(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _has_decimal(*expressions: Any) -> bool:
    from sympy import Float

    return any(expression.has(Float) for expression in expressions)


def _key(answer: str) -> str:
    from sympy import Basic, MatrixBase

    expressions = [e for e in _expressions(answer) if isinstance(e, (Basic, MatrixBase))]
    return "; ".join(sorted(_fingerprint(e) for e in expressions))


def _value(expression: Any) -> complex:
    """Of a formula, its variables standing for fixed numbers that no sensible answer holds."""
    from zlib import crc32

    from sympy import N, cbrt, prime

    values = {s: cbrt(prime(2 + crc32(s.name.encode()) % 9973)) / 7 for s in expression.free_symbols}
    return complex(N(expression.subs(values).doit() if values else expression, 20))


def _fingerprint(expression: Any) -> str:
    """Equal for equal expressions: values to six digits, variables standing for fixed numbers, parts of sets sorted."""
    from sympy import Eq, Expr, FiniteSet, MatrixBase, Symbol

    if isinstance(expression, Eq) and isinstance(expression.lhs, Symbol):
        expression = expression.rhs  # x = 5 states 5
    if isinstance(expression, Expr):
        value = _value(expression)
        return f"{value.real:.6g}" if abs(value.imag) < 1e-12 * abs(value) or not value.imag else f"{value:.6g}"
    parts = [
        _fingerprint(part) for part in (expression.flat() if isinstance(expression, MatrixBase) else expression.args)
    ]
    if isinstance(expression, FiniteSet):
        parts.sort()
    name = f"{expression.shape}" if isinstance(expression, MatrixBase) else type(expression).__name__
    return f"{name}({', '.join(parts)})" if parts else str(expression)


def _limits() -> Callable[[float], None]:
    """Limit this process's memory, and return what sets (seconds) or lifts (0) its limit on processor time.

    SIGPROF is left at its default, which ends the process: that also stops a long operation in C.
    """
    import signal

    if not hasattr(signal, "setitimer"):
        return lambda seconds: None
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or hard > MEMORY_LIMIT_BYTES:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, hard))
        except (OSError, ValueError):  # macOS refuses
            pass
    return lambda seconds: signal.setitimer(signal.ITIMER_PROF, seconds) and None


if __name__ == "__main__":
    _serve()
