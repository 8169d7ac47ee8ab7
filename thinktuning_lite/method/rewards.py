"""Reward functions in TRL's signature. Training and evaluation share what they call (`answers`, `grading`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct

Completion = str | list[dict[str, Any]]


def text_of(completion: Completion) -> str:
    """Text of a completion: itself, or what the assistant says in TRL's list of messages."""
    if isinstance(completion, str):
        return completion
    contents = [turn.get("content") for turn in completion if turn.get("role", "assistant") == "assistant"]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    return "\n".join(part if isinstance(part, str) else part.get("text", "") for part in parts if part)


def correctness_reward(completions: Sequence[Completion], answer: Sequence[str], **kwargs: Any) -> list[float]:
    """1.0 for each completion whose final answer (`extract_answer`) is right, else 0.0.

    TRL reward function: `completions` are strings or lists of messages, `answer` is the dataset's column of
    gold answers, one per completion (`ValueError` if their numbers differ); other columns are ignored.
    """
    pairs = zip(completions, answer, strict=True)
    return [float(is_correct(extract_answer(text_of(completion)), str(gold))) for completion, gold in pairs]


@dataclass(frozen=True)
class _BehaviourReward:
    behaviour: str | Callable[[str], int]
    value: float

    @property
    def __name__(self) -> str:
        """Name under which TRL logs this reward."""
        name = self.behaviour if isinstance(self.behaviour, str) else self.behaviour.__name__
        return "behaviour_" + re.sub(r"\W+", "_", name.lower())[:40].strip("_")

    def __call__(self, completions: Sequence[Completion], **kwargs: Any) -> list[float]:
        return [self.value if self._count(text_of(completion)) == 1 else 0.0 for completion in completions]

    def _count(self, text: str) -> int:
        return text.count(self.behaviour) if isinstance(self.behaviour, str) else self.behaviour(text)


def behaviour_reward(behaviour: str | Callable[[str], int], value: float = 0.5) -> Callable[..., list[float]]:
    """TRL reward function: `value` for a completion with exactly one occurrence of a behaviour, else 0.0.

    `behaviour`: a literal text, or a named function that counts occurrences in a text. The result has a
    `__name__` (TRL's metrics use it) and can be pickled when `behaviour` can. Exactly one, as in the paper's
    unknown-behaviour run: more would teach repetition. `ValueError` for an empty text, which occurs
    everywhere.
    """
    if behaviour == "":
        raise ValueError("behaviour_reward cannot count '': pass the behaviour's text or a counting function")
    return _BehaviourReward(behaviour, value)
