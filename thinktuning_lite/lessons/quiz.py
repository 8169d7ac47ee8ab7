"""A notebook's quiz: questions in jupyterquiz's JSON form, shown as text that folds open, with a kernel or without one."""

from __future__ import annotations

import html
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning_lite.lessons.setup import ROOT

_INSTALLED = Path(__file__).resolve().parents[1] / "quizzes"  # of a wheel
QUIZZES = _INSTALLED if _INSTALLED.exists() else ROOT / "notebooks" / "quizzes"


@dataclass(frozen=True)
class Quiz:
    """Questions as jupyterquiz has them: `question`, and `answers` with `answer`, `correct` and `feedback` each.

    A notebook shows it as HTML without any script, so the keyboard reaches every choice and a page without a kernel has
    it, too. With jupyterquiz installed, `display_quiz(path)` shows the same file with buttons.
    """

    questions: list[dict[str, Any]]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/html": self.folded(), "text/plain": "\n".join(q["question"] for q in self.questions)}

    def folded(self) -> str:
        """HTML: each choice is a line that opens to what is right or wrong about it. Choices in an order of their own."""
        parts = []
        for number, question in enumerate(self.questions, 1):
            parts.append(f"<p><strong>{number}.</strong> {html.escape(question['question'])}</p>")
            for answer in random.Random(question["question"]).sample(question["answers"], len(question["answers"])):
                sign = "✓" if answer["correct"] else "✗"
                said = f"<p>{sign} {html.escape(answer['feedback'])}</p>"
                parts.append(f"<details><summary>{html.escape(answer['answer'])}</summary>{said}</details>")
        return "\n".join(parts)


def show_quiz(number: str) -> Quiz:
    """The quiz of the notebook with that number, as in show_quiz("01"). Raises FileNotFoundError, naming those there are."""
    return Quiz(json.loads(quiz_path(number).read_text(encoding="utf-8")))


def quiz_path(number: str) -> Path:
    """Where the questions of a notebook lie."""
    path = QUIZZES / f"{number}.json"
    if not path.exists():
        known = ", ".join(p.stem for p in sorted(QUIZZES.glob("*.json"))) or f"none in {QUIZZES}"
        raise FileNotFoundError(f"no quiz {number!r}; there are {known}")
    return path
