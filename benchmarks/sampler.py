"""Tokens a second: sampling.sample beside transformers' generate, in one run; the teacher's prefix; growth; memory.

    python benchmarks/sampler.py [--out benchmarks/sampler.json] [--repeats 5] [--trained FOLDER]

The engines take turns, so that a slow minute of the machine hits both alike, and each counts with its fastest turn. Ratios
are what to read. A random model of 30M parameters never ends by itself: it measures decoding alone. The tiny student's rows
end where it ends them; `--trained` adds a checkpoint of it that has been trained (runs/classroom/released-seed0/checkpoint-32).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from thinktuning_lite.classroom.load import TINY_CLASSROOM, load_classroom
from thinktuning_lite.classroom.sample import load_tiny_set
from thinktuning_lite.classroom.settings import COMPLETION_TOKENS
from thinktuning_lite.method.sampling import eos_ids_of, sample, suppressed_ids

ENGINES = ("hf", "fast")
GROUP = 8
GRID = ((8, 32), (8, 128), (8, 512), (64, 32), (64, 128), (256, 32))  # rows, tokens of the random model
PREFIX = 900  # tokens of system prompt and exemplars


def random_model(width: int = 512, layers: int = 8) -> LlamaForCausalLM:
    """About 30M parameters by default; wide weights, so that greedy replies to different prompts differ."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=width,
        intermediate_size=11 * width // 4,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        num_key_value_heads=max(1, width // 64),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def random_prompts(rows: int, tokens: int = 64, start: tuple[int, ...] = ()) -> list[list[int]]:
    g = torch.Generator().manual_seed(rows)
    return [[*start, *torch.randint(10, 8000, (tokens - i % 8,), generator=g).tolist()] for i in range(rows)]


def race(ways: dict[str, Any], repeats: int) -> dict[str, dict[str, float]]:
    """Each way in turn, `repeats` times: seconds and tokens of its fastest turn. A way takes the turn's number."""
    fastest: dict[str, dict[str, float]] = {}
    for turn in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            tokens = sum(map(len, way(turn)))
            seconds = time.perf_counter() - began
            rate = {"seconds": round(seconds, 4), "tokens": tokens, "tokens_per_second": round(tokens / seconds, 1)}
            if name not in fastest or rate["tokens_per_second"] > fastest[name]["tokens_per_second"]:
                fastest[name] = rate
    return fastest


def with_ratio(result: dict[str, Any]) -> dict[str, Any]:
    return result | {"fast / hf": round(result["fast"]["tokens_per_second"] / result["hf"]["tokens_per_second"], 2)}


def student(folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Groups of 8 rollouts of the tiny student, as in training."""
    model, tokenizer = load_classroom(folder)
    template = dict(add_generation_prompt=True, tokenize=True, return_dict=False)
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": row["question"]}], **template)
        for row in load_tiny_set("train")[: rows // GROUP]
        for _ in range(GROUP)
    ]
    settings = dict(
        max_new_tokens=COMPLETION_TOKENS,
        eos_ids=eos_ids_of(model, tokenizer),
        pad_id=tokenizer.pad_token_id,
        suppress_ids=suppressed_ids(model),
    )

    def way(engine: str):
        def run(turn: int) -> list[list[int]]:
            torch.manual_seed(turn)
            return sample(model, prompts, engine=engine, **settings)

        return run

    return with_ratio(race({engine: way(engine) for engine in ENGINES}, repeats))


def decoding(model: Any, rows: int, tokens: int, repeats: int) -> dict[str, Any]:
    """A batch of which no row ends before `tokens`."""
    prompts, settings = random_prompts(rows), dict(max_new_tokens=tokens, eos_ids=(), pad_id=0)
    return with_ratio(race({e: lambda _, e=e: sample(model, prompts, engine=e, **settings) for e in ENGINES}, repeats))


def teacher(model: Any, requests: int, repeats: int, prefix: int = PREFIX, tokens: int = 64) -> dict[str, Any]:
    """Greedy replies to prompts that share their first `prefix` tokens, read once or with each request."""
    start = tuple(random_prompts(1, prefix + 7)[0][:prefix])
    prompts = random_prompts(requests, start=start)
    settings = dict(max_new_tokens=tokens, eos_ids=(), pad_id=0, temperature=0)
    replies: dict[str, list] = {}

    def way(name: str, **how: Any):
        def run(turn: int) -> list[list[int]]:
            replies[name] = sample(model, prompts, **settings, **how)
            return replies[name]

        return run

    ways = {
        "hf": way("hf", engine="hf"),
        "each": way("each"),
        "once": way("once", prefix=start),
    }
    result = race(ways, repeats)
    seconds = {name: r["seconds"] for name, r in result.items()}
    return {
        "seconds, hf generate": seconds["hf"],
        "seconds, read with each request": seconds["each"],
        "seconds, read once": seconds["once"],
        "replies identical": replies["hf"] == replies["each"] == replies["once"],
    }


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log seconds over log size by least squares: seconds grow as size to this power."""
    x, y = [math.log(s) for s in sizes], [math.log(s) for s in seconds]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
    return round(slope, 2)


def growth(grid: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Exponents of seconds in rows (at the shortest length) and in tokens (at the fewest rows), from `decoding`s."""
    cells = [tuple(map(int, name.split(" x "))) for name in grid]
    few, short = min(r for r, _ in cells), min(t for _, t in cells)
    out = {}
    for engine in ENGINES:
        along = {
            "rows": [(r, grid[f"{r} x {t}"][engine]["seconds"]) for r, t in cells if t == short],
            "tokens": [(t, grid[f"{r} x {t}"][engine]["seconds"]) for r, t in cells if r == few],
        }
        for name, points in along.items():
            out[f"{engine}, {name}"] = exponent(*map(list, zip(*points, strict=True)))
    return out


def peak_mebibytes(engine: str, rows: int, tokens: int, width: int, layers: int) -> int:
    """High-water mark of a process of its own that samples once, MiB (Linux and macOS)."""
    import resource

    sample(
        random_model(width, layers), random_prompts(rows), max_new_tokens=tokens, eos_ids=(), pad_id=0, engine=engine
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1024 if platform.system() == "Linux" else peak / 2**20)


def memory(rows: int, tokens: int, width: int = 512, layers: int = 8) -> dict[str, int]:
    context = multiprocessing.get_context("spawn")
    out = {}
    for engine in ENGINES:
        with ProcessPoolExecutor(1, context) as pool:
            out[engine] = pool.submit(peak_mebibytes, engine, rows, tokens, width, layers).result()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trained", type=Path, help="a checkpoint of the tiny student after training")
    options = parser.parse_args()
    disable_progress_bar()
    students = {"untrained": TINY_CLASSROOM} | ({"trained": options.trained} if options.trained else {})
    result: dict[str, Any] = {
        "machine": {"threads": torch.get_num_threads(), "processor": platform.machine(), "torch": torch.__version__},
        "tiny student, groups of 8": {
            f"{name}, {rows} rollouts": student(folder, rows, options.repeats)
            for name, folder in students.items()
            for rows in tqdm((8, 64, 256), desc=name, unit="batch")
        },
    }
    model = random_model()
    result["parameters of the random model"] = model.num_parameters()
    grid = {
        f"{r} x {t}": decoding(model, r, t, max(2, options.repeats // 2)) for r, t in tqdm(GRID, desc="rows x tokens")
    }
    result["random model, rows x tokens"] = grid
    result["seconds grow as size to the power of"] = growth(grid)
    result[f"teacher, {PREFIX} shared tokens"] = {
        f"{n} requests": teacher(model, n, 2) for n in tqdm((8, 32), desc="teacher", unit="batch")
    }
    result["peak MiB, 64 rows x 256 tokens"] = memory(64, 256)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
