r"""What a completion states: numbers and formulas, a choice, yes or no. Training, evaluation and guidance all read it here.

An answer is *extracted*, never guessed: a text that states none yields `None`; no text makes anything here raise, and
none takes more than milliseconds. The order of decisions, for all kinds of answers:

**What is cut off** (`reading`)
1. Thinking: only what follows the last `</think>` counts; when nothing follows, the thought itself is the text.
2. What follows the end of a turn (`<|im_end|>`, `</s>`, ...).
3. Run-ons: of the texts up to each further "Question:", "## Problem", "User:" ..., the first that states an answer
   states *the* answer; what follows is not read.
4. Code: boxes in a fenced block of code, in a `print(...)` or a format string are no answers.

**Where an answer stands, best first**
1. The last complete `\boxed{}` or `\fbox{}` that is no template (empty, "...", "your answer"). Boxes joined by
   commas, "and" or "or", or by the label of the next part ("(b)" on a line of its own), are one list of answers; a sign
   before the box belongs to it (`-\boxed{5}` is -5).
2. After the last `####`: a number or formula, the whole of it (`3 1/2`, `2 million`, `Total: 42`), not a heading.
3. Choices and yes/no only (`frames`, `verdicts`): the last verdict in words. "The answer is (C)", "Answer: C",
   "<answer>C</answer>", "(C) is correct"; "So the answer is no." A number in prose is no answer (`allow_last_number`).
4. A text whose first line, or last line, is only a key ("C", "(C) Paris"), or that opens or closes with yes or no.

A key is a capital letter, in brackets or bare; a lower-case one counts in brackets ("the answer is (b)") and in a box.

**What makes a verdict state nothing**
- It is denied ("I don't think ..."), supposed ("if so, ..."), asked, ascribed to others, hedged to a possibility ("might
  be"), or taken back ("..., but it is not correct"): then the verdict before it counts, unless it was taken back.
- It names several keys ("B and D", "(B) ice (E) snow", "yes and no"), no key, or says that it depends or that none fits:
  then the text states nothing, whatever stood before.
- A letter in a formula (`$C(5,2)$`), a letter used as a word, a bare lower-case letter, a key that is no choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

from thinktuning_lite.method import verdicts
from thinktuning_lite.method.frames import is_denied
from thinktuning_lite.method.notation import ascii_math, unwrapped
from thinktuning_lite.method.plain_numbers import INTEGER, parse_number
from thinktuning_lite.method.reading import (
    MAX_MARKERS,
    Box,
    all_boxes,
    answer_boxes,
    before_questions,
    counted_part,
    first_answer_box,
)
from thinktuning_lite.method.verdicts import Found

LETTERS = "ABCDEFGHIJ"

_DECIMAL = rf"(?:{INTEGER}(?:\.[0-9]+)?|\.[0-9]+)"
_STATED_NUMBER = rf"-?\$?-?{_DECIMAL}(?:/[0-9]+)?(?:\s?%)?"
_ANY_NUMBER = re.compile(rf"(?<![\w.$\-])(?<![\w)\]]-){_STATED_NUMBER}|(?<=[\w)\]]-){_DECIMAL}")


# --- numbers and formulas -----------------------------------------------------------------------------------


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete `\boxed{...}` or `\fbox{...}`, stripped; `None` if no box is complete.

    Braces are balanced (`\{` and `\}` do not count). Of nested boxes the inner one is last. `\boxed 5`, TeX's
    form without braces, counts for a number. The bare tool: templates and code count (`extract_answer` leaves them out).
    """
    boxes = all_boxes(text)
    return boxes[-1].content if boxes else None


def extract_hashes(text: str) -> str | None:
    """What stands after the last `####`, GSM8K's form: `#### 1,234`, `#### **$18**`, `#### x = 3/4`; `None` if none.

    Words after a number are dropped unless they change it ("18 dollars", but "2 million"); headings state nothing.
    """
    start = len(text)
    for _ in range(MAX_MARKERS):
        start = text.rfind("####", 0, start)
        if start < 0:
            return None
        if (integer := _INTEGER_BEHIND.match(text, start)) is not None:
            return integer[1]
        if (found := _after_hashes(text, start)) is not None:
            return found[0]
    return None


def extract_last_number(text: str) -> str | None:
    """The last bare number (decimal, fraction, thousands commas, `$`, `%`), never digits within a word."""
    found = _ANY_NUMBER.findall(text)
    return found[-1] if found else None


def extract_answer(text: str, *, allow_last_number: bool = False) -> str | None:
    r"""Final answer of a completion: its last `\boxed{}`, else what follows its last `####`, else `None`.

    The order of decisions is in the module's head. With `allow_last_number` a text that has neither yields its last
    bare number, which is a guess.
    """
    may_state = "boxed" in text or "####" in text or "fbox" in text
    answer = _first_stated(text, _number_or_formula, in_sign=True) if may_state else None
    if answer is None and allow_last_number:
        return extract_last_number(counted_part(text)[1])
    return answer


def first_answer_end(text: str) -> int | None:
    r"""Where the first answer of a completion ends: behind the brace of a box, with the boxes joined to it, or behind
    what `####` is followed by; `None` if no such answer is there. Thoughts, templates and code count as in `extract_answer`.
    """
    start, part = counted_part(text)
    box = first_answer_box(part)
    if box is not None:
        boxes = answer_boxes(part[: box.end + 500])
        group = next((group for group in _groups(boxes, part) if box in group), [box])
        return start + group[-1].end
    hashes = (match.start() for match in islice(re.finditer("####", part), MAX_MARKERS))
    return next((start + found[1] for at in hashes if (found := _after_hashes(part, at)) is not None), None)


def _first_stated(text: str, read: Callable[[str], Found | None], in_sign: bool = False) -> str | None:
    """What the first of the texts up to each further question states. `in_sign`: only a box or `####` states anything."""
    _, part = counted_part(text)
    first = 0
    if in_sign:
        box, hashes, other_box = part.find("boxed"), part.find("####"), part.find("fbox")
        first = max(box, 0) if hashes < 0 and other_box < 0 else min([i for i in (box, hashes, other_box) if i >= 0])
    for piece in before_questions(part, first):
        found = read(piece)
        if found is not None:
            return found.value
    return None


def _number_or_formula(part: str) -> Found | None:
    answer = _stated_by_boxes(part) or extract_hashes(part)
    return None if answer is None else Found(answer)


_JOINED = re.compile(
    r"(?:[\s,;&$*]|\\[()\[\]\\,;! ]|\\q?quad\b|\\text\s*\{\s*,?\s*(?:and|or)?\s*,?\s*\}|\b(?:and|or)\b"
    r"|\(?\b[a-zA-Z](?:_\{?\w\}?|\b)(?:\s*=|\))|[-−]|±|\\pm)*"
)
_SEPARATOR = re.compile(r"[,;&]|\b(?:and|or)\b|\\quad|\\qquad")
# The next part of a question, on a line of its own: "(b) x = ", "Part (b): ".
_NEXT_PART = re.compile(r"[\s$.;,*\\)\]]*\n[ \t*]*(?:[Pp]art\s*)?\(?(?:[b-h]|i{2,3}|iv)[).:][^\n]{0,30}")
_SIGN = re.compile(r"(?P<before>(?:^|[\s\S]{0,12}?))(?P<sign>[-−]|–(?!\s)|\\pm|±)(?P<gap>\s*)(?:\\[,;!]|[{}\s])*\$?$")
_BINARY = re.compile(r"(?:[0-9)\]}%!]|(?<![a-zA-Z])[a-zA-Z])\s*$")


def _groups(boxes: list[Box], part: str) -> list[list[Box]]:
    """Boxes that are one list of answers together, in order."""
    groups: list[list[Box]] = []
    for box in boxes:
        if groups and groups[-1][-1].end <= box.start and _are_joined(part[groups[-1][-1].end : box.start]):
            groups[-1].append(box)
        else:
            groups.append([box])
    return groups


def _are_joined(between: str) -> bool:
    if len(between) > 60:
        return False
    is_list = "\n\n" not in between and _SEPARATOR.search(between) and _JOINED.fullmatch(between)
    return bool(is_list) or ("\n" in between and _NEXT_PART.fullmatch(between) is not None)


def _stated_by_boxes(part: str) -> str | None:
    boxes = [box for box in answer_boxes(part) if not is_denied(part, box.start, box.end)]
    if not boxes:
        return None
    if len(boxes) == 1:
        return _signed(part, boxes[0])
    return ", ".join(dict.fromkeys(_signed(part, box) for box in _groups(boxes, part)[-1]))


def _signed(part: str, box: Box) -> str:
    """The box's content with the sign before it and the percent sign behind it."""
    content = box.content
    if part.startswith((r"\%", "%"), box.end):
        content += r"\%"
    before = part[max(0, box.start - 16) : box.start]
    match = _SIGN.search(before) if "-" in before or "\\pm" in before or not before.isascii() else None
    if match is None or _BINARY.search(match["before"]):
        return content
    is_minus = "-" in match["sign"] or "−" in match["sign"]
    is_bullet = is_minus and match["gap"] and match["before"].rstrip(" \t")[-1:] in ("", "\n", "*", ".", ":")
    if is_bullet or (is_minus and match["gap"] and re.search(r"[a-z]{2,}\s*$", match["before"])):
        return content  # a dash
    sign = r"\pm " if match["sign"] in ("±", r"\pm") else "-"
    return sign + (content if re.fullmatch(r"[\w.,/%\\]+(?:\{[^{}]*\})*", content) else f"({content})")


_INTEGER_BEHIND = re.compile(r"####[ \t]*(-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+))[ \t]*(?:\n|$)")
_LABEL = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|ans|result)\b\s*(?:is\b)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_OTHER_LABEL = re.compile(r"(?:[a-zA-Z]+(?: [a-zA-Z]+){0,3}\s*)?[:=]\s*(?=[^a-zA-Z\s])|(?:about|~)\s*(?=[$£€\\]*[0-9])")
_NUMBERED = re.compile(r"[0-9]+(?:[:)]|\.[ \t]+\S)")
_LEADING = re.compile(
    rf"-?\s*(?:\\?[$£€]\s*)?-?{_DECIMAL}(?:/[0-9]+)?(?:\s?\\?%)?(?=$|[\s.,;:?)])(?![.,][0-9]|[eE][+-]?[0-9])"
)
_FORMULA = re.compile(r"\\[a-zA-Z]|[({\[]|[a-zA-Z](?:\([a-z]\))?\s*=|[^\x00-\x7f]*[√π½]|-\\|10\^")
_CHANGES_VALUE = re.compile(
    r"[0-9=+*/^<>\\!]|\b(?:half|squared|cubed|or|to|hundred|thousand|[mbtr]+illion|dozen|times|over)\b", re.IGNORECASE
)


def _after_hashes(text: str, start: int) -> tuple[str, int] | None:
    """What the `####` at `start` is followed by, and where that ends; `None` for a heading."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    content = _unmarked(text[start:end][:500].lstrip("#"))
    label = _LABEL.match(content)
    if label is not None:
        content = unwrapped(content[label.end() :])
        if not content:  # "#### Answer", and the answer on the next line
            below = re.compile(r"\s*([^\n]{1,500})").match(text, end)
            content, end = (_unmarked(below[1]), below.end()) if below else ("", end)
            if parse_number(content) is None:
                return None
    if not content or _NUMBERED.match(content):
        return None
    label = _OTHER_LABEL.match(content)
    if label is not None and parse_number(content[label.end() :]) is not None:
        content = content[label.end() :]  # "Total: 42", "about 42"
    number = _LEADING.match(content)
    if number is not None and not _CHANGES_VALUE.search(content, number.end()):
        return number[0].strip().rstrip(".,"), end
    if number is not None and re.match(r"\s*\((?!\s*or\b)", content[number.end() :]) and content.endswith(")"):
        return number[0].strip(), end  # "18 (9 + 9)"
    starts_like_one = re.match(r"[-+]?\s*(?:[A-Z]{2,3}|Rs\.?)?\s*\\?[$£€₹]?\s*[0-9.]", content) or _FORMULA.match(
        content
    )
    return (content, end) if starts_like_one else None


def _unmarked(line: str) -> str:
    line = re.sub(r"\*\*|__|`|</?[a-z]+>", "", line).strip(" \t*_")
    return unwrapped(ascii_math(line)).strip()


# --- choices ------------------------------------------------------------------------------------------------


def extract_choice(text: str, choices: int | Sequence[str] = LETTERS) -> str | None:
    r"""Key of the choice that a completion states, or `None` when it states none: a letter is never guessed.

    `choices`: how many there are (3 means A, B, C), or their one-character keys ("ABCD", ["1", "2", "3",
    "4"]). Read are a box (`\boxed{C}`, `\boxed{\text{(c) } 12}`), else the last verdict ("The answer is
    (C)", "Answer: **C**", "#### C", "(C) is the correct option"), else a text whose first or last line is a key, alone
    or in front of its option ("C", "(C) Paris"). What makes a text state nothing is in the module's head.
    """
    letters = LETTERS[:choices] if isinstance(choices, int) else "".join(choices)

    def read(part: str) -> Found | None:
        boxed = _stated_by_boxes(part)
        if boxed is not None:
            found = verdicts.choice_in_box(boxed, letters)
            if found is not None:
                return found
        return verdicts.choice_in_words(part, letters)

    return _first_stated(text, read)


# --- yes and no ---------------------------------------------------------------------------------------------


def extract_yes_no(text: str) -> str | None:
    r"""`"yes"` or `"no"` as stated by a completion (true and false count as such), or `None`; never a guess.

    Read are a box, else the last verdict ("the answer is yes", "Answer: no", "So, no, it cannot."), else a last
    sentence that is only the word, else the word at the beginning of the text ("Yes, because ...").
    """

    def read(part: str) -> Found | None:
        boxed = _stated_by_boxes(part)
        if boxed is not None:
            found = verdicts.yes_no_in_box(boxed)
            if found is not None:
                return found
        return verdicts.yes_no_in_words(part)

    return _first_stated(text, read)


def gsm8k_gold(answer_field: str) -> str:
    """Gold number of GSM8K's `answer` column: what follows the last `####`, thousands commas removed.

    Raises `ValueError` if the field has no `####`.
    """
    _, marker, gold = answer_field.rpartition("####")
    if not marker:
        raise ValueError(f"GSM8K answer without '#### n': {answer_field[-80:]!r}; is this the answer column?")
    return gold.strip().replace(",", "")
