"""Policies of the grid's arms: which behaviour to ask for, and what fraction to guide. Each reads the run's log only."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

from thinktuning_lite.experiments.side_by_side import GROUP_SIZE, GUIDED_SHARE_OF_RUN, PROMPTS_PER_STEP
from thinktuning_lite.method.teacher import BehaviourPolicy, FractionPolicy, guided_fraction

REPLY_TOKENS = 60  # what a guided rollout of the main job's has of the teacher, in the mean (59.7), EOS included
WINDOW = 4  # guided steps that the controller looks back at: 32 guided rollouts
HIGHEST = 1 / 2  # of a group, where a schedule begins: half of it stays the student's own
HIGHEST_BY_NEED = 1 / 4  # the controller's: at more, the budget would be spent before it could see an effect


def thompson(behaviours: Sequence[str]) -> BehaviourPolicy:
    """Thompson sampling: one chance to help is drawn for each behaviour, and the behaviour with the highest is asked for.

    "Helped" is a guided rollout with an advantage above 0 in its group. The chances' posterior is Beta(1 + helped,
    1 + not helped), of a flat prior, over all guided steps so far.
    """

    def choose(log: Sequence[dict], rng: random.Random) -> str:
        def drawn(behaviour: str) -> float:
            name, guided, helped = f"guidance/behaviour/{behaviour}", 0.0, 0.0
            for row in log:
                n = row.get(f"{name}/guided", 0.0)
                guided, helped = guided + n, helped + n * row.get(f"{name}/helped", 0.0)
            return rng.betavariate(1 + helped, 1 + guided - helped)

        return max(behaviours, key=drawn)

    return choose


def teacher_tokens(log: Sequence[dict]) -> float:
    """The teacher's tokens in the loss so far, from a log of every step."""
    rollouts = PROMPTS_PER_STEP * GROUP_SIZE
    return rollouts * sum(r.get("guidance/fraction", 0.0) * r.get("guidance/teacher_tokens", 0.0) for r in log)


def guided_rollouts(steps: int) -> int:
    """How many rollouts the main job guides in a run of `steps`: the budget of every schedule of the grid."""
    return PROMPTS_PER_STEP * round(GUIDED_SHARE_OF_RUN * steps)


def within_budget(policy: FractionPolicy, steps: int) -> FractionPolicy:
    """The policy, as long as the main job's teacher tokens (its rollouts, at REPLY_TOKENS each) last.

    What is left is counted in whole steps of one rollout a group: half of such a step may be spent too much, or not.
    """
    budget, one_each = guided_rollouts(steps) * REPLY_TOKENS, PROMPTS_PER_STEP * REPLY_TOKENS

    def fraction(step: int, log: Sequence[dict]) -> float:
        left = max(0, round((budget - teacher_tokens(log)) / one_each))
        return min(policy(step, log), left / GROUP_SIZE)

    return fraction


def spread(steps: int) -> FractionPolicy:
    """One of each group on as many steps as the main job guides, evenly over the whole run, its end included."""
    n = guided_rollouts(steps) // PROMPTS_PER_STEP
    return lambda step, log: (1 / GROUP_SIZE) * ((step + 1) * n // steps > step * n // steps)


def falling(schedule: str, steps: int) -> FractionPolicy:
    """From HIGHEST to 0 by `schedule` ("linear", "cosine"), in the shortest phase that spends the main job's rollouts."""

    def rollouts(phase: int) -> int:
        fractions = (guided_fraction(s, phase, HIGHEST, 0.0, schedule) for s in range(phase))
        return PROMPTS_PER_STEP * sum(max(1, round(f * GROUP_SIZE)) for f in fractions if f > 0)

    phase = next(n for n in itertools.count(1) if n == steps or rollouts(n) >= guided_rollouts(steps))
    return lambda step, log: guided_fraction(step, phase, HIGHEST, 0.0, schedule)


def by_need(log_rows: int = WINDOW) -> FractionPolicy:
    """A controller: one of each group, and as much more as there are groups in which no own rollout was right.

    At most HIGHEST_BY_NEED. It ends for good once, over the last `log_rows` guided steps, the student's own rollouts earn as
    much as the guided ones.
    """

    def fraction(step: int, log: Sequence[dict]) -> float:
        rows = [r for r in log if "guidance/reward/guided" in r][-log_rows:]
        if not rows:
            return 1 / GROUP_SIZE

        def mean(name: str) -> float:
            return sum(r[f"guidance/{name}"] for r in rows) / len(rows)

        if len(rows) == log_rows and mean("reward/own") >= mean("reward/guided"):
            return 0.0
        return min(HIGHEST_BY_NEED, 1 / GROUP_SIZE + mean("all_wrong"))

    return fraction


SCHEDULES: dict[str, Callable[[int], FractionPolicy]] = {
    "spread": spread,
    "linear": lambda steps: falling("linear", steps),
    "cosine": lambda steps: falling("cosine", steps),
    "controller": lambda steps: by_need(),
}
