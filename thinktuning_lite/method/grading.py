r"""Whether an answer is right: plain numbers exactly and fast, all else by math-verify.

Training rewards and evaluation share `is_correct`. No text makes anything here raise, and no comparison takes a second
of computing. What counts as right, in this order:

1. A gold that is a plain number (`plain_numbers.parse_number`) wants a number that is worked out. `20*4`, `3!+12` or
   `\binom{5}{2}` are work, not numbers; `20*4 = 80` states 80; one power or root (`2^{10}`, `\sqrt{16}`) counts.
   Equality is exact (0.3333 is not 1/3), `50%` is 50 and 1/2. Units, things counted and ordinals after the number
   count for nothing unless they contradict the gold's (cents and dollars, am and pm); words that change or join
   numbers ("18 or 20", "18 squared") make the answer no number. A clock time equals clock times only.
2. A number base that the answer leaves out is the gold's (52 for 52_8); one that it states must be the gold's.
3. Words and names are compared as texts, without case: `DAB` is not `BAD`.
4. All else goes to math-verify. Only the gold says whether order counts: for a set or a bare list the elements may
   stand in any order and any brackets; a `\pm` in a list stands for two. Values agree when they differ by at most one
   part in a million, so `1.732051` is \sqrt{3}. Primes (f') must be the same on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache

from thinktuning_lite.method import grading_client
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.notation import parser_latex, plain_latex, unwrapped, without_text_commands
from thinktuning_lite.method.plain_numbers import Number, is_sum, parse_number, same_number

MAX_LATEX_CHARS = 1000
MAX_LATEX_DEPTH = 25

_INSERTED_SPACE = re.compile(r"(?<![^\W_])\s+|\s+(?![^\W_])")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '\-]+[^\W\d_]+)*")
_SEGMENT = re.compile(r"\\(?:overline|overleftrightarrow|bar)\{([A-Z]{2})\}")
_NAMED = re.compile(r"(?<![A-Za-z\\])[A-Z]{2,}(?![a-zA-Z])")
_PRODUCT = re.compile(r"[b-df-hj-np-tv-z]{2,3}")  # lower-case letters without a vowel are a product: xy is yx
_TOWER = re.compile(r"[0-9)}!]\s*\^[\s{(]*[0-9]+!*[\s)]*\^|\^[\s{(]*[0-9]{5,}|[0-9]{4,}\s*!|!\s*!|\)\s*!|[0-9]{200}")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_DELIMITED = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_PROSE = re.compile(r"(?<![\\a-zA-Z])(?!(?:and|or)\b)[a-zA-Z]{2,}")
_JOINER = re.compile(r"\s*(?:,|,?\s*(?:and|or))\s*")
_NUMBER_BEHIND = re.compile(r".*\bis\s+(-?[0-9][0-9.,/]*?)\.?\s*", re.DOTALL)
# What does no work in an answer that is to be a number: the rest (\times, \binom, \sum, \sin, \text ...) does.
_VALUE_COMMANDS = frozenset(["frac", "sqrt", "pi", "left", "right", "circ", "infty", "overline"])
_WORK = re.compile(r"[+*!×·÷]|(?<![\^{(\[=,\s])\s*-|[a-zA-Z]{2,}")
_ROOT_TIMES = re.compile(r"[0-9})]\s*\\sqrt|\\sqrt\s*(?:\[\w+\])?\{[^{}]*(?:\}\s*[0-9\\(]|\^)")
_ARITHMETIC = re.compile(r"[0-9]\s*(?:[+*×·÷-]|\\times|\\cdot(?![a-z])|\\div)\s*[0-9]")
_OPERATION = re.compile(r"[+*×·÷!]|\\(?:times|cdot|div|pm|mp)\b|[^\s({\[,=^]\s*-")


def is_correct(completion_answer: str | None, gold: str) -> bool:
    r"""Whether an extracted answer equals the gold answer; `None` (no answer stated) is wrong. Rules: the module's head.

    A gold that is itself a solution (GSM8K's `... #### 4`, or a text with a `\boxed{}`) is read like a completion.
    Never raises on any text, and what math-verify does not decide within its time limit is wrong.
    `RuntimeError` if math-verify cannot be started.
    """
    if completion_answer is None:
        return False
    completion_answer = _formula_of_prose(completion_answer)
    if "####" in gold or "boxed" in gold:
        gold = extract_answer(gold) or gold
    gold_number = parse_number(gold)
    if gold_number is not None and not gold_number.has_word:
        answer_number = parse_number(completion_answer)
        if answer_number is not None:
            return same_number(answer_number, gold_number)
        if is_sum(completion_answer) or gold_number.base or _is_work(completion_answer):
            return False
    return _same_expression(completion_answer, gold)


def _formula_of_prose(answer: str) -> str:
    """Of words around formulas the last formula, or the number behind it ("the largest $n$ is 34"); else the answer.

    Two formulas joined by "or" or "and" are no single one: then the answer stays as it is.
    """
    formulas = list(_DELIMITED.finditer(answer)) if "$" in answer or "\\(" in answer or "\\[" in answer else []
    if not formulas or not _PROSE.search(_DELIMITED.sub(" ", answer)):
        return answer
    last = formulas[-1]
    if len(formulas) > 1 and _JOINER.fullmatch(answer, formulas[-2].end(), last.start()):
        return answer
    behind = _NUMBER_BEHIND.fullmatch(answer, last.end())
    return behind[1] if behind else next(group for group in last.groups() if group is not None).strip()


def _is_work(answer: str) -> bool:
    """Whether an answer that is no plain number holds an operation, a function or a word."""
    latex = _value_side(plain_latex(answer))
    if len(latex) > MAX_LATEX_CHARS:
        return True
    commands = set(_COMMAND.findall(latex))
    if not commands <= _VALUE_COMMANDS or _ROOT_TIMES.search(latex):
        return True
    return _WORK.search(_COMMAND.sub(" ", latex)) is not None


def _value_side(latex: str) -> str:
    """The last side of an equation, which is what it states; an `=` in a subscript makes none."""
    before, _, side = latex.rpartition("=")
    return side.strip() if before.count("{") == before.count("}") else latex


def _plain(text: str) -> str:
    r"""A text to be compared as such: LaTeX without typography and needless blanks; `(C)` as `C`."""
    text = _SEGMENT.sub(r"\1", _INSERTED_SPACE.sub("", unwrapped(without_text_commands(plain_latex(text)))))
    return text[1:-1] if re.fullmatch(r"\([a-zA-Z]\)", text) else text


def _same_expression(answer: str, gold: str) -> bool:
    if max(len(answer), len(gold)) > MAX_LATEX_CHARS:
        return answer.strip() == gold.strip()
    plain_answer, plain_gold = _plain(answer), _plain(gold)
    if not plain_answer or not plain_gold:
        return False
    if plain_answer == plain_gold:
        return True
    if _is_name(plain_answer) and _is_name(plain_gold):
        return plain_answer.casefold() == plain_gold.casefold()
    if plain_answer.count("'") + answer.count("\\prime") != plain_gold.count("'") + gold.count("\\prime"):
        return False
    if sorted(_NAMED.findall(_value_side(plain_answer))) != sorted(_NAMED.findall(_value_side(plain_gold))):
        return False  # a triangle ABC, a segment AB
    if _ARITHMETIC.search(_value_side(plain_answer)) and not _OPERATION.search(plain_gold):
        return False  # work where the gold has none: (1+2, 5) for (3, 5)
    if _is_hopeless(answer) or _is_hopeless(gold):
        return False
    return _math_verify(_for_parser(answer, gold), _for_parser(gold, answer))


def _is_name(text: str) -> bool:
    return _WORDS.fullmatch(text) is not None and _PRODUCT.fullmatch(text) is None


_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])\s*")


def _for_parser(text: str, other: str = "") -> str:
    r"""What math-verify gets: the text in LaTeX, a `\pm` in a list, or beside a list, written out as two elements."""
    text = parser_latex(text)
    if "," in text and "circ" in text:
        text = _DEGREES.sub("", text)
    if not _PLUS_MINUS.search(text) or ("," not in text and "," not in other):
        return text
    elements: list[str] = []
    for element in _split(text):
        if _PLUS_MINUS.search(element):
            elements += [_PLUS_MINUS.sub(f" {sign} ", element) for sign in "+-"]
        else:
            elements.append(element)
    return ", ".join(elements)


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _is_hopeless(latex: str) -> bool:
    """Deep nesting, towers of powers, huge exponents: sure to run into the time limit, so not tried."""
    depth = deepest = 0
    for character in latex:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    return deepest > MAX_LATEX_DEPTH or _TOWER.search(latex) is not None


@lru_cache(maxsize=4096)
def _math_verify(answer: str, gold: str) -> bool:
    return grading_client.grader().equal(answer, gold)


@lru_cache(maxsize=4096)
def canonical_form(answer: str) -> Hashable:
    r"""A key that is the same for answers that are the same: 1/2, 0.5 and `\frac12`; x+1 and 1+x.

    Numbers are keyed by value and unit (50% like 50), all else by what math-verify's parser makes of it: its value to
    six digits, at fixed values of its variables. What cannot be parsed is keyed by its text.
    """
    number = parse_number(answer)
    if number is not None and not number.has_word:
        return Number(number.value, unit=number.unit, base=number.base)
    plain = _plain(answer)
    if not plain or _is_name(plain) or len(answer) > MAX_LATEX_CHARS or _is_hopeless(answer):
        return plain.casefold()
    return grading_client.grader().key(_for_parser(answer)) or plain
