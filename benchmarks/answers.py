"""How fast answers are read and graded: texts a second on real outputs, the worst hostile text, maj@k.

    python benchmarks/answers.py [--out benchmarks/answers.json] [--against REVISION:PATH]

`--against` measures another revision's module in the same run (the state before issue 17 is
f9cede9:thinktuning_lite/rewards.py) and adds the ratios. Real outputs are the public files of ../shared/data; where they
are absent, GSM8K-like texts stand in. Seconds are CPU seconds of this process, the best of several rounds; for maj@k, most of
whose work is the helper process's, its CPU seconds are added, and wall seconds stand beside them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from thinktuning_lite.evaluation.statistics import majority
from thinktuning_lite.method import answers
from thinktuning_lite.method.grading import canonical_form, is_correct
from thinktuning_lite.method.grading_client import grader

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CHARS = 128_000
# Texts that repeat what a reader looks for.
HOSTILE = (
    "\\boxed ", "\\boxed{", "\\boxed{5}", "\\boxed{5}, ", "-\\boxed{5} and ", "answer ", "the answer is (A). ", "answer is (", "answer:", "Answer: A, ",
    "answer:\\text{", "I choose ", "so, (A) is ", "(A) is the correct answer. ", "option (A) ", "if ", "not think ", "1,", "1,234", "1/", "1 ", "+1", "-",
    "$", "$a$ ", "*", ". ", "? ", "yes. ", "no, ", "(A) ", "A ", "a", "so ", "}", "{", "#### ", "#### 5\n", "\n", "\nQ", "\nQuestion: ", "\nA. x", "Problem",
    "```\n", "```python\n\\boxed{5}\n```\n", "</think>", "<think>", "<", "</s>", "\\left", "\\text{", "\\(", "\\frac", "answer" + " " * 99, '"', "'", "é", "…",
    "is the answer ", "correct ", "the answer \"", "the answer to ", "maybe ", "say ", "statement ", "_", "__", "# ", "[INST]", "print(", "=",
)  # fmt: skip


def module_at(revision_and_path: str) -> ModuleType:
    """A single module of another revision of this repository."""
    source = subprocess.run(
        ["git", "show", revision_and_path], check=True, capture_output=True, cwd=Path(__file__).parent
    )
    with tempfile.NamedTemporaryFile(suffix=".py", delete=False) as file:
        file.write(source.stdout)
    spec = importlib.util.spec_from_file_location("another_revision", file.name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    Path(file.name).unlink()
    return module


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").split("\n") if line]


def real_texts() -> dict[str, tuple[str, list[str]]]:
    """Source -> (the function that reads it, texts)."""
    if not DATA.is_dir():
        made = [f"Tom has {i} apples and buys {i + 3}. So {i}+{i + 3}={2 * i + 3}.\n" * 4 for i in range(2000)]
        return {"made": ("extract_answer", [f"{text}\\boxed{{{i}}}" for i, text in enumerate(made)])}
    solutions = [
        value["solution"]
        for row in rows("rollouts/gsm8k_openai_6b_175b.jsonl")
        for value in row.values()
        if isinstance(value, dict)
    ]
    boxed = [
        before + "\\boxed{" + answer.strip() + "}" for before, _, answer in (s.rpartition("A:") for s in solutions)
    ]
    questions = json.loads((DATA / "strategyqa/dev.json").read_text(encoding="utf-8"))
    chains = [
        " ".join(q["facts"]) + f" So the answer is {'yes' if q['answer'] else 'no'}."
        for q in questions
        for _ in range(8)
    ]
    return {
        "GSM8K golds": ("extract_answer", [row["answer"] for row in rows("gsm8k/train.jsonl")]),
        "GSM8K rollouts, answers in boxes": ("extract_answer", boxed),
        "GSM8K rollouts as they are": ("extract_answer", solutions),
        "MATH-500 solutions": ("extract_answer", [row["solution"] for row in rows("math500/test.jsonl")] * 4),
        "MMLU-Pro outputs": (
            "extract_choice",
            [row["generated_text"] for row in rows("mmlu_pro/llama31_8b_outputs_400.jsonl")] * 4,
        ),
        "StrategyQA chains": ("extract_yes_no", chains),
    }


def best_of(rounds: int, call: Callable[[], object]) -> float:
    """CPU seconds."""

    def once() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return min(once() for _ in range(rounds))


def texts_a_second(modules: dict[str, ModuleType]) -> dict[str, dict[str, float]]:
    """By source: thousands of texts a second, for each module in turn, interleaved."""
    found: dict[str, dict[str, float]] = {}
    for source, (name, texts) in real_texts().items():
        seconds = {label: float("inf") for label in modules}
        for _ in range(5):
            for label, module in modules.items():
                read = getattr(module, name)
                seconds[label] = min(seconds[label], best_of(1, lambda read=read, texts=texts: [*map(read, texts)]))
        found[source] = {label: round(len(texts) / s / 1000, 1) for label, s in seconds.items()}
        if len(modules) == 2:
            now, before = found[source].values()
            found[source]["ratio"] = round(now / before, 2)
    return found


def worst_text() -> dict[str, Any]:
    """Milliseconds of the slowest repeated unit, in 127,000 characters, by function."""
    worst: dict[str, Any] = {}
    for name in ("extract_answer", "extract_choice", "extract_yes_no", "first_answer_end"):
        read = getattr(answers, name)
        times = {}
        for unit in HOSTILE:
            for end in ("", " no.", " The answer is (A)", "\n\\boxed{5}"):
                text = unit * (CHARS // len(unit) - 9) + end
                times[unit[:20] + end] = best_of(3, lambda read=read, text=text: read(text))
        slowest = max(times, key=times.__getitem__)
        worst[name] = {"ms": round(1000 * times[slowest], 2), "text": slowest}
    return worst


def majority_of_32() -> dict[str, float]:
    """Wall seconds of one document of 32 distinct LaTeX samples; the helper's start by itself."""
    samples = [rf"\frac{{{i}+\sqrt{{{i + 2}}}}}{{{i + 3}}}" for i in range(16)]
    samples += [rf"{i}x^2 + \sqrt{{{i + 1}}}x - {i}" for i in range(2, 18)]
    wall = time.perf_counter()
    is_correct("x+1", "1+x")
    started, cpu_before = time.perf_counter() - wall, cpu_with_helper()
    wall = time.perf_counter()
    right = [is_correct(sample, samples[3]) for sample in samples]
    most = majority(samples, canonical_form)
    is_correct(most, samples[3])
    graded, cpu = time.perf_counter() - wall, cpu_with_helper() - cpu_before
    assert sum(right) == 1
    return {
        "helper_start_wall_s": round(started, 2),
        "helper_start_cpu_s": round(cpu_before, 2),
        "graded_wall_s": round(graded, 2),
        "graded_cpu_s": round(cpu, 2),
    }


def cpu_with_helper() -> float:
    """CPU seconds so far of the helper of math-verify and its fork, ended forks included; its pipes' other end left out."""
    process = grader()._process
    assert process is not None
    helper = psutil.Process(process.pid)
    ended = helper.cpu_times()
    living = [each.cpu_times() for each in (helper, *helper.children())]
    return ended.children_user + ended.children_system + sum(times.user + times.system for times in living)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/answers.json"))
    parser.add_argument("--against", metavar="REVISION:PATH")
    options = parser.parse_args()
    modules: dict[str, ModuleType] = {"now": answers}
    if options.against:
        modules["before"] = module_at(options.against)
    result = {
        "thousands_of_texts_a_second": texts_a_second(modules),
        "worst_text_below_128000_characters": worst_text(),
        "majority_of_32_latex_samples": majority_of_32(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
