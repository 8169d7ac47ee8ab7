"""Reward functions in TRL's signature. Training and evaluation share what they call (`answers`, `grading`)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.equations import equations, padding, share_before_error, share_that_holds
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


# ---------------------------------------------------------------- intermediate steps


def process_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """The share of each completion's equations that hold, 0 to 1 (0 without any): a reward for intermediate steps.

    It asks whether a step is true, not whether the problem needs it. TRL reward function, to be given beside
    `correctness_reward` (weights by `reward_weights`); see `log_steps` for what it logs.
    """
    return _judged([share_that_holds(text) for text in map(text_of, completions)], completions, kwargs)


def counted_steps_reward(completions: Sequence[Completion], **kwargs: Any) -> list[float]:
    """A tenth for each equation that holds, at most 1: a process reward that can be gamed, for showing how that looks.

    Ten true equations earn 1, whatever they are about. Logs as `process_reward` does.
    """
    true = [sum(e.holds for e in equations(text)) for text in map(text_of, completions)]
    return _judged([min(1.0, n / 10) for n in true], completions, kwargs)


def log_steps(completions: Sequence[Completion], log_metric: Callable[[str, float], None]) -> None:
    """Log, as means over completions, what tells a better solution from a gamed reward.

    steps/equations and steps/padding (those that do nothing: trivial or repeated) a completion; steps/hold, the share
    that holds; steps/before_error, the share before the first false one.
    """
    texts = [text_of(c) for c in completions]
    steps: dict[str, list[float]] = {
        "equations": [len(equations(t)) for t in texts],
        "padding": [padding(t) for t in texts],
        "hold": [share_that_holds(t) for t in texts],
        "before_error": [share_before_error(t) for t in texts],
    }
    for name, values in steps.items():
        log_metric(f"steps/{name}", sum(values) / len(values))


def _judged(rewards: list[float], completions: Sequence[Completion], given: dict[str, Any]) -> list[float]:
    if given.get("log_metric") is not None:
        log_steps(completions, given["log_metric"])
    return rewards


# ---------------------------------------------------------------- a control


@dataclass(frozen=True)
class CoinReward:
    """TRL reward function: 1.0 or 0.0 by a coin, whatever the completion says. A control: nothing can be learnt from it.

    The coin is drawn from seed, step and row, so a resumed run throws the same ones, and no text earns the same twice.
    """

    seed: int
    __name__ = "coin_reward"

    def __call__(self, completions: Sequence[Completion], trainer_state: Any = None, **kwargs: Any) -> list[float]:
        step = 0 if trainer_state is None else trainer_state.global_step
        coin = random.Random(f"coin/{self.seed}/{step}")
        return [float(coin.random() < 0.5) for _ in completions]
