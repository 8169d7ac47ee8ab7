r"""What of a completion counts, and where its boxes are. The order of decisions is in `answers`.

Everything here is bounded: a text of any length takes milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

MAX_BOX_CHARS = 1200
MAX_BOXES = 16  # the last so many are looked at
MAX_MARKERS = 32
MAX_QUESTIONS = 16
MAX_QUESTION_CHARS = 48_000  # from the end: where further questions are looked for
MAX_WORDS = 500
MAX_TAGS = 200

_THOUGHT_END = re.compile(r"</(?:think|thinking|thought|reasoning)>|<\|end_of_thought\|>|◁/think▷", re.IGNORECASE)
_THOUGHT_ENDS = ("</", "<|end_of_thought", "◁/think")
_THOUGHT_START = re.compile(
    r"\s*(?:<(?:think|thinking|thought|reasoning)>|<\|begin_of_thought\|>|◁think▷)", re.IGNORECASE
)
_TURN_END = re.compile(
    r"<\|(?:im_end|im_start|eot_id|endoftext|end_of_text|end|eom_id|start_header_id|user|human|EOT)\|>|</s>|<eos>"
    r"|<end_of_turn>|<｜end▁of▁sentence｜>|<｜User｜>|\[INST\]"
)
# A line that opens another problem, or another speaker's turn. Found by its word first: lines are many, such words few.
_NEXT_WORD = re.compile(
    r"(?:[Qq]uestion|[Pp]roblem|Exercise|Example|\bQ)\b(?:[^\n]{0,10}:|[ \t]*(?:#?[0-9]+[ \t]*[.)]?)?[ \t*]*(?=\n))"
    r"|(?:Human|User|USER|Instruction|Input|Student)[ \t]*:|(?:[Hh]uman|[Uu]ser)[ \t]*(?=\n)|Instruction\b|\[Question\]|<question>"
    r"|(?:[Qq]uestion|Problem)[ \t]+[0-9]+\.|(?:Question|Problem|Exercise|Example)[ \t]+[0-9]+\*\*"
)
_QUESTION_SIGNS = (  # without one of these there is no need to look
    *("uestion", "roblem", "Exercise", "Example", "Q", "Human", "human", "User", "user", "USER"),
    *("Instruction", "Input", "Student"),
)
_LINE_START = re.compile(r"\n[ \t]*[*#]{0,6}[ \t]*(?:(?:Next|New|Another|Follow-up)[ \t]+)?$")
_FENCE_LINE = re.compile(r"```[ \t]*([a-zA-Z+#]*)[^\n`]*\n")
_LANGUAGE = frozenset(
    [
        "python",
        "py",
        "python3",
        "java",
        "javascript",
        "js",
        "cpp",
        "c",
        "c++",
        "c#",
        "r",
        "ruby",
        "go",
        "rust",
        "bash",
        "sh",
        "sql",
        "matlab",
        "julia",
    ]
)
_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|return\b|for \w+ in |while )|\b(?:print|printf|println|console\.log)\s*\(",
    re.MULTILINE,
)
_CODE_LINE = re.compile(
    r"\b(?:print|printf|println|format|puts|console\.log)\s*\(|\breturn\s+[rfb]{0,2}[\"']|[=(+]\s*[rfb]{1,2}[\"']"
)
_CODE_SIGNS = ("print", "format", "puts", "console", "return", "r'", 'r"', "f'", 'f"', "b'", 'b"')
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?<=\s)(-?[0-9][0-9.,/]*))")
_BRACE = re.compile(r"\\\\(?!boxed|fbox)|\\[{}]|(\{)|(\})")
# What stands for an answer in a text about boxes: fillers, and words such as "your answer here".
_TEMPLATE = re.compile(
    r"(?:[\s.…?_*\[\]{}$:-]|</?(?=[a-z])|(?<=[a-z])>|\\(?:[lc]?dots|square|_|quad|cdot|phantom|text|textbf|mathrm|mathbf|[ ,;:]|$)"
    r"|(?:your|the|final|correct|answers?|here|option|letter|choice|number|numerical|numeric|result|value|solution|goes|ans"
    r"|insert|enter|write|put|type|placeholder|tbd|yes/no|yes or no)(?![a-zA-Z]))*",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"\\phantom\{[^{}]*\}")


class Box(NamedTuple):
    start: int  # of the backslash
    end: int  # behind the brace
    content: str


def counted_part(text: str) -> tuple[int, str]:
    """Where what counts begins, and what counts from there on: without thoughts, end marks and further turns.

    Run-ons are not cut yet: that needs to know where an answer stands (`before_questions`).
    """
    if "<" not in text and "◁" not in text and "[INST]" not in text:
        return 0, text
    start = 0
    may_end = "</" in text or "<|" in text
    if may_end or "◁" in text:
        start, text = _without_thoughts(text)
    part = text[start:] if start else text
    if may_end or "<e" in part or "<｜" in part or "[INST]" in part:
        for mark in _TURN_END.finditer(part):
            if part[: mark.start()].strip():
                part = part[: mark.start()]
                break
    return start, part


def _without_thoughts(text: str) -> tuple[int, str]:
    """Where what follows the thoughts begins, and the text up to its end; of thoughts that nothing follows, the last."""
    end = len(text)
    signs = [sign for sign in _THOUGHT_ENDS if sign in text]
    for _ in range(MAX_TAGS):
        tag = _last_thought_end(text, end, signs)
        if tag is None:
            break
        behind = text[tag.end() : end]
        if behind.strip() and _TURN_END.sub("", behind).strip():
            return tag.end(), text[:end]
        end = tag.start()
    opening = _THOUGHT_START.match(text, 0, end)
    return (opening.end() if opening else 0), text[:end]


def _last_thought_end(text: str, end: int, signs: list[str]) -> re.Match[str] | None:
    for _ in range(MAX_TAGS):
        end = max([text.rfind(sign, 0, end) for sign in signs], default=-1)
        if end < 0:
            return None
        if (tag := _THOUGHT_END.match(text, end)) is not None:
            return tag
    return None


def has_one(text: str, signs: tuple[str, ...]) -> bool:
    """A first look, many times faster than a regular expression."""
    return any(sign in text for sign in signs)


def before_questions(part: str, first: int = 0) -> Iterator[str]:
    """The text before a further question, then from there to the one after it, and so on to the end.

    The first of these that states something is the answer; what follows it is a run-on. `first`: where an answer can
    stand at the earliest, so that questions before it need not be looked for.
    """
    start = 0
    first = max(first, len(part) - MAX_QUESTION_CHARS)
    if part.find("\n", first) >= 0 and has_one(part[first:] if first else part, _QUESTION_SIGNS):
        found = 0
        for word in islice(_NEXT_WORD.finditer(part, first), MAX_WORDS):
            line = _LINE_START.search(part, max(0, word.start() - 40), word.start())
            if line is None or (word[0].startswith("Instruction") and "#" not in line[0] and word[0][-1] != ":"):
                continue
            if line.start() > start:
                yield part[start : line.start()]
                start = line.start()
                found += 1
            if found == MAX_QUESTIONS:
                break
    yield part[start:] if start else part


def is_answer_box(content: str) -> bool:
    """Whether a box holds something that is no template: not empty, no "...", no "your answer"."""
    if content.isdecimal():
        return True
    return _TEMPLATE.fullmatch(_HIDDEN.sub("", content)[:80]) is None


def all_boxes(text: str) -> list[Box]:
    r"""The complete boxes of a text, the last `MAX_BOXES` of them, in order of their starts. Nested ones count too."""
    start = _start_of_last(text)
    if start == len(text):
        return []
    return [box for opening in _BOX.finditer(text, start) if (box := _box(text, opening)) is not None]


def first_answer_box(part: str) -> Box | None:
    """The first box that states something (of the first `MAX_BOXES`)."""
    for opening in islice(_BOX.finditer(part), MAX_BOXES):
        box = _box(part, opening)
        if box is not None and _states(part, [box]):
            return box
    return None


def _start_of_last(text: str) -> int:
    start = len(text)
    has_fbox = "\\fbox" in text
    for _ in range(MAX_BOXES):
        before = text.rfind("\\boxed", 0, start)
        if has_fbox:
            before = max(before, text.rfind("\\fbox", 0, start))
        if before < 0:
            break
        start = before
    return start


def _box(text: str, opening: re.Match[str]) -> Box | None:
    if opening[1] is not None:  # \boxed 5, TeX's form without braces
        content = opening[1].rstrip(".,/")
        return Box(opening.start(), opening.start(1) + len(content), content)
    start = opening.end()
    end = _closing_brace(text, start)
    return None if end is None else Box(opening.start(), end, text[start : end - 1].strip())


def _closing_brace(text: str, start: int) -> int | None:
    end = text.find("}", start, start + MAX_BOX_CHARS)
    content = text[start:end]
    if end >= 0 and "{" not in content and "\\" not in content:
        return end + 1
    depth = 1
    for token in _BRACE.finditer(text, start, start + MAX_BOX_CHARS):
        depth += (token[1] is not None) - (token[2] is not None)
        if depth == 0:
            return token.end()
    return None


def answer_boxes(part: str) -> list[Box]:
    """The boxes that state something: no templates, none in code or in a format string."""
    return _states(part, all_boxes(part))


def _states(part: str, boxes: list[Box]) -> list[Box]:
    boxes = [box for box in boxes if is_answer_box(box.content) and not _in_code_line(part, box)]
    if not boxes or "```" not in part:
        return boxes
    return [box for box in boxes if not _in_code_block(part, box)]


def _in_code_block(part: str, box: Box) -> bool:
    if part.count("```", 0, box.start) % 2 == 0:
        return False
    opening = _FENCE_LINE.match(part, part.rfind("```", 0, box.start))
    if opening is None:
        return False
    closing = part.find("```", box.end)
    content = part[opening.end() : min(len(part) if closing < 0 else closing, opening.end() + 4000)]
    return opening[1].lower() in _LANGUAGE or _CODE.search(content) is not None


def _in_code_line(part: str, box: Box) -> bool:
    line = part[max(0, box.start - 300) : box.start]
    if not ("(" in line or '"' in line or "'" in line) or not has_one(line, _CODE_SIGNS):
        return False
    return _CODE_LINE.search(line, line.rfind("\n") + 1) is not None
