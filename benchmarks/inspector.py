"""Opening a large rollout log in the inspector, moving its sliders; its static page; what recording a run costs.

    python benchmarks/inspector.py [--out benchmarks/inspector.json] [--groups 1000] [--rollouts 8] [--tokens 200]
        [--real runs/classroom/released-seed0/rollouts.jsonl] [--steps 12] [--browser]

CPU seconds (this process, one thread) beside wall seconds: the first do not depend on what else the machine does.
Times are the kernel's, in the browser wall seconds. Memory is what the process holds after opening, over what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.method.recorder import RolloutRecorder
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
        inspector.ui = inspector.ui | {"group": others[i]}

    def filtered(i: int) -> None:
        inspector.ui = inspector.ui | {"filter": ("guided", "spread", "silent", "all")[i % 4]}

    sent = sum(len(v) for v in inspector.numbers.values() if isinstance(v, bytes))
    others = [g["key"] for g in inspector.listing["groups"][1:moves]]
    return {
        "open": {k: round(v, 3) for k, v in opened.items()},
        "memory_mb": round(held, 1),
        "slider_move": median([timed(lambda i=i: slide(i))[1] for i in range(moves)]),
        **({"another_group": median([timed(lambda i=i: browse(i))[1] for i in range(len(others))])} if others else {}),
        "another_filter": median([timed(lambda i=i: filtered(i))[1] for i in range(8)]),
        "sent_kb": {
            "slider_move": round(sent / 1e3, 1),
            "texts_of_a_group": round(len(json.dumps(inspector.group)) / 1e3, 1),
            "list_of_groups": round(len(json.dumps(inspector.listing)) / 1e3, 1),
        },
    }


def page_of(log: Path, folder: Path, groups: int) -> dict:
    """Size of the static page, and CPU seconds to write it."""
    inspector = Inspector(log)
    path, took = timed(lambda: inspector.to_html(folder / "page.html", groups=groups))
    tokens = sum(row.length for g in inspector.index.groups for row in g.rows)
    return {
        "groups": len(inspector.index.groups),
        "tokens": tokens,
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "written_in_cpu_s": round(took["cpu_s"], 1),
    }


def repeated(log: Path, out: Path, groups: int) -> Path:
    """A real run's log as often as gives so many groups, each time at later steps."""
    lines = log.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "run" not in row]
    there = len({(row["step"], row["group"]) for row in rows})
    with out.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines if "run" in json.loads(line))
        for turn in range(groups // there):
            file.writelines(json.dumps(row | {"step": row["step"] + 1000 * turn}) + "\n" for row in rows)
    return out


class TimedRecorder(RolloutRecorder):
    """Counts its own CPU seconds: those of each method less those of the trainer's method inside."""

    own = 0.0

    def _count(self, method: Callable, inner: Callable, *args: Any, **kwargs: Any) -> Any:
        inside = 0.0

        def timed_inner(*a: Any, **k: Any) -> Any:
            nonlocal inside
            began = time.process_time()
            try:
                return inner(*a, **k)
            finally:
                inside += time.process_time() - began

        began = time.process_time()
        result = method(timed_inner, *args, **kwargs)
        self.own += time.process_time() - began - inside
        return result

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        return self._count(super()._calculate_rewards, *args, **kwargs)

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        return self._count(super()._generate_and_score_completions, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        return self._count(super()._get_per_token_logps_and_entropies, *args, **kwargs)

    def _compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return self._count(super()._compute_loss, *args, **kwargs)


def recorder(steps: int) -> dict:
    """The recorder's share of the CPU time of TRL's GRPOTrainer on the tiny student, in one run that records every step."""
    from datasets import Dataset
    from step import plain_config  # benchmarks/step.py
    from trl import GRPOTrainer

    from thinktuning_lite.classroom.load import load_classroom
    from thinktuning_lite.classroom.sample import as_prompts, load_tiny_set
    from thinktuning_lite.experiments.side_by_side import training_config
    from thinktuning_lite.method.rewards import correctness_reward

    with tempfile.TemporaryDirectory() as folder:
        config = training_config(
            "grpo", 0, Path(folder), steps, rollout_log_steps=0, save_strategy="no", logging_steps=10**6
        )
        model, tokenizer = load_classroom()
        data = Dataset.from_list(as_prompts(load_tiny_set("train")))
        trainer = GRPOTrainer(model, correctness_reward, plain_config(config), data, processing_class=tokenizer)
        recorded = TimedRecorder(trainer, every=1)
        _, took = timed(trainer.train)
        rows = len((Path(folder) / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()) - 1
    share = 100 * recorded.own / (took["cpu_s"] - recorded.own)
    return {
        "steps": steps,
        "rollouts": rows,
        "percent_of_a_step_that_is_recorded": round(share, 2),
        "percent_at_the_default_of_every_10th_step": round(share / 10, 2),
    }


FRAMES = """() => new Promise((done) => {
  const waits = []; let last = performance.now(), top = 0;
  const step = (now) => { waits.push(now - last); last = now; top += 300; window.scrollTo(0, top);
    if (top < document.body.scrollHeight && waits.length < 2000) requestAnimationFrame(step); else done(waits); };
  requestAnimationFrame(step); })"""


def frames_cpu(trace: bytes) -> list[float]:
    """CPU milliseconds of the page's own thread in each frame of a trace of Chromium's, sorted."""
    events = json.loads(trace)["traceEvents"]
    page = {(e["pid"], e["tid"]) for e in events if e.get("args", {}).get("name") == "CrRendererMain"}
    took = [
        e["tdur"] / 1000
        for e in events
        if e["name"] == "ProxyMain::BeginMainFrame" and "tdur" in e and (e["pid"], e["tid"]) in page
    ]
    return sorted(took)


def in_browser(page: Path, scroll: bool) -> dict:
    """Wall seconds from navigation to the first token; the frames of a scroll from top to bottom, 300 pixels each."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_selector(".tti-token")
        result = {"opens_in_s": round(time.perf_counter() - began, 2)}
        if scroll:
            memory = tab.context.new_cdp_session(tab)
            memory.send("HeapProfiler.collectGarbage")
            waits = sorted(tab.evaluate(FRAMES))
            browser.start_tracing(page=tab, categories=["toplevel", "cc"])
            tab.evaluate(FRAMES)
            cpu = frames_cpu(browser.stop_tracing())
            result |= {
                "frames": len(waits),
                "median_ms": round(statistics.median(waits)),
                "longest_ms": round(waits[-1]),
                "longest_cpu_ms": round(cpu[-1]),
                "script_memory_mb": round(memory.send("Runtime.getHeapUsage")["usedSize"] / 1e6, 1),
            }
        browser.close()
    return result


def pages(folder: Path, log: Path, long: Path, groups: int, real: Path | None, browser: bool) -> dict:
    """The static page: of the random log, of two completions of 20,000 tokens, of a real run's log repeated."""
    logs = {"this_log": log, "two_completions_of_20000_tokens": long}
    if real:
        logs["a_real_runs_log_repeated"] = repeated(real, folder / "real.jsonl", groups)
    out = {}
    for name, path in logs.items():
        out[name] = page_of(path, folder, groups)
        if browser:
            out[name] |= in_browser(folder / "page.html", scroll=path == long)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/inspector.json"))
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--real", type=Path, metavar="LOG", help="a rollouts.jsonl of a run, for the size of its page")
    parser.add_argument("--steps", type=int, default=12, help="of training, for the recorder's share")
    parser.add_argument("--browser", action="store_true", help="open the pages in Chromium (needs playwright)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, long = folder / "rollouts.jsonl", folder / "long.jsonl"
        write_log(log, options.groups, options.rollouts, options.tokens)
        write_log(long, 1, 2, 20_000)
        result = {
            "groups": options.groups,
            "rollouts_a_group": options.rollouts,
            "tokens_a_rollout": options.tokens,
            "log_mb": round(log.stat().st_size / 1e6, 1),
            **measure(log, options.moves),
            "two_completions_of_20000_tokens": measure(long, options.moves),
            "page": pages(folder, log, long, options.groups, options.real, options.browser),
            "recorder": recorder(options.steps),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
