"""What a finished checkpoint can do in each of its roles, and the README that says it."""

from __future__ import annotations

import json
from pathlib import Path

from tqdm.auto import tqdm

from thinktuning_lite.classroom import problems as problems_module
from thinktuning_lite.classroom.turns import LENGTHS
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT

README = """# The tiny classroom

`LlamaForCausalLM`, {parameters:,} parameters, {vocabulary} tokens; student and teacher in one set of weights. Made by

    python -m thinktuning_lite make-classroom --steps {steps} --seed {seed}

in {minutes:.0f} minutes on two CPU cores (`training_log.json`), from text that `thinktuning_lite/classroom/make.py` generates.
Licence: Apache-2.0, like the project.

## This world was made so that checking helps

It is a demonstration, not evidence about large models. The *student role* was pretrained on careless solutions: products of two
digits by one are guessed (right 15 % of the time), sums slip by ten in 5 % of the steps, errors are carried on, and nothing is ever
reflected upon. Towards the end the token that closes a turn weighs more, which makes a second thought after the answer rarer still.
The *teacher role*, the same weights under another prompt, was pretrained to judge an attempt and to redo it with each product
worked out by tens and units. So the knowledge that the student lacks is in its own weights, behind a behaviour that its role never
shows. Whether GRPO can find that behaviour, and whether guidance can instil it, is what the notebooks measure.

The tokenizer has whole words, single digits and every printable ASCII character. The teacher's tags are single tokens,
and the checkpoint's generation config suppresses them: only the teacher role lifts that. The student role can therefore
never slide into the teacher's format.

## Figures of this checkpoint

{n} validation problems of each kind; student sampled at T=1 unless said; the teacher, greedy, reads those samples.
"right" for the teacher is the final answer of its phrase; "opinion" is right about the attempt it read.

{table}

## What the opinion is worth

{right:.0f} % of all opinions are right. On sums they rest on checking; products are mostly taken for wrong, right ones too:

| problem and attempt | attempts | opinion right |
|---|---|---|
{opinions}

The opinion is the first word of a reply, so every equation must be checked at one glance. What teaches that: a label after every
equation of an attempt in the teacher's prompt, where nothing is ever sampled, and rows of single equations whose errors range from
gross to fine. Slips by one or two stayed hard to see, hence sums here slip by ten, the carry.
Nothing in training reads the opinion, and splicing drops it.
"""


def measure(model, tokenizer, n: int = 200, seed: int = 1) -> tuple[dict[str, dict[str, float]], dict[str, list[bool]]]:
    """Student and teacher on `n` validation problems of each length and kind; shares of 1.

    `student` at T=1, `student greedy`, `teacher` (final answer of its phrase after reading the sampled attempt),
    `opinion` (right about that attempt), `format` (reply parses), `product` (student at T=1, product problems only).
    Second, by sort of attempt, whether each opinion was right: what an opinion rests on.
    """
    from thinktuning_lite.classroom import sample
    from thinktuning_lite.method.answers import extract_answer
    from thinktuning_lite.method.grading import is_correct
    from thinktuning_lite.method.policy_teacher import PolicyTeacher
    from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance

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
