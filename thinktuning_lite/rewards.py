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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

TIME_LIMIT_S = 0.5  # processor time of one LaTeX comparison
WALL_LIMIT_S = 10.0  # after which the helper process is given up, whatever it is doing
MEMORY_LIMIT_BYTES = 2 << 30  # address space of the helper process
MAX_LATEX_CHARS = 1000
MAX_LATEX_DEPTH = 25
MAX_NUMBER_CHARS = 100
LETTERS = "ABCDEFGHIJ"

Completion = str | list[dict[str, Any]]


# --- what the completion states -----------------------------------------------------------------------------

_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\\\(?!boxed|fbox)|\\[{}]|(?P<open>\{)|(?P<close>\})")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s+(-?[0-9][0-9.,/]*)")

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)"
_STATED_NUMBER = rf"-?\$?-?{_DECIMAL}(?:/[0-9]+)?(?:\s?%)?"
# What may not follow keeps a numbered Markdown heading ("#### 2. Solve for x") from being read as an answer.
_HASHES = re.compile(rf"#### *({_STATED_NUMBER})(?![0-9:)]|[.,][0-9]|\.[ \t]+\S)")
_ANY_NUMBER = re.compile(rf"(?<![\w.$\-])(?<![\w)\]]-){_STATED_NUMBER}|(?<=[\w)\]]-){_DECIMAL}")


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete `\boxed{...}` or `\fbox{...}`, stripped; `None` if no box is complete.

    Braces are balanced (`\{` and `\}` do not count). Of nested boxes the inner one is last. `\boxed 5`, TeX's
    form without braces, counts for a number.
    """
    last_start, content = -1, None
    openings: list[tuple[int, bool]] = []
    for token in _BRACE.finditer(text):
        if token["box"] or token["open"]:
            openings.append((token.end(), token["box"] is not None))
        elif token["close"] and openings:
            start, is_box = openings.pop()
            if is_box and start > last_start:
                last_start, content = start, text[start : token.start()].strip()
    for bare in _BARE_BOX.finditer(text):
        if bare.start(1) > last_start:
            last_start, content = bare.start(1), bare[1].rstrip(".,/")
    return content


def first_answer_end(text: str) -> int | None:
    r"""Where the first complete `\boxed{...}` or `\fbox{...}` ends (index behind its brace); `None` if none is complete."""
    openings: list[bool] = []
    for token in _BRACE.finditer(text):
        if token["box"] or token["open"]:
            openings.append(token["box"] is not None)
        elif token["close"] and openings and openings.pop():
            return token.end()
    return None


def extract_hashes(text: str) -> str | None:
    """Number after the last `####`, GSM8K's form: `#### 1,234`, `#### -3/4`, `#### $18`; `None` if none."""
    found = _HASHES.findall(text)
    return found[-1] if found else None


def extract_last_number(text: str) -> str | None:
    """The last bare number (decimal, fraction, thousands commas, `$`, `%`), never digits within a word."""
    found = _ANY_NUMBER.findall(text)
    return found[-1] if found else None


def extract_answer(text: str, *, allow_last_number: bool = False) -> str | None:
    r"""Final answer of a completion: the last `\boxed{}`, else the last `#### n`, else `None`.

    With `allow_last_number` a text that has neither yields its last bare number, which is a guess.
    """
    answer = extract_boxed(text) or extract_hashes(text)
    if answer is None and allow_last_number:
        return extract_last_number(text)
    return answer


# A statement is "answer|option|choice ... is|: X". The words between must neither hold another "is" ("the
# answer is not listed, but the closest is (A)" states none) nor announce options ("answer choices: A. ...").
_ADVERB = r"(?:therefore|thus|hence|then|clearly|probably|indeed|most likely|likely|actually|simply)"
_NOUN = r"(?:(?:the\s+)?(?:option|choice|letter|answer)\b)?"
_STATEMENT = (
    r"(?i:(?<!wrong )(?<!incorrect )\b(?:answer|option|choice|ans)\b"
    r"(?:(?!\b(?:is|choices|options)\b)[^.:=\n]){0,60}?"
    rf"(?:\bis\b|\b(?:would|must|should) be\b|:|=)(?:\s*,?\s*{_ADVERB},?)?\**:?\s*{_NOUN})"
    # what may be set around the key: blanks, Markdown, quotes, brackets, LaTeX
    r"(?:[\s*_`\"'“‘(\[{$:]|\\(?:text|textbf|textit|mathbf|mathrm|boldsymbol|bf)\s*\{?|\\[(\[]){0,12}"
)
_NEXT_QUESTION = re.compile(r"\n\s*\**(?:Question|Q)\b[^\n]{0,10}:")


class _ChoicePatterns(NamedTuple):
    inside: re.Pattern[str]  # a choice stated somewhere in a text
    whole: re.Pattern[str]  # a box or a line that holds the key, perhaps with the option's text
    joined: re.Pattern[str]  # a second key joined to the first: "or (B)"


@lru_cache(maxsize=32)
def _choice_patterns(letters: str) -> _ChoicePatterns:
    key = f"[{re.escape(letters)}]"
    # A bare key must not begin a word, formula or decimal; "A" and "I" are words, digits may count things.
    bare = r"(?![\w'’])(?!\s*[=+^<>/%])(?!-\w)(?![.,][0-9])"
    lone = r"(?!(?<=[AI0-9])\s+(?!because|since|as\b|which|with)[a-z])"
    stated = rf"(?:(?<=[(\[])({key})(?=\s*[)\]])|({key}){bare}{lone})"
    named = rf"(?:\(({key})\)|\b(?i:option|choice|answer)\s+\(?({key})\b\)?)"
    verdict = (
        r"(?i:(?:is|(?:would|must) be)\s+the\s+(?:single\s+|most\s+)?"
        r"(?:correct|right|best|final|only|accurate|appropriate)\s+(?:answer|option|choice))"
    )
    inside = (
        rf"{_STATEMENT}{stated}"
        rf"|{named}(?:(?!\bis\b)[^.\n(]){{0,60}}?\s{verdict}"
        rf"|\b({key})\s+{verdict}"
        rf"|\b(?i:therefore|thus|hence|so),?\s+{named}\s+(?i:is\s+(?:the\s+)?(?:correct|right|best))\b"
        rf"|\b(?i:therefore|thus|hence|so),?\s+(?:{named}|({key}))\s+(?i:is\s+the\s+(?:answer|option|choice))\b"
        # "Option C is correct", but not "if option C is correct" or "option C is correct in that"
        rf"|(?<!if )(?<!If )(?<!whether )(?<!that ){named}\s+(?i:is\s+(?:correct|right))"
        r"(?=\s*(?:[.,;!]|$|\n|because\b|since\b))"
        rf"|\b(?i:corresponds\s+to|matches)\s+(?:the\s+)?(?i:option|choice|answer)\s+\(?({key})\b\)?"
        rf"|\b(?i:I|we)(?i:'d|\s+would|\s+will)?\s+(?i:choose|select|pick|go with)\s+(?i:{_NOUN})"
        rf"[\s(*]{{0,4}}{stated}"
    )
    another = rf"(?![^\n]*[\s(]{key}[).])"
    whole = (
        rf"[^\w\n]*({key})[^\w\n]*"
        rf"|[^\w\n]*({key})(?:\)|\.(?!\w))(?!\s*(?:is|or|and)\b){another}[^\n]*"
    )
    joined = rf"[\s)\]*}}$]*(?:or|and|&|/)[\s(\[*$]*(?:option\s+)?{key}(?!\w)"
    return _ChoicePatterns(re.compile(inside), re.compile(whole, re.IGNORECASE), re.compile(joined))


def extract_choice(text: str, choices: int | Sequence[str] = LETTERS) -> str | None:
    r"""Key of the choice that a completion states, or `None` when it states none: a letter is never guessed.

    `choices`: how many there are (3 means A, B, C), or their one-character keys ("ABCD", ["1", "2", "3",
    "4"]). Read are a box (`\boxed{C}`, `\boxed{\text{(c) } 12}`), else the last statement ("The answer is
    (C)", "Answer: **C**", "#### C", "(C) is the correct option"), else a text that is one line with a key in
    front ("C", "(C) Paris"). After a statement, what stands under a new "Question:" is a run-away
    continuation and not read. Two keys joined by "or" or "and", a key outside `choices`, and a letter used as
    a word state nothing.
    """
    letters = LETTERS[:choices] if isinstance(choices, int) else "".join(choices)
    patterns = _choice_patterns(letters)
    boxed = extract_boxed(text)
    if boxed is not None and (match := patterns.whole.fullmatch(_without_text_commands(boxed))):
        return _group(match).upper()
    text = text.replace("####", "answer:")
    statements = list(patterns.inside.finditer(text))
    if statements:
        continuation = _NEXT_QUESTION.search(text, statements[0].end())
        if continuation:
            statements = [statement for statement in statements if statement.start() < continuation.start()]
        is_ambiguous = patterns.joined.match(text, statements[-1].end())
        return None if is_ambiguous else _group(statements[-1])
    match = patterns.whole.fullmatch(text.strip())
    return _group(match) if match and _group(match) in letters else None


_TRUTH = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_YES_NO = r"\b(yes|no|true|false)\b"
# "no" also begins noun phrases ("the answer is no one"): something must end the word.
_YES_NO_END = r"(?=[\s)\]}*_`\"'”’$]*(?:$|\n|[.,;:!–—-])|\s+(?:because|since|as)\b)"
_YES_NO_BOX = re.compile(rf"\s*{_YES_NO}(?:[\s.!]*|[,;.].*)", re.IGNORECASE | re.DOTALL)  # "Yes, it would"
_YES_NO_STATEMENT = re.compile(rf"{_STATEMENT}{_YES_NO}{_YES_NO_END}", re.IGNORECASE)
_YES_NO_OPENING = re.compile(rf"[^\w\n]*{_YES_NO}{_YES_NO_END}", re.IGNORECASE)
_YES_NO_CLOSING = re.compile(
    rf"(?:.*[.!?]\s+)?[^\w]*(?:(?:so|thus|therefore|hence),?\s+)?{_YES_NO}[^\w]*", re.IGNORECASE
)


def extract_yes_no(text: str) -> str | None:
    r"""`"yes"` or `"no"` as stated by a completion (true and false count as such), or `None`; never a guess.

    Read are a box, else the last "answer is yes" or "Answer: no", else a last sentence that is only the word
    ("So no."), else the word at the beginning of the text ("Yes, because ...").
    """
    boxed = extract_boxed(text)
    if boxed is not None and (match := _YES_NO_BOX.fullmatch(_plain(boxed))):
        return _TRUTH[match[1].lower()]
    statements = _YES_NO_STATEMENT.findall(text.replace("####", "answer:"))
    if statements:
        return _TRUTH[statements[-1].lower()]
    last_line = text.rstrip()[-200:].rpartition("\n")[2]
    match = _YES_NO_CLOSING.fullmatch(last_line) or _YES_NO_OPENING.match(text)
    return _TRUTH[match[1].lower()] if match else None


def _group(match: re.Match[str]) -> str:
    """The one group of the match that is filled."""
    return next(group for group in match.groups() if group is not None)


def gsm8k_gold(answer_field: str) -> str:
    """Gold number of GSM8K's `answer` column: what follows the last `####`, thousands commas removed.

    Raises `ValueError` if the field has no `####`.
    """
    _, marker, gold = answer_field.rpartition("####")
    if not marker:
        raise ValueError(f"GSM8K answer without '#### n': {answer_field[-80:]!r}; is this the answer column?")
    return gold.strip().replace(",", "")


# --- exact numbers ------------------------------------------------------------------------------------------


class _Number(NamedTuple):
    value: int | Fraction
    is_percent: bool = False
    has_word: bool = False  # a bare word follows: a unit after an answer, or variables in a gold ("2 xyz")


_SIMPLE_INTEGER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)")
_TYPOGRAPHY = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u202f": " ", "°": " "})
_SPACING = re.compile(r"\\[!,;: ]|\\(?:left|right|q?quad)(?![a-zA-Z])|~")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b")
_TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mbox|mathrm|mathbf)\s*\{(?P<text>[^{}]*)\}"
)
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


def _strip_markup(text: str) -> str:
    """Drop what surrounds a value without changing it: delimiters, spacing commands, degrees, full stop."""
    text = text.translate(_TYPOGRAPHY).replace("{,}", ",")
    text = _DEGREES.sub(" ", _SPACING.sub("", text)).strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            text = text[len(opening) : -len(closing)].strip()
    return text.rstrip(" .\\")


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


# --- correctness --------------------------------------------------------------------------------------------

_SUM = re.compile(r"[0-9\s.,+\-*/×·÷()]*")
_WORDS = re.compile(r"[^\W\d_]{4,}(?:[ '\-][^\W\d_]+)*")
_TOWER = re.compile(
    r"[0-9)}!]\s*\^[\s{(]*[0-9]+!*[\s)]*\^|\^[\s{(]*[0-9]{5,}|[0-9]{4,}\s*!|!\s*!|\)\s*!|[0-9]{200}"
)
_INSERTED_SPACE = re.compile(r"(?<![^\W_])\s+|\s+(?![^\W_])")


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


def _without_text_commands(text: str) -> str:
    return _TEXT_COMMAND.sub(r" \1 ", _strip_markup(text)).strip()


def _plain(text: str) -> str:
    r"""LaTeX without its typography: `\left`, spacing, `\text{}`, `$`, needless blanks; `(C)` as `C`."""
    text = _without_text_commands(text).replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    text = _INSERTED_SPACE.sub("", text)
    return text[1:-1] if re.fullmatch(r"\([a-zA-Z]\)", text) else text


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
            command = [sys.executable, "-P", os.path.abspath(__file__)]
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


# --- rewards in TRL's signature -----------------------------------------------------------------------------


def _text(completion: Completion) -> str:
    """Text of a completion: itself, or what the assistant says in TRL's list of messages."""
    if isinstance(completion, str):
        return completion
    contents = [turn.get("content") for turn in completion if turn.get("role", "assistant") == "assistant"]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    return "\n".join(part if isinstance(part, str) else part.get("text", "") for part in parts if part)


def correctness_reward(
    completions: Sequence[Completion], answer: Sequence[str], **kwargs: Any
) -> list[float]:
    """1.0 for each completion whose final answer (`extract_answer`) is right, else 0.0.

    TRL reward function: `completions` are strings or lists of messages, `answer` is the dataset's column of
    gold answers, one per completion (`ValueError` if their numbers differ); other columns are ignored.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(is_correct(extract_answer(_text(completion)), str(gold))) for completion, gold in pairs]


@dataclass(frozen=True)
class _BehaviourReward:
    behaviour: str | Callable[[str], int]
    value: float

    @property
    def __name__(self) -> str:
        """Name under which TRL logs this reward."""
        name = self.behaviour if isinstance(self.behaviour, str) else self.behaviour.__name__
        return "behaviour_" + re.sub(r"\W+", "_", name.lower())[:40].strip("_")

    def __call__(self, completions: Sequence[Completion], **kwargs: Any) -> list[float]:
        return [self.value if self._count(_text(completion)) == 1 else 0.0 for completion in completions]

    def _count(self, text: str) -> int:
        return text.count(self.behaviour) if isinstance(self.behaviour, str) else self.behaviour(text)


def behaviour_reward(behaviour: str | Callable[[str], int], value: float = 0.5) -> Callable[..., list[float]]:
    """TRL reward function: `value` for a completion with exactly one occurrence of a behaviour, else 0.0.

    `behaviour`: a literal text, or a named function that counts occurrences in a text. The result has a
    `__name__` (TRL's metrics use it) and can be pickled when `behaviour` can. Exactly one, as in the paper's
    unknown-behaviour run: more would teach repetition. `ValueError` for an empty text, which occurs
    everywhere.
    """
    if behaviour == "":
        raise ValueError("behaviour_reward cannot count '': pass the behaviour's text or a counting function")
    return _BehaviourReward(behaviour, value)


# --- the helper process -------------------------------------------------------------------------------------


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
