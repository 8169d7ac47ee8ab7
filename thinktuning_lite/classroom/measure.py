"""What a finished checkpoint can do in each of its roles, and the README that says it."""

from __future__ import annotations

import json
from pathlib import Path

from tqdm.auto import tqdm

from thinktuning_lite.classroom import problems as problems_module
from thinktuning_lite.classroom.make import README
from thinktuning_lite.classroom.turns import LENGTHS
from thinktuning_lite.method.teacher import BEHAVIOURS, TINY_PROMPT


def measure(model, tokenizer, n: int = 200, seed: int = 1) -> tuple[dict[str, dict[str, float]], dict[str, list[bool]]]:
    """Student and teacher on `n` validation problems of each length and kind; shares of 1.

    `student` at T=1, `student greedy`, `teacher` (final answer of its phrase after reading the sampled attempt),
    `opinion` (right about that attempt), `format` (reply parses), `product` (student at T=1, product problems only).
    Second, by sort of attempt, whether each opinion was right: what an opinion rests on.
    """
    from thinktuning_lite.classroom import sample
    from thinktuning_lite.method.answers import extract_answer
    from thinktuning_lite.method.grading import is_correct
    from thinktuning_lite.method.teacher import GuidanceRequest, PolicyTeacher, parse_guidance

    teach = PolicyTeacher(model, tokenizer, TINY_PROMPT, max_new_tokens=200)
    kinds = [(f"{k} steps", (k,), False) for k in LENGTHS] + [("2-4 steps, distractor", (2, 3, 4), True)]
    out: dict[str, dict[str, float]] = {}
    opinions: dict[str, list[bool]] = {}
    for name, lengths, distractor in tqdm(kinds, desc="measuring", unit="kind"):
        problems = problems_module.generate_problems(seed, "validation", lengths, n, distractor=distractor)
        rows = [p.row() for p in problems]
        sampled, texts = sample.evaluate(model, tokenizer, rows, seed=seed)
        greedy, _ = sample.evaluate(model, tokenizer, rows, temperature=0.0)
        asked = [
            GuidanceRequest(r["question"], t, BEHAVIOURS[i % len(BEHAVIOURS)])
            for i, (r, t) in enumerate(zip(rows, texts, strict=True))
        ]
        said = [parse_guidance(reply) for reply in teach(asked)]
        right = [
            g is not None and is_correct(extract_answer(g.phrase), r["answer"]) for g, r in zip(said, rows, strict=True)
        ]
        judged = [g is not None and (g.opinion == "correct") == c for g, c in zip(said, sampled.correct, strict=True)]
        for row, correct, judged_right in zip(rows, sampled.correct, judged, strict=True):
            sort = f"{'a' if row['product'] else 'no'} product, attempt {'right' if correct else 'wrong'}"
            opinions.setdefault(sort, []).append(judged_right)
        products = [c for c, r in zip(sampled.correct, rows, strict=True) if r["product"]]
        out[name] = {
            "student": sampled.summary()["accuracy"],
            "student greedy": greedy.summary()["accuracy"],
            "student, product": sum(products) / len(products),
            "teacher": sum(right) / n,
            "opinion": sum(judged) / n,
            "format": sum(g is not None for g in said) / n,
            "student reflects": sampled.summary()["reflection"],
        }
    return out, opinions


def write_readme(out: Path, model, tokenizer, log: list[dict], steps: int, seed: int, n: int = 200) -> None:
    """Measure the model and write `out`/README.md and `out`/training_log.json."""
    figures, judged = measure(model, tokenizer, n)
    columns = list(next(iter(figures.values())))
    table = ["| problems | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    table += [f"| {k} | " + " | ".join(f"{100 * v[c]:.0f} %" for c in columns) + " |" for k, v in figures.items()]
    opinions = [f"| {sort} | {len(ok)} | {100 * sum(ok) / len(ok):.0f} % |" for sort, ok in sorted(judged.items())]
    every = [ok for sort in judged.values() for ok in sort]
    text = README.format(
        right=100 * sum(every) / len(every),
        opinions="\n".join(opinions),
        parameters=model.num_parameters(),
        vocabulary=len(tokenizer),
        steps=steps,
        seed=seed,
        n=n,
        minutes=log[-1]["seconds"] / 60,
        table="\n".join(table),
    )
    (out / "README.md").write_text(text)
    (out / "training_log.json").write_text(json.dumps(log) + "\n")
