"""Make the tiny classroom: a tokenizer and a ~1M-parameter Llama that is student and teacher in one.

    python -m thinktuning_lite.make_classroom [--out data/tiny_classroom] [--steps 1200] [--seed 0]

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
import json
import random
import re
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from tqdm.auto import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from thinktuning_lite import problems as P
from thinktuning_lite.problems import DATA, Problem, Step
from thinktuning_lite.rewards import extract_boxed
from thinktuning_lite.teacher import BEHAVIOURS, QUOTES, TAGS, TINY_PROMPT, Guidance

LENGTHS, LENGTH_WEIGHTS = (1, 2, 3, 4, 5, 6), (12, 24, 24, 22, 12, 6)
DISTRACTOR_SHARE = 0.12
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
SLIPS = (-10, 10)  # the carry, as in the products: what the teacher role can learn to see at one glance
STUDENT_SKILL = dict(product_right=0.15, slip=0.05)
ATTEMPT_SKILL = dict(product_right=0.50, slip=0.20)  # what the teacher role reads while it learns
SPECIAL = ("<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PIECES = ("\n\n", "\n", ". ", ", ", "? ", ": ", "\\boxed{", "}")

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


# ---------------------------------------------------------------- text


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
            if not 0 <= said <= P.LARGEST:
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
    return P.generate_problem(rng, length, split, distractor=rng.random() < DISTRACTOR_SHARE)


# ---------------------------------------------------------------- tokenizer


def _words() -> list[str]:
    """Every word the generator or the prompts can write."""
    reasons = [t for by_opinion in REASONS.values() for ts in by_opinion.values() for t in ts]
    stories = [P.START, P.START_PRODUCT, *P.ADD, *P.SUBTRACT, *P.MULTIPLY, *P.DISTRACTOR, P.QUESTION]
    prompt = [m["content"] for m in TINY_PROMPT.with_quote("").messages("", "", " ".join(BEHAVIOURS))]
    texts = [*P.NAMES, *P.ITEMS, *reasons, *stories, *QUOTES, *prompt, PHRASE_START, CHECKER_SYSTEM, "correct incorrect"]
    text = re.sub(r"\{\w+\}", " ", " ".join(texts))
    words = set(re.findall(r"[A-Za-z][A-Za-z'-]*[a-z]", text))
    return sorted(words | {w.capitalize() for w in QUOTE_WORDS if len(w) > 1} | {w.lower() for w in QUOTE_WORDS if len(w) > 1})


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words (with and without a leading space), single digits, and every printable ASCII character.

    A unigram model whose word pieces all cost the same picks the fewest pieces, so that any ASCII text round-trips and
    the domain's words stay whole. The teacher's tags are single tokens, so that the student role can be kept from them.
    """
    chars = [chr(c) for c in range(32, 127)] + ["\n"]
    pieces = [*PIECES, *_words(), *(f" {w}" for w in _words()), " I", " A"]
    vocab = [(s, 0.0) for s in SPECIAL]
    vocab += [(c, -10.0) for c in chars]
    vocab += [(p, -9.0) for p in pieces if p not in chars]
    core = Tokenizer(models.Unigram(vocab, unk_id=1, byte_fallback=False))
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|pad|>", unk_token="<|unk|>", eos_token="<|end|>", padding_side="left",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"], clean_up_tokenization_spaces=False,
        model_max_length=512, model_input_names=["input_ids", "attention_mask"],
    )
    tags = [f"<{slash}{t}>" for t in TAGS for slash in ("", "/")]
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in tags])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tag_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The ids of the six tag tokens."""
    return tokenizer.convert_tokens_to_ids([f"<{slash}{t}>" for t in TAGS for slash in ("", "/")])


# ---------------------------------------------------------------- training


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained policy. Its generation config suppresses the teacher's tags; the teacher role lifts that."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, rope_theta=10000.0,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, suppress_tokens=tag_ids(tokenizer)
    )
    return model


def encode(tokenizer, messages: list[dict], target: str) -> tuple[list[int], list[int]]:
    """Ids of prompt + target + EOS, and labels: the target, and what `check_labels` puts into a prompt with an attempt."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt_ids, labels = check_labels(tokenizer, prompt)
    target_ids = tokenizer.encode(target, add_special_tokens=False) + [tokenizer.eos_token_id]
    return prompt_ids + target_ids, labels + target_ids


def check_labels(tokenizer, prompt: str, *, singly: bool = False) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and labels after each of its equations: "correct" while all of that solution so far are right in
    themselves (`singly`: if this one is), "incorrect" from the first wrong one on.

    Only the attempts in a teacher's prompt hold equations. Nothing is ever sampled there: the labels make the teacher role
    check what it reads, step by step, before it has to give its opinion on the whole.
    """
    verdict = tokenizer.convert_tokens_to_ids(["incorrect", "correct"])
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    at = {start: i for i, (start, _) in enumerate(encoded["offset_mapping"])}
    labels = [-100] * len(encoded["input_ids"])
    right = True
    for m in re.finditer(rf"\\boxed|{PHRASE_START}|(\d+)([-+*])(\d+)=(\d+)(?=\. )", prompt):
        if not m[1]:  # another solution begins, or words about this one
            right = True
            continue
        right = (right or singly) and Step(int(m[1]), m[2], int(m[3])).result == int(m[4])
        labels[at[m.end()] + 1] = verdict[right]  # predicted from the full stop
    return encoded["input_ids"], labels


def drill_row(tokenizer, rng: random.Random) -> tuple[list[int], list[int]]:
    """Single equations under the teacher's prompt, half of them wrong, to be checked one by one.

    From easy to hard all in one: small numbers among large ones, errors that leap to the eye among errors of the carry.
    """
    text = "".join(f"{drill_equation(rng)}. " for _ in range(DRILL_EQUATIONS))
    messages = TINY_PROMPT.messages("", text, rng.choice(BEHAVIOURS))
    return check_labels(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False), singly=True)


def drill_equation(rng: random.Random) -> str:
    """`a+b=c`, right or wrong; everything within 0..99."""
    while True:
        left, right = rng.choice(((9, 9), (99, 9), (99, 40)))
        op = rng.choice("++--*")
        step = Step(rng.randint(0, left), op, rng.randint(2, 9) if op == "*" else rng.randint(0, right))
        said = step.result if rng.random() < 0.5 else _any_wrong(rng, step)
        if 0 <= step.result <= P.LARGEST and 0 <= said <= P.LARGEST:
            return f"{step.left}{step.op}{step.right}={said}"


def _any_wrong(rng: random.Random, step: Step) -> int:
    """A wrong result: any number, another last digit, or as the student errs."""
    result = step.result
    kinds = (
        rng.randint(0, P.LARGEST), result // 10 * 10 + rng.randint(0, 9), result + rng.choice(SLIPS),
        _wrong_product(rng, step) if step.op == "*" else result + rng.choice(SLIPS),
    )  # fmt: skip
    return rng.choice(kinds)


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


def student_messages_and_turn(rng: random.Random, problem: Problem) -> tuple[list[dict], str]:
    """Chat messages of the student's prompt, the bare question, and a careless solution."""
    return [{"role": "user", "content": problem.question}], student_turn(rng, problem)


ROLES = ((student_messages_and_turn, 24, 0.45), (teacher_turn, 26, 0.6), (checker_turn, 8, 0.15))  # turns, loss share


def turn_loss(
    logits: torch.Tensor, labels: torch.Tensor, heavy_ids: torch.Tensor, phase: str
) -> torch.Tensor:
    """Mean smoothed cross-entropy over target tokens, the HEAVY ones counted HEAVY_WEIGHT times."""
    labels = labels[:, 1:].flatten()
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels, reduction="none", label_smoothing=LABEL_SMOOTHING[phase]
    )
    weights = (labels != -100) * (1 + (HEAVY_WEIGHT[phase] - 1) * torch.isin(labels, heavy_ids))
    return (losses * weights).sum() / weights.sum()


def reflected(rng: random.Random, problem: Problem, attempt: str) -> str:
    """The attempt with a reflection behind it, its second solution careful or not: what a student trained here may write."""
    said = _guidance(rng, problem, attempt, rng.choice(BEHAVIOURS), None)
    phrase = said.phrase if rng.random() < 0.5 else PHRASE_START + _attempt(rng, problem)
    return attempt + Guidance(said.opinion, said.reason, phrase).text


def own_attempts(model, tokenizer, seed: int, n: int) -> list[tuple[Problem, str]]:
    """`n` training problems with what the student role answers at T=1, some `reflected`; answers without a \\boxed{} are left out."""
    from thinktuning_lite.evaluate import respond

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
    _phase("pretraining", out, steps, seed, model, tokenizer, optimizer, schedule, log,
           lambda step: make_batch(tokenizer, step, seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=JUDGING_LR, **adam)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, JUDGING_STEPS)
    _phase("judging", out, JUDGING_STEPS, seed, model, tokenizer, optimizer, schedule, log,
           judging_batches(model, tokenizer, seed))
    return model, tokenizer, log


def _phase(name, out: Path, steps: int, seed: int, model, tokenizer, optimizer, schedule, log: list, batches) -> None:
    """Run one phase to its end, from its checkpoint where there is one; model, optimizer and log are changed in place."""
    checkpoint, start = out / f"checkpoint-{name}.pt", 0
    heavy_ids = torch.tensor(tokenizer.convert_tokens_to_ids(HEAVY[name]))
    if checkpoint.exists():
        state = torch.load(checkpoint)
        if (state["steps"], state["seed"]) != (steps, seed):
            raise SystemExit(f"{checkpoint} belongs to --steps {state['steps']} --seed {state['seed']}; "
                             "delete it to start afresh, or give those options to go on")
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
            log.append({"phase": name, "step": step + 1, "loss": round(total, 4), "seconds": round(time.time() - began)})
            bar.set_postfix(loss=f"{total:.3f}")
        if step % 50 == 49 or step == steps - 1:
            out.mkdir(parents=True, exist_ok=True)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps, "seed": seed,
                        "schedule": schedule.state_dict(), "step": step + 1, "log": log}, checkpoint)


# ---------------------------------------------------------------- figures of the finished model


def measure(model, tokenizer, n: int = 200, seed: int = 1) -> tuple[dict[str, dict[str, float]], dict[str, list[bool]]]:
    """Student and teacher on `n` validation problems of each length and kind; shares of 1.

    `student` at T=1, `student greedy`, `teacher` (final answer of its phrase after reading the sampled attempt),
    `opinion` (right about that attempt), `format` (reply parses), `product` (student at T=1, product problems only).
    Second, by sort of attempt, whether each opinion was right: what an opinion rests on.
    """
    from thinktuning_lite import evaluate as E
    from thinktuning_lite.rewards import extract_answer, is_correct
    from thinktuning_lite.teacher import GuidanceRequest, PolicyTeacher, parse_guidance

    teach = PolicyTeacher(model, tokenizer, TINY_PROMPT, max_new_tokens=200)
    kinds = [(f"{k} steps", (k,), False) for k in LENGTHS] + [("2-4 steps, distractor", (2, 3, 4), True)]
    out: dict[str, dict[str, float]] = {}
    opinions: dict[str, list[bool]] = {}
    for name, lengths, distractor in tqdm(kinds, desc="measuring", unit="kind"):
        problems = P.generate_problems(seed, "validation", lengths, n, distractor=distractor)
        rows = [p.row() for p in problems]
        sampled, texts = E.evaluate(model, tokenizer, rows, seed=seed)
        greedy, _ = E.evaluate(model, tokenizer, rows, temperature=0.0)
        asked = [
            GuidanceRequest(r["question"], t, BEHAVIOURS[i % len(BEHAVIOURS)])
            for i, (r, t) in enumerate(zip(rows, texts, strict=True))
        ]
        said = [parse_guidance(reply) for reply in teach(asked)]
        right = [g is not None and is_correct(extract_answer(g.phrase), r["answer"]) for g, r in zip(said, rows, strict=True)]
        judged = [
            g is not None and (g.opinion == "correct") == c for g, c in zip(said, sampled.correct, strict=True)
        ]
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


README = """# The tiny classroom

`LlamaForCausalLM`, {parameters:,} parameters, {vocabulary} tokens; student and teacher in one set of weights. Made by

    python -m thinktuning_lite.make_classroom --steps {steps} --seed {seed}

in {minutes:.0f} minutes on two CPU cores (`training_log.json`), from text that `thinktuning_lite/make_classroom.py` generates.
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


def write_readme(out: Path, model, tokenizer, log: list[dict], steps: int, seed: int, n: int = 200) -> None:
    """Measure the model and write `out`/README.md and `out`/training_log.json."""
    figures, judged = measure(model, tokenizer, n)
    columns = list(next(iter(figures.values())))
    table = ["| problems | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    table += [f"| {k} | " + " | ".join(f"{100 * v[c]:.0f} %" for c in columns) + " |" for k, v in figures.items()]
    opinions = [f"| {sort} | {len(ok)} | {100 * sum(ok) / len(ok):.0f} % |" for sort, ok in sorted(judged.items())]
    every = [ok for sort in judged.values() for ok in sort]
    text = README.format(
        right=100 * sum(every) / len(every), opinions="\n".join(opinions),
        parameters=model.num_parameters(), vocabulary=len(tokenizer), steps=steps, seed=seed, n=n,
        minutes=log[-1]["seconds"] / 60, table="\n".join(table),
    )
    (out / "README.md").write_text(text)
    (out / "training_log.json").write_text(json.dumps(log) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA / "tiny_classroom")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model, tokenizer, log = train(options.out, options.steps, options.seed)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    P.write_tiny_sets()
    write_readme(options.out, model, tokenizer, log, options.steps, options.seed)
    for checkpoint in options.out.glob("checkpoint-*.pt"):
        checkpoint.unlink()
    print(f"the tiny classroom is in {options.out}; its figures are in README.md there")


if __name__ == "__main__":
    main()
