"""The arms that were added to the grid: each does the one thing that its sentence says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from thinktuning_lite.experiments import beyond, beyond_relatives, relatives, runs, side_by_side
from thinktuning_lite.experiments.beyond_arms import BeyondPlan, trained
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.method.calculator_trainer import CalculatorTrainer
from thinktuning_lite.method.equations import equations
from thinktuning_lite.method.rewards import CoinReward
from thinktuning_lite.method.rollouts import Rollout, read_rollouts

ARMS = beyond_relatives.ARMS
# With a calculator nearly every rollout is right: in a run this small no reward would differ from another.
TRAINED = [name for name, arm in ARMS.items() if not name.startswith("start") and name != "student-calculator"]


def test_every_arm_has_a_control_in_the_grid():
    for name, arm in ARMS.items():
        assert arm.control in beyond.ARMS and arm.control != name, name


@pytest.fixture
def small(monkeypatch):
    """Two groups of four a step in place of eight of eight."""
    monkeypatch.setattr(side_by_side, "PROMPTS_PER_STEP", 2)
    monkeypatch.setattr(side_by_side, "GROUP_SIZE", 4)
    monkeypatch.setattr(side_by_side, "MICRO_BATCH", 8)
    for name in ("PROMPTS_PER_STEP", "GROUP_SIZE", "MICRO_BATCH"):
        monkeypatch.setattr(relatives, name, getattr(side_by_side, name))
    monkeypatch.setattr(relatives, "EXTRA_GROUPS", 1)


@pytest.mark.parametrize("name", TRAINED)
def test_an_arm_trains_and_says_what_it_cost(name, small, tmp_path):
    _, _, cost = ARMS[name].train(BeyondPlan(steps=1, seeds=(0,)), 0, tmp_path, 0)
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert len(metrics) == 1 and cost.sampled_tokens > 8 * 5
    taught = any(m.get("guidance/fraction") for m in metrics)
    assert bool(cost.taught_tokens) == bool(cost.teacher_tokens) == taught
    guided = {
        "random-reward-guided",
        "shuffled",
        "refinement",
        "process-reward-guided",
        "counted-steps-guided",
        "teacher-calculator",
    }
    assert taught == (name in guided) or name == "failed-only"
    if name.startswith(("process", "counted")):
        assert {"steps/equations", "steps/padding", "steps/hold", "steps/before_error"} <= metrics[0].keys()


def test_a_student_with_a_calculator_is_trained_on_its_own_tokens(small, tmp_path):
    given = {"trainer_class": CalculatorTrainer, "reward_funcs": CoinReward(0)}
    train = trained("grpo", given=lambda plan, seed: given)
    train(BeyondPlan(steps=1, seeds=(0,)), 0, tmp_path, 0)
    found = [e for r in read_rollouts(tmp_path / "rollouts.jsonl") for e in equations(r.text)]
    assert len(found) > 8 and all(e.holds for e in found)


def test_a_coin_pays_the_coin_arms_and_nothing_else(small, tmp_path):
    ARMS["random-reward-guided"].train(BeyondPlan(steps=1, seeds=(0,)), 0, tmp_path, 0)
    [row] = read_metrics(tmp_path / "metrics.jsonl")
    assert [k for k in row if k.startswith("rewards/") and k.endswith("/mean")] == ["rewards/coin_reward/mean"]


def test_shuffled_words_are_about_another_problem(small, tmp_path):
    ARMS["shuffled"].train(BeyondPlan(steps=1, seeds=(0,)), 0, tmp_path, 0)
    rollouts = list(read_rollouts(tmp_path / "rollouts.jsonl"))
    first, second = (r for r in rollouts if r.guided)
    assert first.question != second.question

    def shared(r: Rollout, question: str) -> int:
        """How many of the numbers that the teacher adds or takes away stand in a question."""
        used = {e.right for e in equations(r.text.split("Again: ")[1]) if e.op != "*"}
        return len(used & set(map(int, re.findall(r"\d+", question))))

    for r, other in ((first, second.question), (second, first.question)):
        assert shared(r, other) > shared(r, r.question)


def test_the_start_is_examined_with_and_without_the_tool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = BeyondPlan(seeds=(0,), steps=2, sets=("validation",), limit=40)
    right = {}
    for name in ("start", "start-calculator"):
        beyond.run_one(plan, name, 0)
        result = json.loads((Path("runs/beyond") / f"{name}-seed0" / "result.json").read_text(encoding="utf-8"))
        assert result["cost"] == {"sampled_tokens": 0, "taught_tokens": 0, "teacher_tokens": 0}
        right[name] = result["sets"]["validation"]["sampled"].count("1")
    assert right["start-calculator"] > right["start"] + 4
    runs.save_log(replace(plan, arms=("start",)), tmp_path / "log")
    saved = json.loads((tmp_path / "log/curves.json").read_text(encoding="utf-8"))
    assert saved == {"start-seed0": {"metrics": []}}
