"""Seconds and trained tokens a step: ThinkTuningTrainer beside TRL's own GRPOTrainer, in one run, on the tiny student.

    python benchmarks/step.py [--out benchmarks/step.json] [--steps 6] [--repeats 4]

The contestants take turns (A B C A B C ...), so that a slow minute of the machine hits all alike, and each turn repeats the
same steps. What disturbs a step only ever makes it longer, so a step counts with its fastest turn; the first step of a turn
is left out. Ratios are what to read; seconds belong to this machine. Tokens are those
of all completions of a step, whoever runs it: ThinkTuningTrainer saves itself the work on rows of zero advantage.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.sample import as_prompts, load_tiny_set
from thinktuning_lite.experiments.side_by_side import training_config
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.trainer import ThinkTuningTrainer

SPANS = {
    "generate": "_generate_single_turn",
    "teach": "_guide",
    "score": "_calculate_rewards",
    "forward": "compute_loss",
}


class Watch(TrainerCallback):
    """Seconds of each step and of its parts, and the completion tokens trained on."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.now: dict[str, float] = defaultdict(float)

    def on_step_begin(self, args, state, control, **kwargs):
        self.now, self.began = defaultdict(float), time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.now["seconds"] = time.perf_counter() - self.began
        self.now["generate"] -= self.now["teach"]  # guidance happens inside TRL's generation
        self.steps.append(dict(self.now))

    def time(self, trainer: GRPOTrainer) -> None:
        """Wrap the trainer's methods with stopwatches."""
        for span, method in SPANS.items():
            if hasattr(trainer, method):
                setattr(trainer, method, self._timed(span, getattr(trainer, method)))
        trainer.accelerator.backward = self._timed("backward", trainer.accelerator.backward)
        loss = trainer._compute_loss

        def counted(model, inputs):
            self.now["tokens"] += int(inputs["completion_mask"].sum())
            return loss(model, inputs)

        trainer._compute_loss = counted

    def _timed(self, span, call):
        def timed(*args, **kwargs):
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.now[span] += time.perf_counter() - began

        return timed


def plain_config(config) -> GRPOConfig:
    """The same settings as a GRPOConfig, for TRL's own trainer."""
    known = GRPOConfig.__dataclass_fields__
    changed = {k: v for k, v in config.to_dict().items() if k in known and known[k].init}
    return GRPOConfig(**{k: v for k, v in changed.items() if k not in ("generation_batch_size",)})


def contestants(group_size: int) -> dict[str, dict]:
    """Name -> settings; `trl` True means TRL's own trainer."""
    shared = dict(num_generations=group_size)
    guided = dict(guided_fraction=1 / 8, guidance_steps=10**6)
    return {
        "trl": dict(trl=True, arm="grpo", **shared),
        "off": dict(trl=False, arm="grpo", **shared),
        "guided": dict(trl=False, arm="intended", **guided, **shared),
        "off, TRL's sampling": dict(trl=False, arm="grpo", sampling_engine="hf", **shared),
        "guided, TRL's sampling": dict(trl=False, arm="intended", sampling_engine="hf", **guided, **shared),
    }


def turn(settings: dict, problems: str, steps: int, folder: Path) -> list[dict[str, float]]:
    """A fresh trainer, `steps` steps; the first is dropped."""
    settings = dict(settings)
    trl, arm = settings.pop("trl"), settings.pop("arm")
    config = training_config(
        arm, 0, folder, steps, rollout_log_steps=0, save_strategy="no", logging_steps=10**6, **settings
    )
    model, tokenizer = load_classroom()
    data = Dataset.from_list(as_prompts(load_tiny_set(problems)))
    watch = Watch()
    common = dict(processing_class=tokenizer, callbacks=[watch])
    if trl:
        trainer = GRPOTrainer(model, correctness_reward, plain_config(config), data, **common)
    else:
        trainer = ThinkTuningTrainer(model, correctness_reward, config, data, teacher_prompt=TINY_PROMPT, **common)
    watch.time(trainer)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return watch.steps[1:]


def peak_megabytes() -> float:
    """High-water mark of this process, MiB (Linux and macOS)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if platform.system() == "Linux" else peak / 2**20


def summary(turns: list[list[dict[str, float]]]) -> dict[str, float]:
    """Means over steps, each step's parts from its fastest turn; `turns` hold the same steps."""
    fastest = [min(same, key=lambda r: r["seconds"]) for same in zip(*turns, strict=True)]
    keys = ("seconds", "generate", "teach", "score", "forward", "backward", "tokens")
    out = {k: round(statistics.mean(r.get(k, 0.0) for r in fastest), 4) for k in keys}
    return out | {"seconds_per_1000_tokens": round(1000 * out["seconds"] / out["tokens"], 5)}


def compare(group_size: int, problems: str, steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """All contestants in turns, on a problem set ("validation_harder" has longer prompts and completions)."""
    turns: dict[str, list] = defaultdict(list)
    for _ in tqdm(range(repeats), desc=f"group {group_size}, {problems}", unit="round"):
        for name, settings in contestants(group_size).items():
            with tempfile.TemporaryDirectory() as folder:
                turns[name].append(turn(settings, problems, steps, Path(folder)))
    out = {name: summary(t) for name, t in turns.items()}
    ratios = {}
    for name in contestants(group_size):
        unit, key = ("token", "seconds_per_1000_tokens") if "guided" in name else ("step", "seconds")
        if name != "trl":
            ratios[f"{name} / trl, seconds a {unit}"] = round(out[name][key] / out["trl"][key], 3)
    out["ratios"] = ratios
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    disable_progress_bar()
    result = {
        "machine": {"cores": torch.get_num_threads(), "processor": platform.machine(), "torch": torch.__version__},
        "64 rollouts, groups of 8": compare(8, "train", options.steps, options.repeats),
        "64 rollouts, groups of 16": compare(16, "train", options.steps, options.repeats),
        "64 rollouts, groups of 8, longer problems": compare(8, "validation_harder", options.steps, options.repeats),
    }
    result["peak_MiB"] = round(peak_megabytes())
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
