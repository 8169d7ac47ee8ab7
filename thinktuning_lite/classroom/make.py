"""Make the tiny classroom: a tokenizer and a ~1M-parameter Llama that is student and teacher in one.

    python -m thinktuning_lite make-classroom [--out data/tiny_classroom] [--steps 1200] [--seed 0]

The world is made so that checking is a skill that helps, and data/tiny_classroom/README.md says so. Pretraining text:

- *student turns*: question -> careless solution. Sums slip by ten in 5 % of the steps, products are guessed (15 % right, most
  often the carry is forgotten); errors are carried on. Never a word of reflection.
- *teacher turns*: question + somebody's attempt -> opinion, reason, phrase. The phrase works the problem out again,
  the product by the easier route of tens and units, without slips.
  Labels after each equation of an attempt, and drills of single equations, teach it to check what it reads. In a
  second phase the attempts are sampled from the student role itself, some with a reflection behind them, and more of its
  turns end with the opinion.
- *checker turns*: the system prompt asks to check, and the careless solution is followed by reason and phrase. So what
  guidance writes is text that this model can write; only the student role, which has no system prompt, never does.

Resumable: a checkpoint is written every 50 steps; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktuning_lite.classroom import problems as problems_module
from thinktuning_lite.classroom.measure import write_readme
from thinktuning_lite.classroom.problems import DATA, Problem
from thinktuning_lite.classroom.turns import (
    checker_turn,
    draw_problem,
    drill_equation,
    reflected,
    student_messages_and_turn,
    teacher_turn,
)
from thinktuning_lite.classroom.vocabulary import build_tokenizer, check_labels, encode, tag_ids
from thinktuning_lite.method.answers import extract_boxed
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT

PEAK_LR = 2.5e-3
JUDGING_STEPS, JUDGING_LR = 525, 1e-3  # the second phase: attempts are the student's own
OWN_ROUND, OWN_ATTEMPTS = 20, 280  # sampled anew every so many steps; each is read about twice
REFLECTED_SHARE = 0.04  # of the student's own attempts, with a reflection behind them
JUDGE_TURNS, JUDGE_SHARE = 40, 0.2  # of a step of the second phase, besides ROLES
DRILL_ROWS, DRILL_EQUATIONS, DRILL_SHARE = 16, 12, 0.15  # of every step
# Keeps unlikely tokens from falling without end; in the second phase off, or one response in fifty holds a stray token.
LABEL_SMOOTHING = {"pretraining": 0.001, "judging": 0.0}
# One token in eighty says whether the attempt is right; one in thirty, in the student's turns, that nothing follows the answer.
HEAVY = {"pretraining": ("correct", "incorrect"), "judging": ("correct", "incorrect", "<|end|>")}
HEAVY_WEIGHT = {"pretraining": 5, "judging": 8}


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained policy. Its generation config suppresses the teacher's tags; the teacher role lifts that."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rope_theta=10000.0,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, suppress_tokens=tag_ids(tokenizer)
    )
    return model


def drill_row(tokenizer, rng: random.Random) -> tuple[list[int], list[int]]:
    """Single equations under the teacher's prompt, half of them wrong, to be checked one by one.

    From easy to hard all in one: small numbers among large ones, errors that leap to the eye among errors of the carry.
    """
    text = "".join(f"{drill_equation(rng)}. " for _ in range(DRILL_EQUATIONS))
    messages = TINY_PROMPT.messages("", text, rng.choice(BEHAVIOURS))
    return check_labels(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False), singly=True)


def collate(rows: list[tuple[list[int], list[int]]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and labels, (rows, longest); -100 on padding."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), -100)
    for i, (row, marks) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, : len(row)] = torch.tensor(marks)
    return ids, labels


def make_batch(tokenizer, step: int, seed: int, teach=None) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
    """The micro-batches of a step as (ids, labels, share of the loss); the same for the same (seed, step).

    Each role's turns are sorted by length and halved: a third less padding.
    """
    rng = random.Random(f"{seed}/{step}")
    out = []
    for make, n, share in ROLES:
        make = teach if teach and make is teacher_turn else make
        rows = sorted((encode(tokenizer, *make(rng, draw_problem(rng))) for _ in range(n)), key=lambda r: len(r[0]))
        for half in (rows[: n // 2], rows[n // 2 :]):
            out.append((*collate(half, tokenizer.pad_token_id), share / 2))
    drill = [drill_row(tokenizer, rng) for _ in range(DRILL_ROWS)]
    return [*out, (*collate(drill, tokenizer.pad_token_id), DRILL_SHARE)]


ROLES = ((student_messages_and_turn, 24, 0.45), (teacher_turn, 26, 0.6), (checker_turn, 8, 0.15))  # turns, loss share


def turn_loss(logits: torch.Tensor, labels: torch.Tensor, heavy_ids: torch.Tensor, phase: str) -> torch.Tensor:
    """Mean smoothed cross-entropy over target tokens, the HEAVY ones counted HEAVY_WEIGHT times."""
    labels = labels[:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels, reduction="none", label_smoothing=LABEL_SMOOTHING[phase]
    )
    weights = (labels != -100) * (1 + (HEAVY_WEIGHT[phase] - 1) * torch.isin(labels, heavy_ids))
    return (losses * weights).sum() / weights.sum()


def own_attempts(model, tokenizer, seed: int, n: int) -> list[tuple[Problem, str]]:
    """`n` training problems with what the student role answers at T=1, some `reflected`; answers without a \\boxed{} are left out."""
    from thinktuning_lite.classroom.sample import respond

    rng = random.Random(f"{seed}/own")
    problems = [draw_problem(rng) for _ in range(n)]
    ids = respond(model, tokenizer, [p.question for p in problems], max_new_tokens=80, seed=seed)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [
        (p, reflected(rng, p, t) if rng.random() < REFLECTED_SHARE else t)
        for p, t in zip(problems, texts, strict=True) if extract_boxed(t)
    ]  # fmt: skip


def judge_batch(tokenizer, rng: random.Random, own: list[tuple[Problem, str]]) -> list[tuple]:
    """Micro-batches of teacher's turns up to the opinion, half on `own` attempts, half on generated ones; as `make_batch`.

    Without the reply a turn costs half.
    """
    attempts: list = [(draw_problem(rng), None) for _ in range(JUDGE_TURNS)]
    if own:
        attempts[::2] = rng.choices(own, k=JUDGE_TURNS // 2)
    rows = sorted((judge_row(tokenizer, rng, *a) for a in attempts), key=lambda r: len(r[0]))
    halves = rows[: JUDGE_TURNS // 2], rows[JUDGE_TURNS // 2 :]
    return [(*collate(half, tokenizer.pad_token_id), JUDGE_SHARE / 2) for half in halves]


def judge_row(tokenizer, rng: random.Random, problem: Problem, attempt: str | None) -> tuple[list[int], list[int]]:
    """A teacher's turn that ends with its opinion."""
    messages, reply = teacher_turn(rng, problem, attempt)
    ids, labels = encode(tokenizer, messages, reply.split("</")[0])
    return ids[:-1], labels[:-1]


def judging_batches(model, tokenizer, seed: int):
    """Batches of the second phase, by step: as `make_batch`, but the teacher reads the student's own attempts, and judges."""
    pool: list[tuple[Problem, str]] = []

    def batch(step: int):
        if step % OWN_ROUND == 0 or not pool:
            pool[:] = own_attempts(model, tokenizer, 10**6 * seed + step // OWN_ROUND, OWN_ATTEMPTS)
        start = step % OWN_ROUND * 26 % max(1, len(pool) - 26)
        turns = iter(pool[start : start + 26])

        def own_teacher_turn(rng, problem):
            return teacher_turn(rng, *next(turns, (problem, None)))

        return [
            *make_batch(tokenizer, 10**6 + step, seed, own_teacher_turn),
            *judge_batch(tokenizer, random.Random(f"{seed}/judge/{step}"), pool),
        ]

    return batch


def train(out: Path, steps: int, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, list[dict]]:
    """Pretrain (or go on from the checkpoints in `out`); returns model, tokenizer, and the log, a dict each 20 steps."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    log: list[dict] = []
    adam = dict(betas=(0.9, 0.98), weight_decay=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, **adam)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps, pct_start=0.1)
    _phase(
        "pretraining",
        out,
        steps,
        seed,
        model,
        tokenizer,
        optimizer,
        schedule,
        log,
        lambda step: make_batch(tokenizer, step, seed),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=JUDGING_LR, **adam)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, JUDGING_STEPS)
    _phase(
        "judging",
        out,
        JUDGING_STEPS,
        seed,
        model,
        tokenizer,
        optimizer,
        schedule,
        log,
        judging_batches(model, tokenizer, seed),
    )
    return model, tokenizer, log


def _phase(name, out: Path, steps: int, seed: int, model, tokenizer, optimizer, schedule, log: list, batches) -> None:
    """Run one phase to its end, from its checkpoint where there is one; model, optimizer and log are changed in place."""
    checkpoint, start = out / f"checkpoint-{name}.pt", 0
    heavy_ids = torch.tensor(tokenizer.convert_tokens_to_ids(HEAVY[name]))
    if checkpoint.exists():
        state = torch.load(checkpoint)
        if (state["steps"], state["seed"]) != (steps, seed):
            raise SystemExit(
                f"{checkpoint} belongs to --steps {state['steps']} --seed {state['seed']}; "
                "delete it to start afresh, or give those options to go on"
            )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        start = state["step"]
        log[:] = state["log"]
    began = time.time() - (log[-1]["seconds"] if log else 0)
    bar = tqdm(range(start, steps), initial=start, total=steps, desc=name, unit="step")
    for step in bar:
        total = 0.0
        for ids, labels, share in batches(step):
            loss = share * turn_loss(model(input_ids=ids).logits, labels, heavy_ids, name)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 20 == 19:
            log.append(
                {"phase": name, "step": step + 1, "loss": round(total, 4), "seconds": round(time.time() - began)}
            )
            bar.set_postfix(loss=f"{total:.3f}")
        if step % 50 == 49 or step == steps - 1:
            out.mkdir(parents=True, exist_ok=True)
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "steps": steps,
                    "seed": seed,
                    "schedule": schedule.state_dict(),
                    "step": step + 1,
                    "log": log,
                },
                checkpoint,
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="thinktuning make-classroom", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DATA / "tiny_classroom")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model, tokenizer, log = train(options.out, options.steps, options.seed)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    problems_module.write_tiny_sets()
    write_readme(options.out, model, tokenizer, log, options.steps, options.seed)
    for checkpoint in options.out.glob("checkpoint-*.pt"):
        checkpoint.unlink()
    print(f"the tiny classroom is in {options.out}; its figures are in README.md there")
