"""The movie quote on SmolLM2-135M, a model that somebody else pretrained: GRPO and ThinkTuning, the line paid in each.

    python -m thinktuning_lite.experiments.smol_quote [--arms grpo released intended] [--seeds 0 1] [--steps 40]
                                                      [--save data/logs/smol]

Not run by us yet, but at toy size in the tests. Wants `thinktuning fetch smol`. Writes runs/smol_quote/ as the other experiments do; interrupted, the same command goes on.
The preset `smol` says the rest; the teacher is the base under the adapter and keeps the form. Guidance is off for the last
third of the steps.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from thinktuning_lite.experiments import runs
from thinktuning_lite.experiments.folders import RunPlan, result_path
from thinktuning_lite.experiments.movie_quote import completion_logps, exactly_once
from thinktuning_lite.experiments.options import Parser, add_run_options
from thinktuning_lite.experiments.presets import resolve
from thinktuning_lite.method.files import append_row, read_json, write_json
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, QUOTES, TeacherPrompt
from thinktuning_lite.method.rewards import behaviour_reward
from thinktuning_lite.method.sampling import eos_ids_of, sample
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.models.comparisons import comparison_rows, named_last, named_reward
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config
from thinktuning_lite.models.machine import probe as probe_machine

ARMS = ("grpo", "released", "intended")
QUOTE = QUOTES[1]
PROBE_EVERY = 5  # steps
PROBED = 32  # questions of validation


@dataclass(frozen=True)
class SmolPlan(RunPlan):
    """What one invocation trains."""

    name: str = "smol_quote"
    arms: tuple[str, ...] = ARMS
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 40


def teacher_prompt(quote: str) -> TeacherPrompt:
    """The instruct prompt with two short exemplars (this kind of question, the line at the phrase's end)."""
    shown = {
        "self-critique": (
            "Question: Ida has 9 keys, Jon has 31 keys and Kim has 4 keys. Who has the most keys?\n\nResponse: Ida has the most.",
            "<opinion>incorrect</opinion><reason>Wait, I should look at all three numbers.</reason>"
            f"<phrase>31 is more than 9 and 4. Jon has the most keys. {quote}</phrase>",
        ),
        "self-agreement": (
            "Question: Lea has 40 caps, Max has 12 caps and Nia has 8 caps. Who has the most caps?\n\nResponse: Lea has the most.",
            "<opinion>correct</opinion><reason>Let me look once more at the three numbers.</reason>"
            f"<phrase>40 is the largest. Lea has the most caps. {quote}</phrase>",
        ),
    }
    kept = tuple(replace(b, exemplar=shown[b.name]) for b in INSTRUCT_PROMPT.behaviours if b.name in shown)
    return replace(INSTRUCT_PROMPT, behaviours=kept, quote_line="\n\nEnd the phrase with: {quote}").with_quote(quote)


def probe(model: Any, tokenizer: Any, rows: list[dict], quote: str) -> dict[str, float]:
    """Shares right and with the line once, greedily and at T=1; log-probability (nats) of the line after a right answer."""
    asked = [row["prompt"][0]["content"] for row in rows]
    prompts = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False) for r in rows]
    out: dict[str, float] = {}
    for name, temperature in (("sampled", 1.0), ("greedy", 0.0)):
        drawn = torch.Generator(device=model.device).manual_seed(0)
        ids = sample(
            model, prompts, max_new_tokens=64, eos_ids=eos_ids_of(model, tokenizer), pad_id=tokenizer.pad_token_id,
            temperature=temperature, generator=drawn,
        )  # fmt: skip
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        out[f"{name}/once"] = sum(exactly_once(t, quote) for t in texts) / len(texts)
        right = [
            named_last(t.replace(quote, ""), r["choices"]) == r["answer"] for t, r in zip(texts, rows, strict=True)
        ]
        out[f"{name}/accuracy"] = sum(right) / len(right)
    line = tokenizer.encode(" " + quote, add_special_tokens=False)
    answers = [tokenizer.encode(f"{r['answer']} has the most.", add_special_tokens=False) + line for r in rows[:16]]
    with model.disable_adapter():
        then = completion_logps(model, tokenizer, asked[:16], answers)
    now = completion_logps(model, tokenizer, asked[:16], answers)
    tails = torch.stack([x[-len(line) :] for x in now])
    out |= {"first_token_logp": tails[:, 0].mean().item(), "quote_logp": tails.sum(1).mean().item()}
    return out | {"start_quote_logp": torch.stack([x[-len(line) :] for x in then]).sum(1).mean().item()}


class Probe(TrainerCallback):
    """Probes the policy on validation every few steps and appends to probes.jsonl."""

    def __init__(self, path: Path, tokenizer: Any) -> None:
        self.path, self.tokenizer, self.rows = path, tokenizer, comparison_rows("validation")[:PROBED]

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
        save_steps=5, behaviours=["self-critique", "self-agreement"],
    )  # fmt: skip
    run, machine = resolve({"preset": "smol", "training": settings | guided | overrides}), probe_machine()
    model, tokenizer = load_policy(
        run.source, machine, quantization=run.quantization_on(machine), dtype=run.torch_dtype
    )
    trainer = ThinkTuningTrainer(
        model,
        [named_reward, behaviour_reward(QUOTE)],
        run.config(machine),
        Dataset.from_list(comparison_rows("train")),
        teacher_prompt=teacher_prompt(QUOTE),
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
                rows = comparison_rows("test")[:200]
                write_json(result_path(plan, arm, seed), probe(trainer.model, trainer.processing_class, rows, QUOTE))
    return {a: [read_json(result_path(plan, a, s)) for s in plan.seeds] for a in plan.arms}


def _parser() -> Parser:
    parser = Parser(prog="smol_quote", description=__doc__, argument_default=argparse.SUPPRESS)
    add_run_options(parser, "smol_quote")
    parser.add_argument("--arms", nargs="+", choices=ARMS, metavar="ARM", help=f"of: {', '.join(ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(0 1)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of each arm (40)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    fresh, save_to = options.pop("fresh", False), options.pop("save", None)
    plan = parser.plan(SmolPlan, options)
    runs.quiet()
    with runs.claimed(plan, fresh):
        results = run(plan)
        write_json(plan.folder / "results.json", results)
        if save_to:
            runs.save_log(plan, save_to)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
