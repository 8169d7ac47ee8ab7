"""Sums of two small numbers, told as a story, for a small real model. Made here, nothing is downloaded.

SmolLM2-135M answers them in one natural sentence: "Eli has 9 cards and gets 2 more, so Eli has 11 cards now." Found on
validation: at T=1 it rambles and is hardly ever right (0 of 24); from the likeliest half of each token's probability
(top_p 0.5) 10 of 32 are, at top_p 0.7 7 of 32. A guess is right once in nine times at most. So `TOP_P` cuts the samples, not the
probabilities that are trained. Tried and left: lower temperatures (at 0.5, 59 %, but there a new paragraph, where guidance enters, is a
millionth as likely as the end), and who of two or three has more, the larger of two numbers, who has how many, opposites.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt
from thinktuning_lite.method.rewards import Completion, text_of

SUMS = "sums"  # as data: a preset's or config's name for them
TOP_P = 0.5
NAMES = ("Ana", "Ben", "Chen", "Dora", "Eli", "Fay", "Gus", "Hana")
THINGS = ("apples", "books", "coins", "cards", "shells", "stamps", "eggs", "pens")
PROMPT = "{question} Answer in one short sentence."
SIZES = {"train": 2000, "validation": 200, "test": 400}


def sum_rows(split: str) -> list[dict[str, Any]]:
    """Rows for a TRL trainer: `prompt`, `question`, `answer` (digits) and `solution` (a sentence), always the same.

    No question is in two splits; the same two numbers may be. Raises ValueError for another split than train, validation, test.
    """
    rng, rows = random.Random(SUMS), {}
    while len(rows) < sum(SIZES.values()):
        row = _row(rng)
        rows.setdefault(row["question"], row)
    start = sum(SIZES[name] for name in list(SIZES)[: list(SIZES).index(split)])
    return list(rows.values())[start : start + SIZES[split]]


def _row(rng: random.Random) -> dict[str, Any]:
    name, thing, first, more = rng.choice(NAMES), rng.choice(THINGS), rng.randint(2, 10), rng.randint(2, 10)
    question = f"{name} has {first} {thing} and gets {more} more. How many {thing} does {name} have now?"
    return {
        "prompt": [{"role": "user", "content": PROMPT.format(question=question)}],
        "question": question,
        "answer": str(first + more),
        "solution": f"{name} has {first} + {more} = {first + more} {thing} now.",
    }


def teacher_prompt(quote: str | None = None) -> TeacherPrompt:
    """The instruct prompt with two short exemplars of this kind of question, and the line, if any, at the phrase's end."""
    line = f" {quote}" if quote else ""
    shown = {
        "self-critique": (
            "Question: Ida has 9 keys and gets 6 more. How many keys does Ida have now?\n\nResponse: Ida has 9 + 6 = 14 keys now.",
            "<opinion>incorrect</opinion><reason>Wait, let me count again.</reason>"
            f"<phrase>9 + 6 = 15, so Ida has 15 keys now.{line}</phrase>",
        ),
        "self-agreement": (
            "Question: Lea has 7 caps and gets 5 more. How many caps does Lea have now?\n\nResponse: Lea has 7 + 5 = 12 caps now.",
            "<opinion>correct</opinion><reason>Let me check that once more.</reason>"
            f"<phrase>7 + 5 = 12, so Lea has 12 caps now.{line}</phrase>",
        ),
    }
    kept = tuple(replace(b, exemplar=shown[b.name]) for b in INSTRUCT_PROMPT.behaviours if b.name in shown)
    return replace(INSTRUCT_PROMPT, behaviours=kept, quote_line="\n\nEnd the phrase with: {quote}").with_quote(quote)


def last_number(text: str) -> str | None:
    """The number that a text comes to: its last one, in digits; None without any."""
    found = re.findall(r"\d+", text)
    return found[-1] if found else None


def last_number_reward(completions: Sequence[Completion], answer: Sequence[str], **kwargs: Any) -> list[float]:
    """1.0 for each completion whose last number is the answer, else 0.0. TRL reward function."""
    return [float(last_number(text_of(c)) == gold) for c, gold in zip(completions, answer, strict=True)]


def first_paragraph_end(text: str) -> int | None:
    """Where the first line that holds a number and is followed by a blank one ends: what comes after is not the answer."""
    found = re.search(r"\d[^\n]*?(?=\n\n)", text)
    return found.end() if found else None
