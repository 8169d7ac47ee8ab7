"""A calculator that works while a model writes: whoever writes `23*4=` finds the result written behind it.

The call is the text itself, so any vocabulary with digits can make it. What the calculator writes is no one's choice: a
policy in training must not be credited for it, so `written` says which tokens to keep out of the loss.
"""

from __future__ import annotations

from typing import Any

import torch

from thinktuning_lite.method.equations import next_result
from thinktuning_lite.method.teacher import encode_inside

_WINDOW = 24  # tokens that are read back for the equation's left side


class Calculator:
    """The tool for one tokenizer: `Calculator(tokenizer)(n)` serves the `n` completions of one call of `sampling.sample`."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, n: int) -> CalculatorConstraint:
        return CalculatorConstraint(self.tokenizer, n)


class CalculatorConstraint:
    """A `sampling.Constraint` that leaves each row free but for the results that it has called for."""

    def __init__(self, tokenizer: Any, n: int) -> None:
        self.tokenizer = tokenizer
        self.said: list[list[int]] = [[] for _ in range(n)]
        self._due: list[list[int]] = [[] for _ in range(n)]
        self._written: list[list[int]] = [[] for _ in range(n)]

    def restrict(self, rows: list[int], said: list[int] | None, logits: torch.Tensor) -> None:
        for place, row in enumerate(rows):
            if said is not None:
                self._hear(row, said[place])
            if self._due[row]:
                token = self._due[row].pop(0)
                self._written[row].append(len(self.said[row]))
                logits[place] = -torch.inf
                logits[place, token] = 0.0

    def _hear(self, row: int, token: int) -> None:
        self.said[row].append(token)
        if self._due[row]:
            return
        text = self.tokenizer.decode(self.said[row][-_WINDOW:], skip_special_tokens=True)
        result = next_result(text) if text.endswith("=") else None
        self._due[row] = [] if result is None else encode_inside(self.tokenizer, result)

    def written(self, row: int, length: int) -> list[int]:
        """1 for each of a completion's first `length` tokens that the calculator wrote, 0 for the others."""
        places = set(self._written[row])
        return [int(i in places) for i in range(length)]
