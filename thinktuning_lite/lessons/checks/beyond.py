"""Checks of the exercises in notebook 07_beyond."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed

UNSOLVED = "Not solved yet: replace the `...` with your answer."
GROUP = 8


def spent(fraction: Callable[[int, int, int, int], float], steps: int, budget: int, cost: int) -> list[int]:
    """Teacher tokens of each step under a schedule: eight groups of eight, `cost` tokens a guided rollout."""
    used: list[int] = []
    for step in range(steps):
        wanted = fraction(step, steps, budget - sum(used), cost)
        quota = max(1, round(wanted * GROUP)) if wanted > 0 else 0
        used.append(GROUP * quota * cost)
    return used


@exercise
def schedule(answer: Callable[[int, int, int, int], float]) -> Result:
    """Exercise 2: a fraction for each step that keeps to a budget of teacher tokens and ends before the run does."""
    if answer(0, 20, 100_000, 50) is ...:
        return hint(UNSOLVED)
    for steps, budget, cost in ((20, 12_000, 50), (32, 30_000, 60), (20, 300, 50), (10, 10**6, 40)):
        used = spent(answer, steps, budget, cost)
        given = f"With {steps} steps, {budget:,} tokens and {cost} a guided rollout"
        first_over = next((i for i in range(steps) if sum(used[: i + 1]) > budget), None)
        if first_over is not None and used[first_over] == GROUP * cost:
            return hint(
                f"{given} you overspend at step {first_over}: a fraction above 0 guides at least one rollout in each of "
                f"the 8 groups, so the smallest step costs {GROUP * cost}. Return 0 when less is left."
            )
        if first_over is not None:
            return hint(f"{given} you overspend at step {first_over}: look at `left` before you spend.")
        if any(used[-(-7 * steps // 10) :]):
            return hint(
                f"{given} the last 30 % of the steps are guided, too: what the student can do alone is never seen."
            )
        if budget >= GROUP * cost and not any(used):
            return hint(f"{given} nothing is guided: that is GRPO.")
        if budget >= 10 * GROUP * cost and sum(used) < budget // 4 and max(used) < GROUP * GROUP * cost // 2:
            return hint(f"{given} you leave more than three quarters of the budget unspent.")
    if any(answer(i, 20, 12_000, 50) > 0.5 for i in range(14)):
        return hint("More than half of a group guided leaves too few own rollouts to compare with: at most 0.5.")
    return passed("Within the budget, early, and gone before the end. Which order is best is what the arms measure.")


@exercise
def harm_point(answer: Callable[[Sequence[float], Sequence[float]], float | None]) -> Result:
    """Exercise 3: the teacher accuracy at which the gain over GRPO changes from harm to help; None where it never does."""
    said = answer([0.0, 0.3, 0.6, 0.9], [-6.0, -2.0, 4.0, 10.0])
    if said is ...:
        return hint(UNSOLVED)
    if said is None:
        return hint("The gain changes its sign between accuracies 0.3 and 0.6.")
    if isclose(said, 0.6):
        return hint(
            "0.6 is the first accuracy that was seen to help; the line from (0.3, -2) to (0.6, 4) meets 0 before."
        )
    if isclose(said, 0.3):
        return hint(
            "0.3 is the last accuracy that was seen to harm; the line from (0.3, -2) to (0.6, 4) meets 0 later."
        )
    if isclose(said, 0.45):
        return hint("The middle of the two only if the gains were equally far from 0: they are -2 and 4.")
    if isclose(said, 0.0):
        return hint("That is where it harms most. Asked is where harm ends.")
    if not isclose(said, 0.4):
        return hint(f"Between (0.3, -2) and (0.6, 4) the straight line meets 0 at 0.4; you return {said:.3g}.")
    for accuracies, gains in (([0.0, 0.5, 1.0], [1.0, 4.0, 9.0]), ([0.0, 0.5, 1.0], [-9.0, -3.0, -1.0])):
        if answer(accuracies, gains) is not None:
            return hint(f"Gains of {gains} never change their sign: return None rather than a point nobody saw.")
    if not isclose(answer([0.9, 0.3, 0.6, 0.0], [10.0, -2.0, 4.0, -6.0]), 0.4):
        return hint("The points need not come in order of accuracy: sort them first.")
    return passed("A point with an interval of its own: each gain it rests on has one.")


@exercise
def gamed(answer: Callable[[dict[str, dict[str, float]]], str | None]) -> Result:
    """Exercise 4: the arm whose process reward rose while its answers got no better."""
    arms = {
        "honest": {"reward": 0.31, "right": 0.22, "equations": 0.4},
        "gamed": {"reward": 0.24, "right": -0.01, "equations": 6.2},
        "longer": {"reward": 0.20, "right": 0.18, "equations": 7.5},
        "idle": {"reward": 0.00, "right": -0.03, "equations": -0.1},
    }
    said = answer(arms)
    if said is ...:
        return hint(UNSOLVED)
    if said == "honest":
        return hint("Its reward rose most, and its answers with it: that is what a reward is for.")
    if said == "longer":
        return hint("It writes most, but its answers are right more often, too: length alone is no fault.")
    if said == "idle":
        return hint("Its answers got worst, but so did nothing else: without a gain of reward nothing was gamed.")
    if said != "gamed":
        return hint(f"Return one of {', '.join(arms)}; you return {said!r}.")
    arms["gamed"]["right"] = 0.2
    if answer(arms) is not None:
        return hint("With right answers up by 20 points, too, no arm gamed its reward: return None.")
    arms["idle"] = {"reward": 0.3, "right": 0.0, "equations": 0.1}
    if answer(arms) != "idle":
        return hint(
            "An arm may game a reward without writing more: here reward +0.30, right +0.00. Ask of reward and answers only."
        )
    return passed("Reward up, answers not: that pair is worth logging in every run.")


@exercise
def real_gain(answer: Callable[[Sequence[float], Sequence[float], Sequence[float]], bool]) -> Result:
    """Exercise 1: whether an arm's gain over GRPO is one, given each one's accuracy by seed and a random reward's."""
    cases = (
        # arm, GRPO, random reward: accuracy in points, the same seeds
        (
            ([70.0, 80.0, 75.0], [60.0, 69.0, 66.0], [41.0, 40.0, 43.0]),
            True,
            "It is 10 ± 2.5 above GRPO, seed by seed.",
        ),
        (
            ([70.0, 62.0, 81.0], [60.0, 69.0, 66.0], [41.0, 40.0, 43.0]),
            False,
            "The differences are +10, -7 and +15: their mean of 6 is well inside its interval.",
        ),
        (
            ([70.0, 80.0, 75.0], [60.0, 69.0, 66.0], [69.5, 80.5, 74.0]),
            False,
            "A random reward gains as much: whatever helps here, it is not what the reward says.",
        ),
        (
            ([61.0, 75.0, 90.0], [58.0, 72.0, 86.5], [40.0, 41.0, 42.0]),
            True,
            "The seeds differ by 30 points, and each is 3 above its own GRPO run: compare seed by seed.",
        ),
        (
            ([50.0, 58.0, 55.0], [60.0, 69.0, 66.0], [41.0, 40.0, 43.0]),
            False,
            "It is shown to be *below* GRPO: no gain.",
        ),
    )
    if answer(*cases[0][0]) is ...:
        return hint(UNSOLVED)
    for case, right, why in cases:
        if bool(answer(*case)) != right:
            arm, grpo, random = ("/".join(f"{x:g}" for x in values) for values in case)
            return hint(f"Arm {arm}, GRPO {grpo}, random reward {random}: it should be {right}. {why}")
    return passed("Paired with GRPO *and* with a reward that knows nothing. The table corrects for many looks, too.")
