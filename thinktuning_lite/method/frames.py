r"""Frames of verdicts ("the answer is", "Answer:", "I would choose") in the words of a completion, and what voids them.

Frames are found by one pass for their words; only there the longer expressions are tried. What stands around a frame is
judged by short ones (`is_void`). The rules are in `answers`' head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from thinktuning_lite.method.notation import TEXT_COMMAND
from thinktuning_lite.method.reading import has_one

MAX_FRAMES = 100  # the last so many words that may begin one are looked at

# --- the text without its markup ----------------------------------------------------------------------------

FORMULA = "□"
_MATH = re.compile(
    r"\$\$?(?!\s)([^$\n]{1,120}?)(?<!\s)\$\$?(?![0-9])|\\\(((?:(?!\\[(\[]).){1,120}?)\\\)|\\\[((?:(?!\\[(\[]).){1,120}?)\\\]",
    re.DOTALL,
)
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}\s")
_LONE_KEY = re.compile(r"[\s({\[]*(?:\\(?:bf|mathbf|mathrm|boldsymbol)\b)?[\s({\[]*[A-Za-z0-9][\s)}\].:]*")
_TEXT_START = re.compile(r"\s*\(?[A-Z0-9][).:]")
_TAGS = re.compile(r"</?(?:[a-z]|[a-zA-Z_]{2,20})>")  # <B> may be a key
_WIDE = str.maketrans({code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3002: ". ", 0x2019: "'"})
_HEADING = re.compile(r"^[ \t]*(#{1,6})[ \t]*(.*)$", re.MULTILINE)
_LABEL_LINE = re.compile(
    r"\n[ \t§]*(?:(?:the\s+|my\s+)?(?:final\s+|correct\s+|short\s+)?(?:answer|conclusion|verdict)[ \t]*[:.]?[ \t]*(?=\n|$)"
    r"|(?:A|Conclusion|Verdict|Final verdict|In conclusion|Final|Solution)[ \t]*:[ \t]*(?=\(?[A-Z0-9]\)|[A-J]\W*(?:\n|$)|(?:yes|no|true|false)\b))",
    re.IGNORECASE,
)
_SHORT = re.compile(r"\W*(?:[A-Za-z0-9]|yes|no|true|false)\W*", re.IGNORECASE)


def clean_text(text: str) -> str:
    """Text without tags, Markdown and LaTeX around words; a formula that is more than a key becomes a placeholder."""
    if not text.isascii():
        text = text.translate(_WIDE)
    if "   " in text:
        text = re.sub(r"[ \t]{3,}", " ", text)
    if "<" in text:
        text = re.sub(r"<(?:final_)?answer>", "\nanswer: ", text, flags=re.IGNORECASE)
        text = _TAGS.sub("\n", text)
    if "\\" in text:
        text = re.sub(r"\\([%$#&_])", r"\1", text)
        text = TEXT_COMMAND.sub(r"\g<text>", TEXT_COMMAND.sub(r"\g<text>", text))
    if "$" in text or "\\" in text:
        text = _MATH.sub(_formula, text)
        text = re.sub(r"\\(?:bf|boxed|fbox)\b|[{}]|\$(?![0-9])", "", text)
    if "*" in text or "`" in text or "__" in text:
        text = re.sub(r"[*`]+|(?<![\w])__(?=\w)|(?<=[\w.:!])__(?!\w)", "", text)
    if "#" in text:
        text = _HEADING.sub(
            lambda m: f"answer: {m[2]}" if len(m[1]) == 4 and _SHORT.fullmatch(m[2]) else f"§ {m[2]}", text
        )
    return _LABEL_LINE.sub("\nanswer: ", "\n" + text)[1:]


def _formula(match: re.Match[str]) -> str:
    content = next(group for group in match.groups() if group is not None)
    if match[1] is not None and _PROSE.search(content):
        return match[0]  # two amounts of money, not a formula
    if _LONE_KEY.fullmatch(content) or _SHORT.fullmatch(content):
        return re.sub(r"\\[a-z]+", "", content).strip(" {}")
    start = _TEXT_START.match(content)
    return (start[0] if start else "") + FORMULA


# --- frames -------------------------------------------------------------------------------------------------

_HEDGE = (
    r"(?:\s*,?\s*(?:(?!unlikely|hardly|scarcely)[a-z]{2,}ly|likely|indeed|therefore|thus|hence|then|just|also|still|in fact|"
    r"of course|without (?:a )?doubt|and|to be|most|best|very|almost|quite|pretty|given by|represented by|found in|"
    r"(?:an?\s+)?(?:definite|definitive|resounding|clear|firm|strong|simple|emphatic|qualified|tentative|solid|unequivocal|absolute|hard|flat))\b,?){0,4}"
)
_NOUN = r"(?:\s*(?:the\s+)?(?:following\s+)?(?:answer\s+)?(?:option|choice|letter|answer|statement|item)\b)?"
_AROUND = r"(?:[\s\"'“”‘(\[{:_§<]|\.\.+|[…→⇒➔➜]){0,12}"
_IS = (
    r"(?:(?:would|must|should|will|has to|have to|seems to|appears to|ought to|turns out to|happens to|is going to)"
    r"(?:\s+(?:\w+ly|most|therefore|thus|then|also|have to)){0,3}\s+be|ends up being|is|are|was)\b"
)
_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(65, 91)})  # keeps every position, unlike str.lower
_ANCHORS = (
    *("ans", "option", "choice", "statement", "verdict", "letter", "correct one", "correct letter"),
    *("choos", "select", "pick", "go with", "go for", "going with", "going for", "opt for", "say"),
)
_THING = re.compile(
    # the answer ... is; no second "is" between (it would be about something else)
    rf"(?:(?<!wrong )(?<!incorrect )(?:answers?|option|choice|ans)|statement|correct (?:letter|one))\b(?!\s+(?:choices|options)\b)"
    rf"(?:\s+(?:that|which)\s+is\b)?(?:\"[^\"\n]{{0,80}}\"|(?!\b(?:is|are)\b)[^.:=\n?\"]){{0,60}}?(?:\s|(?<=[a-z])'(?=s\b))"
    rf"(?:{_IS}|(?<=')s\b){_HEDGE}:?{_NOUN}{_AROUND}",
    re.IGNORECASE,
)
_LABEL = re.compile(
    rf"(?:(?:answer|ans|verdict)(?:\s+choice)?|option|choice|letter)\s*(?:\([^)\n]{{0,30}}\))?[\"'\]]?(?:\s*(?:[:=→⇒]|->|=>)|(?<=\])\s){_HEDGE}{_NOUN}{_AROUND}",
    re.IGNORECASE,
)
_BEFORE_LABEL = re.compile(
    r"(?:^|\n|[^\w\s]|\b(?:final|correct|best|right|the|my|so|short|therefore|thus|hence|and|chosen|selected|predicted|proposed|likely))\s*$",
    re.IGNORECASE,
)
_BEFORE_OPTION_LABEL = re.compile(r"\b(?:final|correct|best|right|chosen)(?:\s+answer)?\s*$", re.IGNORECASE)
_CHOOSE = re.compile(
    rf"(?:choos(?:e|ing)|select(?:ing)?|pick(?:ing)?|go(?:ing)?\s+(?:with|for)|opt\s+for|answer|say)\b(?:\s+that)?{_NOUN}{_AROUND}",
    re.IGNORECASE,
)
_BEFORE_CHOOSE = re.compile(
    r"(?:\b(?:i|we)(?:'d|\s+would|\s+will|'ll|\s+must|\s+am|'m|\s+are|'re)?|\blet(?:'s|\s+us))"
    r"(?:\s+(?:therefore|thus|then|now|going\s+to|have\s+to|inclined\s+to))?\s+$",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"(?:option|choice|answer){_AROUND}", re.IGNORECASE)
_LEADS_TO = re.compile(
    r"(?:corresponds?\s+to|(?:which|this|that|it|\b(?:correct|right|best)\s+\w+)\s+is|\b(?:closest|nearest|equal)\s+to|match(?:es|ing)?|leav(?:es|ing)(?:\s+us)?(?:\s+with)?(?:\s+only)?)\s+(?:the\s+)?$",
    re.IGNORECASE,
)


class Frame(NamedTuple):
    start: int
    end: int  # where the value stands


def from_the_end(text: str, words: tuple[str, ...]) -> Iterator[int]:
    """Where these words begin in a text, the last one first, `MAX_FRAMES` at most. The end is looked at before the rest."""
    end, window, tried = len(text), 256, 0
    while end > 0 and tried < MAX_FRAMES:
        start = max(0, end - window)
        part = text[start : end + 20]  # a word may reach over the end
        places = []
        for word in words:
            if word in part:
                at = text.rfind(word, start, end + len(word) - 1)
                while at >= 0:
                    places.append(at)
                    at = text.rfind(word, start, at)
        for at in sorted(places, reverse=True):
            if at == 0 or not text[at - 1].isalnum():
                tried += 1
                yield at
        end, window = start, 4 * window


def find_frames(text: str) -> Iterator[Frame]:
    """The frames of a text, the last one first. Only where one of their words stands a frame is tried."""
    lower = text.lower() if text.isascii() else text.translate(_LOWER)
    for at in from_the_end(lower, _ANCHORS):
        before = text[max(0, at - 30) : at]
        first = lower[at]
        match = None
        if first in "aoc" or lower.startswith("statement", at):
            match = _THING.match(text, at)
        if match is None and first in "aocvl" and (found := _LABEL.match(text, at)):
            is_option = not lower.startswith(("ans", "ver"), at)
            match = found if (_BEFORE_OPTION_LABEL if is_option else _BEFORE_LABEL).search(before) else None
        if match is None and _BEFORE_CHOOSE.search(before):
            match = _CHOOSE.match(text, at)
        if match is None and first in "aoc" and _LEADS_TO.search(before):
            match = _NAMED.match(text, at)
        if match is not None:
            yield Frame(at, match.end())


VOID_VALUE = re.compile(
    r"(?:that\s+)?(?:it\s+(?:all\s+)?depends|none\b|neither\b|both\b|unclear|unknown|uncertain|ambiguous|undetermined|indeterminate|"
    r"impossible|maybe\b|cannot\s+be|can't\s+be|not\s+(?:listed|given|among|clear|certain|possible|provided|definite|known|determin))",
    re.IGNORECASE,
)

# --- what takes a verdict back ------------------------------------------------------------------------------

_SUPPOSED = re.compile(
    r"(?:(?:^|[,;:(]\s*|\b(?:so|then|but|and|because|since|or|thus|hence|therefore)\s+)"
    r"(?:if(?!\s+(?:i|we)\s+(?:had|have|were)\s+to\b)|suppose|supposing|assume|assuming|unless|in\s+case|provided|were|had|otherwise|whether)\b)"
    r"|\b(?:if|whether|ask|asks|asked|wonder)\s*(?:that\s+)?(?:the\s+)?(?:correct\s+)?$",
    re.IGNORECASE,
)
_SUPPOSALS = (
    *("if", "suppos", "assum", "unless", "case", "provided", "were", "had", "otherwise", "whether", "ask", "wonder"),
)
# "If x is 5, y is 3, so the answer is ..." supposes nothing about the answer.
_CONCLUDED = re.compile(
    r"[,;]\s*(?:and\s+)?(?:so|therefore|thus|hence|we\s+(?:can\s+)?(?:see|find|get|know|conclude))\b", re.IGNORECASE
)
_DOUBTED = re.compile(
    r"(?:(?:\bnot|n['’]t|\bnever|\bnobody|\bno\s+one|\bhardly|\bcannot)\b[^,;:]{0,40}\b(?:think|believe|say|agree|claim|sure|certain|"
    r"mean|follow|case|true|clear|conclude|know|convinced|suggest|imply|possible|that)\b"
    r"|(?<!no )(?<!without )(?<!without a )(?<!beyond )\b(?:doubt|unlikely|disagree)\b"
    r"|\b(?:den(?:y|ies)|false|wrong|incorrect|untrue)\b[^,;:]{0,15}\b(?:that|if|whether)\b)[^,;:]{0,25}$",
    re.IGNORECASE,
)
_DOUBTS = (
    *("not", "n't", "never", "nobody", "no one", "hardly", "doubt", "unlikely", "disagree", "den"),
    *("false", "wrong", "incorrect", "untrue"),
)
_ASCRIBED = re.compile(
    r"(?:\b(?:could|can|might|may)\s+be\s+(?:argued|said|claimed|assumed|thought|believed)\b"
    r"|\b(?<!\bI )(?<!\bwe )(?:might|may|could)\s+(?:\w+\s+)?(?:think|say|argue|assume|claim|expect|guess|believe|conclude|be\s+tempted)\b"
    r"|\b(?:some|many|people|someone|others?|students?|teacher|textbook|book|friend|classmate|he|she|they)\b[^,;.]{0,20}\b(?:think|say|argue|assume|claim|expect|guess|believe)s?\b)"
    r"[^;:]{0,40}$",
    re.IGNORECASE,
)
_OPINIONS = ("think", "thought", "sa", "argue", "assume", "claim", "expect", "guess", "believe", "conclude", "tempted")
_WRONG = (
    r"(?:not\s+(?:quite\s+|actually\s+)?(?:the\s+)?(?:correct|right|answer|best|true)|n['’]t\s+(?:quite\s+)?(?:the\s+)?(?:correct|right|answer|true)|"
    r"incorrect|wrong|a\s+mistake|false|untrue)\b"
)
_RETRACTED = re.compile(
    r"[)\]\"'.…,!—–-]*\s*(?:no,?\s+wait|wait,?\s+no|actually,?\s+no|scratch\s+that|never\s*mind)\b"
    rf"|[)\]\"']*[.!]\s+(?:but\s+|however,?\s+)?(?:that|this|it)\s+(?:is|was|answer\s+is)\s+{_WRONG}(?!\s+(?:that|to|because|for))"
    r"|[^\n]{0,80}?(?:[,;.—–!-]|\s)\s*(?:but|however|though|although|wait|no|hmm|actually)\b[^\n.]{0,40}?\b(?:it|that|this|which)\b"
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

_REJECTED = re.compile(r"[\s$.)\]\\*]{0,9}(?:is|was)\s+(?:wrong|incorrect|not\s+(?:correct|right|the))\b")
_NOTHING = re.compile(r"[\s.)\]\"']*")
_HARMLESS = frozenset(
    f"{so}{the}".lstrip()
    for so in (" ", "So ", "So, ", "Therefore, ", "Thus, ", "Hence, ")
    for the in ("", "the ", "The ")
) | {" "}


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether a box at `text[start:end]` has a "not" directly before it, or an "is wrong" directly behind."""
    if end < len(text) and _REJECTED.match(text, end):
        return True
    before = text[max(0, start - 30) : start]
    if not ("ot" in before or "OT" in before or "n't" in before or "\\ne" in before or not before.isascii()):
        return "ever" in before and _DENIED_BOX.search(before) is not None
    return _DENIED_BOX.search(before) is not None


def is_void(text: str, start: int, end: int) -> bool:
    """Whether the verdict in `text[start:end]` is supposed, doubted, ascribed to others, asked or taken back."""
    behind = text[end : end + 200]
    if not _NOTHING.fullmatch(behind) and (
        _RETRACTED.match(behind) or _CONDITION.match(behind) or _ASKED.match(behind)
    ):
        return True
    before = text[max(0, start - 300) : start]
    sentence = max(before.rfind(". "), before.rfind("\n"), before.rfind("? "), before.rfind("! ")) + 1
    before = before[sentence:].strip() + " "
    if before in _HARMLESS:
        return False
    lower = before.lower()
    supposed = _SUPPOSED.search(before) if has_one(lower, _SUPPOSALS) else None
    if supposed and not before[: supposed.end()].lower().endswith("even if"):
        return _CONCLUDED.search(before, supposed.end()) is None
    if has_one(lower, _DOUBTS) and _DOUBTED.search(before):
        return True
    return has_one(lower, _OPINIONS) and _ASCRIBED.search(before) is not None
