"""The table: every method on the tiny classroom's three benchmarks, several seeds, differences to GRPO with intervals.

    python -m thinktuning_lite table [--seeds 0 1 ...] [--methods ...] [--steps 48] [--limit N] [--save data/logs/table]

Everything goes to runs/<name>/: one folder a method and seed (training checkpoints, responses.db, result.json),
results.json, table.md. Interrupted, the same command goes on where it was: a trained model goes on from its checkpoint,
and no response that is in responses.db is asked for again. --save copies what a reader needs to a folder.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.evaluation import baselines, behaviours, statistics
from thinktuning_lite.evaluation.harness import GREEDY, SAMPLED, TINY_TASKS, Record, StoredLM, hub_model, run_tasks
from thinktuning_lite.experiments import runs as runs_module
from thinktuning_lite.experiments.commands import table_parser
from thinktuning_lite.experiments.methods import DEFAULT, METHODS, REFERENCE, VOTES, Method, Plan, Trained
from thinktuning_lite.method.files import read_json, write_json
from thinktuning_lite.method.grading import canonical_form, is_correct

SAMPLES = 4  # at T=1, for pass@1 sampled, maj@4 and pass@4
SAMPLED_QUESTIONS = 75  # of each benchmark; greedy answers and self-consistency are on all of them


# --- one run ------------------------------------------------------------------------------------------------


def slug(method: str) -> str:
    return method.lower().replace(",", "").replace(" ", "-")


def result_path(plan: Plan, method: str, seed: int) -> Path:
    return plan.folder / f"{slug(method)}-seed{seed}" / "result.json"


def run_one(plan: Plan, name: str, seed: int, bar: int = 0) -> None:
    """Train, where the method trains, and evaluate; result.json marks the run as done."""
    runs_module.quiet()
    datasets.disable_progress_bars()
    began = time.process_time()
    method, path = METHODS[name], result_path(plan, name, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    model, tokenizer, cost = _trained(method, plan, seed, path.parent, bar)
    trained = time.process_time()
    result = evaluate_method(method, model, tokenizer, path.parent / "responses.db", seed, plan.limit)
    result |= {
        "method": name,
        "seed": seed,
        "cost": cost.__dict__,
        "cpu_seconds": {"train": round(trained - began, 1), "evaluate": round(time.process_time() - trained, 1)},
    }
    write_json(path, result)


def _trained(method: Method, plan: Plan, seed: int, folder: Path, bar: int) -> Trained:
    """The method's model; one whose training had ended before an interruption is loaded, not trained again."""
    if method.train is None:
        return *load_classroom(), baselines.Cost(0, 0)
    final = folder / "final"
    if not (final / "cost.json").exists():
        model, tokenizer, cost = method.train(plan, seed, folder, bar)
        model.save_pretrained(final)
        tokenizer.save_pretrained(final)
        write_json(final / "cost.json", cost.__dict__)
    cost = baselines.Cost(**read_json(final / "cost.json"))
    return AutoModelForCausalLM.from_pretrained(final), AutoTokenizer.from_pretrained(final), cost


def evaluate_method(
    method: Method, model: Any, tokenizer: Any, store: Path, seed: int, limit: int | None = None
) -> dict[str, Any]:
    """Per task: the summary of its greedy answers ("main": the majority, with `votes`) and of samples at T=1."""
    stored = StoredLM(hub_model(model, tokenizer), store, seed)
    lm = baselines.SelfImprovingLM(stored, method.prompt) if method.prompt else stored
    if method.votes > 1:
        sampled = run_tasks(lm, TINY_TASKS, tokenizer, repeats=method.votes, generation=SAMPLED, limit=limit)
        main = {name: [_vote(r) for r in records] for name, records in sampled.items()}
    else:
        few = min(SAMPLED_QUESTIONS, limit or SAMPLED_QUESTIONS)
        sampled = run_tasks(lm, TINY_TASKS, tokenizer, repeats=SAMPLES, generation=SAMPLED, limit=few)
        main = run_tasks(lm, TINY_TASKS, tokenizer, generation=GREEDY, limit=limit)
    return {
        "tasks": {
            t: {"main": summarise(main[t]), "sampled": summarise(sampled[t][:SAMPLED_QUESTIONS])} for t in TINY_TASKS
        }
    }


def _vote(record: Record) -> Record:
    """The majority as one answer; its length is that of all samples together, which is what it cost."""
    winner = statistics.majority(record.answers, canonical_form)
    shown = record.responses[record.answers.index(winner)] if winner is not None else record.responses[0]
    right = is_correct(winner, record.doc["answer"])
    return replace(record, responses=[shown], answers=[winner], correct=[right], lengths=[sum(record.lengths)])


def summarise(records: list[Record]) -> dict[str, Any]:
    """What the table, the notebook and the statistics need, one entry a question where they need that."""
    k = len(records[0].correct)
    texts = [text for r in records for text in r.responses]
    shown = [behaviours.behaviours(text) for text in texts]
    return {
        "samples": k,
        "right": [sum(r.correct) for r in records],
        "majority": [int(is_correct(statistics.majority(r.answers, canonical_form), r.doc["answer"])) for r in records],
        "length": [round(sum(r.lengths) / k, 2) for r in records],
        "no_answer": sum(r.answers.count(None) for r in records) / len(texts),
        "behaviours": {name: sum(name in s for s in shown) / len(texts) for name in behaviours.DETECTORS},
        "reflection": sum(bool(s & set(behaviours.REFLECTION)) for s in shown) / len(texts),
        "transitions": behaviours.transitions(records),
        "first_errors": behaviours.first_errors(records),
        "by_steps": {
            str(n): cell.__dict__ for n, cell in behaviours.accuracy_by(records, lambda d: d["steps"]).items()
        },
        "by_product": {
            str(p): cell.__dict__ for p, cell in behaviours.accuracy_by(records, lambda d: d["product"]).items()
        },
        "responses": [r.responses[0] for r in records] if k == 1 else [],
    }


# --- all runs -----------------------------------------------------------------------------------------------


def run(plan: Plan) -> list[dict[str, Any]]:
    """Do what is missing, two runs beside each other; the results of all, method by method."""
    wanted = [(name, seed) for name in plan.methods for seed in plan.seeds]
    # the longest first, so that no core waits at the end
    missing = [w for w in wanted if not result_path(plan, *w).exists()]
    missing.sort(key=lambda w: METHODS[w[0]].train is None)
    runs_module.run_side_by_side([(run_one, plan, *w) for w in missing])
    return [read_json(result_path(plan, *w)) for w in wanted]


def correct_matrix(results: Sequence[dict], method: str, task: str, kind: str = "main") -> np.ndarray:
    """(seeds, questions): the share of right samples, from `results` of one method."""
    rows = [r["tasks"][task][kind] for r in results if r["method"] == method]
    return np.array([[right / row["samples"] for right in row["right"]] for row in rows])


@dataclass(frozen=True)
class Line:
    """One row of the table: a method on a benchmark. Shares are of 1; `difference` is to the reference, paired."""

    method: str
    task: str
    seeds: int
    accuracy: float  # greedy, or the majority's
    pass_1: float
    maj_k: float
    pass_k: float
    length: float
    reflection: float
    no_answer: float
    generated_tokens: float
    trained_tokens: float
    difference: statistics.Difference | None
    adjusted_p: float | None
    verdict: str


def lines(results: Sequence[dict], reference: str = REFERENCE) -> list[Line]:
    """All rows, benchmark by benchmark; Holm's correction runs over all comparisons of the table."""
    methods = list(dict.fromkeys(r["method"] for r in results))
    tasks = list(results[0]["tasks"])
    pairs = [(t, m) for t in tasks for m in methods if reference in methods and m != reference]
    differences = {
        (t, m): statistics.compared(correct_matrix(results, m, t), correct_matrix(results, reference, t))
        for t, m in pairs
    }
    adjusted = dict(zip(differences, statistics.holm([d.p_value for d in differences.values()]), strict=True))
    return [_line(results, m, t, differences.get((t, m)), adjusted.get((t, m))) for t in tasks for m in methods]


def _line(
    results: Sequence[dict], method: str, task: str, difference: statistics.Difference | None, p: float | None
) -> Line:
    runs = [r for r in results if r["method"] == method]
    main, sampled = ([r["tasks"][task][kind] for r in runs] for kind in ("main", "sampled"))
    k = min(SAMPLES, sampled[0]["samples"])

    def mean(values: Any) -> float:
        return float(np.mean(list(values)))

    return Line(
        method,
        task,
        len(runs),
        float(correct_matrix(results, method, task).mean()),
        float(correct_matrix(results, method, task, "sampled").mean()),
        mean(mean(s["majority"]) for s in sampled),
        mean(statistics.pass_at_k(s["samples"], right, k) for s in sampled for right in s["right"]),
        mean(mean(m["length"]) for m in main),
        mean(m["reflection"] for m in main),
        mean(m["no_answer"] for m in main),
        mean(r["cost"]["generated_tokens"] for r in runs),
        mean(r["cost"]["trained_tokens"] for r in runs),
        difference,
        p,
        statistics.verdict(difference, p) if difference else "reference",
    )


def markdown(rows: Sequence[Line], plan: Plan) -> str:
    """The table, its legend included."""
    head = (
        "benchmark",
        "method",
        "right, %",
        f"minus {REFERENCE}, points [95 %]",
        "verdict",
        "T=1: pass@1, %",
        "maj@k, %",
        f"pass@{SAMPLES}, %",
        "tokens",
        "reflects, %",
        "no answer, %",
        "generated in training, k",
    )
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in rows:
        d = r.difference
        gap = d.points if d else "–"
        cells = (
            r.task.removeprefix("tt_tiny_"),
            r.method,
            f"{100 * r.accuracy:.1f}",
            gap,
            r.verdict,
            f"{100 * r.pass_1:.1f}",
            f"{100 * r.maj_k:.1f}",
            f"{100 * r.pass_k:.1f}",
            f"{r.length:.0f}",
            f"{100 * r.reflection:.0f}",
            f"{100 * r.no_answer:.1f}",
            f"{r.generated_tokens / 1000:.0f}",
        )
        out.append("| " + " | ".join(cells) + " |")
    methods = "\n".join(f"- *{m}*: {METHODS[m].says}" for m in dict.fromkeys(r.method for r in rows))
    return (
        "\n".join(out)
        + f"""

Mean over seeds {", ".join(map(str, plan.seeds))}.
*right*: greedy answers (self-consistency: the majority of {VOTES} samples, with the tokens of all).
*minus {REFERENCE}*: on the same questions and seeds. The interval is for other seeds and other questions
(`statistics.crossed_difference`; of one seed only: for other questions, by paired bootstrap); "better" or "worse" needs
it to leave out 0, and Holm's p over the whole table to be at most 0.05.
*T=1*, *maj@k* (k = {SAMPLES}, self-consistency {VOTES}), *pass@{SAMPLES}* (unbiased): samples of the first
{SAMPLED_QUESTIONS} questions. *tokens*, *reflects*, *no answer*: of the answers under *right*.
*generated in training*: thousands of tokens sampled, a teacher's included; SFT samples none and is given solutions.

{methods}
"""
    )


def report(plan: Plan, results: list[dict], save: Path | None = None) -> str:
    """Write table.md and results.json, and copy them with config and environment to `save`."""
    text = markdown(lines(results), plan)
    (plan.folder / "table.md").write_text(text, encoding="utf-8")
    write_json(plan.folder / "results.json", results)
    if save:
        save.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "environment.json", "table.md"):
            shutil.copy(plan.folder / name, save / name)
        (save / "results.json").write_text(json.dumps(compact(results), separators=(",", ":")) + "\n", encoding="utf-8")
    return text


def compact(results: list[dict]) -> list[dict]:
    """The results without responses but those of the first seed: what is small enough to ship."""
    first = results[0]["seed"]
    out = json.loads(json.dumps(results))
    for result in out:
        if result["seed"] != first:
            for task in result["tasks"].values():
                task["main"]["responses"] = []
    return out


def main(arguments: list[str] | None = None) -> None:
    parser = table_parser()
    options = {"methods": DEFAULT, **vars(parser.parse_args(arguments))}
    fresh, save = options.pop("fresh", False), options.pop("save", None)
    plan = parser.plan(Plan, options)
    runs_module.quiet()
    with runs_module.claimed(plan, fresh):
        print("\n" + report(plan, run(plan), save))
    print(f"See {plan.folder}/")
