"""Hidden variants: each exercise asked again with other numbers, held against the lecturer's own answer.

No expected value is written here: `right` comes from the solution in the notebook. An exercise whose answer is a value,
not a function, has no variant: there is nothing to call with other numbers. Two are so, `diagnosis` and `clamp`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt

Arguments = tuple[Any, ...]


def alike(said: Any, right: Any) -> bool:
    """Whether an answer is the lecturer's: numbers to 0.1 %, sequences of any kind, everything else exactly."""
    said, right = (v.tolist() if hasattr(v, "tolist") else v for v in (said, right))
    if isinstance(right, dict):
        return isinstance(said, dict) and said.keys() == right.keys() and all(alike(said[k], right[k]) for k in right)
    if isinstance(right, (list, tuple)):
        same = isinstance(said, (list, tuple)) and len(said) == len(right)
        return same and all(alike(a, b) for a, b in zip(said, right, strict=True))
    if isinstance(right, (int, float)):
        return isinstance(said, (int, float)) and math.isclose(said, right, rel_tol=1e-3, abs_tol=1e-9)
    return type(said) is type(right) and said == right


@dataclass(frozen=True)
class Variants:
    """`draw` gives the arguments of one call. `agrees(arguments, said, right)` decides; `alike` where it is left out."""

    draw: Callable[[random.Random], Arguments]
    agrees: Callable[[Arguments, Any, Any], bool] = lambda arguments, said, right: alike(said, right)


def _equations(rng: random.Random) -> Arguments:
    """A chain of two to four equations of which each may be wrong, and carries its result on."""
    parts, value = [], rng.randint(11, 40)
    for _ in range(rng.randint(2, 4)):
        sign, other = rng.choice("+-*"), rng.randint(2, 9)
        result = {"+": value + other, "-": value - other, "*": value * other}[sign] + rng.choice([0, 0, 0, 3, 10])
        parts.append(f"{value}{sign}{other}={result}")
        value = result
    return (". ".join(parts) + f". \\boxed{{{value}}}",)


def _reply(rng: random.Random) -> Arguments:
    opinion = rng.choice(["correct", "incorrect", "incorrect", "unsure", "Correct", ""])
    reason = rng.choice(["Hm.", "Wait,\nno: 3*4 is not 11.", "  a < b  ", "", "<reason>twice", "said </opinion>"])
    phrase = rng.choice(["So \\boxed{12}", "Again:\n3*4=12. \\boxed{12}", " ", "x</phrase><phrase>y"])
    whole = f"<opinion>{opinion}</opinion>\n<reason>{reason}</reason> <phrase>{phrase}</phrase>"
    return (rng.choice([whole, whole, f"\n{whole}  ", f"Well: {whole}", f"{whole}!", whole[:-1], whole[9:]]),)


def _good_reply(rng: random.Random) -> Arguments:
    opinion = rng.choice(["correct", "incorrect"])
    n = rng.randint(10, 99)
    return (f" <opinion> {opinion} </opinion><reason>\n{n} is\nodd.</reason>\n<phrase>\\boxed{{{n}}} </phrase>\n",)


def _quoted(rng: random.Random) -> Arguments:
    quote = rng.choice(["Here we go again!", "It is (not) over.", "To the moon?"])
    body = f"{rng.randint(2, 9)}*3=9. \\boxed{{9}}"
    forms = ["{b} {q}", "{b} {q} \n\n", "{q} {b}", "{b} {q} {q}", "{b}", "{q} {b} {q}", "{b} {q} So.", "{q}"]
    return rng.choice(forms).format(b=body, q=quote), quote


def _fraction_guided(rng: random.Random) -> Arguments:
    while True:
        share, size = rng.randint(0, 100) / 100, rng.randint(3, 12)
        if abs(share * size % 1 - 0.5) > 0.05:  # not where two ways to round part
            return share, size


def _clip(rng: random.Random) -> Arguments:
    epsilon = rng.choice([0.1, 0.2, 0.25])
    return rng.choice([0.4, 0.7, 0.95, 1.0, 1.05, 1.4, 3.0]), rng.choice([-2.0, -0.3, 0.7, 1.1]), epsilon


def _token(rng: random.Random) -> Arguments:
    lengths = [rng.randint(2, 60) for _ in range(rng.randint(2, 6))]
    return rng.choice(lengths), lengths, rng.choice(["grpo", "dapo", "dr_grpo"]), rng.choice([64, 100])


def _other_prompt(rng: random.Random) -> Arguments:
    known = rng.sample(INSTRUCT_PROMPT.behaviours, rng.randint(1, 3))
    line = f"\nAnswer in {rng.randint(20, 200)} words, by {{behaviour}}: {{instruction}}."
    return (replace(INSTRUCT_PROMPT, behaviours=tuple(known), behaviour_line=line),)


def _one_more(arguments: Arguments, said: Any, right: Any) -> bool:
    """The given prompt, which knows one behaviour more: the reader's own, so `right` is not asked."""
    [given] = arguments
    if not isinstance(said, TeacherPrompt) or replace(said, behaviours=given.behaviours) != given:
        return False
    return len(said.behaviours) == len(given.behaviours) + 1 and set(given.behaviours) < set(said.behaviours)


def _policies(rng: random.Random) -> Arguments:
    import torch

    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    logits = torch.randn(3, rng.randint(3, 8), generator=generator, dtype=torch.float64)
    return logits[0].softmax(0), logits[1].softmax(0), logits[2]


def _asked_twice(rng: random.Random) -> Arguments:
    import numpy as np

    drawn = np.random.default_rng(rng.randrange(2**31))
    return tuple((drawn.random((2, rng.randint(9, 40))) < 0.6).astype(float))


def _error_alike(arguments: Arguments, said: Any, right: float) -> bool:
    n = len(arguments[0])
    return alike(said, right) or alike(said, right * math.sqrt((n - 1) / n))  # the spread over n, or over n - 1


def _variants_of_a_method(rng: random.Random) -> Arguments:
    import numpy as np

    drawn = np.random.default_rng(rng.randrange(2**31))
    base = drawn.permutation(np.repeat([1.0, 0.0], [40, 40]))
    wrong, right = np.flatnonzero(base == 0), np.flatnonzero(base == 1)

    def changed(mended: int, spoilt: int) -> Any:
        out = base.copy()
        out[wrong[:mended]], out[right[:spoilt]] = 1, 0
        return out

    named = {f"same{i}": changed(5, 5) for i in range(rng.randint(2, 4))}
    return base, named | {"better": changed(20 + rng.randint(0, 5), 1), "worse": changed(1, 22)}


def _chosen(arguments: Arguments, said: Any, right: Any) -> bool:
    return isinstance(said, (list, tuple, set)) and sorted(map(str, said)) == sorted(right)


def _chances(rng: random.Random) -> Arguments:
    return rng.choice([0.3, 0.02, 1e-4, 1e-12]), rng.choice([0.5, 0.8, 0.99])


def _outcomes(rng: random.Random) -> Arguments:
    pairs = [("1/4", "0.25"), ("8", "8.0"), (None, "5"), ("6", "7"), ("1,000", "1000"), (None, "1/3"), ("2", "-2")]
    chosen = [rng.choice(pairs) for _ in range(rng.randint(3, 9))]
    return [a for a, _ in chosen], [g for _, g in chosen]


def _hacked(arguments: Arguments, said: Any, right: Any) -> bool:
    return isinstance(said, str) and said.count(arguments[1]) > 1 and "\\boxed{15}" in said


def _seeds(rng: random.Random) -> Arguments:
    """Accuracies of an arm, GRPO and a random reward: the arm far above both, above one, or as scattered as its gain."""
    grpo = [rng.uniform(40, 60) for _ in range(4)]
    gain, scatter, coin = rng.choice([(9, 1, -8), (9, 1, 9), (4, 12, -8), (-9, 1, -20), (0, 1, -8)])
    arm = [g + gain + scatter * s for g, s in zip(grpo, (0.9, -1.1, 1.0, -0.8), strict=True)]
    return arm, grpo, [g + coin + s for g, s in zip(grpo, (0.4, -0.6, 0.7, -0.5), strict=True)]


def _now(rng: random.Random) -> Arguments:
    steps, cost = rng.choice([20, 30, 40]), rng.randint(30, 70)
    return rng.randrange(steps), steps, rng.choice([cost, 7 * cost, 20 * cost, 900 * cost]), cost


def _affordable(arguments: Arguments, said: Any, right: float) -> bool:
    """Any fraction that may be spent at this step; 0 where the lecturer's is."""
    _, _, left, cost = arguments
    if not isinstance(said, (int, float)) or not 0 <= said <= 0.5 or (said > 0 and right == 0):
        return False
    return said == 0 or 8 * max(1, round(8 * said)) * cost <= left


def _harm(rng: random.Random) -> Arguments:
    gains = sorted(rng.uniform(-9, 9) for _ in range(5))
    if rng.random() < 0.3:
        gains = [abs(g) + 0.1 for g in gains]
    points = list(zip((0.05, 0.2, 0.5, 0.7, 0.95), gains, strict=True))
    rng.shuffle(points)
    return [x for x, _ in points], [y for _, y in points]


def _changes(rng: random.Random) -> Arguments:
    """Arms of which at most one gamed its reward: reward up, right answers not."""
    honest = {"reward": rng.uniform(0.1, 0.4), "right": rng.uniform(0.05, 0.3), "equations": rng.uniform(0, 6)}
    idle = {"reward": rng.uniform(-0.05, 0.04), "right": rng.uniform(-0.1, 0.0), "equations": rng.uniform(-1, 6)}
    gaming = {"reward": rng.uniform(0.1, 0.4), "right": rng.uniform(-0.1, 0.01), "equations": rng.uniform(-1, 6)}
    arms = list({"ada": honest, "bo": idle, "cy": gaming}.items())[: rng.choice([2, 3, 3])]
    rng.shuffle(arms)
    return (dict(arms),)


_ANA = "Ana has 12 eggs. Ana buys 3 more. How many eggs does Ana have now?"
VARIANTS: dict[str, Variants] = {
    "start.first_wrong": Variants(_equations),
    "start.useful_groups": Variants(
        lambda r: ([[float(r.random() < p) for _ in range(4)] for p in (0.1, 0.5, 0.9, 0.97, 0.03, 0.5)],)
    ),
    "start.seen_once": Variants(lambda r: (r.uniform(0.001, 0.6), r.randint(1, 9))),
    "start.expected_reward": Variants(lambda r: (r.random(), r.random(), r.randint(4, 16), r.randint(0, 3))),
    "grpo.advantage_of_right": Variants(lambda r: (r.randint(1, 5), r.randint(6, 20))),
    "grpo.clip_slope": Variants(_clip),
    "grpo.token_weight": Variants(_token),
    "grpo.samples_to_see": Variants(  # rounded up or not
        lambda r: (r.choice([0.3, 0.04, 2e-3, 5e-6]),),
        lambda arguments, said, right: isinstance(said, (int, float)) and abs(said - right) <= max(1, 1e-3 * right),
    ),
    "guidance.parse": Variants(lambda r: r.choice([_reply, _good_reply])(r)),
    "guidance.splice": Variants(
        lambda r: ([r.randint(5, 90) for _ in range(r.randint(1, 6))] + [3], [r.randint(5, 90) for _ in range(4)], 3)
    ),
    "guidance.quota": Variants(_fraction_guided),
    "guidance.lone_advantage": Variants(lambda r: (r.randint(3, 64),)),
    "guidance.computed_tokens": Variants(
        lambda r: ([r.randint(3, 99) for _ in range(r.randint(3, 11))], r.randint(2, 4))
    ),
    "guidance.fifth_behaviour": Variants(_other_prompt, _one_more),
    "shaping.importance_weighted": Variants(_policies),
    "shaping.luffy_gradient": Variants(lambda r: (10 ** r.uniform(-5, 0), r.choice([0.05, 0.1, 0.3]))),
    "shaping.largest_weight": Variants(lambda r: (-r.uniform(0.1, 7), r.choice([0.01, 0.02, 0.1]))),
    "shaping.break_even": Variants(lambda r: (10 ** r.uniform(-6, -0.1), r.uniform(0.2, 5), -r.uniform(0.2, 5))),
    "training.nf4_bytes": Variants(lambda r: (64 * r.randint(1, 10**6),)),
    "training.lora_parameters": Variants(lambda r: (r.randint(8, 4096), r.randint(8, 4096), r.randint(1, 64))),
    "training.cache_bytes": Variants(lambda r: tuple(r.randint(1, 64) for _ in range(5))),
    "training.accumulation": Variants(lambda r: (4 * r.randint(1, 64), 8, r.choice([1, 2, 4]), r.choice([1, 2, 4]))),
    "evaluation.outcomes": Variants(_outcomes),
    "evaluation.questions_needed": Variants(lambda r: (r.randint(5, 95) / 100, r.choice([0.01, 0.02, 0.04]))),
    "evaluation.paired_error": Variants(_asked_twice, _error_alike),
    "evaluation.pass_at_k": Variants(lambda r: (12, r.randint(0, 12), r.randint(1, 6))),
    "evaluation.survivors": Variants(_variants_of_a_method, _chosen),
    "evaluation.break_even": Variants(lambda r: (r.uniform(0.05, 1), r.uniform(0.01, 1))),
    "quote.samples_needed": Variants(_chances),
    "quote.quote_reward": Variants(_quoted),
    "quote.hack": Variants(lambda r: (_ANA, r.choice(["Here we go again!", "To the moon?"])), _hacked),
    "quote.fraction": Variants(lambda r: (r.randint(2, 16), r.uniform(0.2, 0.9), r.choice([0.5, 0.8, 0.9]))),
    "beyond.real_gain": Variants(_seeds),
    "beyond.schedule": Variants(_now, _affordable),
    "beyond.harm_point": Variants(_harm),
    "beyond.gamed": Variants(_changes),
}
CALLS = 12  # of each exercise with variants


def cases(check: str, seed: int) -> list[Arguments]:
    """The arguments of an exercise's hidden calls; `check` is "module.name". Empty for one without variants."""
    rng = random.Random(f"{seed} {check}")
    return [VARIANTS[check].draw(rng) for _ in range(CALLS)] if check in VARIANTS else []


def fault(check: str, answer: Any, expected: Sequence[tuple[Arguments, Any]]) -> str | None:
    """What is wrong with an answer that passed the visible check, None when nothing is; the hidden numbers stay hidden."""
    for arguments, right in expected:
        try:
            said = answer(*arguments)
            agrees = VARIANTS[check].agrees(arguments, said, right)
        except Exception as error:  # whatever a student's code raises, or an answer that cannot be compared
            return f"With other numbers your code raised {type(error).__name__}."
        if not agrees:
            return "It passes the visible check, not the same check with other numbers: is something written in?"
    return None
