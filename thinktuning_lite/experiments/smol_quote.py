"""The movie quote on SmolLM2-135M, a model that somebody else pretrained: GRPO and ThinkTuning, the line paid in each.

    thinktuning smol-quote [--arms grpo released intended] [--seeds 0 1] [--steps 36] [--save data/logs/smol]

Wants `thinktuning fetch smol`. Writes runs/smol_quote/ as the other experiments do; interrupted, the same command goes on.
The preset `smol` says the rest; the teacher is the base under the adapter and keeps the form. Guidance is off for the last
third of the steps. Settings found on validation, with logs in data/logs/smol: at a rate of 1e-3 (given_up/) or 5e-4 three steps
teach the policy to go on after its answer, and nothing else; with 16 guided steps of 24 (short/) the line comes and goes,
probably because an answer sampled at top_p 0.5 holds no token that is not yet among the likeliest half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import PrinterCallback, TrainerCallback

from thinktuning_lite.experiments import runs
from thinktuning_lite.experiments.commands import smol_quote_parser
from thinktuning_lite.experiments.folders import RunPlan, result_path
from thinktuning_lite.experiments.movie_quote import completion_logps, exactly_once
from thinktuning_lite.experiments.presets import resolve
from thinktuning_lite.method.files import append_row, read_json, whole_lines, write_json
from thinktuning_lite.method.prompts import QUOTES
from thinktuning_lite.method.rewards import behaviour_reward
from thinktuning_lite.method.sampling import eos_ids_of, sample
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config
from thinktuning_lite.models.machine import probe as probe_machine
from thinktuning_lite.models.smol import SMOLLM2
from thinktuning_lite.models.sums import (
    TOP_P,
    first_paragraph_end,
    last_number,
    last_number_reward,
    sum_rows,
    teacher_prompt,
)

ARMS = ("grpo", "released", "intended")
QUOTE = QUOTES[1]
LEARNING_RATE = 2e-4
PROBE_EVERY = 6  # steps
PROBED = 12  # questions of validation
TESTED = 24  # questions of the test set
FEW = 6  # of them, for probabilities and KL
MAX_TOKENS = 80  # of a probed response: an answer and what guidance puts behind it


@dataclass(frozen=True)
class SmolPlan(RunPlan):
    """What one invocation trains."""

    name: str = "smol_quote"
    arms: tuple[str, ...] = ARMS
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 36


def respond(model: Any, tokenizer: Any, rows: list[dict], greedy: bool) -> list[list[int]]:
    """One response (token ids) to each row's prompt, sampled as in training unless `greedy`."""
    prompts = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False) for r in rows]
    return sample(
        model, prompts, max_new_tokens=MAX_TOKENS, eos_ids=eos_ids_of(model, tokenizer), pad_id=tokenizer.pad_token_id,
        temperature=0.0 if greedy else 1.0, top_p=TOP_P, generator=torch.Generator(device=model.device).manual_seed(0),
    )  # fmt: skip


@torch.no_grad()
def kl_to_base(model: Any, tokenizer: Any, rows: list[dict], responses: list[list[int]]) -> float:
    """KL of the policy from the base under its adapter (nats a token, at T=1, exact), where `responses` lead."""
    prompts = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False) for r in rows]
    ids = [torch.tensor(p + r, device=model.device) for p, r in zip(prompts, responses, strict=True)]
    batch = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
    said = torch.zeros_like(batch, dtype=torch.bool)
    for row, p, r in zip(said, prompts, responses, strict=True):
        row[len(p) - 1 : len(p) - 1 + len(r)] = True
    now = model(batch).logits[said].float().log_softmax(-1)
    with model.disable_adapter():
        base = model(batch).logits[said].float().log_softmax(-1)
    return (now.exp() * (now - base)).sum(-1).mean().item()


def line_logps(model: Any, tokenizer: Any, rows: list[dict], quote: str) -> dict[str, float]:
    """Mean log-probabilities (nats) after a right answer: of a new paragraph, where guidance enters; of the line."""
    questions = [r["prompt"][0]["content"] for r in rows]
    answers = [tokenizer.encode(r["solution"], add_special_tokens=False) for r in rows]
    line = tokenizer.encode(" " + quote, add_special_tokens=False)
    entry = tokenizer.encode("\n\n", add_special_tokens=False)[:1]
    ends = completion_logps(model, tokenizer, questions, [a + line for a in answers])
    enters = completion_logps(model, tokenizer, questions, [a + entry for a in answers])
    return {
        "entry_logp": torch.stack([x[-1] for x in enters]).mean().item(),
        "first_token_logp": torch.stack([x[-len(line)] for x in ends]).mean().item(),
        "quote_logp": torch.stack([x[-len(line) :].sum() for x in ends]).mean().item(),
    }


def probe(model: Any, tokenizer: Any, rows: list[dict], quote: str) -> dict[str, float]:
    """Shares right and with the line once, greedily and sampled; mean tokens; `kl_to_base`; `line_logps`."""
    out: dict[str, float] = {}
    for name in ("greedy", "sampled"):
        ids = respond(model, tokenizer, rows, name == "greedy")
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        right = [last_number(text) == row["answer"] for text, row in zip(texts, rows, strict=True)]
        out[f"{name}/once"] = sum(exactly_once(text, quote) for text in texts) / len(texts)
        out[f"{name}/accuracy"] = sum(right) / len(right)
        out[f"{name}/length"] = sum(map(len, ids)) / len(ids)
    out["kl"] = kl_to_base(model, tokenizer, rows[:FEW], ids[:FEW])
    return out | line_logps(model, tokenizer, rows[:FEW], quote)


class Probe(TrainerCallback):
    """Probes the policy on validation every few steps and appends to probes.jsonl."""

    def __init__(self, path: Path, tokenizer: Any) -> None:
        self.path, self.tokenizer, self.rows = path, tokenizer, sum_rows("validation")[:PROBED]

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self._write(model, 0)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % PROBE_EVERY == 0:
            self._write(model, state.global_step)

    def _write(self, model: Any, step: int) -> None:
        append_row(self.path, json.dumps({"step": step} | probe(model, self.tokenizer, self.rows, QUOTE)))


def train_arm(plan: SmolPlan, arm: str, seed: int, **overrides: Any) -> ThinkTuningTrainer:
    """Train one arm, or go on from its last checkpoint; returns the trainer."""
    folder = result_path(plan, arm, seed).parent
    folder.mkdir(parents=True, exist_ok=True)
    guided = {"guided_fraction": 0.0} if arm == "grpo" else {"guided_fraction": 2 / 8, "shaping": arm}
    settings = dict(
        output_dir=str(folder), seed=seed, max_steps=plan.steps, guidance_steps=round(plan.steps * 2 / 3), loss_type="dapo",
        learning_rate=LEARNING_RATE, save_steps=4, gradient_accumulation_steps=1, guide_after_first_answer=True, reward_needs_eos=True,
    )  # fmt: skip
    run, machine = resolve({"preset": "smol", "training": settings | guided | overrides}), probe_machine()
    model, tokenizer = load_policy(
        run.source, machine, quantization=run.quantization_on(machine), dtype=run.torch_dtype
    )
    trainer = ThinkTuningTrainer(
        model,
        [last_number_reward, behaviour_reward(QUOTE)],
        run.config(machine),
        Dataset.from_list(sum_rows("train")),
        teacher_prompt=teacher_prompt(QUOTE),
        answer_end=first_paragraph_end,
        processing_class=tokenizer,
        peft_config=lora_config(model, run.lora_rank, run.lora_alpha),
        callbacks=[
            runs.MetricsLog(folder / "metrics.jsonl", f"{arm}, seed {seed}"),
            Probe(folder / "probes.jsonl", tokenizer),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.go_on()
    return trainer


def run(plan: SmolPlan) -> dict[str, list[dict]]:
    """Train and evaluate what is missing, one arm after another; returns {arm: [probe on the test set, a seed each]}."""
    for seed in plan.seeds:
        for arm in plan.arms:
            if not result_path(plan, arm, seed).exists():
                trainer = train_arm(plan, arm, seed)
                rows = sum_rows("test")[:TESTED]
                write_json(result_path(plan, arm, seed), probe(trainer.model, trainer.processing_class, rows, QUOTE))
    return {a: [read_json(result_path(plan, a, s)) for s in plan.seeds] for a in plan.arms}


def save_rollouts(plan: SmolPlan, folder: Path) -> None:
    """Keep of each arm's first seed the first group of its first logged step, of the last guided one and of the last one."""
    for arm in plan.arms:
        log = result_path(plan, arm, plan.seeds[0]).parent / "rollouts.jsonl"
        head, *rows = [json.loads(line) for line in whole_lines(log)]
        rows = [row for row in rows if "step" in row]  # a run that went on wrote its head again
        steps = sorted({row["step"] for row in rows})
        guided = [row["step"] for row in rows if any(row["author"])]
        kept = {steps[0], steps[-1], *guided[-1:]}
        head["run"]["tokenizer"] = SMOLLM2.hub_id
        some = [head, *(row for row in rows if row["step"] in kept and row["group"] == 0)]
        path = folder / "rollouts" / f"{arm}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = smol_quote_parser()
    options = vars(parser.parse_args(arguments))
    fresh, save_to = options.pop("fresh", False), options.pop("save", None)
    plan = parser.plan(SmolPlan, options)
    runs.quiet()
    with runs.claimed(plan, fresh):
        results = run(plan)
        write_json(plan.folder / "results.json", results)
        if save_to:
            runs.save_log(plan, save_to)
            save_rollouts(plan, save_to)
    print(json.dumps(results, indent=1))
