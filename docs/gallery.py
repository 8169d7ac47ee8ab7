"""The gallery: three logs in docs/gallery/, and the pages that each build of the site makes of them.

    python docs/gallery.py runs/classroom

makes the logs anew: seed 0 of a finished main job, and TRL's own trainer, recorded for 12 steps (a minute).
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

GALLERY = Path(__file__).resolve().parent / "gallery"
TITLES = {
    "grpo": "GRPO on the tiny student",
    "thinktuning": "ThinkTuning (released shaping) on the tiny student",
    "trl-dr-grpo": "TRL's GRPOTrainer with dr_grpo, recorded",
}


def write_pages(folder: Path = GALLERY) -> list[Path]:
    """One page a log, by today's inspector."""
    from thinktuning_lite.views.inspector import Inspector

    pages = []
    for name, title in TITLES.items():
        with tempfile.TemporaryDirectory() as scratch:
            log = Path(scratch) / "rollouts.jsonl"
            log.write_bytes(gzip.decompress((GALLERY / f"{name}.jsonl.gz").read_bytes()))
            pages.append(Inspector(log, title=title).to_html(folder / f"{name}.html"))
    return pages


def keep(log: Path, name: str) -> None:
    """Put a log among the gallery's, without the path of the machine that made it."""
    first, *rows = log.read_text(encoding="utf-8").splitlines()
    head = json.loads(first)
    head["run"]["tokenizer"] = "tiny_classroom"
    text = "\n".join([json.dumps(head), *rows, ""])
    (GALLERY / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def record(folder: Path) -> Path:
    """Twelve steps of TRL's own trainer, with a second reward for short answers; returns the log."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from thinktuning_lite import RolloutRecorder
    from thinktuning_lite.classroom.load import load_classroom
    from thinktuning_lite.classroom.sample import as_prompts, load_tiny_set
    from thinktuning_lite.classroom.settings import COMPLETION_TOKENS, TINY_RUN
    from thinktuning_lite.method.rewards import correctness_reward

    def short(completions: list, **kwargs: Any) -> list[float]:
        return [0.2 if len(completion[-1]["content"]) < 40 else 0.0 for completion in completions]

    settings = dict(
        output_dir=str(folder), loss_type="dr_grpo", num_generations=8, per_device_train_batch_size=16,
        gradient_accumulation_steps=4, max_completion_length=COMPLETION_TOKENS, learning_rate=5e-5,
        lr_scheduler_type="constant", max_steps=12, seed=0, save_strategy="no",
    )  # fmt: skip
    model, tokenizer = load_classroom()
    data = Dataset.from_list(as_prompts(load_tiny_set("train")))
    config = GRPOConfig(**(TINY_RUN | settings))
    trainer = GRPOTrainer(model, [correctness_reward, short], config, data, processing_class=tokenizer)
    RolloutRecorder(trainer, every=2)
    trainer.train()
    return folder / "rollouts.jsonl"


def main(run: str) -> None:
    GALLERY.mkdir(exist_ok=True)
    keep(Path(run) / "grpo-seed0" / "rollouts.jsonl", "grpo")
    keep(Path(run) / "released-seed0" / "rollouts.jsonl", "thinktuning")
    scratch = Path(tempfile.mkdtemp())
    try:
        keep(record(scratch), "trl-dr-grpo")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(sys.argv[1])
