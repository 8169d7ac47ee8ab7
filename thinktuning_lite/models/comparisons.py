"""Questions for a model that cannot calculate: who of three has the most? Made here, nothing is downloaded.

A small real model answers them in one natural sentence. No arithmetic, no box. Not yet shown to be a good start: of 24
questions SmolLM2-135M answered 29 % right at T=1 (a guess: 33 %), so it may need a supervised warm-up first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from thinktuning_lite.method.rewards import Completion, text_of

COMPARISONS = "comparisons"  # as data: a preset's or config's name for them
NAMES = ("Ana", "Ben", "Chen", "Dora", "Eli", "Fay", "Gus", "Hana")
THINGS = ("apples", "books", "coins", "cards", "shells", "stamps", "eggs", "pens")
PROMPT = "{question} Answer in one short sentence."
SIZES = {"train": 2000, "validation": 200, "test": 400}


def comparison_rows(split: str) -> list[dict[str, Any]]:
    """Rows for a TRL trainer: `prompt`, `question`, `answer` (a name) and `choices` (the three names), always the same.

    No question is in two splits. Raises ValueError for another split than train, validation, test.
    """
    rng, rows = random.Random(COMPARISONS), {}
    while len(rows) < sum(SIZES.values()):
        row = _row(rng)
        rows.setdefault(row["question"], row)
    start = sum(SIZES[name] for name in list(SIZES)[: list(SIZES).index(split)])
    return list(rows.values())[start : start + SIZES[split]]


def _row(rng: random.Random) -> dict[str, Any]:
    names, thing = rng.sample(NAMES, 3), rng.choice(THINGS)
    counts = rng.sample(range(2, 60), 3)
    has = [f"{name} has {count} {thing}" for name, count in zip(names, counts, strict=True)]
    question = f"{has[0]}, {has[1]} and {has[2]}. Who has the most {thing}?"
    most = names[counts.index(max(counts))]
    prompt = [{"role": "user", "content": PROMPT.format(question=question)}]
    return {"prompt": prompt, "question": question, "answer": most, "choices": names}


def named_last(text: str, choices: Sequence[str]) -> str | None:
    """Which of the names a text comes to: the first one in its last sentence that holds any.

    "Ben has the most. Wait, 40 is more than 12. Ana has more than Ben." comes to Ana; a text without a name to None.
    """
    for sentence in reversed(re.split(r"[.!?\n]", text)):
        places = {sentence.find(name): name for name in choices if name in sentence}
        if places:
            return places[min(places)]
    return None


def named_reward(
    completions: Sequence[Completion], answer: Sequence[str], choices: Sequence[Sequence[str]], **kwargs: Any
) -> list[float]:
    """1.0 for each completion that comes to the right name (`named_last`), else 0.0. TRL reward function."""
    rows = zip(completions, answer, choices, strict=True)
    return [float(named_last(text_of(completion), names) == gold) for completion, gold, names in rows]
