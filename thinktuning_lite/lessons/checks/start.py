"""Checks of the exercises in notebook 00_start_here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed

UNSOLVED = "Not solved yet: replace the `...` with your answer."


@exercise
def first_wrong(answer: Callable[[str], str | None]) -> Result:
    """Exercise 1: the first equation of a solution that is wrong in itself, None when all are right."""
    one = answer("12*3=26. 26+5=31. \\boxed{31}")
    if one is ...:
        return hint(UNSOLVED)
    if one == "26+5=31":
        return hint("`26+5=31` is right in itself: the error came before it and was carried on. Look for `12*3=26`.")
    if one != "12*3=26":
        return hint(
            f"For `12*3=26. 26+5=31. \\boxed{{31}}` you return {one!r}; the wrong equation is '12*3=26', as text."
        )
    if answer("31+3=34. 34+7=41. \\boxed{41}") is not None:
        return hint("`31+3=34. 34+7=41. \\boxed{41}` is right throughout: return None there.")
    if answer("40-9=33. 33*2=76. \\boxed{76}") != "40-9=33":
        return hint("`40-9=33. 33*2=76.` has two wrong equations: return the first of them, and mind the minus sign.")
    return passed("That is the step at which the student slipped; what follows only carries the error on.")


@exercise
def useful_groups(answer: Callable[[Sequence[Sequence[float]]], float]) -> Result:
    """Exercise 2: the share of groups whose rewards are not all equal."""
    groups = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 0]]
    said = answer(groups)
    if said is ...:
        return hint(UNSOLVED)
    if isclose(said, 0.8):
        return hint(
            "You count the groups with a right *or* a wrong rollout. All right is as useless as all wrong: "
            "then every reward equals the group's mean."
        )
    if isclose(said, 0.55):
        return hint("That is the mean reward. Ask of each group whether its rewards differ, then take the share.")
    if isclose(said, 3.0):
        return hint("You return a number of groups: divide by how many there are.")
    if not isclose(said, 0.6):
        return hint(f"In {groups} three groups of five hold both a 0 and a 1, so the share is 0.6; you return {said}.")
    return passed("Only these groups have an advantage; the others' gradient is exactly 0.")


@exercise
def seen_once(answer: Callable[[float, float], float]) -> Result:
    """Exercise 3: the chance that n independent rollouts show an event of probability p at least once."""
    said = answer(0.5, 2)
    if said is ...:
        return hint(UNSOLVED)
    if isclose(said, 1.0):
        return hint(
            "p * n is the expected number of sightings: at p = 0.5 and n = 2 it would be a certainty. "
            "Start from the chance of *not* seeing it, n times in a row."
        )
    if isclose(answer(0.2, 3), 0.8**3):
        return hint("That is the chance of never seeing it: you need what is left of 1.")
    if isclose(answer(0.2, 3), 0.2**3):
        return hint("p ** n is the chance of seeing it *every* time.")
    if isclose(answer(0.2, 3), 1 - 0.2**3):
        return hint(
            "1 - p ** n is the chance of missing it at least once. Which event must happen n times for 'never'?"
        )
    for p, n, right in ((0.5, 2, 0.75), (1e-6, 1_000, 0.0009995), (1e-6, 1_000_000, 0.63212)):
        if not isclose(answer(p, n), right, rel_tol=1e-3):
            return hint(f"At p = {p} and n = {n} the chance is {right}; you return {answer(p, n)}.")
    return passed("And while it is never sampled, no reward can make it more likely.")


@exercise
def expected_reward(answer: Callable[[float, float, int, int], float]) -> Result:
    """Exercise 4: the expected mean reward of a group of G rollouts, k of them guided."""
    said = answer(0.4, 0.9, 8, 2)
    if said is ...:
        return hint(UNSOLVED)
    if isclose(said, 0.4 + 2 * 0.9 / 8):
        return hint("A guided rollout takes the place of the student's own one, so only G - k of those are left.")
    if isclose(said, 0.65):
        return hint("Not half and half: k of G rollouts have the teacher's chance, the others the student's.")
    if isclose(said, 6 * 0.4 + 2 * 0.9):
        return hint("That is the expected sum of the group's rewards: divide by G for the mean.")
    if isclose(said, (2 * 0.4 + 6 * 0.9) / 8):
        return hint("You have the two the wrong way round: k are the guided ones.")
    if not isclose(said, (6 * 0.4 + 2 * 0.9) / 8) or not isclose(answer(0.5, 1.0, 4, 0), 0.5):
        return hint(
            f"With s = 0.4, t = 0.9, G = 8 and k = 2 the mean is (6 * 0.4 + 2 * 0.9) / 8 = 0.525; you return {said}."
        )
    return passed("So the reward curve rises as soon as a teacher helps, before the student has learned anything.")
