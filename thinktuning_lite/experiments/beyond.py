"""Beyond the paper: its future work, its limits and its relatives, as arms of one grid with differences to GRPO.

    python -m thinktuning_lite beyond [--name beyond] [--arms grpo released ...] [--seeds 0 1 2] [--steps 32] [--fresh]
                                            [--save data/logs/beyond]

Everything goes to runs/<name>/: one folder a run (metrics.jsonl, checkpoints, result.json), results.json, table.md.
Interrupted, the same command goes on where it was; other --arms join those that are there, and the table shows every arm
whose seeds are all done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from thinktuning_lite.classroom import sample
from thinktuning_lite.evaluation import statistics
from thinktuning_lite.experiments import beyond_arms, beyond_relatives, runs
from thinktuning_lite.experiments.beyond_arms import GRPO, RELEASED, BeyondPlan
from thinktuning_lite.experiments.commands import beyond_parser
from thinktuning_lite.experiments.folders import result_path
from thinktuning_lite.experiments.side_by_side import TEST_SETS
from thinktuning_lite.method.calculator import Calculator
from thinktuning_lite.method.files import read_json, write_json

ARMS = beyond_arms.ARMS | beyond_relatives.ARMS
Results = Mapping[str, Sequence[dict[str, Any]]]  # {arm: [result of each seed]}


# --- one run ------------------------------------------------------------------------------------------------


def evaluate(
    model: Any, tokenizer: Any, plan: BeyondPlan, seed: int, calculator: bool = False
) -> dict[str, dict[str, Any]]:
    """Per set: `sampled` (T=1) and `greedy`, a string with 0 or 1 for each question, and means over the samples."""
    out, tool = {}, Calculator(tokenizer) if calculator else None
    for name in plan.sets:
        rows = sample.load_tiny_set(name)[: plan.limit]
        sampled, _ = sample.evaluate(model, tokenizer, rows, temperature=1.0, seed=seed, tool=tool)
        greedy, _ = sample.evaluate(model, tokenizer, rows, temperature=0.0, tool=tool)
        means = {k: v for k, v in sampled.summary().items() if k != "accuracy"}
        out[name] = {"sampled": _digits(sampled.correct), "greedy": _digits(greedy.correct)} | means
    return out


def _digits(right: Sequence[bool]) -> str:
    return "".join(str(int(r)) for r in right)


def run_one(plan: BeyondPlan, arm: str, seed: int, bar: int = 0) -> None:
    """Train and evaluate; result.json marks the run as done. `cpu_seconds` are those of the process that ended it."""
    runs.quiet()
    path = result_path(plan, arm, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    model, tokenizer, cost = ARMS[arm].train(plan, seed, path.parent, bar)
    ended = time.process_time()
    sets = evaluate(model, tokenizer, plan, seed, ARMS[arm].calculator)
    seconds = {"train": round(ended - began, 1), "evaluate": round(time.process_time() - ended, 1)}
    write_json(path, {"arm": arm, "seed": seed, "sets": sets, "cost": asdict(cost), "cpu_seconds": seconds})


def run(plan: BeyondPlan) -> Results:
    """Do what is missing of the plan's arms, arm by arm; the results of every arm of the folder that is complete."""
    wanted = [(arm, seed) for arm in plan.arms for seed in plan.seeds]
    runs.run_side_by_side([(run_one, plan, *job) for job in wanted if not result_path(plan, *job).exists()])
    return {a: [read_json(result_path(plan, a, s)) for s in plan.seeds] for a in ARMS if plan.is_done(a)}


# --- the table ----------------------------------------------------------------------------------------------


def right(results: Sequence[dict], sets: Sequence[str], kind: str = "sampled") -> np.ndarray:
    """(seeds, questions of all `sets` together): 1 where an answer of one arm was right."""
    return np.array([[int(digit) for name in sets for digit in r["sets"][name][kind]] for r in results])


@dataclass(frozen=True)
class Comparison:
    """An arm minus a reference on the same seeds and questions, with Holm's p over all that were made together."""

    arm: str
    reference: str
    difference: statistics.Difference
    adjusted_p: float
    verdict: str


def comparisons(results: Results, sets: Sequence[str], kind: str = "sampled") -> list[Comparison]:
    """Each arm minus GRPO, minus ThinkTuning released, and minus its control, as far as these are there."""
    pairs = [
        (arm, reference)
        for arm in results
        for reference in dict.fromkeys((GRPO, RELEASED, ARMS[arm].control))
        if reference in results and reference != arm and (arm, reference) != (GRPO, RELEASED)
    ]
    rights = {arm: right(results[arm], sets, kind) for arm in results}
    found = [statistics.compared(rights[arm], rights[reference]) for arm, reference in pairs]
    adjusted = statistics.holm([d.p_value for d in found])
    return [
        Comparison(*pair, d, p, statistics.verdict(d, p)) for pair, d, p in zip(pairs, found, adjusted, strict=True)
    ]


def line(results: Sequence[dict], sets: Sequence[str]) -> dict[str, float]:
    """Means over an arm's seeds: shares of 1 by set, tokens of training, and over `sets` reflection and tokens an answer."""

    def mean(values: Any) -> float:
        return float(np.mean(list(values)))

    shares = {f"{kind}/{s}": float(right(results, [s], kind).mean()) for kind in ("sampled", "greedy") for s in sets}
    shown = {k: mean(r["sets"][s][k] for r in results for s in sets) for k in ("reflection", "worked_route", "length")}
    cost = {name: mean(r["cost"][name] for r in results) for name in results[0]["cost"]}
    return shares | shown | cost | {"cpu_seconds": mean(sum(r["cpu_seconds"].values()) for r in results)}


def markdown(results: Results, plan: BeyondPlan) -> str:
    """The table of all arms over all test sets, that of the differences set by set, and the legend."""
    sets = [s for s in plan.sets if s in TEST_SETS] or list(plan.sets)
    short = " / ".join(s.removeprefix("test_") for s in sets)
    head = (
        "arm", f"T=1, %: {short}", "greedy, %", "minus GRPO, points [95 %]", "minus released", "minus its control",
        "reflects, %", "tokens an answer", "sampled, k", "taught, k", "teacher wrote, k",
    )  # fmt: skip
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    made = {(c.arm, c.reference): c for c in comparisons(results, sets)}
    for arm, seeds in results.items():
        mean = line(seeds, sets)
        shares = [" / ".join(f"{100 * mean[f'{kind}/{s}']:.1f}" for s in sets) for kind in ("sampled", "greedy")]
        control = ARMS[arm].control
        own = f"{control}: {_cell(made.get((arm, control)))}" if control not in (GRPO, RELEASED) else "–"
        costs = [f"{mean[k] / 1000:.1f}" for k in ("sampled_tokens", "taught_tokens", "teacher_tokens")]
        cells = [
            arm, *shares, _cell(made.get((arm, GRPO))), _cell(made.get((arm, RELEASED))), own,
            f"{100 * mean['reflection']:.0f}", f"{mean['length']:.0f}", *costs,
        ]  # fmt: skip
        out.append("| " + " | ".join(cells) + " |")
    said = "\n".join(f"- *{arm}* ({ARMS[arm].group}): {ARMS[arm].says}" for arm in results)
    return "\n".join(out) + _legend(plan, len(made)) + _by_set(results, sets) + f"\n{said}\n"


def _cell(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    shown = "" if comparison.verdict == "no difference shown" else f", **{comparison.verdict}**"
    return comparison.difference.points + shown


def _legend(plan: BeyondPlan, comparisons_made: int) -> str:
    return f"""

Mean over seeds {", ".join(map(str, plan.seeds))}; {plan.steps} steps each.
*minus ...*: right at T=1 on all of these questions together, on the same seeds. The interval is for other seeds and other
questions (`statistics.crossed_difference`); "better" or "worse" needs it to leave out 0, and Holm's p over the
{comparisons_made} comparisons of this table to be at most 0.05.
*reflects*, *tokens an answer*: of the samples at T=1. *sampled*, *taught*, *teacher wrote*: thousands of tokens in training,
by the student, by a teacher and in the loss, by a teacher in all.
"""


def _by_set(results: Results, sets: Sequence[str]) -> str:
    """The same differences on each set by itself, corrected over all of them."""
    if len(sets) < 2:
        return ""
    found = [(s, c) for s in sets for c in comparisons(results, [s])]
    adjusted = statistics.holm([c.difference.p_value for _, c in found])
    cells = {
        (c.arm, c.reference, s): _cell(replace(c, adjusted_p=p, verdict=statistics.verdict(c.difference, p)))
        for (s, c), p in zip(found, adjusted, strict=True)
    }
    out = [f"\nSet by set (Holm's p over {len(found)} comparisons):\n"]
    out += ["| arm | minus | " + " | ".join(sets) + " |", "|---" * (len(sets) + 2) + "|"]
    for arm, reference in dict.fromkeys((c.arm, c.reference) for _, c in found):
        out.append(f"| {arm} | {reference} | " + " | ".join(cells[arm, reference, s] for s in sets) + " |")
    return "\n".join(out) + "\n"


def report(plan: BeyondPlan, results: Results) -> str:
    """Write table.md, and results.json: {"runs": {arm: [...]}, "arms": {arm: what it is}, "comparisons": [...]}."""
    text = markdown(results, plan)
    (plan.folder / "table.md").write_text(text, encoding="utf-8")
    sets = [s for s in plan.sets if s in TEST_SETS] or list(plan.sets)
    what = {a: {"says": ARMS[a].says, "group": ARMS[a].group, "control": ARMS[a].control} for a in results}
    made = [asdict(c) for c in comparisons(results, sets)]
    write_json(plan.folder / "results.json", {"arms": what, "comparisons": made, "runs": dict(results)})
    return text


def main(arguments: list[str] | None = None) -> None:
    parser = beyond_parser()
    options = {"arms": tuple(ARMS), **vars(parser.parse_args(arguments))}
    fresh, save = options.pop("fresh", False), options.pop("save", None)
    plan = parser.plan(BeyondPlan, options)
    runs.quiet()
    with runs.claimed(plan, fresh):
        results = run(plan)
        print("\n" + report(plan, results))
        if save:
            runs.save_log(replace(plan, arms=tuple(results)), save)
    print(f"See {plan.folder}/")
