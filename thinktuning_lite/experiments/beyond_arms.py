"""The arms of `thinktuning beyond`: what the paper wishes for and what limits it, each as one entry of ARMS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.settings import TEACHER_TOKENS
from thinktuning_lite.experiments import runs, side_by_side
from thinktuning_lite.experiments.folders import RunPlan
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.teacher import Teacher

GRPO, RELEASED = "grpo", "released"  # what every arm is compared with


@dataclass(frozen=True)
class BeyondPlan(RunPlan):
    """What one invocation trains and evaluates. `limit`: the first so many questions of each set only.

    Which arms are asked for is no part of what is written down: other arms join those that are in the folder.
    """

    name: str = "beyond"
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 32
    sets: tuple[str, ...] = (*side_by_side.TEST_SETS, "validation")
    limit: int | None = None

    @property
    def complete(self) -> bool:
        return all(self.is_done(arm) for arm in self.arms)

    def is_done(self, arm: str) -> bool:
        """Whether each seed of an arm has its result."""
        return all(runs.result_path(self, arm, seed).exists() for seed in self.seeds)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().as_dict().items() if name != "arms"}


@dataclass(frozen=True)
class Cost:
    """Tokens of a training run: what the student sampled, what of a teacher's the loss was computed on, and all that a
    teacher wrote (opinion, tags, malformed and unused replies included)."""

    sampled_tokens: int
    taught_tokens: int
    teacher_tokens: int


Trained = tuple[Any, Any, Cost]  # model, tokenizer, cost
Train = Callable[[BeyondPlan, int, Path, int], Trained]  # (plan, seed, run's folder, row of the progress bar)


@dataclass(frozen=True)
class Arm:
    """What it does in a sentence, the question it belongs to, the arm without that one change, and how it is trained."""

    says: str
    group: str
    control: str
    train: Train


def tiny_teacher() -> PolicyTeacher:
    """The trainer's default teacher of the tiny classroom, the frozen start, to be wrapped."""
    model, tokenizer = load_classroom()
    return PolicyTeacher(model.requires_grad_(False), tokenizer, TINY_PROMPT, TEACHER_TOKENS)


def cost_of(metrics: Sequence[dict]) -> Cost:
    """The cost of a run of `ThinkTuningTrainer` from its metrics.jsonl, logged at every step."""
    rollouts = side_by_side.PROMPTS_PER_STEP * side_by_side.GROUP_SIZE
    guided = [m.get("guidance/fraction", 0.0) * rollouts for m in metrics]
    taught = sum(n * m.get("guidance/teacher_tokens", 0.0) for n, m in zip(guided, metrics, strict=True))
    completions = sum(m["completions/mean_length"] for m in metrics) * rollouts
    written = sum(m.get("guidance/generated_tokens", 0.0) for m in metrics)
    # The EOS of a guided rollout was sampled, too, and counts as the teacher's.
    return Cost(round(completions - taught + sum(guided)), round(taught), round(written))


def trained(
    shaping: str,
    *,
    teacher: Callable[[int], Teacher] | None = None,
    policies: Callable[[BeyondPlan], dict[str, Any]] = lambda plan: {},
    reward_funcs: Any = runs.correctness_reward,
    **overrides: Any,
) -> Train:
    """How to train an arm: the main job's settings under `shaping` ("grpo": no guidance), but for what is given.

    `teacher` makes one from the run's seed; `policies` gives further arguments of the trainer; `overrides` are settings.
    """

    def train(plan: BeyondPlan, seed: int, folder: Path, bar: int) -> Trained:
        config = side_by_side.training_config(shaping, seed, folder, plan.steps, **overrides)
        teaches = teacher(seed) if teacher else None
        trainer = runs.train_run(
            folder.name, config, bar=bar, teacher=teaches, reward_funcs=reward_funcs, **policies(plan)
        )
        return trainer.model, trainer.processing_class, cost_of(runs.read_metrics(folder / "metrics.jsonl"))

    return train


ARMS: dict[str, Arm] = {
    GRPO: Arm("the same trainer without guidance", "baselines", GRPO, trained("grpo")),
    RELEASED: Arm(
        "ThinkTuning, released AAS: one of eight guided, behaviours drawn evenly, off after 70 %",
        "baselines",
        GRPO,
        trained("released"),
    ),
    "intended": Arm("ThinkTuning, intended AAS", "baselines", GRPO, trained("intended")),
}
