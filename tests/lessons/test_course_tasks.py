"""Tasks are read from the notebooks; answers are judged as in the notebook, through the wall as well as without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from reading import PATHS, read

from thinktuning_lite.lessons.course import hidden, slices, tasks, values
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt

TASKS = {f"{task.module}.{task.check}": task for task in tasks.read_tasks(tasks.notebook_paths())}
VALUES = {name for name, task in TASKS.items() if not callable(task.solution())}  # nothing to call with other numbers


def known_wrong() -> list[tuple[str, Any]]:
    """Every wrong answer of the checks' own tests, by "module.check"."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_checks_*.py")):
        wrong, of = import_module(path.stem).WRONG, path.stem.removeprefix("test_checks_")
        if isinstance(wrong, dict):
            wrong = [(name, *one) for name, tried in wrong.items() for one in tried]
        found += [(f"{of}.{name}", answer) for name, answer, _ in wrong]
    return found


def through_the_wall(answer: Any) -> Any:
    """The answer as the judging process meets it: data, or a function whose arguments and values are sent as data."""
    if not callable(answer):
        return values.loads(values.dumps(answer))
    return lambda *given: values.loads(values.dumps(answer(*values.loads(values.dumps(given)))))


def test_every_exercise_is_a_task():
    text = "\n".join(cell.source for path in PATHS for cell in read(path).cells)
    assert len(TASKS) == len(re.findall(r"(?m)^### Exercise ", text)) >= 34
    assert {t.points for t in TASKS.values()} <= {1, 2, 3}
    assert set(hidden.VARIANTS) == set(TASKS) - VALUES and VALUES == {"grpo.diagnosis", "shaping.clamp"}


@pytest.mark.parametrize("check", TASKS)
def test_the_solution_passes_its_check_and_the_variants_of_any_seed(check: str):
    task = TASKS[check]
    answer = through_the_wall(task.solution())
    assert task.judge(answer).passed
    for seed in range(3):
        expected = [(case, task.solution()(*case)) for case in hidden.cases(check, seed)]
        assert hidden.fault(check, answer, values.loads(values.dumps(expected))) is None


def test_every_exercise_has_wrong_answers_that_the_tests_know():
    assert {check for check, _ in known_wrong()} == set(TASKS)


@pytest.mark.parametrize(("check", "answer"), known_wrong())
def test_every_wrong_answer_that_the_tests_know_is_caught(check: str, answer: Any):
    assert not TASKS[check].judge(through_the_wall(answer)).passed


@pytest.mark.parametrize("check", hidden.VARIANTS)
def test_variants_differ_by_seed_and_catch_what_is_written_in(check: str):
    """An answer that knows the check's own calls and nothing else passes the check, and is caught."""
    task, seen = TASKS[check], {}
    right = task.solution()

    def noted(*given: Any) -> Any:
        seen[repr(given)] = right(*given)
        return seen[repr(given)]

    assert task.judge(noted).passed
    written_in: Callable[..., Any] = lambda *given: seen.get(repr(given), 0.123)  # noqa: E731
    assert task.judge(written_in).passed
    expected = [(case, right(*case)) for case in hidden.cases(check, 5)]
    assert hidden.fault(check, written_in, expected)
    assert repr(hidden.cases(check, 5)) != repr(hidden.cases(check, 6))


def test_a_fifth_behaviour_is_added_to_the_prompt_that_is_given_wherever_it_stands():
    check, solution = "guidance.fifth_behaviour", TASKS["guidance.fifth_behaviour"].solution()
    expected = [(case, solution(*case)) for case in hidden.cases(check, 8)]

    def first(prompt: TeacherPrompt) -> TeacherPrompt:
        return replace(prompt, behaviours=(solution(prompt).behaviours[-1], *prompt.behaviours))

    def of_its_own(prompt: TeacherPrompt) -> TeacherPrompt:
        return solution(INSTRUCT_PROMPT)

    def alone(prompt: TeacherPrompt) -> TeacherPrompt:
        kept = prompt.behaviours if prompt == INSTRUCT_PROMPT else ()
        return replace(prompt, behaviours=(*kept, solution(prompt).behaviours[-1]))

    assert [TASKS[check].judge(answer).passed for answer in (first, of_its_own, alone)] == [True] * 3
    assert [bool(hidden.fault(check, answer, expected)) for answer in (first, of_its_own, alone)] == [False, True, True]


@pytest.mark.parametrize(
    "value",
    [None, ..., True, -3, 2.5, "π", [1, (2, "a")], {"a": [None], 2: {3}}, {4, 5}, INSTRUCT_PROMPT, float("inf")],
)
def test_data_comes_back_as_it_was(value: Any):
    assert values.loads(values.dumps(value)) == value


def test_arrays_and_tensors_come_back_and_iterators_as_lists():
    import numpy as np
    import torch

    array, tensor = np.array([[1.5, 2]]), torch.tensor([1, 2], dtype=torch.int64)
    back = values.loads(values.dumps((array, tensor, np.float32(0.5), zip([1], [2], strict=True))))
    assert (back[0] == array).all() and back[1].dtype == torch.int64 and back[2:] == (0.5, [(1, 2)])


@pytest.mark.parametrize("value", [object(), len, type])
def test_what_is_no_data_is_refused(value: Any):
    with pytest.raises(TypeError, match="return numbers, text"):
        values.dumps(value)


def test_too_long_and_endless_answers_are_refused():
    endless: list[Any] = []
    endless.append(endless)
    for value in ("x" * values.LONGEST, endless):
        with pytest.raises(ValueError):
            values.dumps(value)


@pytest.mark.parametrize("text", ["", "{}", '{"exec": ["x", 1]}', '{"tensor": ["load", [1]]}', '{"TeacherPrompt": 3}',
                                  '{"array": ["O", [1]]}', "[" * 100_000])  # fmt: skip
def test_what_no_answer_wrote_is_refused(text: str):
    with pytest.raises(ValueError):
        values.loads(text)


def sources(*cells: str) -> list[slices.Cell]:
    return [slices.cell(c) for c in cells]


def test_an_answer_takes_the_cells_it_needs_and_of_imports_the_line_alone():
    cells = sources(
        "import math\nprint(train())", "d = train()", "def half(x):\n    return x / TWO", "TWO = 2",
        "def f(x):\n    d = half(x)\n    return math.sqrt(d)", "d = f(2)",
    )  # fmt: skip
    assert slices.needed(cells, "f", 6) == ["import math", cells[2].source, cells[3].source, cells[4].source]
    assert slices.needed(cells, "g", 6) == []


def test_the_last_definition_before_the_check_counts():
    cells = sources("x = ...", "x = 1", "check(x)", "x = 2")
    assert slices.needed(cells, "x", 2) == ["x = 1"]
    assert slices.needed(sources("x = 1", "x = x + 1"), "x", 2) == ["x = 1", "x = x + 1"]


def test_a_cell_that_is_no_python_is_kept_for_its_error_and_magics_are_not():
    assert slices.needed(sources("def f(x:\n  return", "y = 1"), "f", 2) == ["def f(x:\n  return"]
    assert slices.needed(sources("%timeit 3\n!ls\ny = 1"), "y", 1) == ["\n\ny = 1"]
