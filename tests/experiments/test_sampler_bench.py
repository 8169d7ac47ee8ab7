"""benchmarks/sampler.py at toy size: it measures what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sampler.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("sampler_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_engines_make_the_same_tokens_and_the_prefix_changes_no_reply(bench):
    model = bench.random_model(width=64, layers=1)
    cell = bench.decoding(model, rows=3, tokens=5, repeats=2)
    assert cell["hf"]["tokens"] == cell["fast"]["tokens"] == 15 and cell["fast / hf"] > 0
    assert bench.teacher(model, requests=3, repeats=1, prefix=40, tokens=6)["replies identical"]


def test_the_random_model_has_the_size_it_is_named_by(bench):
    assert 28e6 < bench.random_model().num_parameters() < 34e6


def test_growth_is_the_exponent_along_rows_and_along_tokens(bench):
    def cell(rows, tokens):
        return {"hf": {"seconds": rows * tokens**2}, "fast": {"seconds": rows**0.5 * tokens}}

    grid = {f"{r} x {t}": cell(r, t) for r, t in ((8, 32), (8, 64), (8, 512), (64, 32), (256, 32))}
    assert bench.growth(grid) == {"hf, rows": 1.0, "hf, tokens": 2.0, "fast, rows": 0.5, "fast, tokens": 1.0}


def test_a_race_counts_each_way_with_its_fastest_turn(bench, monkeypatch):
    clock = iter([0, 4, 4, 5, 5, 7, 7, 9])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    won = bench.race({"a": lambda turn: [[0] * 8], "b": lambda turn: [[0] * 8]}, repeats=2)
    assert (won["a"]["seconds"], won["b"]["seconds"]) == (2, 1)
