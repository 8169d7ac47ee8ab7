"""Run folders, metrics, processes, saved logs: what every experiment shares."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.experiments.folders import RunPlan, empty, held, mark, result_path
from thinktuning_lite.experiments.workers import context
from thinktuning_lite.method.files import append_row, read_json, whole_lines, write_json
from thinktuning_lite.method.prompts import TINY_PROMPT, TeacherPrompt
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import Teacher
from thinktuning_lite.method.trainer import ThinkTuningTrainer


class MetricsLog(TrainerCallback):
    """Appends every log of the trainer to metrics.jsonl and moves a progress bar."""

    def __init__(self, path: Path, label: str, position: int | None = None) -> None:
        self.path, self.label, self.position, self.bar = path, label, position, None

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.label,
            unit="step",
            position=self.position,
            leave=False,
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs and not any(name.startswith("eval_") for name in logs):
            return
        append_row(self.path, json.dumps({"step": state.global_step, **logs}))
        self.bar.update(state.global_step - self.bar.n)
        if "loss" in logs:
            self.bar.set_postfix(reward=shown_reward(logs))

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def shown_reward(logs: dict) -> str:
    """The reward of a log, or "none": no function judged, or the step trained on an earlier step's rollouts."""
    return "none" if logs.get("reward") is None else f"{logs['reward']:.2f}"


def read_metrics(path: Path) -> list[dict]:
    """A run's metrics, one dict a step, its evaluation's among them; what a resumed run did again counts as done later."""
    rows: dict[int, dict] = {}
    for line in whole_lines(path):
        row = json.loads(line)
        rows[row["step"]] = rows.get(row["step"], {}) | row
    return [rows[s] for s in sorted(rows)]


def train_run(
    label: str,
    config: ThinkTuningConfig,
    *,
    reward_funcs: Any = correctness_reward,
    teacher_prompt: TeacherPrompt = TINY_PROMPT,
    callbacks: tuple[TrainerCallback, ...] = (),
    bar: int | None = None,
    policy: PreTrainedModel | None = None,
    teacher: Teacher | None = None,
    trainer_class: type[ThinkTuningTrainer] = ThinkTuningTrainer,
    **more: Any,
) -> ThinkTuningTrainer:
    """Train the tiny student (or `policy`) in config.output_dir, or go on from the last checkpoint there.

    `bar` is the row of the progress bar; `teacher` stands in for the default one, the student's frozen copy; `more` goes to
    the trainer.
    """
    folder = Path(config.output_dir)
    model, tokenizer = load_classroom()
    trainer = trainer_class(
        policy or model,
        reward_funcs,
        config,
        Dataset.from_list(sample.as_prompts(sample.load_tiny_set("train"))),
        teacher=teacher,
        teacher_prompt=teacher_prompt,
        processing_class=tokenizer,
        callbacks=[MetricsLog(folder / "metrics.jsonl", label, bar), *callbacks],
        **more,
    )
    trainer.remove_callback(PrinterCallback)  # metrics.jsonl and the progress bar say it
    with held(folder):
        trainer.go_on()
    return trainer


def run_side_by_side(
    jobs: list[tuple], workers: int | None = None, done: Callable[[tuple], None] = lambda job: None
) -> None:
    """Run jobs, each (function, *arguments), side by side in processes (default: one a core), in the order given.

    A model this small gains more from a second run beside it than from a second thread, so a process has one thread; the
    cores are shared out when there are fewer jobs than cores. Each function gets a keyword `bar`, the row of its
    progress bar; `done` hears of each job that ended. The first job that fails ends the rest.
    """
    if not jobs:
        return
    cores = os.cpu_count() or 1
    workers = min(workers or cores, len(jobs))
    with ProcessPoolExecutor(workers, context(), _begin_worker, (max(1, cores // workers),)) as pool:
        futures = {pool.submit(job[0], *job[1:], bar=1 + i % workers): job for i, job in enumerate(jobs)}
        try:
            for future in tqdm(as_completed(futures), total=len(jobs), desc="runs", unit="run", position=0):
                future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker(threads: int) -> None:
    """So many threads; and end with the process that began this one, else a killed run would go on in its workers."""
    torch.set_num_threads(threads)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def quiet() -> None:
    """No weight-loading bars and no advice that does not concern a tiny CPU run."""
    disable_progress_bar()
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="transformers"
    )  # names inside TRL that will change


SAVED = ("config.json", "environment.json", "results.json", "table.md", "curves.png", "advantages.png")
SAVED_METRICS = re.compile(
    r"step|reward|frac_reward_zero_std|completions/mean_length|grad_norm|step_time|rewards/.*/mean"
    r"|guidance/(fraction|format_failures|failures|teacher_tokens|generated_tokens|all_wrong|reward/.*|behaviour/.*)"
    r"|steps/.*|unequal_groups|self_distillation/.*"
)


def save_log(plan: RunPlan, folder: Path) -> None:
    """Keep in `folder` what notebooks and README quote: plan, environment, results, figures, and each run's curves.

    curves.json: {arm-seedN: {"metrics": [a dict a step], "probes": [...] where the run made some}}, five digits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAVED:
        if (plan.folder / name).exists():
            shutil.copy(plan.folder / name, folder / name)
    curves = {}
    for arm in plan.arms:
        for seed in plan.seeds:
            run_folder = result_path(plan, arm, seed).parent
            path = run_folder / "metrics.jsonl"
            metrics = read_metrics(path) if path.exists() else []  # of an arm that is not trained
            curve = {"metrics": [{k: v for k, v in r.items() if SAVED_METRICS.fullmatch(k)} for r in metrics]}
            if (run_folder / "probes.jsonl").exists():
                curve["probes"] = read_metrics(run_folder / "probes.jsonl")
            curves[run_folder.name] = curve
    rounded = json.loads(json.dumps(curves), parse_float=lambda x: float(f"{float(x):.5g}"))
    (folder / "curves.json").write_text(json.dumps(rounded) + "\n", encoding="utf-8")


def environment() -> dict[str, str]:
    """Versions, platform and commit, for whoever wants to repeat the run."""
    packages = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=DATA.parent, check=False
    ).stdout.strip()
    return {p: version(p) for p in packages} | {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": commit or "unknown",
    }


@contextmanager
def claimed(plan: RunPlan, fresh: bool = False) -> Iterator[None]:
    """As `claim`, and no other process gets the run's folder as long as the block runs (InUseError says who has it)."""
    mark(plan)
    with held(plan.folder):
        claim(plan, fresh)
        yield


def claim(plan: RunPlan, fresh: bool = False) -> None:
    """Take the run's folder and write its config there; with `fresh`, empty it first.

    Raises SystemExit rather than mix two configs in one folder, or touch a folder that is no run.
    """
    if fresh:
        empty(plan)
    mark(plan)
    config = plan.folder / "config.json"
    if config.exists() and read_json(config) != plan.as_dict():
        raise SystemExit(
            f"{config} was written by other options:\n  there: {json.dumps(read_json(config))}\n  asked: "
            f"{json.dumps(plan.as_dict())}\nGive another --name, the same options, or --fresh to delete that run."
        )
    write_json(config, plan.as_dict())
    if plan.complete:  # nothing will run
        return
    path, found = plan.folder / "environment.json", environment()
    earlier = read_json(path)["commit"] if path.exists() else found["commit"]
    if found["commit"] not in earlier.split(", "):  # resumed by other code: name both
        earlier += f", {found['commit']}"
    write_json(path, found | {"commit": earlier})
