"""More arms of `thinktuning beyond`: controls, relatives of ThinkTuning, rewards for intermediate steps, tools.

The budget of all is that of GRPO's steps: as many rollouts a step, dynamic sampling in fewer steps of more rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.experiments import relatives, runs, side_by_side
from thinktuning_lite.experiments.beyond_arms import (
    GRPO,
    RELEASED,
    Arm,
    BeyondPlan,
    Cost,
    Train,
    Trained,
    trained,
)
from thinktuning_lite.experiments.beyond_teachers import tiny_teacher
from thinktuning_lite.method.calculator_trainer import CalculatorTrainer
from thinktuning_lite.method.rewards import CoinReward, correctness_reward, counted_steps_reward, process_reward
from thinktuning_lite.method.teacher import ShuffledTeacher

START, COIN = "start", "random-reward"
STEP_WEIGHT = 0.5  # of a step reward beside correctness: a wrong answer never earns more than a right one


def _start(plan: BeyondPlan, seed: int, folder: Path, bar: int) -> Trained:
    return *load_classroom(), Cost(0, 0, 0)


def _coin(shaping: str) -> Train:
    # That a response has to end would be a reward, too.
    return trained(shaping, given=lambda plan, seed: {"reward_funcs": CoinReward(seed)}, reward_needs_eos=False)


def _with_steps(shaping: str, reward: object) -> Train:
    rewards = {"reward_funcs": [correctness_reward, reward]}
    return trained(shaping, given=lambda plan, seed: rewards, reward_weights=[1.0, STEP_WEIGHT])


def _dynamic(plan: BeyondPlan, seed: int, folder: Path, bar: int) -> Trained:
    config = side_by_side.training_config("grpo", seed, folder, relatives.equal_token_steps(plan.steps))
    trainer = runs.train_run(folder.name, config, bar=bar, trainer_class=relatives.UnequalGroupsTrainer)
    rollouts = (side_by_side.PROMPTS_PER_STEP + relatives.EXTRA_GROUPS) * side_by_side.GROUP_SIZE
    return trainer.model, trainer.processing_class, _own_tokens(runs.read_metrics(folder / "metrics.jsonl"), rollouts)


def _self_distilled(method: str) -> Train:
    def train(plan: BeyondPlan, seed: int, folder: Path, bar: int) -> Trained:
        trainer = relatives.train_self_distilled(method, plan.steps, seed, folder, bar)
        rollouts = side_by_side.PROMPTS_PER_STEP * side_by_side.GROUP_SIZE
        return (
            trainer.model,
            trainer.processing_class,
            _own_tokens(runs.read_metrics(folder / "metrics.jsonl"), rollouts),
        )

    return train


def _own_tokens(metrics: Sequence[dict], rollouts: int) -> Cost:
    """The cost of a run without a teacher's words, of so many rollouts a step."""
    return Cost(round(sum(m["completions/mean_length"] for m in metrics) * rollouts), 0, 0)


ARMS: dict[str, Arm] = {
    START: Arm("the shipped student, untrained", "baselines", GRPO, _start),
    COIN: Arm("GRPO paid by a coin, whatever the response says", "controls", START, _coin("grpo")),
    "random-reward-guided": Arm(
        "released, paid by a coin: is guidance alone enough?", "controls", COIN, _coin("released")
    ),
    "shuffled": Arm(
        "released, each guided rollout ended by the teacher's words on another problem",
        "controls",
        RELEASED,
        trained("released", given=lambda plan, seed: {"teacher": ShuffledTeacher(tiny_teacher())}),
    ),
    "failed-only": Arm(
        "released, one of eight guided only where all eight are wrong (as GHPO and Guide give hints)",
        "relatives",
        RELEASED,
        trained("released", guidance_selection="failed"),
    ),
    "dynamic-sampling": Arm(
        "GRPO, half as many groups again, trained on those of unequal rewards first (DAPO), in two thirds of the steps",
        "relatives",
        GRPO,
        _dynamic,
    ),
    "refinement": Arm(
        "the guided rollout is the teacher's solution alone, LUFFY's shaping (after Critique-GRPO)",
        "relatives",
        "luffy",
        trained("luffy", given=lambda plan, seed: {"trainer_class": relatives.RefinementTrainer}),
    ),
    "sdpo": Arm(
        "TRL's: its checker role, having read a right rollout of the group, judges each token",
        "relatives",
        GRPO,
        _self_distilled("sdpo"),
    ),
    "sdft": Arm(
        "TRL's: its checker role, having read the problem's own solution, judges each token; no reward",
        "relatives",
        GRPO,
        _self_distilled("sdft"),
    ),
    "process-reward": Arm(
        "GRPO, half a point for the share of equations that hold", "steps", GRPO, _with_steps("grpo", process_reward)
    ),
    "process-reward-guided": Arm(
        "released, half a point for the share of equations that hold",
        "steps",
        RELEASED,
        _with_steps("released", process_reward),
    ),
    "counted-steps": Arm(
        "GRPO, a twentieth for each equation that holds, at most half a point: to be gamed",
        "steps",
        "process-reward",
        _with_steps("grpo", counted_steps_reward),
    ),
    "counted-steps-guided": Arm(
        "released, a twentieth for each equation that holds: a second solution is paid, and a third",
        "steps",
        "counted-steps",
        _with_steps("released", counted_steps_reward),
    ),
    "teacher-calculator": Arm(
        "released, the teacher's equations worked out for it while it writes",
        "tools",
        RELEASED,
        trained("released", given=lambda plan, seed: {"teacher": tiny_teacher(calculator=True)}),
    ),
    "start-calculator": Arm(
        "the shipped student with a calculator that completes its equations, untrained", "tools", START, _start, True
    ),
    "student-calculator": Arm(
        "GRPO, the student's equations worked out for it while it writes, in training and when examined",
        "tools",
        "start-calculator",
        trained("grpo", given=lambda plan, seed: {"trainer_class": CalculatorTrainer}),
        True,
    ),
}
