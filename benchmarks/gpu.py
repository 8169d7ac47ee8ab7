"""Memory and speed of LoRA on a 4-bit base at real size, on whatever device is here; no weights are downloaded.

    python benchmarks/gpu.py [--out benchmarks/gpu.json] [--shapes 3b 1.5b smol] [--steps 3]

The model is randomly initialised in the shape of Llama-3.2-3B (or Qwen2.5-1.5B, or SmolLM2-135M), saved, and loaded in NF4 through
`load_policy`; 8 rollouts of 512 + 1024 tokens a step. A random model never ends by itself and its teacher never keeps
the form, so EOS is forced at the last token, and the teacher's generation is timed, but others' words are spliced in.
Every scenario runs in a process of its own; "15 GB" limits that process's share of the GPU, as on a T4.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PrinterCallback,
    Qwen2Config,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer

from thinktuning_lite.classroom.vocabulary import build_tokenizer
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import GuidanceRequest
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config
from thinktuning_lite.models.machine import probe
from thinktuning_lite.models.planner import plan

LIMIT = 15 * 10**9


@dataclass(frozen=True)
class Size:
    """Lengths in tokens; `taught` is the teacher's budget."""

    group: int = 8
    prompt: int = 512
    completion: int = 1024
    taught: int = 256
    micro_batch: int = 2
    rank: int = 16


SIZES = {
    "3b": Size(),
    "1.5b": Size(completion=512),
    "smol": Size(prompt=128, completion=256, micro_batch=8),
    "toy": Size(4, 48, 12, 8, 2, 4),
}
# What differs from plain ThinkTuning with the adapter-off teacher.
SCENARIOS: dict[str, dict[str, Any]] = {
    "trl": {"trainer": "trl"},
    "off": {"guided": False},
    "guided": {},
    "guided, second model": {"teacher": "second model"},
    "guided, 15 GB": {"limit": LIMIT},
}


def shape(name: str) -> PretrainedConfig:
    """The published shapes, written out."""
    if name == "3b":
        return LlamaConfig(
            vocab_size=128256,
            hidden_size=3072,
            intermediate_size=8192,
            num_hidden_layers=28,
            num_attention_heads=24,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
            max_position_embeddings=131072,
        )
    if name == "1.5b":
        return Qwen2Config(
            vocab_size=151936,
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=28,
            num_attention_heads=12,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            max_position_embeddings=32768,
        )
    if name == "smol":
        return LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
            max_position_embeddings=8192,
        )
    return LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        initializer_range=0.3,
    )


def save_random(name: str, folder: Path, device: str) -> None:
    """A checkpoint of that shape in bf16, with the tiny classroom's tokenizer (its ids are among the model's)."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = shape(name)
    config.eos_token_id, config.pad_token_id, config.bos_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id, None
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prompts(tokenizer: Any, size: Size, n: int) -> Dataset:
    """`n` prompts of exactly `size.prompt` tokens as the model reads them."""
    rows = []
    for i in range(n):
        question = f"{i} "
        while (missing := size.prompt - _length(tokenizer, question)) > 0:
            question += "7" * missing  # digits are single tokens
        rows.append({"prompt": [{"role": "user", "content": question}], "question": question, "answer": "7"})
    return Dataset.from_list(rows)


def _length(tokenizer: Any, question: str) -> int:
    chat = [{"role": "user", "content": question}]
    return len(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])


def any_reward(completions: list[Any], completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    """Differs within every group, whatever a random model says."""
    return [sum(ids) % 7 / 6 + i % 2 for i, ids in enumerate(completion_ids)]


class Spoken:
    """A teacher that takes its time and memory, but whose words are replaced by well-formed ones of the full length."""

    def __init__(self, teacher: PolicyTeacher, tokens: int) -> None:
        self.teacher, self.text = teacher, "7" * max(1, tokens - 12)

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        self.teacher(requests)
        reply = f"<opinion>incorrect</opinion><reason>Wait.</reason><phrase>{self.text}</phrase>"
        return [reply] * len(requests)


class Clock(TrainerCallback):
    """Seconds of each step and, within it, of sampling and of teaching; tokens sampled and trained on."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.steps: list[dict[str, float]] = []
        self.now: dict[str, float] = {}
        trainer._generate_single_turn = self._timed("sampling", trainer._generate_single_turn)
        if hasattr(trainer, "_guide"):
            trainer._guide = self._timed("teaching", trainer._guide)

    def _timed(self, name: str, call: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = _now()
            out = call(*args, **kwargs)
            self.now[name] = self.now.get(name, 0.0) + _now() - began
            if name == "sampling":
                self.now["tokens"] = self.now.get("tokens", 0) + sum(map(len, out[0]))
            return out

        return timed

    def on_step_begin(self, args, state, control, **kwargs):
        self.now = {"began": _now()}

    def on_step_end(self, args, state, control, **kwargs):
        step = _now() - self.now.pop("began")
        teaching = self.now.get("teaching", 0.0)
        sampling = self.now["sampling"] - teaching  # guidance happens inside TRL's sampling
        self.steps.append(
            {
                "step": step,
                "sampling": sampling,
                "teaching": teaching,
                "training": step - sampling - teaching,
                "tokens": self.now["tokens"],
            }
        )


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def settings(size: Size, folder: str, steps: int, machine: Any, eos: int) -> dict[str, Any]:
    """What all scenarios share, as GRPOConfig's fields."""
    gpu = machine.device == "cuda"
    return dict(
        output_dir=folder, num_generations=size.group, per_device_train_batch_size=size.micro_batch,
        gradient_accumulation_steps=size.group // size.micro_batch, max_completion_length=size.completion,
        generation_kwargs={"min_new_tokens": size.completion - 1, "forced_eos_token_id": eos}, loss_type="grpo",
        learning_rate=1e-5, lr_scheduler_type="constant", max_steps=steps, logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, log_level="error", gradient_checkpointing=True, optim=machine.optimizer,
        bf16=gpu and machine.trials["bf16"].works, fp16=gpu and not machine.trials["bf16"].works, use_cpu=not gpu,
        dataloader_pin_memory=gpu,
    )  # fmt: skip


def run(name: str, checkpoint: Path, scenario: str, steps: int) -> dict[str, Any]:
    """One scenario in this process: medians over all steps but the first, the peak of memory, what was predicted."""
    options, size, machine = SCENARIOS[scenario], SIZES[name], probe()
    gpu = machine.device == "cuda"
    if gpu and "limit" in options:
        torch.cuda.set_per_process_memory_fraction(options["limit"] / machine.memory)
    model, tokenizer = load_policy(checkpoint, machine)
    data, peft = prompts(tokenizer, size, 2 * steps), lora_config(model, size.rank)
    with tempfile.TemporaryDirectory() as folder:
        shared = settings(size, folder, steps, machine, tokenizer.eos_token_id)
        if options.get("trainer") == "trl":
            trainer = GRPOTrainer(
                model, any_reward, GRPOConfig(**shared), data, processing_class=tokenizer, peft_config=peft
            )
        else:
            trainer = _thinktuning(options, size, shared, model, data, tokenizer, peft, checkpoint, machine)
        trainer.remove_callback(PrinterCallback)
        clock = Clock(trainer)
        trainer.add_callback(clock)
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        logs = [row for row in trainer.state.log_history if "loss" in row]
    return _summary(clock, logs, size, options, machine, model.config)


def _thinktuning(options, size, shared, model, data, tokenizer, peft, checkpoint, machine) -> ThinkTuningTrainer:
    guided = options.get("guided", True)
    config = ThinkTuningConfig(
        **shared, guided_fraction=1 / size.group if guided else 0.0, teacher_max_new_tokens=size.taught
    )
    trainer = ThinkTuningTrainer(
        model, any_reward, config, data, processing_class=tokenizer, peft_config=peft, teacher_prompt=TINY_PROMPT
    )
    if guided:
        teacher = trainer.teacher
        if options.get("teacher") == "second model":
            teacher = PolicyTeacher(load_policy(checkpoint, machine)[0], tokenizer, TINY_PROMPT, size.taught)
        trainer.teacher = Spoken(teacher, size.taught)
    return trainer


def _summary(clock: Clock, logs: list[dict], size: Size, options: dict, machine: Any, config: Any) -> dict[str, Any]:
    steps = clock.steps[1:] or clock.steps
    median = {key: sorted(s[key] for s in steps)[len(steps) // 2] for key in steps[0]}
    guided = options.get("guided", True) and options.get("trainer") != "trl"
    predicted = plan(
        config, group_size=size.group, prompt_tokens=size.prompt, completion_tokens=size.completion,
        device=machine.device, micro_batch=size.micro_batch, rank=size.rank, dtype=machine.dtype,
        quantization=machine.quantization, optimizer=machine.optimizer,
        teacher=options.get("teacher", "adapter off") if guided else "elsewhere",
        teacher_tokens=size.taught if guided else 0, teacher_prompt_tokens=64,
    )  # fmt: skip
    return {
        "seconds": {key: round(value, 4) for key, value in median.items() if key != "tokens"},
        "sampled tokens per second": round(size.group * size.completion / median["sampling"], 1),
        "trained completion tokens per second": round(median["tokens"] / median["training"], 1),
        "guided share": logs[-1].get("guidance/fraction", 0.0),
        "peak bytes": peak_bytes(), "predicted bytes": predicted.peak, "predicted bytes on a GPU": predicted.on_gpu,
        "optimizer": machine.optimizer, "attention": machine.attention, "dtype": str(machine.dtype),
    }  # fmt: skip


def peak_bytes() -> dict[str, int]:
    """On a GPU what PyTorch used and reserved at most; on a CPU the whole process (Linux)."""
    if torch.cuda.is_available():
        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    import resource

    return {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


def all_scenarios(name: str, steps: int, scenarios: list[str]) -> dict[str, Any]:
    """Every scenario in a fresh process; one that fails (out of memory, say) is recorded with its last line."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_random(name, Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
        for scenario in scenarios:
            command = [sys.executable, __file__, "--one", scenario, "--shapes", name]
            command += ["--checkpoint", folder, "--steps", str(steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                results[scenario] = json.loads(done.stdout.strip().splitlines()[-1])
            else:
                results[scenario] = {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
            print(name, scenario, json.dumps(results[scenario]), flush=True)
    return results


def machine_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--shapes", nargs="+", choices=list(SIZES), default=["3b", "1.5b"])
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--one", choices=list(SCENARIOS), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet()
    if options.one:
        with contextlib.redirect_stdout(sys.stderr):
            result = run(options.shapes[0], options.checkpoint, options.one, options.steps)
        print(json.dumps(result))
        return
    if "toy" not in options.shapes and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; --shapes toy runs the same code on a CPU")
    packages = ("torch", "transformers", "trl", "peft", "bitsandbytes")
    report = {"machine": machine_name(), "versions": {p: version(p) for p in packages}, "steps": options.steps}
    for name in options.shapes:
        report[name] = {"size": vars(SIZES[name]), "scenarios": all_scenarios(name, options.steps, options.scenarios)}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
