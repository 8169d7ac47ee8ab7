"""Notebook 04's exercises: the notebook's own solutions pass, plausible wrong answers get the hint that helps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from exercises import assert_faults_are_hints, assert_hint, assert_solution_passes_and_stub_does_not, cells_of

from thinktuning_lite.lessons.checks import training

NAMES = ("nf4_bytes", "lora_parameters", "cache_bytes", "accumulation")


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    return cells_of("04_train_lora_4bit.ipynb")


@pytest.mark.parametrize("number, name", list(enumerate(NAMES, 1)))
def test_the_notebooks_solution_passes_and_its_stub_does_not(number: int, name: str, cells: dict[str, str]):
    assert_solution_passes_and_stub_does_not(training, cells, number, name)


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
    assert_hint(training, name, answer, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_what_raises_or_is_missing_is_a_hint(name: str):
    assert_faults_are_hints(training, name)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_answers_or_more(name: str):
    assert sum(tried == name for tried, _, _ in WRONG) >= 3
