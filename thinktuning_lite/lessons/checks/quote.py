"""Checks of the exercises in notebook 06_movie_quote."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, isclose, log, log1p

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed

UNSOLVED = "Not solved yet: replace the `...` with your answer."
QUOTE = "We ride at dawn!"


@exercise
def samples_needed(answer: Callable[[float, float], int]) -> Result:
    """Exercise 1: how many responses until a behaviour of probability p is seen at least once with a given chance."""
    said = answer(0.1, 0.95)
    if said is ...:
        return hint(UNSOLVED)
    if isclose(said, 10) or isclose(said, 9.5):
        return hint(
            "1 / p responses show it once on average, but a third of the time not at all. "
            "Ask for the chance of missing it n times in a row: (1 - p) ** n."
        )
    if isclose(said, log(0.95) / log(0.9), rel_tol=0.01) or said == 1:
        return hint("The chance of *missing* it n times, (1 - p) ** n, must fall to 1 - chance, not to chance.")
    if isclose(said, log(0.05) / log(0.9)) and said != 29:
        return hint("The formula is right; a number of responses is whole, so round up.")
    if said == 28:
        return hint("28 responses are just short of it: round up, not down.")
    for p, chance in ((0.1, 0.95), (0.5, 0.9), (1e-9, 0.95), (1e-20, 0.95)):
        right = ceil(log(1 - chance) / log1p(-p))
        try:
            said = answer(p, chance)
        except (ZeroDivisionError, OverflowError):
            return hint(
                f"At p = {p:g}, 1 - p is exactly 1 in floating point: use math.log1p(-p) instead of log(1 - p)."
            )
        if not isclose(said, right, rel_tol=1e-6):
            return hint(f"At p = {p:g} and chance = {chance} it takes {right:,}; you return {said:,}.")
    return passed("Put in the quote's own probability, and compare with what one GRPO run samples.")


@exercise
def quote_reward(answer: Callable[[str, str], float]) -> Result:
    """Exercise 2: 0.5 for a response that says the quote exactly once, at its end; else 0."""
    right = f"12*3=36. \\boxed{{36}} {QUOTE}"
    said = answer(right, QUOTE)
    if said is ...:
        return hint(UNSOLVED)
    if said is True or isclose(said, 1.0):
        return hint("The behaviour is worth 0.5: at 1 it would count as much as a right answer.")
    if not isclose(said, 0.5):
        return hint(f"{right!r} says the quote once, at its end: 0.5. You return {said}.")
    if not isclose(answer(right + " \n", QUOTE), 0.5):
        return hint("White space after the quote is no fault: strip it first.")
    if answer(f"12*3=36. \\boxed{{36}} {QUOTE} {QUOTE}", QUOTE):
        return hint("Said twice, it must earn nothing, or the student learns to repeat itself.")
    if answer(f"{QUOTE} 12*3=36. \\boxed{{36}}", QUOTE):
        return hint("At the start of a response the quote earns nothing: it has to end it.")
    if answer("12*3=36. \\boxed{36}", QUOTE):
        return hint("A response without the quote earns nothing.")
    return passed("Whether the answer is right is the other reward's business: the two add up.")


@exercise
def hack(answer: Callable[[str, str], str]) -> Result:
    """Exercise 3: a response that 'occurs at least once' pays in full and 'exactly once' does not."""
    text = answer("Ana has 12 eggs. Ana buys 3 more. How many eggs does Ana have now?", QUOTE)
    if text is ...:
        return hint(UNSOLVED)
    if QUOTE not in text:
        return hint("This earns nothing from either reward: the quote, to the letter, must occur at least once.")
    if text.count(QUOTE) == 1:
        return hint(
            "This one earns the honest reward too. What would a student do that is paid whenever the quote occurs?"
        )
    if "\\boxed{15}" not in text:
        return hint("It would also collect the point for the right answer: end with \\boxed{15} somewhere.")
    return passed("Full pay, and unreadable. 'Exactly once' closes this hole; the notebook shows the next one.")


@exercise
def fraction(answer: Callable[[int, float, float], float]) -> Result:
    """Exercise 4: the smallest guided fraction with a right guided rollout in a wanted share of groups."""
    said = answer(8, 0.6, 0.95)
    if said is ...:
        return hint(UNSOLVED)
    if isclose(said, 4.0):
        return hint("Four guided rollouts is the right number: divide by the group size for the fraction.")
    if isclose(said, 0.95 / 0.6 / 8, rel_tol=0.01) or isclose(said, 0.25):
        return hint(
            "k times the teacher's chance is the expected number of right ones. Start from the chance that all k "
            "are wrong, (1 - right) ** k."
        )
    if isclose(said, log(0.05) / log(0.4) / 8):
        return hint("A rollout is guided or not: round the number of them up before you divide.")
    if not isclose(said, 0.5):
        return hint(f"For 8 rollouts, a teacher right 60 % of the time and 95 % wanted it is 4 / 8; you return {said}.")
    if not isclose(answer(4, 0.3, 0.99), 0.75):
        return hint(
            "At most all but one may be guided: a group without an own rollout has nothing to compare with. "
            "For (4, 0.3, 0.99) return 3 / 4."
        )
    return passed("One more reason for a good teacher: at 94 % right, one rollout in eight is nearly enough.")
