"""Train ThinkTuning on any instruct model from a config file: LoRA on a 4-bit base or all weights, one process or many.

    python -m thinktuning_lite train --preset t4
    python -m thinktuning_lite train --config run.yaml
    accelerate launch --num_processes 4 -m thinktuning_lite train --config run.yaml    (GPUs; FSDP: its config)
    torchrun --standalone --nproc_per_node 2 -m thinktuning_lite train --config run.yaml     (also on CPU, by gloo)

A config (YAML or JSON) names a preset to begin with and what to change; `training` takes every field of
ThinkTuningConfig, so TRL's own switches (use_vllm, report_to, save_steps, ...) are set there:

    preset: 24gb
    model: Qwen/Qwen2.5-3B-Instruct
    data: openai/gsm8k
    teacher: {base_url: "http://localhost:8000/v1", model: my-model, timeout: 120, parallel: 8, retries: 4}
    training: {output_dir: runs/mine, use_vllm: true, vllm_mode: colocate, report_to: tensorboard}
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback

from thinktuning_lite.classroom import sample
from thinktuning_lite.experiments.commands import train_parser
from thinktuning_lite.experiments.folders import InUseError, held
from thinktuning_lite.experiments.presets import TINY, Run, preset_for, resolve, with_seed
from thinktuning_lite.experiments.runs import MetricsLog, environment, quiet, read_metrics, shown_reward
from thinktuning_lite.experiments.values import read_config
from thinktuning_lite.method.files import write_json
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TINY_PROMPT
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import Teacher
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.models import datasets
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config, record_base
from thinktuning_lite.models.machine import Machine, probe
from thinktuning_lite.models.sums import SUMS, last_number_reward, sum_rows, teacher_prompt

LOGS = ("run.json", "metrics.jsonl", "rollouts.jsonl", "final")  # what a run writes into output_dir, and checkpoint-*


def build(
    run: Run, machine: Machine | None = None, *, callbacks: list[TrainerCallback] | None = None
) -> ThinkTuningTrainer:
    """Model, data, teacher and trainer of a run, ready for `.train()`; says how many prompts were dropped.

    Raises what loading model and data raise, each with its way out, ValueError for settings that do not fit, and
    ImportError for a package that they need and that is not installed: all before a model is loaded where it can.
    """
    machine = machine or probe()
    config = run.config(machine)
    _check_packages(run, config, machine)
    endpoint = _endpoint(run, config)
    model, tokenizer = load_policy(
        run.source, machine, quantization=run.quantization_on(machine), dtype=run.torch_dtype
    )
    data = _data(run, tokenizer)
    _check_data(data, run, config)
    return _trainer(run, config, model, tokenizer, data, endpoint, callbacks)


def _trainer(run, config, model, tokenizer, data, endpoint, callbacks) -> ThinkTuningTrainer:
    trainer = ThinkTuningTrainer(
        model,
        last_number_reward if run.data == SUMS else correctness_reward,
        config,
        data.train,
        teacher=endpoint,
        teacher_prompt=_teacher_prompt(run),
        processing_class=tokenizer,
        eval_dataset=data.validation if len(data.validation) else None,
        peft_config=None if run.lora_rank is None else lora_config(model, run.lora_rank, run.lora_alpha),
        callbacks=[*(callbacks or []), _BaseRecord()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


_REPORTERS = {"tensorboard": ("tensorboard", "tensorboardX"), "comet_ml": ("comet_ml",), "azure_ml": ("azureml",)}


def _check_packages(run: Run, config: ThinkTuningConfig, machine: Machine) -> None:
    """Raise ImportError, with the command that mends it, for a package that the settings call for."""
    wanted = [(f"report_to: {name}", _REPORTERS.get(name, (name,))) for name in config.report_to if name != "all"]
    if config.use_vllm:
        wanted.append(("use_vllm: true", ("vllm",)))
    if run.quantization_on(machine) == "nf4":
        wanted.append(("quantization: nf4", ("bitsandbytes",)))
    if config.teacher_keeps_form and config.guides and run.teacher is None:
        wanted.append(("teacher_keeps_form: true", ("llguidance",)))
    for setting, packages in wanted:
        if not any(importlib.util.find_spec(p) for p in packages):
            raise ImportError(f"{setting} needs the package {packages[0]}: pip install {packages[0]}, or change it")


def _check_data(data: datasets.TrainingData, run: Run, config: ThinkTuningConfig) -> None:
    """Say what was dropped; refuse (ValueError) data that do not fill one generation, with which no step would be made."""
    if data.dropped and config.process_index == 0:
        print(
            f"{data.dropped} prompts of more than {run.max_prompt_tokens} tokens were dropped, "
            f"{len(data.train)} are left"
        )
    prompts = config.generation_batch_size // config.num_generations
    if len(data.train) < prompts:
        raise ValueError(
            f"{run.data} has {len(data.train)} prompts to train on, and one generation takes {prompts}: fewer "
            "per_device_train_batch_size, gradient_accumulation_steps or steps_per_generation, or more data"
        )
    if config.eval_strategy.value != "no" and not len(data.validation):
        raise ValueError("eval_strategy asks for evaluation, and validation: 0 holds nothing out for it")


def _data(run: Run, tokenizer: Any) -> datasets.TrainingData:
    if run.data == SUMS:
        parts = (sum_rows("train"), sum_rows("validation")[: run.validation])
        return datasets.TrainingData(*map(Dataset.from_list, parts), 0)
    if run.data != TINY:
        return datasets.training_data(
            run.data, tokenizer, validation=run.validation, max_prompt_tokens=run.max_prompt_tokens
        )
    rows, dropped = datasets.drop_long(
        sample.as_prompts(sample.load_tiny_set("train")), tokenizer, run.max_prompt_tokens
    )
    held = sample.as_prompts(sample.load_tiny_set("validation")[: run.validation])
    return datasets.TrainingData(Dataset.from_list(rows), Dataset.from_list(held), dropped)


def _teacher_prompt(run: Run) -> Any:
    if run.data == SUMS:
        return teacher_prompt()
    return TINY_PROMPT if run.is_tiny else INSTRUCT_PROMPT


def _endpoint(run: Run, config: ThinkTuningConfig) -> Teacher | None:
    if run.teacher is None:
        return None
    from thinktuning_lite.method.endpoint import EndpointTeacher  # the client takes a second to import

    key = run.teacher.get("api_key_env", "")
    if key and key not in os.environ:
        raise ValueError(f"teacher.api_key_env is {key!r}, and there is no such environment variable")
    named = {name: value for name, value in run.teacher.items() if name != "api_key_env" and value is not None}
    return EndpointTeacher(
        prompt=_teacher_prompt(run),
        api_key=os.environ.get(key, ""),
        max_new_tokens=config.teacher_max_new_tokens,
        **named,
    )


def train(
    run: Run, machine: Machine | None = None, *, callbacks: list[TrainerCallback] | None = None
) -> ThinkTuningTrainer:
    """Build, train (or go on, with `resume`), and save adapter or model with its tokenizer to output_dir/final.

    Beside it: run.json (the run as resolved, the shaping it used, versions) and metrics.jsonl, one line a step and one
    for each evaluation. What an earlier run left in output_dir is moved to output_dir/earlier/n, unless it is resumed. A
    run that has all its steps is not trained on. Progress is a bar, or what `callbacks` (a list, maybe empty) make of it.
    """
    machine = machine or probe()
    folder = Path(run.training["output_dir"])
    _check_resume(run)
    first = os.environ.get("RANK", "0") == "0"
    with held(folder) if first else nullcontext():
        if first and not run.resume and (earlier := set_aside(folder)):
            print(f"the earlier run in {folder} was moved to {earlier}")
        trainer = build(run, machine, callbacks=callbacks)
        if first:
            known = {"run": dataclasses.asdict(run), "machine": machine.name, "versions": environment()}
            write_json(folder / "run.json", known)
            log = MetricsLog if callbacks is None else _File
            trainer.add_callback(log(folder / "metrics.jsonl", folder.name))
        if isinstance(run.resume, str):
            trainer.train(resume_from_checkpoint=run.resume)
        else:
            trainer.go_on() if run.resume else trainer.train()
        trainer.save_model(str(folder / "final"))
        if first:
            record_base(trainer.accelerator.unwrap_model(trainer.model), folder / "final")
    return trainer


def _check_resume(run: Run) -> None:
    if isinstance(run.resume, str) and not (Path(run.resume) / "trainer_state.json").exists():
        raise FileNotFoundError(
            f"resume: {run.resume} holds no trainer_state.json, so it is no checkpoint; resume: true takes the newest "
            f"one in {run.training['output_dir']}"
        )


def set_aside(folder: Path) -> Path | None:
    """Move what an earlier run wrote into `folder` to earlier/n inside it, so that no log goes on where another ended.

    Returns where to; None when there is no run.json, hence no run.
    """
    if not (folder / "run.json").exists():
        return None
    number = 1
    while (folder / "earlier" / str(number)).exists():
        number += 1
    target = folder / "earlier" / str(number)
    target.mkdir(parents=True)
    moved = [path for path in folder.iterdir() if path.name in LOGS or path.name.startswith("checkpoint-")]
    for path in sorted(moved, key=lambda p: p.name == "run.json"):  # which says that there is a run: last
        path.rename(target / path.name)
    return target


class _BaseRecord(TrainerCallback):
    """Writes beside each checkpoint what its base was, for merging."""

    def on_save(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            record_base(model, Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _File(MetricsLog):
    """MetricsLog without its bar, for where another callback shows the progress."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(disable=True)


def train_seeds(run: Run, seeds: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Train a run once a seed, side by side in processes that share the cores; returns each seed's metrics, by step.

    Seed n writes to output_dir-seedn. For a CPU or several small runs: they would share one GPU's memory.
    """
    runs = {seed: with_seed(run, seed) for seed in seeds}
    cores = os.cpu_count() or 1
    workers = max(1, min(cores, len(runs)))
    context = multiprocessing.get_context("spawn")
    # Quiet before anything is imported there: bitsandbytes warns of a missing optional CPU kernel when it is.
    with ProcessPoolExecutor(workers, context, logging.disable, (logging.WARNING,)) as pool:
        list(pool.map(_train_quietly, runs.values(), [max(1, cores // workers)] * len(runs)))
    return {seed: read_metrics(Path(r.training["output_dir"]) / "metrics.jsonl") for seed, r in runs.items()}


def _train_quietly(run: Run, threads: int) -> None:
    quiet()
    torch.set_num_threads(threads)
    train(run, callbacks=[])


class Live(TrainerCallback):
    """Calls `show(rows, text)` after each step: the metrics so far, and a line with step, reward and time remaining.

    In a notebook `show` writes the line in place (`display(..., display_id=True)`, then `.update`); `live.LiveView`
    draws.
    """

    def __init__(self, show: Callable[[list[dict[str, Any]], str], None]) -> None:
        self.show, self.rows, self.began, self.first = show, [], 0.0, 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.began, self.first = time.perf_counter(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs or not state.is_world_process_zero:
            return
        self.rows.append({"step": state.global_step, **logs})
        done = state.global_step - self.first
        left = (time.perf_counter() - self.began) / done * (state.max_steps - state.global_step)
        remaining = f"{left / 3600:.1f} h" if left > 5400 else f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
        text = f"step {state.global_step} of {state.max_steps}, reward {shown_reward(logs)}, {remaining} remaining"
        self.show(self.rows, text)


def configured(options: argparse.Namespace, machine: Machine) -> Run:
    """The run that --config, --preset and a model's name ask for, by default the preset of what the machine can hold."""
    config = read_config(options.config) if options.config else {}
    if options.preset:
        config = {**config, "preset": options.preset}
    model = getattr(options, "model", None)
    if "preset" not in config and "model" not in config:
        config["preset"] = preset_for(machine)
        if model and config["preset"] == "tiny":
            config["preset"] = "t4"  # the tiny classroom's settings suit no other model
    if model:
        config = {**config, "model": model}
    run = resolve(config)
    if getattr(options, "max_steps", None) is not None:
        run = dataclasses.replace(run, training=run.training | {"max_steps": options.max_steps})
    return run


def main(arguments: list[str] | None = None) -> None:
    parser = train_parser()
    options = parser.parse_args(arguments)
    quiet()
    first = os.environ.get("RANK", "0") == "0"
    try:
        machine = probe()
        run = configured(options, machine)
        if first:
            print(machine.table(), "\n")
        if options.check:
            raise SystemExit(check(run, machine))
        trainer = train(run, machine)
    except torch.OutOfMemoryError as error:
        parser.error(
            f"out of memory: {one_line(error)}. Halve per_device_train_batch_size and double "
            "gradient_accumulation_steps; `thinktuning plan` says what needs how much"
        )
    except (OSError, ValueError, ImportError, InUseError) as error:
        parser.error(f"{type(error).__name__}: {one_line(error)}")
    if first:
        print(json.dumps({"steps": trainer.state.global_step, "saved": f"{trainer.args.output_dir}/final"}))


def check(run: Run, machine: Machine) -> int:
    """Print the preflight of a run (`ThinkTuningTrainer.check`); 1 when something speaks against it, else 0."""
    found = build(run, machine, callbacks=[]).check()
    print(found)
    return 1 if found.problems else 0


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
