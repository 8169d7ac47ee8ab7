r"""What of a completion counts, and where its boxes are. The order of decisions is in `answers`.

Everything here is bounded: a text of any length takes milliseconds.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

MAX_BOX_CHARS = 1200
MAX_BOXES = 16  # the last so many are looked at
MAX_MARKERS = 32
MAX_WORDS = 500

_THOUGHT_END = re.compile(r"</(?:think|thinking|thought|reasoning)>|<\|end_of_thought\|>|◁/think▷", re.IGNORECASE)
_THOUGHT_TAG = re.compile(
    r"</?(?:think|thinking|thought|reasoning)>|<\|(?:begin|end)_of_thought\|>|◁/?think▷", re.IGNORECASE
)
_TURN_END = re.compile(
    r"<\|(?:im_end|im_start|eot_id|endoftext|end_of_text|end|eom_id|start_header_id|user|human|EOT)\|>|</s>|<eos>"
    r"|<end_of_turn>|<｜end▁of▁sentence｜>|<｜User｜>|\[INST\]"
)
# A line that opens another problem, or another speaker's turn. Found by its word first: lines are many, such words few.
_NEXT_WORD = re.compile(
    r"(?:[Qq]uestion|[Pp]roblem|Exercise|Example|\bQ)\b(?:[^\n]{0,10}:|[ \t]*(?:#?[0-9]+[ \t]*[.)]?)?[ \t*]*(?=\n))"
    r"|(?:Human|User|USER|Instruction|Input|Student)[ \t]*:|(?:[Hh]uman|[Uu]ser)[ \t]*(?=\n)|Instruction\b|\[Question\]|<question>"
    r"|(?:[Qq]uestion|Problem)[ \t]+[0-9]+\."
)
_LINE_START = re.compile(r"\n[ \t]*[*#]{0,6}[ \t]*(?:(?:Next|New|Another|Follow-up)[ \t]+)?$")
_FENCE = re.compile(r"```[ \t]*([a-zA-Z+#]*)[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
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

    Run-ons are not cut yet: that needs to know where an answer stands (`before_next_question`).
    """
    start = 0
    if "</" in text or "_of_thought" in text or "/think" in text:
        ends = [match.end() for match in _THOUGHT_END.finditer(text)]
        if ends and not _TURN_END.sub("", text[ends[-1] :]).strip():  # nothing follows: the thought is what there is
            text = _THOUGHT_TAG.sub(lambda tag: " " * len(tag[0]), text)
        elif ends:
            start = ends[-1]
    part = text[start:]
    if "<" in part or "[INST]" in part:
        for mark in _TURN_END.finditer(part):
            if part[: mark.start()].strip():
                part = part[: mark.start()]
                break
    return start, part


def question_ends(part: str) -> list[int]:
    """Where the text ends that an answer may stand in: before each further question, and at the end.

    The first of these texts that states something is the answer; what follows it is a run-on.
    """
    starts: list[int] = []
    for word in islice(_NEXT_WORD.finditer(part), MAX_WORDS):
        line = _LINE_START.search(part, max(0, word.start() - 40), word.start())
        if line is not None and (not word[0].startswith("Instruction") or "#" in line[0] or word[0].endswith(":")):
            starts.append(line.start())
    return [*starts[:MAX_MARKERS], len(part)]


def is_answer_box(content: str) -> bool:
    """Whether a box holds something that is no template: not empty, no "...", no "your answer"."""
    return _TEMPLATE.fullmatch(_HIDDEN.sub("", content)[:80]) is None


def all_boxes(text: str) -> list[Box]:
    r"""The complete boxes of a text, the last `MAX_BOXES` of them, in order of their starts. Nested ones count too."""
    if "boxed" not in text and "fbox" not in text:
        return []
    return [box for opening in _BOX.finditer(text, _start_of_last(text)) if (box := _box(text, opening)) is not None]


def first_answer_box(part: str) -> Box | None:
    """The first box that states something (of the first `MAX_BOXES`)."""
    for opening in islice(_BOX.finditer(part), MAX_BOXES):
        box = _box(part, opening)
        if box is not None and _states(part, [box]):
            return box
    return None


def _start_of_last(text: str) -> int:
    commands = [command for command in ("\\boxed", "\\fbox") if command in text]
    start = len(text)
    for _ in range(MAX_BOXES):
        before = max((text.rfind(command, 0, start) for command in commands), default=-1)
        if before < 0:
            break
        start = before
    return start


def _box(text: str, opening: re.Match[str]) -> Box | None:
    if opening[1] is not None:  # \boxed 5, TeX's form without braces
        content = opening[1].rstrip(".,/")
        return Box(opening.start(), opening.start(1) + len(content), content)
    end = _closing_brace(text, opening.end())
    return None if end is None else Box(opening.start(), end, text[opening.end() : end - 1].strip())


def _closing_brace(text: str, start: int) -> int | None:
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
    fences = [match.span() for match in _FENCE.finditer(part) if _is_code(match[1], match[2])]
    return [box for box in boxes if not any(start <= box.start < end for start, end in fences)]


def _is_code(language: str, content: str) -> bool:
    return language.lower() in _LANGUAGE or _CODE.search(content[:4000]) is not None


def _in_code_line(part: str, box: Box) -> bool:
    line_start = part.rfind("\n", 0, box.start) + 1
    return _CODE_LINE.search(part[max(line_start, box.start - 300) : box.start]) is not None
