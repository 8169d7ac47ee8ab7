"""Checks of the exercises in notebook 02_teacher_guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose, sqrt
from typing import Any

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt
from thinktuning_lite.method.teacher import parse_guidance

UNSOLVED = "Not solved yet: replace the `...` with your answer."


def _reply(opinion: str = "correct", reason: str = "Wait.", phrase: str = "Again: \\boxed{7}") -> str:
    return f"<opinion>{opinion}</opinion><reason>{reason}</reason><phrase>{phrase}</phrase>"


@exercise
def parse(answer: Callable[[str], tuple[str, str, str] | None]) -> Result:
    """Exercise 1: (opinion, reason, phrase) of a well-formed reply, None for any other."""
    said = answer(_reply())
    if said is ...:
        return hint(UNSOLVED)
    if said is None or tuple(said) != ("correct", "Wait.", "Again: \\boxed{7}"):
        return hint(f"For {_reply()!r} you return {said!r}; it is ('correct', 'Wait.', 'Again: \\\\boxed{{7}}').")
    if answer(_reply(reason="Wait.\nNo.")) is None:
        return hint("A reason of two lines is well formed: in a regex, `.` matches a line break only with re.DOTALL.")
    if answer("Sure! " + _reply()) is not None or answer(_reply() + " Hope that helps.") is not None:
        return hint("Text before or after the tags is no part of the form: match the whole reply (re.fullmatch).")
    if answer(_reply(opinion="maybe")) is not None:
        return hint("The opinion is 'correct' or 'incorrect': 'maybe' must give None.")
    if answer(_reply(reason="")) is not None or answer(_reply(phrase=" ")) is not None:
        return hint("An empty reason or phrase leaves nothing to splice: return None.")
    if answer(_reply() * 2) is not None or answer(_reply(reason="a</reason><reason>b")) is not None:
        return hint(
            "A repeated tag must give None. A lazy `.*?` still runs across tags when that lets the whole match: "
            "look for tags inside what you found."
        )
    if answer(_reply()[:-9]) is not None:
        return hint("A reply that was cut off before </phrase> must give None.")
    return passed("Strict, as it must be: whatever passes is written into a rollout and trained on.")


@exercise
def splice(answer: Callable[[list[int], list[int], int], tuple[list[int], list[int]]]) -> Result:
    """Exercise 2: (ids, author) of a response with guidance after it."""
    said = answer([11, 12, 2], [21, 22, 23], 2)
    if said is ... or said is None:
        return hint(UNSOLVED)
    ids, author = (list(part) for part in said)
    if ids == [11, 12, 2, 21, 22, 23, 2] or ids == [11, 12, 2, 21, 22, 23]:
        return hint("The student's EOS (2) still stands before the guidance: the rollout would end there. Take it out.")
    if ids == [11, 12, 21, 22, 23]:
        return hint("The spliced rollout has no EOS, so the student would never learn to stop after guidance: add it.")
    if ids != [11, 12, 21, 22, 23, 2]:
        return hint(f"[11, 12, EOS] and guidance [21, 22, 23] give [11, 12, 21, 22, 23, EOS]; you return {ids}.")
    if len(author) != len(ids):
        return hint(f"author has {len(author)} entries for {len(ids)} ids: one for each, the closing EOS included.")
    if author == [0, 0, 1, 1, 1, 0]:
        return hint("The closing EOS counts as the teacher's: the student ended its response elsewhere.")
    if author != [0, 0, 1, 1, 1, 1]:
        return hint(f"author is 0 for the student's ids and 1 from the first taught id on; you return {author}.")
    return passed("No text was re-tokenised: the student's ids are exactly those it sampled.")


@exercise
def quota(answer: Callable[[float, int], int]) -> Result:
    """Exercise 3: how many rollouts of a group are guided."""
    said = answer(0.125, 8)
    if said is ...:
        return hint(UNSOLVED)
    if answer(0.0, 8) != 0:
        return hint("At fraction 0 guidance is off: nobody is guided, not even one.")
    if answer(0.1, 5) == 0 or answer(0.01, 8) == 0:
        return hint("While guidance is on (fraction above 0), at least one rollout of each group is guided.")
    if answer(0.25, 6) == 1 or answer(0.7, 5) == 3:
        return hint("Round to the nearest whole number: 0.7 of 5 is 3.5, which rounds to 4; int() cuts it to 3.")
    for fraction, size, right in ((0.125, 8, 1), (0.3, 8, 2), (0.7, 5, 4), (1.0, 8, 8), (0.01, 5, 1)):
        if answer(fraction, size) != right:
            said = answer(fraction, size)
            return hint(f"A fraction {fraction} of {size} rollouts is {right} guided; you return {said}.")
    return passed("So the authors' 0.1 -> 0.01 of 5 rollouts is one guided rollout a group throughout.")


@exercise
def lone_advantage(answer: Callable[[int], float]) -> Result:
    """Exercise 4: the advantage of the only right rollout among G (sample standard deviation, eps left out)."""
    said = answer(4)
    if said is ...:
        return hint(UNSOLVED)
    if isclose(said, 0.75, rel_tol=1e-3):
        return hint("1 - 1/G is its distance from the group's mean: divide by the group's standard deviation.")
    if isclose(said, sqrt(3), rel_tol=1e-3):
        return hint("sqrt(G - 1) comes from dividing the squares by G. The convention here, and TRL's, is G - 1.")
    if isclose(said, 3.0, rel_tol=1e-3):
        return hint("You divided by the variance times something, or by the mean: divide by the standard deviation.")
    for size in (2, 4, 8, 16):
        if not isclose(answer(size), (size - 1) / sqrt(size), rel_tol=1e-3):
            return hint(
                f"For G = {size}: mean 1/{size}, sample std 1/sqrt({size}) = {1 / sqrt(size):.3f}; "
                f"you return {answer(size):.4g}."
            )
    return passed("It grows like sqrt(G): the larger the group, the louder a lone success.")


@exercise
def computed_tokens(answer: Callable[[Sequence[int], int], Any]) -> Result:
    """Exercise 5: token positions computed when completions are padded to the longest of their micro-batch."""
    said = answer([10, 30, 10, 10], 2)
    if said is ...:
        return hint(UNSOLVED)
    if said == 60:
        return hint("That is the number of real tokens; padding is computed as well.")
    if said == 120:
        return hint("Each micro-batch is padded to its *own* longest row: the second one holds only rows of 10.")
    if answer([10, 30, 10, 30], 2) == 80:
        return hint("Deal the rows in the order given. (That sorting first saves work is what the next cell shows.)")
    if said == 40:
        return hint("You add up the widths of the micro-batches: each counts once for every row in it.")
    if said != 80 or answer([10, 30, 10, 30], 2) != 120:
        return hint(f"[10, 30 | 10, 10] costs 2 * 30 + 2 * 10 = 80; you return {said}.")
    if answer([10, 10, 50], 2) != 70:
        return hint("The last micro-batch may hold fewer rows: [10, 10 | 50] costs 2 * 10 + 1 * 50 = 70.")
    return passed("One guided row makes its whole micro-batch wide.")


@exercise
def fifth_behaviour(answer: Callable[[TeacherPrompt], TeacherPrompt]) -> Result:
    """Exercise 6: the instruct prompt with one behaviour more, of the reader's own."""
    prompt = answer(INSTRUCT_PROMPT)
    if prompt is ... or prompt is None:
        return hint(UNSOLVED)
    known = {b.name for b in INSTRUCT_PROMPT.behaviours}
    new = [b for b in prompt.behaviours if b.name not in known]
    if len(new) != 1 or len(prompt.behaviours) != len(known) + 1:
        names = ", ".join(b.name for b in prompt.behaviours)
        return hint(f"The prompt should know its four and one new name; it knows {names}.")
    [own] = new
    if not own.instruction.strip():
        return hint("The instruction is empty: the prompt puts it behind the name, `This time by {behaviour}: ...`.")
    if not own.exemplar:
        return hint("An instruct model follows what it is shown: give the behaviour an exemplar, (user turn, reply).")
    user, reply = own.exemplar
    if not user.startswith("Question: ") or "\n\nResponse: " not in user:
        return hint(
            "The exemplar's user turn has the form of a real one: `Question: ...`, blank line, `Response: ...`."
        )
    said = parse_guidance(reply)
    if said is None:
        return hint("The exemplar's reply has not the form of section 4, and the teacher would copy that: see `parse`.")
    if extract_answer(said.phrase) is None:
        return hint("The exemplar's phrase states no final answer, so what the teacher learns from it earns nothing.")
    return passed(f"The teacher can be asked for {own.name} now, and shown what you mean by it.")
