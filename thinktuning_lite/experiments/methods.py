"""The methods of the table, each as one way to train or to ask; a new method is one entry of METHODS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.evaluation import baselines
from thinktuning_lite.experiments import runs, side_by_side
from thinktuning_lite.experiments.folders import RunPlan

REFERENCE = "GRPO"
ZERO_SHOT = "zero-shot CoT"
VOTES = 5  # of self-consistency
GENERATED_TOKENS = 150_000  # STaR's budget: about what 48 steps of GRPO generate


@dataclass(frozen=True)
class Plan(RunPlan):
    """What one invocation trains and evaluates. `limit`: the first so many questions of each benchmark only."""

    name: str = "table"
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)  # GRPO's seeds differ so much that three show little
    steps: int = 48
    star_tokens: int = GENERATED_TOKENS
    limit: int | None = None


Trained = tuple[Any, Any, baselines.Cost]


@dataclass(frozen=True)
class Method:
    """`train(plan, seed, folder, bar)` gives model, tokenizer and cost (None: the shipped checkpoint as it is);
    `prompt` is a self-improvement around it; `votes` > 1 makes the greedy answer a majority of so many samples."""

    says: str
    train: Callable[[Plan, int, Path, int], Trained] | None = None
    prompt: baselines.SelfImprovement | None = None
    votes: int = 1


def _rl(arm: str, **overrides: Any) -> Callable[[Plan, int, Path, int], Trained]:
    def train(plan: Plan, seed: int, folder: Path, bar: int) -> Trained:
        config = side_by_side.training_config(arm, seed, folder, plan.steps, **overrides)
        trainer = runs.train_run(f"{folder.name}", config, bar=bar)
        cost = baselines.rl_cost(
            runs.read_metrics(folder / "metrics.jsonl"), side_by_side.PROMPTS_PER_STEP * side_by_side.GROUP_SIZE
        )
        return trainer.model, trainer.processing_class, cost

    return train


def _sft(examples: Callable[[Sequence[dict]], list[baselines.Example]]) -> Callable[[Plan, int, Path, int], Trained]:
    def train(plan: Plan, seed: int, folder: Path, bar: int) -> Trained:
        model, tokenizer = load_classroom()
        config = baselines.sft_config(folder, seed)
        return model, tokenizer, baselines.fine_tune(model, tokenizer, examples(sample.load_tiny_set("train")), config)

    return train


def _star(rationalise: baselines.Rationalise | None) -> Callable[[Plan, int, Path, int], Trained]:
    def train(plan: Plan, seed: int, folder: Path, bar: int) -> Trained:
        star = baselines.StarPlan(plan.star_tokens, rationalise=rationalise)
        return baselines.star(load_classroom, sample.load_tiny_set("train"), star, folder, seed)

    return train


METHODS: dict[str, Method] = {
    ZERO_SHOT: Method("the shipped student, one answer"),
    "self-consistency": Method(f"majority of {VOTES} samples at T=1", votes=VOTES),
    "self-verify": Method(
        "its teacher role judges the answer, and redoes it if wrong", prompt=baselines.TINY_PROMPTED["self-verify"]
    ),
    "self-refine": Method("its teacher role always redoes the answer", prompt=baselines.TINY_PROMPTED["self-refine"]),
    "self-correct": Method(
        "its checker role solves and corrects in one response", prompt=baselines.TINY_PROMPTED["self-correct"]
    ),
    "SFT": Method("on the problems' own worked solutions", _sft(baselines.plain_solutions)),
    "SFT, worked route": Method("on an oracle's solutions by tens and units", _sft(baselines.careful_solutions)),
    "STaR": Method("its own right samples, no hint: the student cannot read one", _star(None)),
    "STaR, hinted": Method(
        "wrong ones rationalised by its teacher role, the answer known", _star(baselines.rationalise_as_teacher)
    ),
    "GRPO": Method("the same trainer without guidance", _rl("grpo")),
    "ThinkTuning, intended": Method("AAS as its formula says", _rl("intended")),
    "ThinkTuning, released": Method("AAS as the released code computes it", _rl("released")),
    "ThinkTuning, LUFFY": Method("LUFFY's shaping of guided tokens", _rl("luffy")),
    "ThinkTuning, plain": Method("weight 1 on guided tokens", _rl("plain")),
    "ThinkTuning, teacher mask": Method(
        "released AAS on the teacher's tokens only", _rl("released", shaping_mask="teacher")
    ),
    "ThinkTuning, 1 in 4": Method("released AAS, two of eight guided", _rl("released", guided_fraction=0.25)),
    "ThinkTuning, decaying": Method(
        "released AAS, 1 in 4 falling to 1 in 8",
        _rl("released", guided_fraction=0.25, guided_fraction_end=0.125, guidance_schedule="linear"),
    ),
}
# What fits into 45 minutes on two cores; the rest by --methods.
DEFAULT = (
    ZERO_SHOT,
    "self-consistency",
    "self-verify",
    "self-refine",
    "self-correct",
    "SFT",
    "SFT, worked route",
    "STaR",
    "STaR, hinted",
    "GRPO",
    "ThinkTuning, intended",
    "ThinkTuning, released",
)
