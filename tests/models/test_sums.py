"""sums.py: the small real model's questions, how they are graded, and how its teacher is asked about them."""

from __future__ import annotations

import re

import pytest

from thinktuning_lite.method.prompts import QUOTES
from thinktuning_lite.method.teacher import parse_guidance
from thinktuning_lite.models.sums import (
    SIZES,
    first_paragraph_end,
    last_number,
    last_number_reward,
    sum_rows,
    teacher_prompt,
)


def test_no_question_is_in_two_splits_and_every_call_gives_the_same_rows():
    rows = {split: sum_rows(split) for split in SIZES}
    assert {split: len(found) for split, found in rows.items()} == SIZES
    assert len({row["question"] for found in rows.values() for row in found}) == sum(SIZES.values())
    assert sum_rows("validation") == rows["validation"]


def test_the_answer_is_the_sum_and_the_solution_states_it():
    for row in sum_rows("test"):
        first, more = map(int, re.findall(r"\d+", row["question"]))
        assert row["answer"] == str(first + more) == last_number(row["solution"])
        assert row["question"] in row["prompt"][0]["content"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("Eli has 9 + 2 = 11 cards.", "11"), ("It is 7. Wait, 12.", "12"), ("Many.", None), (f"11. {QUOTES[1]}", "11")],
)
def test_the_last_number_counts(text, number):
    assert last_number(text) == number
    assert last_number_reward([text, [{"role": "assistant", "content": text}]], ["11", "11"]) == [number == "11"] * 2


@pytest.mark.parametrize("quote", [None, QUOTES[1]])
def test_the_exemplars_are_well_formed_right_and_end_with_the_line_if_there_is_one(quote):
    prompt = teacher_prompt(quote)
    assert len(prompt.exemplars) == 2
    for asked, shown in prompt.exemplars:
        guidance = parse_guidance(shown)
        first, more, tried = re.search(r"has (\d+) \w+ and gets (\d+).* = (\d+)", asked, re.S).groups()
        right = int(first) + int(more)
        assert last_number(guidance.phrase) == str(right) and (guidance.opinion == "correct") == (int(tried) == right)
        assert guidance.phrase.endswith(quote or "now.")
    said = prompt.messages("q", "r", "self-critique")[-1]["content"]
    assert (QUOTES[1] in said) == (quote is not None)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Gus has 12 coins now.\n\nThis is a classic 10 coins puzzle.", "Gus has 12 coins now."),
        ("Well.\n\nGus has 12 coins.\nYes.\n\nMore", None),
        ("Well.\n\nGus has 12 coins.\n\nMore", "Well.\n\nGus has 12 coins."),
        ("Gus has 12 coins now.", None),
        ("No number.\n\nAt all.", None),
    ],
)
def test_an_answer_ends_with_its_paragraph(text: str, kept: str | None):
    end = first_paragraph_end(text)
    assert (None if end is None else text[:end]) == kept
