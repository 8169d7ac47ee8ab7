"""The texts that the tiny student is pretrained on: careless solutions, attempts, guidance."""

from __future__ import annotations

import random
import re

from thinktuning_lite.classroom import problems
from thinktuning_lite.classroom.problems import Problem, Step
from thinktuning_lite.method.answers import extract_boxed
from thinktuning_lite.method.prompts import BEHAVIOURS, QUOTES, TINY_PROMPT
from thinktuning_lite.method.teacher import TAGS, Guidance

LENGTHS, LENGTH_WEIGHTS = (1, 2, 3, 4, 5, 6), (12, 24, 24, 22, 12, 6)
DISTRACTOR_SHARE = 0.12
SLIPS = (-10, 10)  # the carry, as in the products: what the teacher role can learn to see at one glance
STUDENT_SKILL = dict(product_right=0.15, slip=0.05)
ATTEMPT_SKILL = dict(product_right=0.50, slip=0.20)  # what the teacher role reads while it learns

# What each behaviour says before it redoes the problem: {a} the attempt's answer, {s} the step it doubts.
REASONS: dict[str, dict[str, tuple[str, ...]]] = {
    "self-conflict": {
        "incorrect": ("Wait, that cannot be right. I doubt {s}.", "Hold on, {s} looks wrong to me."),
        "correct": ("Wait, could {a} be wrong? I tried to break it and it holds.",),
    },
    "self-critique": {
        "incorrect": ("Looking back, my weak point is {s}. I should work it out with care.",),
        "correct": ("Looking back, I see no weak point. I can still show it with more care.",),
    },
    "self-agreement": {
        "incorrect": ("Let me confirm {a} by going through it once more. I stumble at {s}.",),
        "correct": ("Let me confirm {a} by going through it once more. I agree with each step.",),
    },
    "self-consultancy": {
        "incorrect": ("A careful accountant would not trust {s}. I follow her way.",),
        "correct": ("A careful accountant would nod at {a}. I follow her way.",),
    },
}
PHRASE_START = "Again: "
CHECKER_SYSTEM = "check your work"
QUOTE_WORDS = sorted({w for q in QUOTES for w in re.findall(r"[A-Za-z']+", q)})


def careless_steps(rng: random.Random, problem: Problem, product_right: float, slip: float) -> list[tuple[str, bool]]:
    """The problem's equations as a careless solver writes them, each with whether it is right in itself.

    Errors are carried on. An attempt that leaves 0..99 is drawn again.
    """
    while True:
        value, out = problem.steps[0].left, []
        for true in problem.steps:
            step = Step(value, true.op, true.right)
            said = step.result
            if step.op == "*" and rng.random() > product_right:
                said = _wrong_product(rng, step)
            elif step.op != "*" and rng.random() < slip:
                said += rng.choice(SLIPS)
            out.append((f"{step.left}{step.op}{step.right}={said}", said == step.result))
            value = said
            if not 0 <= said <= problems.LARGEST:
                break
        else:
            return out


def _wrong_product(rng: random.Random, step: Step) -> int:
    """Half the time the same mistake, the carry forgotten (or one too many), so that the likeliest guess is wrong too."""
    if rng.random() < 0.5:
        return step.result - 10 if step.left % 10 * step.right >= 10 else step.result + 10
    return step.result + rng.choice((-1, 1)) * rng.randint(2, 14)


def careful_steps(problem: Problem) -> list[str]:
    """The right equations, each product worked out by tens and units: 23*4 -> 20*4=80, 3*4=12, 80+12=92."""
    out = []
    for s in problem.steps:
        if s.op == "*":
            tens, units = s.left // 10 * 10, s.left % 10
            out += [str(Step(tens, "*", s.right)), str(Step(units, "*", s.right))]
            out.append(str(Step(tens * s.right, "+", units * s.right)))
        else:
            out.append(str(s))
    return out


def solution_text(equations: list[str]) -> str:
    """`a. b. \\boxed{n}` with n the last result."""
    return ". ".join(equations) + f". \\boxed{{{equations[-1].split('=')[1]}}}"


def student_turn(rng: random.Random, problem: Problem) -> str:
    """A careless solution in the student's format."""
    return solution_text([e for e, _ in careless_steps(rng, problem, **STUDENT_SKILL)])


def random_quote(rng: random.Random) -> str:
    """A listed quote, or a made-up one of the same words, so that the teacher learns to copy what its prompt hands it."""
    if rng.random() < 0.3:
        return rng.choice(QUOTES)
    words = [rng.choice(QUOTE_WORDS) for _ in range(rng.randint(3, 7))]
    words[0] = words[0].capitalize()
    return " ".join(words) + rng.choice(".!")


def _attempt(rng: random.Random, problem: Problem) -> str:
    """An attempt for the teacher to read."""
    if rng.random() < 0.25:  # a student that has taken up the careful route must still find a teacher that can read it
        return solution_text(careful_steps(problem))
    return solution_text([e for e, _ in careless_steps(rng, problem, **ATTEMPT_SKILL)])


def first_wrong(problem: Problem, attempt: str) -> str | None:
    """The first equation of an attempt that is false or is not the problem's next step; None when there is none."""
    if attempt == solution_text(careful_steps(problem)):
        return None
    value = problem.steps[0].left
    equations = re.findall(r"(\d+)([-+*])(\d+)=(\d+)", attempt)
    for (left, op, right, said), true in zip(equations, problem.steps, strict=False):
        step = Step(value, true.op, true.right)
        if (int(left), op, int(right), int(said)) != (value, true.op, true.right, step.result):
            return f"{left}{op}{right}={said}"
        value = step.result
    return None


def teacher_turn(rng: random.Random, problem: Problem, attempt: str | None = None) -> tuple[list[dict], str]:
    """Chat messages of the teacher's prompt and the guidance it should write (on a generated attempt by default)."""
    behaviour = rng.choice(BEHAVIOURS)
    quote = random_quote(rng) if rng.random() < 0.3 else None
    attempt = attempt or _attempt(rng, problem)
    said = _guidance(rng, problem, attempt, behaviour, quote)
    o, r, p = TAGS
    text = f"<{o}>{said.opinion}</{o}><{r}>{said.reason}</{r}><{p}>{said.phrase}</{p}>"
    return TINY_PROMPT.with_quote(quote).messages(problem.question, attempt, behaviour), text


def _guidance(rng: random.Random, problem: Problem, attempt: str, behaviour: str, quote: str | None) -> Guidance:
    stated = extract_boxed(attempt) or "that"
    opinion = "correct" if stated == problem.answer else "incorrect"
    wrong = first_wrong(problem, attempt) or stated
    reason = rng.choice(REASONS[behaviour][opinion]).format(a=stated, s=wrong)
    phrase = PHRASE_START + solution_text(careful_steps(problem)) + (f" {quote}" if quote else "")
    return Guidance(opinion, reason, phrase)


def checker_turn(rng: random.Random, problem: Problem) -> tuple[list[dict], str]:
    """Chat messages that ask for a checked solution, and that solution: a careless one, reason and phrase after it."""
    attempt = student_turn(rng, problem)
    said = _guidance(rng, problem, attempt, rng.choice(BEHAVIOURS), None)
    return checker_messages(problem.question), attempt + said.text


def checker_messages(question: str) -> list[dict]:
    """The prompt of the checker role: prompted self-improvement in one response."""
    return [{"role": "system", "content": CHECKER_SYSTEM}, {"role": "user", "content": question}]


def draw_problem(rng: random.Random, split: str = "train") -> Problem:
    """A pretraining problem: any length of 1 to 6 steps, some with a distractor."""
    length = rng.choices(LENGTHS, LENGTH_WEIGHTS)[0]
    return problems.generate_problem(rng, length, split, distractor=rng.random() < DISTRACTOR_SHARE)


def drill_equation(rng: random.Random) -> str:
    """`a+b=c`, right or wrong; everything within 0..99."""
    while True:
        left, right = rng.choice(((9, 9), (99, 9), (99, 40)))
        op = rng.choice("++--*")
        step = Step(rng.randint(0, left), op, rng.randint(2, 9) if op == "*" else rng.randint(0, right))
        said = step.result if rng.random() < 0.5 else _any_wrong(rng, step)
        if 0 <= step.result <= problems.LARGEST and 0 <= said <= problems.LARGEST:
            return f"{step.left}{step.op}{step.right}={said}"


def _any_wrong(rng: random.Random, step: Step) -> int:
    """A wrong result: any number, another last digit, or as the student errs."""
    result = step.result
    kinds = (
        rng.randint(0, problems.LARGEST), result // 10 * 10 + rng.randint(0, 9), result + rng.choice(SLIPS),
        _wrong_product(rng, step) if step.op == "*" else result + rng.choice(SLIPS),
    )  # fmt: skip
    return rng.choice(kinds)


def student_messages_and_turn(rng: random.Random, problem: Problem) -> tuple[list[dict], str]:
    """Chat messages of the student's prompt, the bare question, and a careless solution."""
    return [{"role": "user", "content": problem.question}], student_turn(rng, problem)


def reflected(rng: random.Random, problem: Problem, attempt: str) -> str:
    """The attempt with a reflection behind it, its second solution careful or not: what a student trained here may write."""
    said = _guidance(rng, problem, attempt, rng.choice(BEHAVIOURS), None)
    phrase = said.phrase if rng.random() < 0.5 else PHRASE_START + _attempt(rng, problem)
    return attempt + Guidance(said.opinion, said.reason, phrase).text
