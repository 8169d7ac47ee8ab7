"""Statements in the manner of many models, each read as a reader would: `stated_answers.jsonl`, beside this file.

A row of a number says whether it is right for its gold; one of a choice or of yes and no the key, null for nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from thinktuning_lite.method.answers import extract_answer, extract_choice, extract_yes_no
from thinktuning_lite.method.grading import is_correct

ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("stated_answers.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]


def of(task: str) -> list[dict]:
    return [row for row in ROWS if row["task"] == task]


@pytest.mark.parametrize("row", of("choice"), ids=lambda row: row["text"][:60])
def test_choices(row):
    assert extract_choice(row["text"], row["choices"]) == row["key"]


@pytest.mark.parametrize("row", of("yes_no"), ids=lambda row: row["text"][:60])
def test_yes_and_no(row):
    assert extract_yes_no(row["text"]) == row["key"]


@pytest.mark.parametrize("row", of("number"), ids=lambda row: row["text"][:60])
def test_numbers(row):
    assert is_correct(extract_answer(row["text"]), row["gold"]) is row["right"]


def test_there_are_many_of_each():
    counts = Counter(row["task"] for row in ROWS)
    assert len(counts) == 3 and min(counts.values()) > 400
