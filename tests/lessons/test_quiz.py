"""The quizzes: the form that jupyterquiz reads, three to five questions a notebook, a word on every choice."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from reading import PATHS

from thinktuning_lite.lessons import quiz

SCHEMA = {
    "type": "array",
    "minItems": 3,
    "maxItems": 5,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["question", "type", "answers"],
        "properties": {
            "question": {"type": "string", "minLength": 20},
            "type": {"const": "multiple_choice"},
            "answers": {
                "type": "array",
                "minItems": 3,
                "maxItems": 5,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["answer", "correct", "feedback"],
                    "properties": {
                        "answer": {"type": "string", "minLength": 1},
                        "correct": {"type": "boolean"},
                        "feedback": {"type": "string", "minLength": 6},
                    },
                },
                "contains": {"properties": {"correct": {"const": True}}},
                "maxContains": 1,
            },
        },
    },
}
FILES = sorted(quiz.QUIZZES.glob("*.json"))
each_quiz = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_each_notebook_has_its_quiz():
    assert [path.stem for path in FILES] == [path.stem[:2] for path in PATHS]


@each_quiz
def test_a_quiz_is_as_the_schema_asks_and_repeats_nothing(path: Path):
    questions = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(questions, SCHEMA)
    for question in questions:
        for key in ("answer", "feedback"):
            said = [answer[key] for answer in question["answers"]]
            assert len(set(said)) == len(said), said


@pytest.mark.parametrize("change", ["no feedback", "two right", "none right", "two questions"])
def test_the_schema_refuses(change: str):
    questions = json.loads(FILES[0].read_text(encoding="utf-8"))
    answers = questions[0]["answers"]
    if change == "no feedback":
        del answers[1]["feedback"]
    elif change == "two right":
        answers[1]["correct"] = True
    elif change == "none right":
        answers[0]["correct"] = False
    else:
        questions = questions[:2]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(questions, SCHEMA)


class _Balanced(HTMLParser):
    """The open tags, and the texts of summaries."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.summaries: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.open.append(tag)
        assert tag in {"p", "strong", "details", "summary"} and not attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["summary"]:
            self.summaries.append(data)


@each_quiz
def test_every_question_is_shown_folded_without_any_script(path: Path):
    shown = quiz.show_quiz(path.stem)
    parser = _Balanced()
    parser.feed(shown._repr_mimebundle_()["text/html"])
    assert parser.open == []
    answers = [answer["answer"] for question in shown.questions for answer in question["answers"]]
    assert sorted(parser.summaries) == sorted(answers)
    assert shown.folded().count("✓") == len(shown.questions) and shown.folded() == quiz.show_quiz(path.stem).folded()


def test_the_right_choice_stands_at_different_places():
    places = set()
    for path in FILES:
        for block in re.split(r"<p><strong>", quiz.show_quiz(path.stem).folded())[1:]:
            places.add(["✓" in choice for choice in block.split("<details>")[1:]].index(True))
    assert len(places) >= 3


def test_a_quiz_that_is_not_there_is_said():
    with pytest.raises(FileNotFoundError, match="no quiz '99'; there are 00, 01"):
        quiz.show_quiz("99")


@each_quiz
def test_jupyterquiz_takes_the_file(path: Path, capsys: pytest.CaptureFixture[str]):
    jupyterquiz = pytest.importorskip("jupyterquiz", reason="not installed: it is no part of this project")
    jupyterquiz.display_quiz(str(path))
    assert "rror" not in capsys.readouterr().out
