"""The arms of `thinktuning beyond`: what the paper wishes for and what limits it, each as one entry of ARMS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.experiments import runs, side_by_side
from thinktuning_lite.experiments.beyond_policies import SCHEDULES, thompson, within_budget
from thinktuning_lite.experiments.beyond_teachers import (
    Agreement,
    HintFirst,
    SecondReader,
    WrongTeacher,
    tiny_teacher,
    weak_teacher,
)
from thinktuning_lite.experiments.folders import RunPlan
from thinktuning_lite.method.prompts import BEHAVIOURS

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
    """What it does in a sentence, the question it belongs to, the arm without that one change, and how it is trained;
    `calculator`: the student has one when it is examined."""

    says: str
    group: str
    control: str
    train: Train
    calculator: bool = False


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
    given: Callable[[BeyondPlan, int], dict[str, Any]] = lambda plan, seed: {},
    **overrides: Any,
) -> Train:
    """How to train an arm: the main job's settings under `shaping` ("grpo": no guidance), but for what is given.

    `given` makes arguments of `runs.train_run` from plan and seed (a teacher, policies, rewards, ...); `overrides` are
    settings.
    """

    def train(plan: BeyondPlan, seed: int, folder: Path, bar: int) -> Trained:
        config = side_by_side.training_config(shaping, seed, folder, plan.steps, **overrides)
        trainer = runs.train_run(folder.name, config, bar=bar, **given(plan, seed))
        return trainer.model, trainer.processing_class, cost_of(runs.read_metrics(folder / "metrics.jsonl"))

    return train


def _single(behaviour: str) -> Arm:
    says = f"released, and every guidance shows {behaviour}"
    return Arm(says, "feedback", RELEASED, trained("released", behaviours=[behaviour]))


def _hint_first(plan: BeyondPlan, seed: int) -> dict[str, Any]:
    policy, tokenizer = load_classroom()
    return {"policy": policy, "teacher": HintFirst(tiny_teacher(), policy, tokenizer)}


def _schedule(name: str, says: str) -> Arm:
    def given(plan: BeyondPlan, seed: int) -> dict[str, Any]:
        return {"fraction_policy": within_budget(SCHEDULES[name](plan.steps), plan.steps)}

    return Arm(
        f"released, {says}, at released's teacher tokens", "curriculum", RELEASED, trained("released", given=given)
    )


def _wrong(rate: float, shaping: str = "released") -> Arm:
    def given(plan: BeyondPlan, seed: int) -> dict[str, Any]:
        return {"teacher": WrongTeacher(tiny_teacher(), rate, seed)}

    says = f"{shaping}, {100 * rate:.0f} % of the phrases made wrong"
    return Arm(says, "teacher", shaping, trained(shaping, given=given))


# Two weak teachers, the same in every seed: what they can is a property of theirs, and what is trained differs by seed.
_WEAK = (101, 202)


def _weak(together: Callable[[Any, Any], Any], says: str, control: str, **more: Any) -> Arm:
    def given(plan: BeyondPlan, seed: int) -> dict[str, Any]:
        budget = {"fraction_policy": within_budget(more["fraction"], plan.steps)} if more else {}
        return {"teacher": together(*map(weak_teacher, _WEAK))} | budget

    return Arm(says, "cascade", control, trained("released", given=given))


ARMS: dict[str, Arm] = {
    GRPO: Arm("the same trainer without guidance", "baselines", GRPO, trained("grpo")),
    RELEASED: Arm(
        "ThinkTuning, released AAS: one of eight guided, behaviours drawn evenly, off after 70 %",
        "baselines",
        GRPO,
        trained("released"),
    ),
    "intended": Arm("ThinkTuning, intended AAS", "baselines", GRPO, trained("intended")),
    "luffy": Arm("ThinkTuning, LUFFY's shaping", "baselines", GRPO, trained("luffy")),
    # 1. Adaptive feedback. The teacher's own choice, the authors' way, is impossible here: the tiny one cannot choose.
    "bandit": Arm(
        "released, the behaviour drawn by Thompson sampling from how often it earned an advantage",
        "feedback",
        RELEASED,
        trained("released", given=lambda plan, seed: {"behaviour_policy": thompson(BEHAVIOURS)}),
    ),
    **{f"only-{name}": _single(name) for name in BEHAVIOURS},
    "hint-first": Arm(
        "released, but the reason only where the student's own second solution ends like the teacher's phrase",
        "feedback",
        RELEASED,
        trained("released", given=_hint_first),
    ),
    # 2. Curricula of the guided fraction.
    "fraction-spread": _schedule("spread", "guided steps spread over the whole run"),
    "fraction-linear": _schedule("linear", "half of each group falling to none, linearly"),
    "fraction-cosine": _schedule("cosine", "half of each group falling to none, by a cosine"),
    "fraction-controller": _schedule(
        "controller", "more where whole groups are wrong, none once own rollouts earn as much as guided ones"
    ),
    # 3. How good must a teacher be?
    "wrong-33": _wrong(1 / 3),
    "wrong-67": _wrong(2 / 3),
    "wrong-100": _wrong(1.0),
    "intended-wrong-33": _wrong(1 / 3, "intended"),
    "luffy-wrong-33": _wrong(1 / 3, "luffy"),
    # 4. Weak teachers, together.
    "weak": _weak(lambda a, b: a, "released, by one weak teacher", RELEASED),
    "weak-second-reader": _weak(
        SecondReader, "released, by a second weak teacher that has read the first one's guidance", "weak"
    ),
    "weak-agree": _weak(
        Agreement, "released, guided only where two weak teachers end alike", "weak", fraction=lambda step, log: 1 / 4
    ),
}
