r"""Verdicts in words: which key, or yes or no, the sentences of a completion state. The rules are in `answers`' head.

A verdict is a *frame* ("the answer is", "Answer:", "I would choose", "... is the correct option"), the value in it, and the
sentence around it, which may take it back. Frames are found by one expression per kind, their surroundings are judged by
short ones (`_is_void`); the last verdict that stands decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from thinktuning_lite.method.notation import TEXT_COMMAND

MAX_READ_CHARS = 20_000  # from the end: where the last verdict of a text stands
MAX_FRAMES = 200  # the last so many


class Found(NamedTuple):
    """What a text states; a value of `None`: it says something about the answer that is no single value."""

    value: str | None


# --- the text without its markup ----------------------------------------------------------------------------

_FORMULA = "□"
_MATH = re.compile(
    r"\$\$?(?!\s)([^$\n]{1,120}?)(?<!\s)\$\$?(?![0-9])|\\\((.{1,120}?)\\\)|\\\[(.{1,120}?)\\\]", re.DOTALL
)
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}\s")
_LONE_KEY = re.compile(r"[\s({\[]*(?:\\(?:bf|mathbf|mathrm|boldsymbol)\b)?[\s({\[]*[A-Za-z0-9][\s)}\].:]*")
_TEXT_START = re.compile(r"\s*\(?[A-Z0-9][).:]")
_TAGS = re.compile(r"</?[a-zA-Z_]{1,20}>")
_HEADING = re.compile(r"^[ \t]*(#{1,6})[ \t]*(.*)$", re.MULTILINE)
_LABEL_LINE = re.compile(
    r"^[ \t]*(?:the\s+|my\s+)?(?:final\s+|correct\s+|short\s+)?(?:answer|conclusion|verdict)[ \t]*[:.]?[ \t]*$"
    r"|^[ \t]*(?:A|Conclusion|Verdict|Final verdict|In conclusion|Final|Solution)[ \t]*:[ \t]*(?=\(?[A-Z0-9]\)|(?i:yes|no|true|false)\b)",
    re.MULTILINE | re.IGNORECASE,
)
_LABEL_WORD = re.compile(r"[Aa]nswer|ANSWER|[Cc]onclusion|[Vv]erdict|Final|Solution:|A\s*:")
_SHORT = re.compile(r"\W*(?:[A-Za-z0-9]|yes|no|true|false)\W*", re.IGNORECASE)


def _clean(text: str) -> str:
    """Text without tags, Markdown and LaTeX around words; a formula that is more than a key becomes a placeholder."""
    if "<" in text:
        text = re.sub(r"<(?:final_)?answer>", "\nanswer: ", text, flags=re.IGNORECASE)
        text = _TAGS.sub("\n", text)
    if "\\" in text:
        text = re.sub(r"\\([%$#&_])", r"\1", text)
        text = TEXT_COMMAND.sub(r"\g<text>", TEXT_COMMAND.sub(r"\g<text>", text))
    if "$" in text or "\\" in text:
        text = _MATH.sub(_formula, text)
        text = re.sub(r"\\(?:bf|boxed|fbox)\b|[{}$]", "", text)
    if "*" in text or "`" in text:
        text = re.sub(r"[*`]+", "", text)
    if "#" in text:
        text = _HEADING.sub(lambda m: f"answer: {m[2]}" if len(m[1]) == 4 and _SHORT.fullmatch(m[2]) else m[2], text)
    return _LABEL_LINE.sub("answer: ", text) if _LABEL_WORD.search(text) else text


def _formula(match: re.Match[str]) -> str:
    content = next(group for group in match.groups() if group is not None)
    if match[1] is not None and _PROSE.search(content):
        return match[0]  # two amounts of money, not a formula
    if _LONE_KEY.fullmatch(content):
        return re.sub(r"\\[a-z]+", "", content).strip(" {}")
    start = _TEXT_START.match(content)
    return (start[0] if start else "") + _FORMULA


# --- frames -------------------------------------------------------------------------------------------------

_HEDGE = (
    r"(?:\s*,?\s*(?:(?!unlikely|hardly|scarcely)[a-z]{2,}ly|likely|indeed|therefore|thus|hence|then|just|also|still|in fact|"
    r"of course|to be|most|best|given by|represented by|found in|a|an|definite|resounding|clear|firm|strong|simple)\b,?){0,4}"
)
_NOUN = r"(?:\s*(?:the\s+)?(?:following\s+)?(?:answer\s+)?(?:option|choice|letter|answer|statement|item)\b)?"
_AROUND = r"[\s\"'“”‘(\[{:_]{0,12}"
_IS = r"(?:is|are|was|(?:would|must|should|will|has to|have to|seems to|appears to|ought to) be)\b"
_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(65, 91)})  # keeps every position, unlike str.lower
_ANCHOR = re.compile(
    r"\b(?:answer|option|choice|ans\b|statement\b|verdict|choose|select|pick\b|go (?:with|for)|opt for|say|correspond|match|leav|letter:)"
)
_THING = re.compile(
    # the answer ... is; no second "is" between (it would be about something else)
    rf"(?<!wrong )(?<!incorrect )(?:answers?|option|choice|ans|statement)\b(?:(?!\b(?:is|are|choices|options)\b)[^.:=\n?]){{0,60}}?\s"
    rf"{_IS}{_HEDGE}:?{_NOUN}{_AROUND}",
    re.IGNORECASE,
)
_LABEL = re.compile(
    rf"(?:(?:answer|ans|verdict)(?:\s+choice)?|option|choice|letter)\s*(?:\([^)\n]{{0,30}}\))?\s*[:=]{_HEDGE}{_NOUN}{_AROUND}",
    re.IGNORECASE,
)
_BEFORE_LABEL = re.compile(
    r"(?:^|[\n.;,!)>\]]|\b(?:final|correct|best|right|the|my|so|short|therefore|thus|hence|and|chosen))\s*$",
    re.IGNORECASE,
)
_BEFORE_OPTION_LABEL = re.compile(r"\b(?:final|correct|best|right|chosen)(?:\s+answer)?\s*$", re.IGNORECASE)
_CHOOSE = re.compile(
    rf"(?:choose|select|pick|go\s+(?:with|for)|opt\s+for|answer|say)\b(?:\s+that)?{_NOUN}{_AROUND}", re.IGNORECASE
)
_BEFORE_CHOOSE = re.compile(r"\b(?:i|we)(?:'d|\s+would|\s+will|'ll|\s+must)?\s+$", re.IGNORECASE)
_LEADS_TO = re.compile(
    rf"(?:corresponds?\s+to|match(?:es|ing)?|leav(?:es|ing)(?:\s+us)?(?:\s+with)?(?:\s+only)?)\s+(?:the\s+)?(?:option|choice|answer){_AROUND}",
    re.IGNORECASE,
)


class _Frame(NamedTuple):
    start: int
    end: int  # where the value stands


def _frames(text: str) -> Iterator[_Frame]:
    """The frames of a text, the last one first. Anchors are found in one pass; only at them the frame is tried."""
    anchors = [match.start() for match in _ANCHOR.finditer(text.translate(_LOWER))]
    for at in reversed(anchors[-MAX_FRAMES:]):
        before = text[max(0, at - 30) : at]
        first = text[at].lower()
        match = None
        if first in "aoc" or text.startswith(("statement", "Statement"), at):
            match = _THING.match(text, at)
        if match is None and first in "aocvl" and (found := _LABEL.match(text, at)):
            is_option = text[at : at + 3].lower() not in ("ans", "ver")
            match = found if (_BEFORE_OPTION_LABEL if is_option else _BEFORE_LABEL).search(before) else None
        if match is None and _BEFORE_CHOOSE.search(before):
            match = _CHOOSE.match(text, at)
        match = match or _LEADS_TO.match(text, at)
        if match is not None:
            yield _Frame(at, match.end())


_VOID_VALUE = re.compile(
    r"(?:that\s+)?(?:it\s+(?:all\s+)?depends|none\b|neither\b|both\b|unclear|unknown|uncertain|ambiguous|undetermined|indeterminate|"
    r"impossible|maybe\b|cannot\s+be|can't\s+be|not\s+(?:listed|given|among|clear|certain|possible|provided|definite|known|determin))",
    re.IGNORECASE,
)

# --- what takes a verdict back ------------------------------------------------------------------------------

_SUPPOSED = re.compile(
    r"(?:(?:^|[,;:(]\s*|\b(?:so|then|but|and|because|since|or|thus|hence|therefore)\s+)"
    r"(?:if|suppose|supposing|assume|assuming|unless|in\s+case|provided|were|had|otherwise|whether)\b)"
    r"|\b(?:if|whether|ask|asks|asked|wonder)\s*(?:that\s+)?(?:the\s+)?(?:correct\s+)?$",
    re.IGNORECASE,
)
_DOUBTED = re.compile(
    r"(?:(?:\bnot|n['’]t|\bnever|\bnobody|\bno\s+one|\bhardly|\bcannot)\b[^,;:]{0,40}\b(?:think|believe|say|agree|claim|sure|certain|"
    r"mean|follow|case|true|clear|conclude|know|convinced|suggest|imply|possible|that)\b"
    r"|\b(?:doubt|unlikely|disagree|den(?:y|ies)|false|wrong|incorrect|untrue)\b[^,;:]{0,15}\b(?:that|if|whether)\b)[^,;:]{0,25}$",
    re.IGNORECASE,
)
_ASCRIBED = re.compile(
    r"(?:\b(?<!\bI )(?<!\bwe )(?:might|may|could)\s+(?:\w+\s+)?(?:think|say|argue|assume|claim|expect|guess|believe|conclude|be\s+tempted)\b"
    r"|\b(?:some|many|people|someone|others?|a\s+student|students)\b[^,;.]{0,20}\b(?:think|say|argue|assume|claim|expect|guess|believe)s?\b)"
    r"[^;:]{0,40}$",
    re.IGNORECASE,
)
_WRONG = (
    r"(?:not\s+(?:quite\s+|actually\s+)?(?:the\s+)?(?:correct|right|answer|best|true)|n['’]t\s+(?:quite\s+)?(?:the\s+)?(?:correct|right|answer|true)|"
    r"incorrect|wrong|a\s+mistake|false|untrue)\b"
)
_RETRACTED = re.compile(
    r"[^\n]{0,80}?(?:[,;.—–!-]|\s)\s*(?:but|however|though|although|wait|no|hmm|actually)\b[^\n.]{0,40}?\b(?:it|that|this|which)\b"
    rf"[^\n.]{{0,15}}?{_WRONG}"
    rf"|[^\n.]{{0,40}}?,\s*which\s+(?:is|was|would\s+be)\s+{_WRONG}"
    rf"|[\s)\]\"']*(?:is|was)\s*(?:{_WRONG})",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"[)\]\"'\s,]*\s(?:only\s+)?(?:if|unless|provided|depending)\b", re.IGNORECASE)
_ASKED = re.compile(r"[^.!?\n]{0,100}\?")
_DENIED_BOX = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\\neq?|≠)\s*(?:equal\s+(?:to\s+)?|simply\s+|just\s+)?[\s$:(\[\\]*$", re.IGNORECASE
)


def is_denied(text: str, start: int) -> bool:
    """Whether what begins at `start` (a box) has a "not" directly before it."""
    return _DENIED_BOX.search(text, max(0, start - 30), start) is not None


def _is_void(text: str, start: int, end: int) -> bool:
    """Whether the verdict in `text[start:end]` is supposed, doubted, ascribed to others, asked or taken back."""
    behind = text[end : end + 200]
    if _RETRACTED.match(behind) or _CONDITION.match(behind) or _ASKED.match(behind):
        return True
    before = text[max(0, start - 300) : start]
    before = re.split(r"[.!?]\s|\n", before)[-1].strip()
    if not before:
        return False
    supposed = _SUPPOSED.search(before)
    if supposed and not before[: supposed.end()].lower().endswith("even if"):
        return True
    return _DOUBTED.search(before + " ") is not None or _ASCRIBED.search(before + " ") is not None


# --- choices ------------------------------------------------------------------------------------------------


class _Keys(NamedTuple):
    value: re.Pattern[str]  # a key where a frame wants its value
    backward: re.Pattern[str]  # a key in front of its verdict: "(C) is the correct answer"
    closing: re.Pattern[str]  # a last sentence that needs no frame: "So (C)."
    joined: re.Pattern[str]  # another key joined to the first: "or (B)"
    listed: re.Pattern[str]  # another key as options are written: "(B) ice", "B) ice", ", B. ice"
    line: re.Pattern[str]  # a line that begins with a key as options do
    another: re.Pattern[str]  # a further key on such a line
    alone: re.Pattern[str]  # a line, or a text, that is a key, perhaps with the option's text
    box: re.Pattern[str]


@lru_cache(maxsize=32)
def _keys(letters: str) -> _Keys:
    key = f"[{re.escape(letters)}]"
    # A bare key must not begin a word, formula or decimal; "A" and "I" are words, digits may count things.
    bare = rf"(?![\w'’{_FORMULA}(])(?!\s*[=+^<>/%∩∪×])(?!-\w)(?![.,][0-9])"
    lone = r"(?!(?<=[AI0-9])\s+(?!because|since|as\b|which|with)[a-z])"
    value = rf"(?:(?<=[(\[])({key})(?=\s*[)\]])|({key}){bare}{lone})"
    named = rf"(?:\(({key})\)|(?<![\w(])({key})\)|\b(?i:option|choice|answer|statement)\s+\(?({key})\b\)?)"
    what = r"(?i:(?:single\s+|only\s+|most\s+(?:\w+\s+)?)?(?:correct|right|best|final|only|accurate|appropriate|suitable|likely|logical|plausible|true)?)"
    verdict = rf"(?i:(?:is|(?:would|must|should|has\s+to)\s+be)\s+the\s+){what}\s*(?i:answer|option|choice)\b"
    end = r"(?=\s*(?:[.,;!]|$|\n|because\b|since\b|one\b))"
    backward = (
        rf"(?:{named}(?:(?!\bis\b)[^.\n(]){{0,60}}?\s{verdict}"
        rf"|(?<![\w(.])({key})\s+(?:{verdict}|(?i:is\s+(?:correct|right)){end})"
        # "Option C is correct", but not "option C is correct in that"
        rf"|(?:{named}|(?i:so|thus|therefore|hence),?\s+({key}))\s+(?i:is\s+(?:the\s+)?(?:correct|right|best|true)){end})"
    )
    closing = (
        rf"\b(?i:therefore|thus|hence|so|conclusion:),?\s+(?i:it\s+(?:is|must\s+be)\s+|the\s+)?(?i:option\s+|choice\s+)?"
        rf"\(?({key})\)?\s*\.?\s*$"
        rf"|\b(?i:only)\s+(?i:option\s+|choice\s+|answer\s+)?\(?({key})\)?\s+"
        r"(?i:fits|works|satisfies|matches|makes\s+sense|is\s+(?:correct|right|valid|possible))\b[^.!?\n]*[.!?]?\s*$"
    )
    joined = rf"[\s)\]}}$\"']*(?:,?\s*(?i:and/or|or|and)\b|&|/|,)[\s(\[$\"']*(?i:option\s+|choice\s+)?({key})(?![\w'’])(?!(?<=[AI])\s+[a-z])"
    listed = rf"[(\[]({key})[)\]]|(?<![\w(])({key})\)|[,;]\s*({key})[.:]\s"
    line = rf"[ \t(\[]*(?:(?i:option|choice)\s+)?({key})(?:[).:\]]|[ \t]*$)"
    alone = rf"[^\w\n]*({key})(?:[^\w\n]*|(?:\)|\.(?!\w))(?!\s*(?i:is|or|and)\b)[^\n]*)"
    box = (
        r"\W*(?:(?:the\s+)?(?:(?:correct|final|best|right)\s+)?(?:answer|option|choice)\s*(?:is|:)?\s*(?:option\s+|choice\s+)?)?\W*"
        rf"({key})(?:\W*|\s*(?:[).:,;]|\s[-–—]|\n)(?![0-9]).*|\s+(?:because|since|as|is)\b.*)"
    )
    return _Keys(
        *(re.compile(p) for p in (value, backward, closing, joined, listed)),
        re.compile(line, re.MULTILINE),
        re.compile(rf"[\s(]{key}[).]"),
        re.compile(alone),
        re.compile(box, re.IGNORECASE | re.DOTALL),
    )


def choice_in_box(content: str, letters: str) -> Found | None:
    """The key that a box holds, alone or before its option; `None` if what it holds is no key."""
    keys = _keys(letters)
    content = re.sub(
        r"\\(?:bf|mathbf|mathrm|boldsymbol)\b|[{}$]|\\[,;! ]", " ", TEXT_COMMAND.sub(r" \g<text> ", content)
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
    text = _clean(part[-MAX_READ_CHARS:])
    verdicts = [verdict for verdict in (_framed(text, keys), _backward(text, keys)) if verdict is not None]
    if verdicts:
        return max(verdicts, key=lambda verdict: verdict[0])[1]
    closing = keys.closing.search(text[-150:])
    if closing and not _is_void(text[-150:], closing.start(), closing.end()):
        return Found(_group(closing))
    return _choice_alone(text, letters, keys, whole=len(part) <= MAX_READ_CHARS)


def _framed(text: str, keys: _Keys) -> tuple[int, Found] | None:
    """Where the last framed verdict ends, and what it states."""
    for frame in _frames(text):
        value = keys.value.match(text, frame.end)
        end = value.end() if value else frame.end
        if (value is None and not _VOID_VALUE.match(text, end)) or _is_void(text, frame.start, end):
            continue
        key = _group(value) if value else None
        is_one = key is not None and not _names_another(text[end : end + 300], key, keys)
        return end, Found(key if is_one else None)
    return None


_VERDICT_ANCHOR = re.compile(r"\b(?:is|be)\s+(?:the\s|correct|right)")
_RANGE = re.compile(r"[A-J1-9]\)?\s?(?:-|–|through|thru|to)\s?\(?$")


def _backward(text: str, keys: _Keys) -> tuple[int, Found] | None:
    """The same for "(C) is the correct answer"."""
    anchors = [match.start() for match in _VERDICT_ANCHOR.finditer(text)]
    for at in reversed(anchors[-MAX_FRAMES:]):
        start = max(0, at - 90)
        for match in reversed(list(keys.backward.finditer(text, start, min(len(text), at + 80)))):
            key_at = next(match.start(i) for i, group in enumerate(match.groups(), 1) if group)
            in_range = _RANGE.search(text[max(0, key_at - 12) : key_at])
            if match.end() > at and not in_range and not _is_void(text, match.start(), match.end()):
                return match.end(), Found(_group(match))
    return None


_STOP = re.compile(
    r"[.!?](?=\s|$)|\n|;|\b(?:because|since|as|which|while|whereas|not|rather|instead|over|unlike|but|both|all|neither|none|so|if|where|than|"
    r"compared)\b|,\s+(?:it|this|that|the|we|I)\b",
)


def _names_another(behind: str, key: str, keys: _Keys) -> bool:
    """Whether a key is followed by another one, before the sentence goes on to something else."""
    label = re.match(r"[\s)\]}\"'.:]*", behind)[0]
    stop = _STOP.search(behind, len(label))
    region = behind[: stop.start() if stop else len(behind)]
    if (joined := keys.joined.match(behind)) and joined[1] != key:
        return True
    if any(_group(other) != key for other in keys.listed.finditer(region + " ")):
        return True
    listed = re.match(r"[^\n;.]{0,60}[,;]\s*\(?([A-J])[.)]\s", behind[len(label) :])  # "A. 0, B. 10"
    if listed is not None:
        return listed[1] != key
    below = re.match(r"[)\].: \t][^\n]*\n\s*", behind)  # options, one on each line
    other = keys.line.match(behind, below.end()) if below else None
    return other is not None and other[1] != key and other[1] > key and "." not in behind[: below.end()].rstrip()[-1:]


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
        key, rest = match[1], line[match.end(1) :]
        with_option = re.search(r"\w", rest) is not None
        if with_option and (labelled - {key} or (line is not lines[0] and key == letters[0])):
            continue  # one option of several, or the first one of a list that breaks off
        return Found(None if _names_another(rest, key, keys) or keys.another.search(rest) else key)
    return None


# --- yes and no ---------------------------------------------------------------------------------------------

_TRUTH = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_WORD = r"(yes|no|true|false)\b"
_ANY_TRUTH = re.compile(r"\b(?:yes|no|true|false)\b", re.IGNORECASE)
# "no" also begins noun phrases ("the answer is no one"): something must end the word.
_END = r"(?=[\s)\]}_\"'”’]*(?:$|\n|[.,;:!–—]|-(?!\w))|\s+(?:because|since|as|but|if|unless)\b|\s+(?:it|they|he|she|you|we|this|that|there)\b)"
_YES_NO = re.compile(rf"\b{_WORD}{_END}", re.IGNORECASE)
_YES_NO_BOX = re.compile(
    r"\W*(?:(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*)?\W*"
    + _WORD
    + r"(?:[\s.!\"']*|\s*(?:[,;.:(]|[-–—]|\n|because\b|since\b).*)",
    re.IGNORECASE | re.DOTALL,
)
_BOTH = re.compile(r"[\s\"',]*(?:and|or|/|and/or)\s*[\"']?(?:yes|no|true|false)\b", re.IGNORECASE)
_SO = r"(?:so|thus|therefore|hence|overall|in\s+conclusion|in\s+short|ultimately|to\s+conclude|finally|conclusion)"
_CLOSING_SO = re.compile(rf"(?:.*[.!?]\s+)?[^\w]*{_SO}\s*[,:]?\s+{_WORD}\s*,[^.!?]*\W*", re.IGNORECASE)
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
    if not _ANY_TRUTH.search(part):
        return None
    text = _clean(part[-MAX_READ_CHARS:])
    for frame in _frames(text):
        value = _YES_NO.match(text, frame.end)
        both = _BOTH_FIRST.match(text, frame.end)
        end = value.end() if value else frame.end
        if (value or both or _VOID_VALUE.match(text, end)) and not _is_void(text, frame.start, end):
            return Found(_TRUTH[value[1].lower()] if value and not both else None)
    last_line = text.rstrip()[-300:].rpartition("\n")[2]
    match = _CLOSING_WORD.fullmatch(last_line) or _CLOSING_SO.fullmatch(last_line)
    if match is None:
        match = _OPENING.match(text if len(part) <= MAX_READ_CHARS else _clean(part[:300]))
    return Found(_TRUTH[match[1].lower()]) if match else None


def _group(match: re.Match[str]) -> str:
    """The one group of the match that is filled."""
    return next(group for group in match.groups() if group is not None)
