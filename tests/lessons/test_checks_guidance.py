"""Notebook 02's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import nbformat
import pytest

from thinktuning_lite.lessons.checks import guidance
from thinktuning_lite.method.prompts import Behaviour, TeacherPrompt

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "02_teacher_guidance.ipynb"
NAMES = {
    "parse": "parse",
    "splice": "splice_ids",
    "quota": "quota",
    "lone_advantage": "lone_advantage",
    "computed_tokens": "computed_tokens",
    "fifth_behaviour": "fifth_behaviour",
}


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


def defined(source: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace[name]


@pytest.mark.parametrize("number, check", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, check: str, cells: dict[str, str]):
    folded = re.fullmatch(
        r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```\n\n</details>",
        cells[f"ex{number}-solution"],
        re.S,
    )
    name = NAMES[check]
    assert getattr(guidance, check)(defined(folded[1], name)).passed
    unsolved = getattr(guidance, check)(defined(cells[f"ex{number}-stub"], name))
    assert not unsolved.passed and "Not solved yet" in unsolved.message
    assert cells[f"ex{number}-check"].rstrip().endswith(f"check.{check}({name})")


def parser(pattern: str, *, how: Callable = re.fullmatch, flags: int = re.S) -> Callable[[str], Any]:
    def parse(reply: str) -> tuple[str, ...] | None:
        match = how(pattern, reply, flags)
        return match and tuple(part.strip() for part in match.groups())

    return parse


ANY = r"\s*<opinion>(.*?)</opinion>\s*<reason>(.*?)</reason>\s*<phrase>(.*?)</phrase>\s*"
FORM = ANY.replace("(.*?)", "(correct|incorrect)", 1)
NON_EMPTY = FORM.replace("(.*?)", r"\s*(\S.*?)")


def spliced(
    build: Callable[[list[int], list[int], int], list[int]], author: Callable[[int, int], list[int]]
) -> Callable:
    return lambda s, t, eos: (build(s, t, eos), author(len(s) - 1, len(t)))


RIGHT_IDS, RIGHT_AUTHOR = lambda s, t, eos: s[:-1] + t + [eos], lambda m, n: [0] * m + [1] * (n + 1)

TURN = "Question: What is 2 + 2?\n\nResponse: 5. \\boxed{5}"
REPLY = "<opinion>incorrect</opinion><reason>Put back, 5 - 2 is 3.</reason><phrase>2 + 2 = 4. \\boxed{4}</phrase>"


def with_own(prompt: TeacherPrompt, **changed: Any) -> TeacherPrompt:
    """The prompt with a fifth behaviour, right but for what is `changed`."""
    own = {"name": "self-substitution", "instruction": "put the answer back", "exemplar": (TURN, REPLY)} | changed
    return prompt.with_behaviour(Behaviour(**own))


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("parse", parser(NON_EMPTY, how=re.search), "re.fullmatch"),
    ("parse", parser(NON_EMPTY, flags=0), "re.DOTALL"),
    ("parse", parser(ANY), "must give None"),
    ("parse", parser(FORM), "leaves nothing to splice"),
    ("parse", parser(NON_EMPTY), "repeated tag"),
    ("parse", parser(NON_EMPTY.replace("(correct|", "(?:correct|")), "you return ('Wait.'"),
    ("splice", spliced(lambda s, t, eos: s + t + [eos], RIGHT_AUTHOR), "still stands before"),
    ("splice", spliced(lambda s, t, eos: s + t, RIGHT_AUTHOR), "still stands before"),
    ("splice", spliced(lambda s, t, eos: s[:-1] + t, lambda m, n: [0] * m + [1] * n), "no EOS"),
    ("splice", spliced(RIGHT_IDS, lambda m, n: [0] * m + [1] * n), "one for each"),
    ("splice", spliced(RIGHT_IDS, lambda m, n: [0] * m + [1] * n + [0]), "counts as the teacher's"),
    ("splice", spliced(RIGHT_IDS, lambda m, n: [1] * m + [0] * (n + 1)), "0 for the student's"),
    ("splice", spliced(lambda s, t, eos: t + s, RIGHT_AUTHOR), "you return"),
    ("quota", lambda fraction, size: max(1, round(fraction * size)), "guidance is off"),
    ("quota", lambda fraction, size: round(fraction * size), "at least one"),
    ("quota", lambda fraction, size: max(1, int(fraction * size)) if fraction else 0, "nearest whole number"),
    ("quota", lambda fraction, size: -int(-fraction * size // 1), "0.3 of 8"),
    ("lone_advantage", lambda G: 1 - 1 / G, "divide by the group's standard deviation"),
    ("lone_advantage", lambda G: sqrt(G - 1), "TRL's, is G - 1"),
    ("lone_advantage", lambda G: (1 - 1 / G) / (1 / G), "divide by the standard deviation"),
    ("lone_advantage", lambda G: 1.5, "For G = 2"),
    ("computed_tokens", lambda lengths, rows: sum(lengths), "number of real tokens"),
    ("computed_tokens", lambda lengths, rows: max(lengths) * len(lengths), "*own* longest"),
    ("computed_tokens", lambda lengths, rows: padded(sorted(lengths), rows), "in the order given"),
    ("computed_tokens", lambda lengths, rows: sum(map(max, batched(lengths, rows))), "once for every row"),
    ("computed_tokens", lambda lengths, rows: sum(max(b) * rows for b in batched(lengths, rows)), "fewer rows"),
    ("fifth_behaviour", lambda prompt: prompt, "its four and one new name"),
    ("fifth_behaviour", lambda prompt: with_own(prompt, name="self-critique"), "its four and one new name"),
    ("fifth_behaviour", lambda prompt: with_own(prompt, instruction=" "), "instruction is empty"),
    ("fifth_behaviour", lambda prompt: with_own(prompt, exemplar=None), "give the behaviour an exemplar"),
    ("fifth_behaviour", lambda prompt: with_own(prompt, exemplar=("What is 2 + 2?", REPLY)), "form of a real one"),
    ("fifth_behaviour", lambda prompt: with_own(prompt, exemplar=(TURN, "Sure! " + REPLY)), "not the form"),
    (
        "fifth_behaviour",
        lambda prompt: with_own(prompt, exemplar=(TURN, REPLY.replace("\\boxed", ""))),
        "no final answer",
    ),
    ("fifth_behaviour", lambda prompt: None, "Not solved yet"),
]


def batched(lengths: list[int], rows: int) -> list[list[int]]:
    return [lengths[i : i + rows] for i in range(0, len(lengths), rows)]


def padded(lengths: list[int], rows: int) -> int:
    return sum(max(batch) * len(batch) for batch in batched(lengths, rows))


@pytest.mark.parametrize("check, answer, wanted", WRONG)
def test_a_wrong_answer_gets_its_hint(check: str, answer: Callable[..., Any], wanted: str):
    result = getattr(guidance, check)(answer)
    assert not result.passed
    assert wanted in result.message


@pytest.mark.parametrize("check", NAMES)
def test_there_are_three_wrong_answers_or_more(check: str):
    assert sum(tried == check for tried, _, _ in WRONG) >= 3
