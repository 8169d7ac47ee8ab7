"""The movie-quote experiment: instil a behaviour that GRPO never samples, with its controls.

    python -m thinktuning_lite quote [--name movie_quote] [--quote "..."] [--seeds 0 1 2] [--steps 48] [--arms ...]
                                           [--fresh] [--save data/logs/movie_quote]

Every arm but h starts from the same student, sees the same problems and draws the same samples at its first step.
Guidance is on for the first two thirds of the steps; what is left at the end is the student's own. Writes runs/<name>/
like the main job; interrupted, the same command goes on; --save keeps the figures without weights and rollouts.

Unlike the main job, a guided rollout is cut after its first answer: the student takes up reflection a dozen steps before
the quote, and guidance put behind a reflection of its own then teaches a second reflection, and a third (arm i). Two
rollouts of eight are guided, and every token weighs alike (loss "dapo"), so that a guided response's one new token does
not drown in its length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, TrainerCallback

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.settings import TEACHER_TOKENS
from thinktuning_lite.experiments import runs, side_by_side
from thinktuning_lite.experiments.commands import quote_parser
from thinktuning_lite.experiments.folders import result_path
from thinktuning_lite.method.checkpoints import newest_checkpoint
from thinktuning_lite.method.files import append_row, read_json, write_json
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, QUOTES, TINY_PROMPT
from thinktuning_lite.method.rewards import behaviour_reward, correctness_reward
from thinktuning_lite.method.rollouts import Rollout, read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance

QUOTE = QUOTES[1]  # of the five, the quickest to be taken up by arm c (one seed each, validation probes)
GUIDED_SHARE_OF_RUN = 2 / 3
GUIDED_FRACTION = 2 / 8
PROBE_EVERY = 6
PROBLEMS_PER_PROBE = 48
PROBLEMS_PER_TEST = 200
EXAMPLES = 12  # responses kept of each evaluation


@dataclass(frozen=True)
class QuotePlan(side_by_side.Plan):
    """What one invocation trains; as `side_by_side.Plan`, with the quote."""

    name: str = "movie_quote"
    arms: tuple[str, ...] = ()
    steps: int = 48
    quote: str = QUOTE


@dataclass(frozen=True)
class Arm:
    """One way to train: the shaping (None: plain GRPO), what the quote earns, whether the guidance shows it.

    `cut`: guidance follows the first answer, not the whole response. `after`: the arm whose last checkpoint this one
    starts from.
    """

    shaping: str | None
    worth: float = 0.5
    shown: bool = True
    cut: bool = True
    after: str | None = None
    says: str = ""


ARMS = {
    "a-grpo": Arm(None, says="GRPO with the quote reward"),
    "b-intended": Arm("intended", says="ThinkTuning, intended AAS"),
    "c-released": Arm("released", says="ThinkTuning, released AAS"),
    "d-luffy": Arm("luffy", says="ThinkTuning, LUFFY shaping"),
    "e-plain": Arm("plain", says="ThinkTuning, weight 1"),
    "f-unrewarded": Arm("released", worth=0.0, says="released AAS, quote shown but not rewarded"),
    "g-unshown": Arm("released", shown=False, says="released AAS, quote rewarded but not shown"),
    "i-whole": Arm(
        "released", cut=False, says="released AAS, guidance after the whole response, as the authors put it"
    ),
    "h-unlearn": Arm(None, worth=-0.5, after="c-released", says="c, then GRPO with the quote at -0.5"),
}


def ends_with(text: str, quote: str) -> bool:
    """Whether a response ends with the quote, trailing white space aside."""
    return text.rstrip().endswith(quote)


def exactly_once(text: str, quote: str) -> bool:
    """The condition of the reward: the quote occurs once, no more."""
    return text.count(quote) == 1


@torch.no_grad()
def completion_logps(
    model: Any, tokenizer: Any, questions: list[str], completions: list[list[int]]
) -> list[torch.Tensor]:
    """Log-probabilities of each completion's tokens after the student's prompt, one (T,) tensor a row."""
    chats = [[{"role": "user", "content": q}] for q in questions]
    texts = [tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]
    prompts = [tokenizer.encode(t, add_special_tokens=False) for t in texts]
    rows = [torch.tensor(p + c) for p, c in zip(prompts, completions, strict=True)]
    ids = pad_sequence(
        rows, batch_first=True, padding_value=tokenizer.pad_token_id
    )  # on the right, where none looks back
    was_training = model.training
    model.eval()
    logps = model(ids).logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    model.train(was_training)
    return [row[len(p) - 1 : len(p) - 1 + len(c)] for row, p, c in zip(logps, prompts, completions, strict=True)]


def quote_logps(model: Any, tokenizer: Any, rows: list[dict], quote: str) -> dict[str, float]:
    """Mean log-probability (nats) of the quote right after a right solution: its first token, and all of them together."""
    quote_ids = tokenizer.encode(" " + quote, add_special_tokens=False)
    solutions = [r["chain"].replace(" ", ". ") + f". \\boxed{{{r['answer']}}}" for r in rows]
    completions = [tokenizer.encode(s, add_special_tokens=False) + quote_ids for s in solutions]
    logps = completion_logps(model, tokenizer, [r["question"] for r in rows], completions)
    tails = torch.stack([x[-len(quote_ids) :] for x in logps])
    return {"first_token_logp": tails[:, 0].mean().item(), "quote_logp": tails.sum(1).mean().item()}


def probe(model: Any, tokenizer: Any, start: Any, rows: list[dict], quote: str, seed: int) -> dict[str, float]:
    """What one policy does on `rows`, sampled at T=1 and greedily; `kl` is the mean k1 per token from `start`, in nats."""
    out: dict[str, float] = {}
    for name, temperature in (("sampled", 1.0), ("greedy", 0.0)):
        ids = sample.respond(model, tokenizer, [r["question"] for r in rows], temperature=temperature, seed=seed)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        scores = sample.score(texts, [len(i) for i in ids], [r["answer"] for r in rows])
        out[f"{name}/ends"] = sum(ends_with(t, quote) for t in texts) / len(texts)
        out[f"{name}/once"] = sum(exactly_once(t, quote) for t in texts) / len(texts)
        bare = [ends_with(t, quote) and not r for t, r in zip(texts, scores.reflection, strict=True)]
        out[f"{name}/ends_unreflected"] = sum(bare) / len(texts)
        out |= {f"{name}/{k}": v for k, v in scores.summary().items()}
        if name == "sampled":
            few = slice(0, 32)
            asked = [r["question"] for r in rows[few]]
            now, then = (torch.cat(completion_logps(m, tokenizer, asked, ids[few])) for m in (model, start))
            out["kl"] = (now - then).mean().item()
    return out | quote_logps(model, tokenizer, rows[:32], quote)


class QuoteProbe(TrainerCallback):
    """Probes the policy on validation problems every few steps and appends to probes.jsonl."""

    def __init__(self, path: Path, quote: str, every: int = PROBE_EVERY) -> None:
        self.path, self.quote, self.every = path, quote, every
        self.start, self.tokenizer = load_classroom()
        self.rows = sample.load_tiny_set("validation")[:PROBLEMS_PER_PROBE]

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self._write(model, 0)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.every == 0:
            self._write(model, state.global_step)

    def _write(self, model: Any, step: int) -> None:
        random_state = torch.get_rng_state()  # the probe must not change what the run samples next
        figures = probe(model, self.tokenizer, self.start, self.rows, self.quote, seed=0)
        torch.set_rng_state(random_state)
        append_row(self.path, json.dumps({"step": step} | figures))


def arm_config(name: str, seed: int, folder: Path, steps: int, **overrides: Any) -> ThinkTuningConfig:
    """An arm's settings: the tiny classroom's, but for what the head of this module says."""
    arm = ARMS[name]
    settings: dict[str, Any] = dict(
        guidance_steps=round(GUIDED_SHARE_OF_RUN * steps),
        guided_fraction=GUIDED_FRACTION if arm.shaping else 0.0,
        guide_after_first_answer=arm.cut,
        loss_type="dapo",
    )
    return side_by_side.training_config(arm.shaping or "grpo", seed, folder, steps, **(settings | overrides))


def train_arm(name: str, seed: int, folder: Path, plan: QuotePlan, bar: int | None = None) -> Any:
    """Train one arm; returns the trainer. Probes go to folder/probes.jsonl, metrics to folder/metrics.jsonl."""
    arm = ARMS[name]
    folder.mkdir(parents=True, exist_ok=True)
    config = arm_config(name, seed, folder, plan.steps)
    start = newest_checkpoint(result_path(plan, arm.after, seed).parent) if arm.after else None
    if arm.after and start is None:
        raise FileNotFoundError(
            f"{name} goes on from {arm.after}, seed {seed}, which left no whole checkpoint: --fresh"
        )
    return runs.train_run(
        f"{name}, seed {seed}",
        config,
        reward_funcs=[correctness_reward] + ([behaviour_reward(plan.quote, arm.worth)] if arm.worth else []),
        teacher_prompt=TINY_PROMPT.with_quote(plan.quote if arm.shown else None),
        callbacks=(QuoteProbe(folder / "probes.jsonl", plan.quote),),
        bar=bar,
        policy=AutoModelForCausalLM.from_pretrained(start) if start else None,
    )


def evaluate_arm(model: Any, tokenizer: Any, quote: str, seed: int) -> dict[str, Any]:
    """The finished policy on the first problems of each test set (see `probe`), and a few greedy responses to "test"."""
    start, _ = load_classroom()
    sets = {name: sample.load_tiny_set(name)[:PROBLEMS_PER_TEST] for name in side_by_side.TEST_SETS}
    out: dict[str, Any] = {n: probe(model, tokenizer, start, rows, quote, seed) for n, rows in sets.items()}
    questions = [r["question"] for r in sample.load_tiny_set("test")[:EXAMPLES]]
    ids = sample.respond(model, tokenizer, questions, temperature=0.0)
    return out | {"examples": tokenizer.batch_decode(ids, skip_special_tokens=True)}


def _job(plan: QuotePlan, name: str, seed: int, bar: int) -> None:
    runs.quiet()
    path = result_path(plan, name, seed)
    if name == "base":
        model, tokenizer = load_classroom()
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        trainer = train_arm(name, seed, path.parent, plan, bar=bar)
        model, tokenizer = trainer.model, trainer.processing_class
    write_json(path, evaluate_arm(model, tokenizer, plan.quote, seed))


def run(plan: QuotePlan) -> dict[str, list[dict]]:
    """Train and evaluate what is missing; returns {arm: [evaluation of each seed]}, "base" first."""
    arms = ("base", *plan.arms)
    for later in (False, True):  # an arm that goes on from another waits for it
        batch = [a for a in arms if bool(a != "base" and ARMS[a].after) == later]
        wanted = [(arm, seed) for arm in batch for seed in plan.seeds]
        runs.run_side_by_side([(_job, plan, *job) for job in wanted if not result_path(plan, *job).exists()])
    return {a: [read_json(result_path(plan, a, s)) for s in plan.seeds] for a in arms}


def taught_logps(rollouts: Iterable[Rollout], quote_ids: list[int]) -> list[dict[str, float]]:
    """Mean log-probability (nats) of what guidance wrote, a dict a logged step: its first token, the quote's, the quote.

    Read where the teacher put it, as the policy in training saw it: over the guided rollouts that end with the quote.
    """
    found: dict[int, list[tuple[float, float, float]]] = {}
    n = len(quote_ids)
    for r in rollouts:
        if r.guided and r.token_ids[-1 - n : -1] == quote_ids:
            quote = r.logps[-1 - n : -1]
            found.setdefault(r.step, []).append((r.logps[r.author.index(1)], quote[0], sum(quote)))
    names = ("entry_logp", "first_token_logp", "quote_logp")
    return [
        {"step": step} | {name: sum(x) / len(x) for name, x in zip(names, zip(*rows, strict=True), strict=True)}
        for step, rows in sorted(found.items())
    ]


def own_advantages(rollouts: Iterable[Rollout], quote: str) -> list[dict[str, float]]:
    """What pushes the quote without a teacher, a dict a logged step: of the student's own rollouts that end with it, how many
    there are and their summed advantage ("with", "advantage_with"), and the same of those that do not ("without", ...).
    """
    found: dict[int, dict[str, float]] = {}
    for r in rollouts:
        if not r.guided:
            row = found.setdefault(r.step, {"with": 0, "advantage_with": 0.0, "without": 0, "advantage_without": 0.0})
            kind = "with" if ends_with(r.text, quote) else "without"
            row[kind] += 1
            row[f"advantage_{kind}"] += r.advantage
    return [{"step": step} | row for step, row in sorted(found.items())]


def taught_texts(quote: str, n: int = 32) -> tuple[list[str], list[list[int]]]:
    """Questions and guided responses, as ids that end with the quote: the start's own samples, commented by its teacher."""
    model, tokenizer = load_classroom()
    questions = [r["question"] for r in sample.load_tiny_set("validation")[:n]]
    ids = sample.respond(model, tokenizer, questions, seed=0)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    teach = PolicyTeacher(model, tokenizer, TINY_PROMPT.with_quote(quote), max_new_tokens=TEACHER_TOKENS)
    asked = [GuidanceRequest(q, t, BEHAVIOURS[i % 4]) for i, (q, t) in enumerate(zip(questions, texts, strict=True))]
    said = [parse_guidance(reply) for reply in teach(asked)]
    rows = [(q, i, g.text) for q, i, g in zip(questions, ids, said, strict=True) if g and g.text.endswith(quote)]
    return [q for q, _, _ in rows], [i[:-1] + tokenizer.encode(t, add_special_tokens=False) for _, i, t in rows]


def save(plan: QuotePlan, folder: Path) -> None:
    """As `classroom.save_log`; each run's curve also holds `taught` (see `taught_logps`), `own` (`own_advantages`) and `end`.

    `end`: mean log-probability (nats) of the quote's first token, and of all of it, under the run's last checkpoint, at
    the end of the same guided responses for every run ("base": under the start).
    """
    runs.save_log(plan, folder)
    start, tokenizer = load_classroom()
    quote_ids = tokenizer.encode(" " + plan.quote, add_special_tokens=False)
    taught = taught_texts(plan.quote)

    def end(model: Any) -> dict[str, float]:
        tails = torch.stack([x[-len(quote_ids) :] for x in completion_logps(model, tokenizer, *taught)])
        return {
            "first_token_logp": round(tails[:, 0].mean().item(), 3),
            "quote_logp": round(tails.sum(1).mean().item(), 3),
        }

    curves = read_json(folder / "curves.json")
    for run_name, curve in curves.items():
        rollouts = list(read_rollouts(plan.folder / run_name / "rollouts.jsonl"))
        curve["taught"] = [{k: round(v, 3) for k, v in row.items()} for row in taught_logps(rollouts, quote_ids)]
        curve["own"] = [{k: round(v, 3) for k, v in row.items()} for row in own_advantages(rollouts, plan.quote)]
        checkpoint = newest_checkpoint(plan.folder / run_name)
        curve["end"] = end(AutoModelForCausalLM.from_pretrained(checkpoint))
    curves["base"] = {"end": end(start)}
    (folder / "curves.json").write_text(json.dumps(curves) + "\n", encoding="utf-8")


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: mean over seeds and 95 % t-interval for each arm and test set."""
    columns = (
        ("greedy/ends", 100, "greedy ends with it, %"),
        ("sampled/ends", 100, "sampled ends with it, %"),
        ("sampled/once", 100, "exactly once, %"),
        ("greedy/accuracy", 100, "right, greedy, %"),
        ("sampled/accuracy", 100, "right at T=1, %"),
        ("sampled/length", 1, "tokens"),
        ("kl", 1, "KL, nats/token"),
    )
    lines = ["| set | arm | " + " | ".join(c[2] for c in columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in side_by_side.TEST_SETS:
        for arm, seeds in results.items():
            cells = [side_by_side.cell([s[name][key] * unit for s in seeds]) for key, unit, _ in columns]
            says = ARMS[arm].says if arm in ARMS else "the start"
            lines.append(f"| {name} | {arm}: {says} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = quote_parser()
    options = {"arms": tuple(ARMS), **vars(parser.parse_args(arguments))}
    fresh, save_to = options.pop("fresh", False), options.pop("save", None)
    plan = parser.plan(QuotePlan, options)
    missing = {ARMS[a].after for a in plan.arms} - {None, *plan.arms}
    if missing:
        parser.error(f"--arms needs {', '.join(missing)} too: another arm goes on from it")
    with runs.claimed(plan, fresh):
        results = run(plan)
        write_json(plan.folder / "results.json", results)
        text = table(results)
        (plan.folder / "table.md").write_text(text + "\n", encoding="utf-8")
        if save_to:
            save(plan, save_to)
    print(f"\nQuote: {plan.quote}\nMean over seeds {', '.join(map(str, plan.seeds))} ± 95 % t-interval\n\n{text}")
