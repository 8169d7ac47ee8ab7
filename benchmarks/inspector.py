"""Opening a large rollout log in the inspector, and moving its sliders.

    python benchmarks/inspector.py [--out benchmarks/inspector.json] [--groups 1000] [--rollouts 8] [--tokens 200]

CPU seconds (this process, one thread) beside wall seconds: the first do not depend on what else the machine does.
Times are the kernel's; what the browser adds is printed by the browser tests. Memory is what the process holds after
opening, over what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.method.rollouts import Rollout
from thinktuning_lite.views.inspector import Inspector


def write_log(path: Path, groups: int, size: int, tokens: int) -> None:
    """A log as a trainer writes it: 16 groups a step, one rollout of each guided, rewards 0 or 1."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for g in range(groups):
            for i in range(size):
                own = tokens // 2 if i == 0 else tokens
                r = Rollout(
                    step=g // 16,
                    group=g % 16,
                    question=f"Ana has {g} nuts. How many?",
                    text="3+4=7. " * (tokens // 4),
                    token_ids=[rng.randrange(10, 90) for _ in range(tokens)],
                    author=[0] * own + [1] * (tokens - own),
                    logps=[-rng.expovariate(2) for _ in range(tokens)],
                    weights=[1.0] * tokens if i else [rng.uniform(0.9, 1.1) for _ in range(tokens)],
                    reward=float(rng.random() < 0.5),
                    advantage=rng.gauss(0, 1),
                )
                file.write(r.to_json() + "\n")


def timed(call: Callable[[], object]) -> tuple[object, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def resident() -> float:
    """Megabytes this process holds now; Linux only."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def median(samples: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(s[key] for s in samples), 5) for key in samples[0]}


def measure(path: Path, moves: int) -> dict:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TINY_CLASSROOM)
    Inspector(
        [Rollout(0, 0, "q", "t", [10], [1], [-1.0], [1.0], 1.0, 0.0)] * 2, tokenizer
    )  # first use of torch and widgets
    before = resident()
    inspector, opened = timed(lambda: Inspector(path, tokenizer))
    held = resident() - before

    def slide(i: int) -> None:
        inspector.ui = inspector.ui | {"gamma_max": 0.0005 * (i % 20 - 10)}

    def browse(i: int) -> None:
        inspector.ui = inspector.ui | {"group": inspector.listing["groups"][i]["key"]}

    def filtered(i: int) -> None:
        inspector.ui = inspector.ui | {"filter": ("guided", "spread", "silent", "all")[i % 4]}

    sent = sum(len(v) for v in inspector.numbers.values() if isinstance(v, bytes))
    return {
        "open": {k: round(v, 3) for k, v in opened.items()},
        "memory_mb": round(held, 1),
        "slider_move": median([timed(lambda i=i: slide(i))[1] for i in range(moves)]),
        "another_group": median([timed(lambda i=i: browse(i))[1] for i in range(1, moves)]),
        "another_filter": median([timed(lambda i=i: filtered(i))[1] for i in range(8)]),
        "sent_kb": {
            "slider_move": round(sent / 1e3, 1),
            "texts_of_a_group": round(len(json.dumps(inspector.group)) / 1e3, 1),
            "list_of_groups": round(len(json.dumps(inspector.listing)) / 1e3, 1),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/inspector.json"))
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--moves", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "rollouts.jsonl"
        write_log(log, options.groups, options.rollouts, options.tokens)
        result = {
            "groups": options.groups,
            "rollouts_a_group": options.rollouts,
            "tokens_a_rollout": options.tokens,
            "log_mb": round(log.stat().st_size / 1e6, 1),
            **measure(log, options.moves),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
