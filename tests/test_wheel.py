"""What a wheel holds, as pyproject.toml says it: all that the notebooks read from the package is in there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READ = """
from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.classroom.sample import load_tiny_set
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.evaluation.harness import TASKS
from thinktuning_lite.lessons.quiz import QUIZZES, show_quiz

print(DATA, QUIZZES, sep="\\n")
load_classroom()
assert load_tiny_set("validation") and (TASKS / "base.yaml").exists() and (DATA / "behaviours.jsonl").exists()
for number in {numbers!r}:
    assert show_quiz(number).questions
for name in {logs!r}:
    assert (DATA / "logs" / name).exists(), name
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with what the wheel's table includes, where its table of sources puts it (as links)."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    for part in table["include"]:
        target = part
        for source, place in table["sources"].items():
            if part == source or part.startswith(f"{source}/"):
                target = place + part.removeprefix(source)
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        if part == "thinktuning_lite":  # copied, so that `__file__` lies there; data is laid into it as links
            shutil.copytree(ROOT / part, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (tmp_path / target).symlink_to(ROOT / part)
    return tmp_path


def test_an_installed_wheel_holds_what_notebooks_read(installed: Path, tmp_path_factory):
    numbers = [p.name[:2] for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    logs = [p.name for p in sorted((ROOT / "data" / "logs").iterdir())]
    code = READ.format(numbers=numbers, logs=logs)
    env = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path_factory.mktemp("elsewhere"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(installed)) for line in done.stdout.split()), done.stdout
