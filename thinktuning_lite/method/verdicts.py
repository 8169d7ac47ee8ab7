r"""Verdicts in words: which key, or yes or no, the sentences of a completion state. The rules are in `answers`' head.

A verdict is a frame (`frames`) with a value behind it, or a key in front of "is the correct option"; the last verdict
that nothing takes back decides.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from thinktuning_lite.method.frames import FORMULA, VOID_VALUE, clean_text, find_frames, from_the_end, is_void
from thinktuning_lite.method.notation import TEXT_COMMAND

MAX_READ_CHARS = 8_000  # from the end: where the last verdict of a text stands


class Found(NamedTuple):
    """What a text states; a value of `None`: it says something about the answer that is no single value."""

    value: str | None


# --- choices ------------------------------------------------------------------------------------------------


class _Keys(NamedTuple):
    value: re.Pattern[str]  # a key where a frame wants its value
    behind: re.Pattern[str]  # a key behind the option's text: "mitochondria (B)", "12 m/s, option B"
    backward: re.Pattern[str]  # a key in front of its verdict: "(C) is the correct answer"
    closing: re.Pattern[str]  # a last sentence that needs no frame: "So (C)."
    joined: re.Pattern[str]  # another key joined to the first: "or (B)"
    listed: re.Pattern[str]  # another key as options are written: "(B) ice", "B) ice", ", B. ice"
    line: re.Pattern[str]  # a line that begins with a key as options do
    another: re.Pattern[str]  # a further key on such a line
    alone: re.Pattern[str]  # a line, or a text, that is a key, perhaps with the option's text
    box: re.Pattern[str]


def _verdict_patterns(key: str, mark: str) -> tuple[str, str]:
    """A key in front of its verdict, and a last sentence that needs no frame."""
    named = rf"(?:\(({mark})\)|(?<![\w(])({key})\)|[\"'“]({key})[\"'”]|\b(?i:option|choice|answer|statement)\s+\(?({key})\b\)?)"
    what = r"(?i:(?:single\s+|only\s+|most\s+(?:\w+\s+)?)?(?:correct|right|best|final|only|accurate|appropriate|suitable|likely|logical|plausible|true)?)"
    adverb = r"(?:(?:\w+ly|thus|therefore|hence|indeed|then|also)\s+)?"
    verdict = (
        rf"(?i:(?:is|(?:would|must|should|has\s+to|seems\s+to|appears\s+to)\s+be)\s+{adverb}the\s+){what}"
        r"\s*(?i:answer|option|choice|one)\b"
    )
    end = r"(?=\s*(?:[.,;!]|$|\n|because\b|since\b|one\b))"
    backward = (
        rf"(?:{named}(?:(?!\bis\b)[^.\n(]){{0,60}}?\s{verdict}"
        rf"|(?:^|[.,;:!?\n>→⇒]\s*|\b(?i:so|thus|hence|therefore|that|and|but|think|believe)\s+)({key})\s+(?:{verdict}|(?i:is\s+{adverb}(?:correct|right)){end})"
        # "Option C is correct", but not "option C is correct in that"
        rf"|(?:{named}|(?i:so|thus|therefore|hence),?\s+({key}))\s+(?i:is\s+{adverb}(?:the\s+)?(?:correct|right|best|true)){end})"
    )
    closing = (
        rf"\b(?i:therefore|thus|hence|so|conclusion:),?\s+(?i:it(?:\s+is|'s|\s+must\s+be)\s+|the\s+)?(?i:option\s+|choice\s+)?"
        rf"\(?({mark})\)?\s*\.?\s*$"
        rf"|\b(?i:only)\s+(?i:option\s+|choice\s+|answer\s+)?\(?({key})\)?\s+"
        r"(?i:fits|works|satisfies|matches|makes\s+sense|is\s+(?:correct|right|valid|possible))\b[^.!?\n]*[.!?]?\s*$"
    )
    return backward, closing


@lru_cache(maxsize=32)
def _keys(letters: str) -> _Keys:
    key = f"[{re.escape(letters)}]"
    mark = rf"(?:{key}|(?<=[(\[])[{re.escape(letters.lower())}](?=[)\]]))"  # (b) is B, a bare b may be anything
    # A bare key must not begin a word, formula or decimal; "A" and "I" are words, digits may count things.
    bare = rf"(?![\w’{FORMULA}(#]|'\w)(?!\s*[=+^<>/%∩∪×])(?!-\w)(?![.,][0-9])"
    lone = r"(?!(?<=[AI0-9])\s+(?!because|since|as\b|which|with)[a-z])"
    value = rf"(?:(?<=[(\[])({mark})(?=\s*[)\]])|({key}){bare}{lone})"
    verb = rf"(?!\s*[)\]]?(?:\s*(?:,|and|or)\s*\(?{key}\)?)*\s+(?:is|are|was|were|would|could|can|cannot|does|do|has|have|seems|floats)\b)"  # it is judged, not joined
    joined = (
        rf"[\s)\]}}$\"']*(?:(?:[,;]?\s*(?i:and/or|or|and)\b(?i:\s+(?:maybe|perhaps|possibly|probably|even|also))?|&|/|[,;+])[\s(\[$\"']*"
        rf"(?i:option\s+|choice\s+)?({mark})(?![\w'’])(?!(?<=[AI])\s+[a-z]){verb}|\s({key})[\s.]*$)"
    )
    listed = rf"[(\[]({mark})[)\]]{verb}|(?<![\w(])({key})\){verb}|(?:[,;]|\b(?:and|or))\s*({key})[.:]\s"
    line = rf"[ \t(\[]*(?:(?i:option|choice)\s+)?({key})(?:[).:\]]|[ \t]*$)"
    alone = rf"[^\w\n§]*(?:(?i:option|choice|answer)\s+\(?)?(?:({mark})[^\w\n]*|({key})(?:\)|\.(?!\w))(?!\s*(?i:is|or|and)\b)[^\n]*)"
    box = (
        r"\W*(?:(?:the\s+)?(?:(?:correct|final|best|right)\s+)?(?:answer|option|choice)\s*(?:is|:)?\s*(?:option\s+|choice\s+)?)?\W*"
        rf"({key})(?:\W*|\s*(?:[).:,;]|\s[-–—]|\n)(?![0-9]).*|\s+\(.*|\s+(?:because|since|as|is)\b.*)"
    )
    backward, closing = _verdict_patterns(key, mark)
    behind = (
        r"(?:(?!\b(?:not|none|nor|neither|or|either|between|if|and|but|to)\b)(?:[^.\n(;:?!]|\.(?=[0-9]))){1,60}?"
        rf"(?:\s\(\s*(?i:option\s+|choice\s+)?({mark})\s*\)|,\s*(?i:option|choice)\s+\(?({mark})\)?)(?=\s*(?:[.,;!]|$|\n))"
    )
    return _Keys(
        re.compile(value),
        re.compile(behind),
        re.compile(backward),
        re.compile(closing),
        re.compile(joined),
        re.compile(listed),
        re.compile(line, re.MULTILINE),
        re.compile(rf"[\s(]{key}[).]"),
        re.compile(alone),
        re.compile(box, re.IGNORECASE | re.DOTALL),
    )


def choice_in_box(content: str, letters: str) -> Found | None:
    """The key that a box holds, alone or before its option; `None` if what it holds is no key."""
    keys = _keys(letters)
    content = re.sub(
        r"\\(?:text[a-z]*|mbox|math[a-z]+|bf|rm|sf|it|boldsymbol|displaystyle|large|Large)(?![a-zA-Z])|[{}$]|\\[,;! ]",
        " ",
        content,
    )
    content = content.replace("*", "").replace("\\", " ").strip()
    match = keys.box.fullmatch(content)
    if match is None:
        return Found(None) if re.match(r"none\b|neither\b|cannot\b", content, re.IGNORECASE) else None
    key, rest = match[1].upper(), content[match.end(1) :]
    if key == "I" and re.search(r"\bI[IV]+\b", rest):
        return None
    return Found(None if _names_another(rest, key, keys) else key)


def choice_in_words(part: str, letters: str) -> Found | None:
    """The key that the last verdict of a text states, else its first or last line; `None` if there is no verdict."""
    keys = _keys(letters)
    text = clean_text(part[-MAX_READ_CHARS:])
    verdicts = [verdict for verdict in (_framed(text, keys), _backward(text, keys)) if verdict is not None]
    if verdicts:
        return max(verdicts, key=lambda verdict: verdict[0])[1]
    closing = keys.closing.search(text[-150:])
    if closing and not is_void(text[-150:], closing.start(), closing.end()):
        return Found(_group(closing).upper())
    return _choice_alone(text, letters, keys, whole=len(part) <= MAX_READ_CHARS)


def _framed(text: str, keys: _Keys) -> tuple[int, Found] | None:
    """Where the last framed verdict ends, and what it states."""
    for frame in find_frames(text):
        value = keys.value.match(text, frame.end) or keys.behind.match(text, frame.end)
        end = value.end() if value else frame.end
        if (value is None and not VOID_VALUE.match(text, end)) or is_void(text, frame.start, end):
            continue
        key = _group(value).upper() if value else None
        is_one = key is not None and not _names_another(text[end : end + 300], key, keys)
        return end, Found(key if is_one else None)
    return None


MAX_BACKWARD = 50
_VERDICT_ANCHORS = ("is ", "be ")
_VERDICT_WORDS = re.compile(r"(?:is|be)\s+(?:\w+\s+)?(?:the\s|correct|right)")
_RANGE = re.compile(
    r"(?<![a-zA-Z])[A-J1-9]\)?(?:\s?(?:-|–|through|thru|to)|,?\s(?:and|or|nor)|\s?&)\s?\(?$"
    r"|\b(?:[Nn]one|[Nn]either|[Nn]ot)\b.{0,12}[A-J]\)?,\s?\(?$"
    r"|\b(?:[Nn]one|[Nn]either)\s+of\s+(?:the\s+)?(?:options?\s+|choices?\s+)?\(?$"
)


def _backward(text: str, keys: _Keys) -> tuple[int, Found] | None:
    """The same for "(C) is the correct answer"."""
    places = (at for at in from_the_end(text, _VERDICT_ANCHORS) if _VERDICT_WORDS.match(text, at))
    for at in islice(places, MAX_BACKWARD):
        start = max(0, at - 90)
        for match in reversed(list(keys.backward.finditer(text, start, min(len(text), at + 80)))):
            key_at = next(match.start(i) for i, group in enumerate(match.groups(), 1) if group)
            in_range = _RANGE.search(text[max(0, key_at - 30) : key_at])
            if match.end() > at and not in_range and not is_void(text, key_at, match.end()):
                return match.end(), Found(_group(match).upper())
    return None


_LABEL_END = re.compile(r"[)\]}\"':]*\.?[ \t]*")
_STOP = re.compile(
    r"[.!?](?=\s|$)|\n|;|\b(?:because|since|as|which|while|whereas|not|rather|instead|over|unlike|but|both|all|neither|none|so|if|where|than|"
    r"compared)\b|,\s+(?:it|this|that|the|we|I)\b",
)


def _names_another(behind: str, key: str, keys: _Keys) -> bool:
    """Whether a key is followed by another one, before the sentence goes on to something else."""
    label = behind[: _LABEL_END.match(behind).end()]  # type: ignore[union-attr]  # matches nothing, too
    if "." in label and (label[0] in ")]" or keys.line.match(behind, len(label))):
        return False  # the sentence ends with the key
    stop = _STOP.search(behind, len(label))
    region = behind[: stop.start() if stop else len(behind)]
    if (joined := keys.joined.match(behind)) and _group(joined).upper() != key:
        return True
    if any(_group(other).upper() != key for other in keys.listed.finditer(region + " ")):
        return True
    listed = re.match(
        r"[^\n;.]{0,60}[,;]\s*\(?([A-J])[.)]\s(?!(?:is|are|was|would|can|cannot|does|has)\b)", behind[len(label) :]
    )  # "A. 0, B. 10"
    if listed is not None:
        return listed[1] != key
    below = re.match(r"[)\].: \t][^\n]*\n\s*", behind)  # options, one on each line
    other = keys.line.match(behind, below.end()) if below else None
    if below is None or other is None or other[1] <= key or behind[: below.end()].rstrip().endswith("."):
        return False
    return (
        re.match(r"[^\n]*\b(?:is|are|was|because|not)\b", behind[other.end() :]) is None
    )  # "(D) is too hot" lists nothing


def _choice_alone(text: str, letters: str, keys: _Keys, whole: bool) -> Found | None:
    """A last or first line that is a key, alone or in front of its option, unless the options are listed."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        return None
    labelled = {match[1] for line in lines[:200] if (match := keys.line.match(line))}
    for line in (lines[-1], *lines[: int(whole)]):
        match = keys.alone.fullmatch(line)
        if match is None:
            continue
        key, rest = _group(match).upper(), line[match.end(match.lastindex or 0) :]
        if re.match(r"\.\s[A-Z]\.", rest):
            continue  # initials
        with_option = re.search(r"\w", rest) is not None
        if with_option and (labelled - {key} or (line is not lines[0] and key == letters[0])):
            continue  # one option of several, or the first one of a list that breaks off
        return Found(None if _names_another(rest, key, keys) or keys.another.search(rest) else key)
    return None


# --- yes and no ---------------------------------------------------------------------------------------------

_TRUTH = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_WORD = r"(yes|no|true|false)\b"
# "no" also begins noun phrases ("the answer is no one"): something must end the word.
_END = r"(?=[\s)\]}_\"'”’]*(?:$|\n|[.,;:!–—…]|-(?!\w))|\s+\(|\s+(?:because|since|as|but|if|unless)\b|\s+(?:it|they|he|she|you|we|this|that|there)\b)"
_YES_NO = re.compile(rf"\b{_WORD}{_END}", re.IGNORECASE)
_YES_NO_BOX = re.compile(
    r"\W*(?:(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*)?\W*"
    + _WORD
    + r"(?:[\s.!\"']*|\s*(?:[,;.:(]|[-–—]|\n|because\b|since\b).*)",
    re.IGNORECASE | re.DOTALL,
)
_BOTH = re.compile(r"[\s\"',]*(?:and|or|/|and/or)\s*[\"']?(?:yes|no|true|false)\b", re.IGNORECASE)
_SO = r"(?:to\s+(?:answer|sum|conclude|summarize)[^,.]{0,40},|so|thus|therefore|hence|overall|in\s+conclusion|in\s+short|ultimately|to\s+conclude|finally|conclusion|(?:based\s+on|given|considering)[^,.]{0,50},)"
_CLOSING_SO = re.compile(rf"(?:.*[.!?]\s+)?[^\w]*{_SO}\s*[,:]?\s+{_WORD}\s*,[^.!?]*\W*", re.IGNORECASE)
_CLOSING_LINE = re.compile(rf"[^\w]*{_WORD}\s*[,;–—].*", re.IGNORECASE)  # a last paragraph, "No, it cannot."
_CLOSING_WORD = re.compile(rf"(?:.*[.!?]\s+)?[^\w]*(?:{_SO}\s*[,:]?\s+)?{_WORD}[^\w]*", re.IGNORECASE)
_BOTH_FIRST = re.compile(_WORD + _BOTH.pattern, re.IGNORECASE)
_OPENING = re.compile(rf"\W*{_WORD}{_END}", re.IGNORECASE)


def yes_no_in_box(content: str) -> Found | None:
    """Yes or no in a box; `None` if it holds something else."""
    content = re.sub(r"[{}$\\*]", " ", TEXT_COMMAND.sub(r" \g<text> ", content)).strip()
    match = _YES_NO_BOX.fullmatch(content)
    if match is None:
        return None
    return Found(None if _BOTH.match(content, match.end(1)) else _TRUTH[match[1].lower()])


def yes_no_in_words(part: str) -> Found | None:
    """Yes or no by the last verdict of a text, else by its last sentence, else by its first word."""
    lower = part.lower()
    if not ("yes" in lower or "no" in lower or "true" in lower or "false" in lower):
        return None
    text = clean_text(part[-MAX_READ_CHARS:])
    for frame in find_frames(text):
        if text.startswith(("statement", "Statement"), frame.start):
            continue  # "the first statement is false" is a step
        value = _YES_NO.match(text, frame.end)
        if value is None and not (_BOTH_FIRST.match(text, frame.end) or VOID_VALUE.match(text, frame.end)):
            continue
        end = value.end() if value else frame.end
        if not is_void(text, frame.start, end):
            is_one = value is not None and not _BOTH.match(text, end)
            return Found(_TRUTH[value[1].lower()] if value and is_one else None)
    last_line = text.rstrip()[-300:].rpartition("\n")[2]
    match = _CLOSING_WORD.fullmatch(last_line) or _CLOSING_SO.fullmatch(last_line) or _CLOSING_LINE.fullmatch(last_line)
    if match is None:
        match = _OPENING.match(text if len(part) <= MAX_READ_CHARS else clean_text(part[:300]))
    return Found(_TRUTH[match[1].lower()]) if match else None


def _group(match: re.Match[str]) -> str:
    """The one group of the match that is filled."""
    return next(group for group in match.groups() if group is not None)
