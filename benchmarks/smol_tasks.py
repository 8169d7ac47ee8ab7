"""The nine task files and the prompted methods on SmolLM2-135M, with and without a LoRA adapter: scores, no answers, seconds.

    python benchmarks/smol_tasks.py --data ../shared/data [--adapter runs/smol_quote/released-seed0/checkpoint-18]
                                    [--rows 20] [--tokens 96] [--out data/logs/smol/tasks.json]

By `lm_eval run --include_path ...`, as a user would, a command for each model; near chance is what a model of this size
gets. `--data` holds the original files (`gsm8k/test.jsonl`, ...). GPQA is gated and AIME was not to be had: rows invented in
their original shape stand in, and are marked so; AIME is asked one problem, 32 samples of it. Responses are cut after
`--tokens`, so that it takes minutes: many then state no answer.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from thinktuning_lite.evaluation.baselines import PROMPTED, SelfImprovingLM
from thinktuning_lite.evaluation.harness import TASKS, hub_model, run_tasks
from thinktuning_lite.evaluation.tasks.graders import FOLDER, read_rows
from thinktuning_lite.method.files import write_json
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.smol import fetched_folder

FILES = {  # benchmark: where its original file lies below --data, and below THINKTUNING_DATA
    "tt_gsm8k": ("gsm8k/test.jsonl", "gsm8k/test.jsonl"),
    "tt_math500": ("math500/test.jsonl", "math500/test.jsonl"),
    "tt_strategyqa": ("strategyqa/dev.json", "strategyqa/dev.json"),
    "tt_arc_challenge": ("arc_challenge/test.jsonl", "arc_challenge/test.jsonl"),
    "tt_commonsenseqa": ("commonsenseqa/dev.jsonl", "commonsenseqa/dev.jsonl"),
    # Published outputs of another model, each with its question: rows of the test split.
    "tt_mmlu_pro": ("mmlu_pro/llama31_8b_outputs_400.jsonl", "mmlu_pro/test.jsonl"),
}
AIME = ("tt_aime2024", "tt_aime2025")
INVENTED = ("tt_gpqa_diamond", *AIME)


def data_folder(source: Path, rows: int, folder: Path) -> None:
    """The first `rows` rows of each benchmark, in its original shape, for THINKTUNING_DATA."""
    for original, wanted in FILES.values():
        some, path = read_rows(source / original)[:rows], folder / wanted
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row) for row in some]
        path.write_text(f"[{', '.join(lines)}]" if path.suffix == ".json" else "\n".join(lines), encoding="utf-8")
    (folder / "gpqa").mkdir()
    with (folder / "gpqa" / "gpqa_diamond.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Question", "Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3))])
        for i in range(rows):
            writer.writerow([f"A gas is heated from {300 + i} K at constant volume. What happens to its pressure?",
                             "It rises", "It falls", "It stays the same", "It becomes zero"])  # fmt: skip
    for year in ("aime2024", "aime2025"):
        (folder / year).mkdir()
        row = {
            "id": 1,
            "problem": "Find the number of integers from 1 to 100 that are multiples of 3.",
            "answer": "033",
        }
        (folder / year / "test.jsonl").write_text(json.dumps(row), encoding="utf-8")


def evaluate(tasks: list[str], rows: int, tokens: int, adapter: Path | None, data: Path) -> dict[str, Any]:
    """One `lm_eval run`: by task its figures, and the first prompt as the model reads it."""
    model = f"pretrained={fetched_folder()},dtype=float32" + (f",peft={adapter}" if adapter else "")
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", model, "--include_path", str(TASKS),
            "--tasks", ",".join(tasks), "--limit", str(rows), "--apply_chat_template", "--batch_size", "20",
            "--device", "cpu", "--gen_kwargs", f"max_gen_toks={tokens}", "--output_path", out, "--log_samples",
        ]  # fmt: skip
        done = subprocess.run(
            command, env=os.environ | {FOLDER: str(data)}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        [found] = Path(out).rglob("results_*.json")
        results = json.loads(found.read_text(encoding="utf-8"))["results"]
        prompts = {p.name: p for p in Path(out).rglob("samples_*.jsonl")}
        first = {
            t: read_rows(p)[0]["arguments"] for t in tasks for n, p in prompts.items() if n.startswith(f"samples_{t}_")
        }
    return {
        task: {name: results[task][f"{name},stated"] for name in ("pass@1", "maj@k", "no_answer")}
        | {"prompt": first[task]["gen_args_0"]["arg_0"]}
        for task in tasks
    }


def all_tasks(rows: int, tokens: int, adapter: Path | None, data: Path) -> dict[str, Any]:
    """Both commands (AIME is asked one problem), and the seconds that each took, loading included."""
    began = time.perf_counter()
    out = evaluate([*FILES, "tt_gpqa_diamond"], rows, tokens, adapter, data)
    middle = time.perf_counter()
    out |= evaluate(list(AIME), 1, tokens, adapter, data)
    seconds = {"seven": round(middle - began, 1), "AIME": round(time.perf_counter() - middle, 1)}
    return {"tasks": {t: figures | {"invented": t in INVENTED} for t, figures in out.items()}, "seconds": seconds}


def prompted(rows: int, tokens: int, data: Path) -> dict[str, dict[str, float]]:
    """The prompted methods on GSM8K, by the package's own seam: no lm-eval command has several turns."""
    os.environ[FOLDER] = str(data)
    model, tokenizer = load_policy("smol", quantization="none", dtype=torch.float32)
    plain = hub_model(model, tokenizer, batch_size=20)
    methods = {"zero-shot CoT": plain} | {name: SelfImprovingLM(plain, method) for name, method in PROMPTED.items()}
    out = {}
    for name, lm in methods.items():
        began = time.perf_counter()
        records = run_tasks(lm, ["tt_gsm8k"], tokenizer, limit=rows, generation={"max_gen_toks": tokens})["tt_gsm8k"]
        said = [(r.correct[0], r.answers[0], r.lengths[0]) for r in records]
        out[name] = {
            "pass@1": sum(right for right, *_ in said) / len(said),
            "no_answer": sum(answer is None for _, answer, _ in said) / len(said),
            "tokens": sum(length for *_, length in said) / len(said),
            "seconds": round(time.perf_counter() - began, 1),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "data/logs/smol/tasks.json")
    options = parser.parse_args()
    fetched_folder()  # raises, with the way out, where the model is not
    report: dict[str, Any] = {
        "rows": options.rows, "tokens": options.tokens, "adapter": options.adapter and options.adapter.parent.name,
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        data_folder(options.data, options.rows, Path(folder))
        report["base"] = all_tasks(options.rows, options.tokens, None, Path(folder))
        write_json(options.out, report)
        report["prompted, GSM8K"] = prompted(options.rows, options.tokens, Path(folder))
        write_json(options.out, report)
        if options.adapter:
            report["adapter on"] = all_tasks(options.rows, options.tokens, options.adapter, Path(folder))
            write_json(options.out, report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
