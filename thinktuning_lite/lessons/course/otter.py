"""Tests for otter-grader (7.0): files that call lessons/checks and the hidden variants, and the archive of `otter run`.

Otter's own environment: it asks for wrapt<2, which what is pinned here has left behind. Otter runs a submission and its
tests in one process and unpickles what that process wrote, so it trusts the student's code; `thinktuning grade` does not.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from thinktuning_lite.lessons.course import values
from thinktuning_lite.lessons.course.grading import Asked
from thinktuning_lite.lessons.course.tasks import CHECKS

IGNORE = "otter_ignore"  # the tag of cells that otter does not run
_TEST = """\
from otter.test_files import test_case

from {checks} import {module}
from thinktuning_lite.lessons.course import hidden, values

OK_FORMAT = False
name = "{name}"
points = {points}
all_or_nothing = True
EXPECTED = values.loads({expected!r})


@test_case(points=0, hidden=False)
def the_check_of_the_notebook({answer}):
    result = {module}.{check}({answer})
    assert result.passed, result.message


@test_case(points={points}, hidden=True)
def the_check_and_its_variants({answer}):
    result = {module}.{check}({answer})
    assert result.passed, result.message
    fault = hidden.fault("{module}.{check}", {answer}, EXPECTED)
    assert fault is None, fault
"""


def test_file(asked: Asked) -> str:
    """A task's test file in otter's exception-based form; expected values are data in it, the solution is not."""
    task = asked.task
    return _TEST.format(
        checks=CHECKS, module=task.module, check=task.check, answer=task.answer, name=task.name, points=task.points,
        expected=values.dumps([list(case) for case in asked.expected]),
    )  # fmt: skip


def write(asked: Sequence[Asked], folder: Path, repo: str) -> None:
    """Per notebook: `folder`/NN/tests/*.py and `folder`/NN/autograder.zip. Raises ValueError for a variant that is no data.

    For Gradescope, `otter generate -t tests -r requirements.txt` in that folder makes the archive with its installer,
    which takes the package from `repo`, owner/name on GitHub.
    """
    for stem in dict.fromkeys(a.task.notebook for a in asked):
        here = folder / stem
        (here / "tests").mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(here / "autograder.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for one in (a for a in asked if a.task.notebook == stem):
                name = f"tests/{one.task.check}.py"
                (here / name).write_text(test_file(one), encoding="utf-8")
                archive.write(here / name, name)
            archive.writestr("otter_config.json", json.dumps({"show_stdout": False, "show_hidden": False}))
        wanted = f"thinktuning_lite @ git+https://github.com/{repo}\n"
        (here / "requirements.txt").write_text(wanted, encoding="utf-8")
