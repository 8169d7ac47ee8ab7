"""Final answers and rewards: what a completion states, whether it is right, which behaviour it shows.

Training rewards and evaluation share these functions. Three rules hold throughout:

* an answer is *extracted*, never guessed: a text that states none yields `None`;
* plain numbers are compared exactly and fast; only what is no plain number goes to `math-verify`;
* no text makes anything here raise, and no comparison takes a second of computing (`TIME_LIMIT_S`).

math-verify limits its time by SIGALRM, which works in the main thread only, replaces the caller's own alarm
and cannot stop one long operation in C (`9**9**9`). So it runs in a helper process, started at the first
comparison that needs it (one to two seconds, once). There a fork of the loaded parser compares, under a limit
on processor time that the kernel enforces by ending the fork; the next fork is ready in milliseconds. This
holds from any thread of the caller, and since processor time counts, a busy machine changes no label. Texts
that are too long, too deeply nested or towers of powers are not sent at all. Without fork (Windows) only the
limit on wall time holds (`WALL_LIMIT_S`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from thinktuning_lite.method.answers import (
    _INTEGER,
    _TEXT_COMMAND,
    _plain,
    _strip_markup,
)

WALL_LIMIT_S = 10.0  # after which the helper process is given up, whatever it is doing
MAX_LATEX_CHARS = 1000
MAX_LATEX_DEPTH = 25
MAX_NUMBER_CHARS = 100


class _Number(NamedTuple):
    value: int | Fraction
    is_percent: bool = False
    has_word: bool = False  # a bare word follows: a unit after an answer, or variables in a gold ("2 xyz")


_SIMPLE_INTEGER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)")
_SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_NUMBER = re.compile(
    rf"""
    (?:[0-9\s.,+\-*/×·÷()]+=\s*)*                      # "20*4 = 80" states its right-hand side
    (?P<sign>[+-]?)\s*(?:\\?[$£€]\s*)?(?P<inner>-?)
    (?:
      (?:(?P<whole>[0-9]+)(?:[ ]+(?=[0-9])|[ ]*(?=\\)))?   # mixed number
      (?: (?P<n1>{_INTEGER})\s*/\s*(?P<d1>{_INTEGER})
        | \\[dtc]?frac\s*(?:\{{\s*(?P<n2>-?{_INTEGER})\s*\}}|(?P<n3>[0-9]))
          \s*(?:\{{\s*(?P<d2>{_INTEGER})\s*\}}|(?P<d3>[0-9]))
      )
      | (?P<decimal>{_INTEGER}(?:\.[0-9]*)?|\.[0-9]+)
    )
    (?:\s*(?P<scale>{"|".join(_SCALES)})\b)?
    \s*(?:\\?\$|[£€])?\s*
    (?P<percent>\\?%|percent(?:age)?\b|pct\b)?
    (?: {_TEXT_COMMAND.pattern}(?:\s*\^\s*\{{?\s*[23]\s*\}}?)?      # 864 \mbox{{ inches}}^2
      | \s+(?P<word>[a-zA-Z]{{3,}})\.?(?:\s+per\s+[a-zA-Z]+)?  # 18 dollars
    )?
    """,
    re.VERBOSE,
)
# Words after a number that are no unit: they change its value, or join it to something else.
_NO_UNIT = frozenset(
    "half squared cubed factorial pi or and not to mod times plus minus over choose sqrt sin cos log".split()
)


def _number(text: str) -> _Number | None:
    """The plain number that the whole text is (see `is_correct` for its forms), or `None`."""
    return _parse_number(text) if len(text) <= MAX_NUMBER_CHARS else None


@lru_cache(maxsize=1 << 16)
def _parse_number(text: str) -> _Number | None:
    text = text.strip()
    if _SIMPLE_INTEGER.fullmatch(text):
        return _Number(int(text.replace(",", "")))
    whole_text = _TEXT_COMMAND.fullmatch(text)
    match = _NUMBER.fullmatch(_strip_markup(whole_text["text"] if whole_text else text))
    if match is None:
        return None
    words = (match["word"] or match["text"] or "").lower().split()
    value = _magnitude(match)
    if value is None or not _NO_UNIT.isdisjoint(words):
        return None
    value *= _SCALES.get(match["scale"] or " ".join(words[:1]), 1)
    negative = (match["sign"] == "-") != (match["inner"] == "-")
    return _Number(-value if negative else value, match["percent"] is not None, match["word"] is not None)


def _magnitude(match: re.Match[str]) -> int | Fraction | None:
    if match["decimal"] is not None:
        digits = match["decimal"].replace(",", "").rstrip(".")
        return Fraction(digits) if "." in digits else int(digits)
    numerator = int((match["n1"] or match["n2"] or match["n3"]).replace(",", ""))
    denominator = int((match["d1"] or match["d2"] or match["d3"]).replace(",", ""))
    if denominator == 0:
        return None
    fraction = Fraction(numerator, denominator)
    if match["whole"] is None:
        return fraction
    return int(match["whole"]) + fraction if 0 < fraction < 1 else None


def _same_number(a: _Number, b: _Number) -> bool:
    """Exact equality. A percent sign on one side only allows both readings: 50% is 50 and 1/2."""
    if a.value == b.value:
        return True
    if a.is_percent == b.is_percent:
        return False
    percent, plain = (a.value, b.value) if a.is_percent else (b.value, a.value)
    return percent == 100 * plain


_SUM = re.compile(r"[0-9\s.,+\-*/×·÷()]*")
_WORDS = re.compile(r"[^\W\d_]{4,}(?:[ '\-][^\W\d_]+)*")
_TOWER = re.compile(r"[0-9)}!]\s*\^[\s{(]*[0-9]+!*[\s)]*\^|\^[\s{(]*[0-9]{5,}|[0-9]{4,}\s*!|!\s*!|\)\s*!|[0-9]{200}")


def is_correct(completion_answer: str | None, gold: str) -> bool:
    r"""Whether an extracted answer equals the gold answer; `None` (no answer stated) is wrong.

    Two plain numbers (thousands commas, `$`, `%`, units, "million", trailing `.0`, fractions, mixed numbers)
    are compared exactly. A gold number wants a number that is worked out: `20*4` is not 80, `20*4 = 80` is.
    All else, LaTeX foremost, goes to math-verify (sets, intervals, matrices, symbolic equality; decimals
    agree there to 6 places) after a comparison of the normalised texts. Words are compared without case.

    Never raises on any text, and what is not decided within `TIME_LIMIT_S` is wrong; see the module's head.
    `RuntimeError` if math-verify cannot be started.
    """
    if completion_answer is None:
        return False
    gold_number = _number(gold)
    if gold_number is not None and not gold_number.has_word:
        answer_number = _number(completion_answer)
        if answer_number is not None:
            return _same_number(answer_number, gold_number)
        if _SUM.fullmatch(completion_answer):
            return False
    return _same_expression(completion_answer, gold)


def _same_expression(answer: str, gold: str) -> bool:
    if max(len(answer), len(gold)) > MAX_LATEX_CHARS:
        return answer.strip() == gold.strip()
    plain_answer, plain_gold = _plain(answer), _plain(gold)
    if not plain_answer or not plain_gold:
        return False
    if plain_answer == plain_gold:
        return True
    if _WORDS.fullmatch(plain_answer) and _WORDS.fullmatch(plain_gold):
        return plain_answer.casefold() == plain_gold.casefold()
    if _is_hopeless(answer) or _is_hopeless(gold):
        return False
    return _math_verify(answer, gold)


def _is_hopeless(latex: str) -> bool:
    """Deep nesting, towers of powers, huge exponents: sure to run into the time limit, so not tried."""
    depth = deepest = 0
    for character in latex:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    return deepest > MAX_LATEX_DEPTH or _TOWER.search(latex) is not None


class _LatexGrader:
    """The helper process (this file run as a script), asked one pair at a time over its pipes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def equal(self, answer: str, gold: str) -> bool:
        with self._lock:
            process = self._started()
            timer = threading.Timer(WALL_LIMIT_S, process.kill)
            timer.start()
            try:
                process.stdin.write(json.dumps([answer, gold]) + "\n")
                process.stdin.flush()
                reply = process.stdout.readline()
            except OSError:  # the helper is gone
                reply = ""
            finally:
                timer.cancel()
            if not reply:
                self._stop()
            return reply == "1\n"

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            command = [sys.executable, "-P", str(Path(__file__).with_name("grading_process.py"))]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, text=True)
            if self._process.stdout.readline() != "ready\n":
                self._stop()
                raise RuntimeError(
                    "LaTeX answers cannot be graded: math-verify did not start. "
                    "Does `python -c 'import math_verify'` work? If not: pip install math-verify"
                )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdout.close()
            try:
                process.stdin.close()
            except OSError:  # something was still buffered for the dead process
                pass


_grader = _LatexGrader()


def _forget_grader() -> None:
    """A fork of the caller (data loader worker) must not share the pipes of its parent."""
    global _grader
    _grader = _LatexGrader()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_grader)


@lru_cache(maxsize=4096)
def _math_verify(answer: str, gold: str) -> bool:
    return _grader.equal(answer, gold)
