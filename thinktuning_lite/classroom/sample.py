"""Sampling a policy on a set of problems, and what its responses show: accuracy, behaviours, lengths, intervals."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import torch

from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.calculator import Calculator
from thinktuning_lite.method.decoding import BLOCK
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.sampling import eos_ids_of, sample, suppressed_ids

# The openings of the four behaviours in the tiny classroom; none occurs in a student turn of its pretraining.
REFLECTION = re.compile(r"Wait,|Hold on|Looking back|Let me confirm|A careful accountant|Again:")
# A product worked out by tens and units: 20*4=80. 3*4=12.
WORKED_ROUTE = re.compile(r"\b\d0\*(\d)=\d+\. \d\*\1=\d+")


def load_tiny_set(name: str) -> list[dict]:
    """The rows of a shipped problem set (`test`, `test_harder`, ...), see `problems.TINY_SETS`."""
    path = DATA / "problems" / f"{name}.jsonl"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl")))
        raise FileNotFoundError(f"no problem set {name!r} in {path.parent}; there are: {known}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_prompts(rows: list[dict]) -> list[dict]:
    """Rows for a TRL trainer: conversational `prompt`, plus `question` and `answer`."""
    return [
        {"prompt": [{"role": "user", "content": r["question"]}], "question": r["question"], "answer": r["answer"]}
        for r in rows
    ]


def respond(
    model: Any,
    tokenizer: Any,
    questions: list[str],
    *,
    temperature: float = 1.0,
    max_new_tokens: int = 240,
    seed: int = 0,
    batch_size: int = 3 * BLOCK,
    tool: Calculator | None = None,
) -> list[list[int]]:
    """One response to each question as completion ids, cut after the first EOS; temperature 0 is greedy.

    The tokens that the checkpoint suppresses stay suppressed. With `tool` the model writes with that calculator. Reseeds
    torch's generator with `seed`, so that the same call gives the same responses, in batches of any number of blocks.
    """
    template = dict(add_generation_prompt=True, tokenize=True, return_dict=False)
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": q}], **template) for q in questions]
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    torch.manual_seed(seed)
    out: list[list[int]] = []
    for i in range(0, len(prompts), batch_size):
        batch = prompts[i : i + batch_size]
        out += sample(
            model,
            batch,
            max_new_tokens=max_new_tokens,
            eos_ids=eos_ids_of(model, tokenizer),
            pad_id=pad_id,
            temperature=temperature,
            suppress_ids=suppressed_ids(model),
            constraint=tool(len(batch)) if tool else None,
        )
    return out


@dataclass(frozen=True)
class Scores:
    """What a set of responses shows: per-response lists, in the order of the questions."""

    correct: list[bool]
    reflection: list[bool]
    worked_route: list[bool]
    length: list[int]

    def summary(self) -> dict[str, float]:
        """Means; `length` in tokens, EOS included."""
        return {
            "accuracy": _mean(self.correct),
            "reflection": _mean(self.reflection),
            "worked_route": _mean(self.worked_route),
            "length": _mean(self.length),
        }


def _mean(values: list) -> float:
    return sum(values) / len(values)


def score(texts: list[str], lengths: list[int], answers: list[str]) -> Scores:
    """Grade responses by their final answer (`rewards.extract_answer`) and count behaviours."""
    return Scores(
        correct=[is_correct(extract_answer(t), a) for t, a in zip(texts, answers, strict=True)],
        reflection=[bool(REFLECTION.search(t)) for t in texts],
        worked_route=[bool(WORKED_ROUTE.search(t)) for t in texts],
        length=lengths,
    )


def evaluate(model: Any, tokenizer: Any, rows: list[dict], **sampling: Any) -> tuple[Scores, list[str]]:
    """Sample one response a row and score it; returns the texts too."""
    ids = respond(model, tokenizer, [r["question"] for r in rows], **sampling)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return score(texts, [len(i) for i in ids], [r["answer"] for r in rows]), texts


def seed_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean over training seeds and the half-width of its t-interval (infinite for a single seed)."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, float("inf")
    from scipy import stats  # a tenth of all that is imported, and most processes only sample

    sem = stats.sem(values)
    return mean, float(sem * stats.t.ppf((1 + confidence) / 2, n - 1))
