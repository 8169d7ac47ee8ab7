"""What a completion states: boxes, hashes, choices, yes and no.

An answer is *extracted*, never guessed: a text that states none yields `None`; no text makes anything here raise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_TYPOGRAPHY = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u202f": " ", "°": " "})


_SPACING = re.compile(r"\\[!,;: ]|\\(?:left|right|q?quad)(?![a-zA-Z])|~")


_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree\b")


_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mbox|mathrm|mathbf)\s*\{(?P<text>[^{}]*)\}")


def _strip_markup(text: str) -> str:
    """Drop what surrounds a value without changing it: delimiters, spacing commands, degrees, full stop."""
    text = text.translate(_TYPOGRAPHY).replace("{,}", ",")
    text = _DEGREES.sub(" ", _SPACING.sub("", text)).strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            text = text[len(opening) : -len(closing)].strip()
    return text.rstrip(" .\\")


_INSERTED_SPACE = re.compile(r"(?<![^\W_])\s+|\s+(?![^\W_])")


def _without_text_commands(text: str) -> str:
    return _TEXT_COMMAND.sub(r" \1 ", _strip_markup(text)).strip()


def _plain(text: str) -> str:
    r"""LaTeX without its typography: `\left`, spacing, `\text{}`, `$`, needless blanks; `(C)` as `C`."""
    text = _without_text_commands(text).replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    text = _INSERTED_SPACE.sub("", text)
    return text[1:-1] if re.fullmatch(r"\([a-zA-Z]\)", text) else text


LETTERS = "ABCDEFGHIJ"


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
