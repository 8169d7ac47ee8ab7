"""The helper process of `grading`: math-verify behind limits on time and memory. A script of its own, so that it starts
wherever the package was imported from; it imports nothing of the package.

It prints "ready", then answers each line of stdin, a JSON pair (answer, gold), with "1" or "0".
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

TIME_LIMIT_S = 0.5  # processor time of one LaTeX comparison
MEMORY_LIMIT_BYTES = 2 << 30  # address space of the helper process


def _serve() -> None:
    """Load math-verify, say "ready", then keep a fork that answers; a fork that was ended answers "0"."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is meant for the training run
    for warm_up in (r"\frac{1}{x}+\sin(y)", r"\{1,2\}", r"[1, \sqrt{2})"):  # the first use imports more
        _verify(warm_up, r"\sqrt{2}")
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
    """Answer each line of stdin, a JSON pair (answer, gold), with "1" or "0" until stdin ends."""
    set_limit = _limits()
    replies, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints may mix with the replies
    for line in sys.stdin:
        set_limit(TIME_LIMIT_S)
        try:
            correct = _verify(*json.loads(line))
        except Exception:
            correct = False
        set_limit(0)
        print(int(correct), file=replies, flush=True)


def _verify(answer: str, gold: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    def expressions(text: str) -> list[Any]:
        if re.search(r"\$|\\\(|\\\[|\\boxed", text):  # several formulas, or prose around one
            return parse(text, parsing_timeout=None)
        # first_match: of an answer that cannot be parsed as a whole, no part counts
        whole = f"${' '.join(text.split())}$"
        return parse(whole, [LatexExtractionConfig()], extraction_mode="first_match", parsing_timeout=None)

    return verify(expressions(gold), expressions(answer), timeout_seconds=None)


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
