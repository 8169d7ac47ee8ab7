"""Grade sixty made-up submissions of all notebooks, some of them hostile; the marks must be right. Writes grading.json.

python benchmarks/grading.py [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil

from thinktuning_lite.lessons.course import grade, grading, tasks

HERE = Path(__file__).resolve().parent
COUNTS = {
    "right": 20,
    "wrong": 10,
    "empty": 6,
    "looping": 6,
    "exiting": 5,
    "memory-eating": 5,
    "tampering": 5,
    "broken": 3,
}
DOES = {  # what one answer in three does
    "looping": "while True: pass",
    "exiting": "import os; os._exit(0)",
    "memory-eating": "x = [bytearray(10**9) for _ in range(10**6)]",
    "wrong": "return 0.4321",
}
TAMPER = """
from thinktuning_lite.lessons import checks
from thinktuning_lite.lessons.course import hidden
import importlib, pkgutil
checks.hint, hidden.fault = checks.passed, lambda *a: None
for found in pkgutil.iter_modules(checks.__path__):
    module = importlib.import_module(f"{checks.__name__}.{found.name}")
    for name in list(vars(module)):
        if callable(getattr(module, name)):
            setattr(module, name, lambda *a: checks.Result(True, "patched"))
    try:
        open(module.__file__, "a").write("#")
    except OSError:
        pass
"""


def archive(path: Path, change: Callable[[tasks.Task, str], str], first: str = "", solved: bool = True) -> None:
    """A submission of all notebooks, each stub solved and then changed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for source in tasks.notebook_paths():
            book = nbformat.read(source, as_version=4)
            answers, sources = iter(tasks.tasks_of(book, source.stem)), iter(tasks.solved_sources(book))
            for cell in book.cells:
                cell.outputs = [] if cell.cell_type == "code" else None
                if cell.outputs is None:
                    del cell["outputs"]
                    continue
                answer = next(sources)
                if tasks.tagged(cell, "exercise") and solved:
                    cell.source = first + change(next(answers), answer)
            file.writestr(source.name, nbformat.writes(book))


def spoilt(task: tasks.Task, answer: str, does: str) -> str:
    """The answer's function with another body; a value that is none for the two that are data."""
    if f"def {task.answer}(" not in answer:
        return f"{task.answer} = 0" if "return" in does else f"def it():\n    {does}\n{task.answer} = it()"
    return f"def {task.answer}(*a):\n    {does}"


def make(folder: Path, all_tasks: list[tasks.Task]) -> dict[str, int]:
    """Write the submissions; name -> the points that are right for it."""
    of, wanted = sum(t.points for t in all_tasks), {}
    for kind, count in COUNTS.items():
        for i in range(count):
            path = folder / f"{kind}-{i}.zip"
            bad = {t.name for n, t in enumerate(all_tasks) if n % 3 == i % 3}
            wanted[path.name] = of
            if kind in DOES:
                if kind != "wrong":
                    bad = set(sorted(bad)[: 3 + i])
                archive(path, lambda t, a, bad=bad, kind=kind: spoilt(t, a, DOES[kind]) if t.name in bad else a)
                wanted[path.name] -= sum(t.points for t in all_tasks if t.name in bad)
            elif kind == "tampering":
                archive(path, lambda t, a: spoilt(t, a, DOES["wrong"]), first=TAMPER)
            elif kind == "broken":
                path.write_bytes([b"no zip", b"", b"PK\x03\x04half"][i])
            else:
                archive(path, lambda t, a: a, solved=kind == "right")
            if kind in ("tampering", "broken", "empty"):
                wanted[path.name] = 0
    return wanted


def cpu_seconds() -> float:
    """Processor time of this process, of its children, and of all that these have waited for."""
    used = [p.cpu_times() for p in (psutil.Process(), *psutil.Process().children(recursive=True))]
    return sum(u.user + u.system + getattr(u, "children_user", 0) + getattr(u, "children_system", 0) for u in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "grading.json")
    options = parser.parse_args()
    all_tasks = tasks.read_tasks(tasks.notebook_paths())
    with tempfile.TemporaryDirectory() as name:
        wanted = make(Path(name), all_tasks)
        began = time.perf_counter()
        asked = grading.ask(all_tasks, seed=11)
        paths = grade.submissions_in(Path(name))
        graded = grade.grade_all(paths, asked, options.jobs, seconds=10.0, minutes=30.0, done=lambda g: print(
            f"{(time.perf_counter() - began) / 60:5.1f} min  {g.name}: {g.points} of {wanted[g.name]}", flush=True))  # fmt: skip
        minutes, cpu = (time.perf_counter() - began) / 60, cpu_seconds() / 60
    off = {g.name: [g.points, wanted[g.name]] for g in graded if g.points != wanted[g.name]}
    reasons = {k: sorted({re.sub(r"\d+", "N", m.reason)[:90] for g in graded if g.name.startswith(k) for m in g.marks
                          if not m.points})[:6] for k in COUNTS}  # fmt: skip
    result = {"submissions": COUNTS, "tasks": len(all_tasks), "jobs": options.jobs, "cores": os.cpu_count(),
              "minutes": round(minutes, 1), "processor minutes": round(cpu, 1), "wrong marks": off, "reasons": reasons}  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False))
    raise SystemExit(bool(off))


if __name__ == "__main__":
    main()
