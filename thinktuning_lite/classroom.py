"""The main job: from the shipped tiny student, train GRPO and ThinkTuning side by side, evaluate, draw, tabulate.

    python -m thinktuning_lite.classroom [--name classroom] [--seeds 0 1 2] [--steps 48] [--arms grpo released] [--fresh]
                                         [--save data/logs/classroom]

Everything goes to runs/<name>/: config.json, environment.json, one folder a run (metrics.jsonl, rollouts.jsonl,
checkpoints, result.json), results.json, table.md, curves.png, advantages.png. Interrupted, the same command goes on
where it was; finished, it says so and prints the table again; --fresh starts anew.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils.logging import disable_progress_bar

from thinktuning_lite import evaluate as E
from thinktuning_lite.models import load_classroom
from thinktuning_lite.problems import DATA
from thinktuning_lite.rewards import correctness_reward
from thinktuning_lite.teacher import TINY_PROMPT, TeacherPrompt
from thinktuning_lite.trainer import ThinkTuningConfig, ThinkTuningTrainer

ARMS = ("grpo", "intended", "released", "luffy", "plain")
TEST_SETS = ("test", "test_harder", "test_distractor")
GROUP_SIZE = 8
PROMPTS_PER_STEP = 8
MICRO_BATCH = 16  # rows
GUIDED_SHARE_OF_RUN = 0.7  # guidance is off for the last 30 % of the steps: what stays is the student's own


@dataclass(frozen=True)
class Plan:
    """What one invocation trains and evaluates. `arms`: "grpo", or a shaping's name for ThinkTuning under it."""

    name: str = "classroom"
    arms: tuple[str, ...] = ("grpo", "released")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 48
    learning_rate: float = 5e-5
    sets: tuple[str, ...] = TEST_SETS

    @property
    def folder(self) -> Path:
        return Path("runs") / self.name

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(self.__dict__))


def training_config(arm: str, seed: int, output_dir: Path, steps: int, **overrides: Any) -> ThinkTuningConfig:
    """The tiny classroom's settings: 8 prompts x 8 rollouts a step, one in eight guided unless `arm` is "grpo"."""
    settings: dict[str, Any] = dict(
        output_dir=str(output_dir),
        shaping=arm if arm != "grpo" else "intended",
        guided_fraction=0.0 if arm == "grpo" else 1 / GROUP_SIZE,
        guidance_steps=round(GUIDED_SHARE_OF_RUN * steps),
        teacher_max_new_tokens=160,
        max_completion_length=176,
        num_generations=GROUP_SIZE,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=PROMPTS_PER_STEP * GROUP_SIZE // MICRO_BATCH,
        loss_type="grpo",
        learning_rate=5e-5,
        lr_scheduler_type="constant",
        max_steps=steps,
        seed=seed,
        logging_steps=1,
        save_steps=max(1, min(20, steps // 4)),  # a short run is worth resuming too
        save_total_limit=1,
        rollout_log_steps=6,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,
    )
    return ThinkTuningConfig(**(settings | overrides))


class MetricsLog(TrainerCallback):
    """Appends every log of the trainer to metrics.jsonl and moves a progress bar."""

    def __init__(self, path: Path, label: str, position: int | None = None) -> None:
        self.path, self.label, self.position, self.bar = path, label, position, None

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", position=self.position,
            leave=False,
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        self.bar.update(state.global_step - self.bar.n)
        self.bar.set_postfix(reward=f"{logs['reward']:.2f}")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def read_metrics(path: Path) -> list[dict]:
    """A run's metrics, one dict a step; where a resumed run did a step again, the later row counts."""
    rows: dict[int, dict] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # a line that a kill cut short
            continue
        rows[row["step"]] = row
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
) -> ThinkTuningTrainer:
    """Train the tiny student (or `policy`) in config.output_dir, or go on from the last checkpoint there.

    `bar` is the row of the progress bar.
    """
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_classroom()
    trainer = ThinkTuningTrainer(
        policy or model,
        reward_funcs,
        config,
        Dataset.from_list(E.as_prompts(E.load_tiny_set("train"))),
        teacher_prompt=teacher_prompt,
        processing_class=tokenizer,
        callbacks=[MetricsLog(folder / "metrics.jsonl", label, bar), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)  # metrics.jsonl and the progress bar say it
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    return trainer


def evaluate_policy(model: Any, tokenizer: Any, sets: tuple[str, ...], seed: int) -> dict[str, dict]:
    """Per set: the summary at T=1 and greedy accuracy (`greedy`), plus greedy accuracy by number of steps."""
    out = {}
    for name in sets:
        rows = E.load_tiny_set(name)
        sampled, _ = E.evaluate(model, tokenizer, rows, temperature=1.0, seed=seed)
        greedy, _ = E.evaluate(model, tokenizer, rows, temperature=0.0)
        by_steps: dict[str, list[bool]] = {}
        for row, right in zip(rows, greedy.correct, strict=True):
            by_steps.setdefault(str(row["steps"]), []).append(right)
        out[name] = sampled.summary() | {
            "greedy": greedy.summary()["accuracy"],
            "greedy_by_steps": {k: sum(v) / len(v) for k, v in sorted(by_steps.items())},
        }
    return out


def run_side_by_side(jobs: list[tuple], workers: int | None = None) -> None:
    """Run jobs, each (function, *arguments), in processes of one thread each (default: one a core).

    A model this small gains more from a second run beside it than from a second thread. Each function gets a keyword
    `bar`, the row of its progress bar. The first job that fails ends the rest.
    """
    if not jobs:
        return
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(job[0], *job[1:], bar=1 + i % workers) for i, job in enumerate(jobs)]
        try:
            for future in tqdm(as_completed(futures), total=len(jobs), desc="runs", unit="run", position=0):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run(plan: Plan) -> dict[str, list[dict]]:
    """Train and evaluate what is missing; returns {arm: [evaluation of each seed]}, "base" among the arms."""
    wanted = [(arm, seed) for seed in plan.seeds for arm in ("base", *plan.arms)]
    run_side_by_side([(_job, plan, *job) for job in wanted if not result_path(plan, *job).exists()])
    return {
        arm: [json.loads(result_path(plan, arm, seed).read_text()) for seed in plan.seeds]
        for arm in ("base", *plan.arms)
    }


def result_path(plan: Plan, arm: str, seed: int) -> Path:
    return plan.folder / f"{arm}-seed{seed}" / "result.json"


def _job(plan: Plan, arm: str, seed: int, bar: int) -> None:
    """One run in a process of its own; its result file is what marks it as done."""
    quiet()
    path = result_path(plan, arm, seed)
    if arm == "base":
        model, tokenizer = load_classroom()
    else:
        config = training_config(arm, seed, path.parent, plan.steps, learning_rate=plan.learning_rate)
        trainer = train_run(f"{arm}, seed {seed}", config, bar=bar)
        model, tokenizer = trainer.model, trainer.processing_class
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, evaluate_policy(model, tokenizer, plan.sets, seed))


def quiet() -> None:
    """No weight-loading bars and no advice that does not concern a tiny CPU run."""
    disable_progress_bar()
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # names inside TRL that will change


def write_json(path: Path, value: Any) -> None:
    partial = path.with_suffix(".partial")  # a kill between the two lines leaves no half-written result
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


SAVED = ("config.json", "environment.json", "results.json", "table.md", "curves.png", "advantages.png")
SAVED_METRICS = re.compile(r"step|reward|frac_reward_zero_std|completions/mean_length|grad_norm|step_time|rewards/.*/mean"
                           r"|guidance/(fraction|format_failures|reward/.*)")


def save_log(plan: Plan, folder: Path) -> None:
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
            metrics = read_metrics(run_folder / "metrics.jsonl")
            curve = {"metrics": [{k: v for k, v in r.items() if SAVED_METRICS.fullmatch(k)} for r in metrics]}
            if (run_folder / "probes.jsonl").exists():
                curve["probes"] = read_metrics(run_folder / "probes.jsonl")
            curves[run_folder.name] = curve
    rounded = json.loads(json.dumps(curves), parse_float=lambda x: float(f"{float(x):.5g}"))
    (folder / "curves.json").write_text(json.dumps(rounded) + "\n")


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: mean over seeds and 95 % t-interval for each arm and set; then the paired difference to GRPO."""
    columns = (("accuracy", 100, "right at T=1, %"), ("greedy", 100, "right, greedy, %"),
               ("worked_route", 100, "worked route, %"), ("reflection", 100, "reflection, %"), ("length", 1, "tokens"))
    lines = ["| set | policy | " + " | ".join(c[2] for c in columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in next(iter(results.values()))[0]:
        for arm, seeds in results.items():
            cells = [cell([s[name][key] * unit for s in seeds]) for key, unit, _ in columns]
            lines.append(f"| {name} | {_label(arm)} | " + " | ".join(cells) + " |")
        for arm in [a for a in results if a not in ("base", "grpo") and "grpo" in results]:
            pairs = list(zip(results[arm], results["grpo"], strict=True))
            cells = [cell([(a[name][k] - b[name][k]) * u for a, b in pairs], sign=True) for k, u, _ in columns]
            lines.append(f"| {name} | *{_label(arm)} minus GRPO, paired* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _label(arm: str) -> str:
    return {"base": "base", "grpo": "GRPO"}.get(arm, f"ThinkTuning, {arm} AAS" if arm in ("intended", "released")
                                                else f"ThinkTuning, {arm}")


def cell(values: list[float], sign: bool = False) -> str:
    mean, half = E.seed_interval(values)
    return f"{mean:{'+' if sign else ''}.1f} ± {half:.1f}"


def environment() -> dict[str, str]:
    """Versions, platform and commit, for whoever wants to repeat the run."""
    packages = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=DATA.parent, check=False
    ).stdout.strip()
    return {p: version(p) for p in packages} | {
        "python": platform.python_version(), "machine": platform.machine(), "commit": commit or "unknown",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default=Plan.name)
    parser.add_argument("--arms", nargs="+", default=list(Plan.arms), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(Plan.seeds))
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--sets", nargs="+", default=list(TEST_SETS))
    parser.add_argument("--fresh", action="store_true", help="delete runs/<name> and start anew")
    parser.add_argument("--save", type=Path, help="copy figures and curves there when all is done")
    options = vars(parser.parse_args())
    fresh, save = options.pop("fresh"), options.pop("save")
    plan = Plan(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})
    quiet()
    if fresh and plan.folder.exists():
        shutil.rmtree(plan.folder)
    claim(plan)
    done = (plan.folder / "results.json").exists()
    results = run(plan)
    _report(plan, results)
    if save:
        save_log(plan, save)
    if done:
        print(f"\n{plan.folder} was complete already; --fresh (make run FRESH=1) trains anew.")


def claim(plan: Plan) -> None:
    """Write the run's config, or refuse to mix two configs in one folder."""
    config = plan.folder / "config.json"
    if config.exists() and json.loads(config.read_text()) != plan.as_dict():
        raise SystemExit(
            f"{config} was written by other options:\n  there: {config.read_text().strip()}\n  asked: "
            f"{json.dumps(plan.as_dict())}\nGive another --name, the same options, or --fresh to delete that run."
        )
    plan.folder.mkdir(parents=True, exist_ok=True)
    write_json(config, plan.as_dict())
    if (plan.folder / "results.json").exists():  # complete: nothing will run
        return
    path, found = plan.folder / "environment.json", environment()
    earlier = json.loads(path.read_text())["commit"] if path.exists() else found["commit"]
    if found["commit"] not in earlier.split(", "):  # resumed by other code: name both
        earlier += f", {found['commit']}"
    write_json(path, found | {"commit": earlier})


def _report(plan: Plan, results: dict[str, list[dict]]) -> None:
    from thinktuning_lite import plots

    text = table(results)
    write_json(plan.folder / "results.json", results)
    (plan.folder / "table.md").write_text(text + "\n")
    runs = {a: [read_metrics(plan.folder / f"{a}-seed{s}" / "metrics.jsonl") for s in plan.seeds] for a in plan.arms}
    plots.learning_curves({_label(a): r for a, r in runs.items()}).savefig(plan.folder / "curves.png", dpi=150)
    guided = next((a for a in plan.arms if a != "grpo"), plan.arms[0])
    log = plan.folder / f"{guided}-seed{plan.seeds[0]}" / "rollouts.jsonl"
    plots.advantages_by_author(log).savefig(plan.folder / "advantages.png", dpi=150)
    print(f"\nMean over seeds {', '.join(map(str, plan.seeds))} ± 95 % t-interval\n\n{text}\n\nSee {plan.folder}/")


if __name__ == "__main__":
    main()
