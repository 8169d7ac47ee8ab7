"""docs/faithfulness.md against what the preset and the main job really do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from thinktuning_lite.experiments import presets, side_by_side
from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "faithfulness.md").read_text(encoding="utf-8")
NAMES = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)
CPU = Machine("cpu", "some CPU", 2**34, {n: Trial(n != "flash_attention_2", "") for n in NAMES})


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    body = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def stated(section: str) -> dict[str, str]:
    """The settings that a table's column "Here" states, as they stand there."""
    return {k: v for row in rows(section) for k, v in re.findall(r"`(\w+)=([^`]+)`", row[2])}


@pytest.mark.parametrize(
    "section", ["The preset `paper`", "The main job, in the tiny classroom", "The movie-quote run"]
)
def test_every_row_has_five_cells_and_a_difference_has_its_reason_and_its_effect(section):
    for row in rows(section):
        assert len(row) == 5 and all(row[:3]), row
        if row[3] and "the same" not in row[3] and "offered" not in row[3]:
            assert row[4] or row[0] in ("Generation", "Learning rate"), row  # which change no result, or the world


@pytest.mark.parametrize("section", ["The preset `paper`", "The main job, in the tiny classroom"])
def test_what_is_stated_is_what_is_done(section, tmp_path):
    config: Any = (
        presets.resolve({"preset": "paper"}).config(CPU)
        if "paper" in section
        else side_by_side.training_config("released", 0, tmp_path, 32)
    )
    found = {name: repr(getattr(config, name)) for name in stated(section)}
    assert found == stated(section) and len(found) >= 6


def test_the_departures_are_those_that_the_main_job_can_take_back():
    named = re.findall(r"`(released-[\w-]+)`", TEXT)
    assert sorted(set(named)) == sorted(side_by_side.DEPARTURES)
