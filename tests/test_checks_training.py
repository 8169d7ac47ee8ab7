"""Notebook 04's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from thinktuning_lite.checks import training

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "04_train_lora_4bit.ipynb"
NAMES = ("nf4_bytes", "lora_parameters", "cache_bytes", "accumulation")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


def defined(source: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace[name]


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    form = r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```\n\n</details>"
    folded = re.fullmatch(form, cells[f"ex{number}-solution"], re.S)
    assert getattr(training, name)(defined(folded[1], name)).passed
    unsolved = getattr(training, name)(defined(cells[f"ex{number}-stub"], name))
    assert not unsolved.passed and "Not solved yet" in unsolved.message
    assert cells[f"ex{number}-check"].rstrip().endswith(f"check.{name}({name})")


WRONG: list[tuple[str, Callable, str]] = [
    ("nf4_bytes", lambda n: n / 2, "share a scale"),
    ("nf4_bytes", lambda n: 4 * n + n / 64, "half a byte"),
    ("nf4_bytes", lambda n: n / 2 + 4 * n / 64, "float32 scale"),
    ("nf4_bytes", lambda n: n / 2 + n, "not one byte for each"),
    ("nf4_bytes", lambda n: n, "3,300"),
    ("nf4_bytes", lambda n: 3300, "in terms of n"),
    ("lora_parameters", lambda i, o, r: i * o, "frozen"),
    ("lora_parameters", lambda i, o, r: i * o * r, "two thin matrices"),
    ("lora_parameters", lambda i, o, r: r * i, "one of the two"),
    ("lora_parameters", lambda i, o, r: r * o, "one of the two"),
    ("lora_parameters", lambda i, o, r: (r * i) * (r * o), "add up"),
    ("lora_parameters", lambda i, o, r: i + o, "8,192"),
    ("lora_parameters", lambda i, o, r: 8192, "one layer only"),
    ("cache_bytes", lambda n, h, d, t, r: n * h * d * t * r * 2, "Half"),
    ("cache_bytes", lambda n, h, d, t, r: n * h * d * t * r, "quarter"),
    ("cache_bytes", lambda n, h, d, t, r: 4 * n * h * d * t, "one rollout"),
    ("cache_bytes", lambda n, h, d, t, r: 4 * h * d * t * r, "one layer"),
    ("cache_bytes", lambda n, h, d, t, r: 8 * n * h * d * t * r, "Twice"),
    ("cache_bytes", lambda n, h, d, t, r: n + h, "bytes; you return"),
    ("cache_bytes", lambda *a: 1_409_286_144, "in terms of the arguments"),
    ("accumulation", lambda p, g, m, n: p // (m * n), "counts prompts"),
    ("accumulation", lambda p, g, m, n: p * g // m, "one process"),
    ("accumulation", lambda p, g, m, n: p * g // (m * n * n), "its own micro-batch"),
    ("accumulation", lambda p, g, m, n: p * g // n, "320"),
    ("accumulation", lambda p, g, m, n: p * g, "80 micro-batches"),
    ("accumulation", lambda *a: 80, "paper's step only"),
]


@pytest.mark.parametrize("name, answer, wanted", WRONG)
def test_a_plausible_mistake_gets_its_hint(name: str, answer: Callable, wanted: str):
    result = getattr(training, name)(answer)
    assert not result.passed
    assert wanted in result.message


@pytest.mark.parametrize("name", NAMES)
def test_what_raises_or_is_missing_is_a_hint(name: str):
    for answer in (None, ..., lambda *a: 1 / 0):
        assert not getattr(training, name)(answer).passed


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_answers_or_more(name: str):
    assert sum(tried == name for tried, _, _ in WRONG) >= 3
