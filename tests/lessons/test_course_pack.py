"""The course pack: students' notebooks hold no solution and still run, the lecturer's hold them all, otter gets its tests."""

from __future__ import annotations

import ast
import os
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from reading import PATHS, each_notebook, read

from thinktuning_lite.lessons import stamp
from thinktuning_lite.lessons.course import grading, hand_in, hidden, otter, pack, tasks, values


def solution_lines(notebook: NotebookNode) -> set[str]:
    """Lines of the solutions that their stubs do not have; imports, and lines of brackets or two words, say nothing."""
    stubs = {line.strip() for c in notebook.cells if tasks.tagged(c, "exercise") for line in c.source.split("\n")}
    codes = [tasks.solution_code(c) for c in notebook.cells if tasks.tagged(c, "solution")]
    lines = {line.strip() for code in codes for line in code.split("\n")} - stubs
    return {line for line in lines if len(line) > 12 and not line.startswith(("import ", "from "))}


@each_notebook
def test_a_student_version_has_no_line_of_any_solution_and_keeps_stubs_and_checks(path: Path):
    notebook = read(path)
    student = pack.student_version(notebook, path.stem)
    nbformat.validate(student)
    lines = [line.strip() for cell in student.cells for line in cell.source.split("\n")]
    assert len(solution_lines(notebook)) >= 4 and solution_lines(notebook) & set(lines) == set()
    assert not any("Solution</summary>" in cell.source for cell in student.cells)
    for tag in ("exercise", "exercise-check"):
        assert [c.source for c in student.cells if tasks.tagged(c, tag)] == [
            c.source for c in notebook.cells if tasks.tagged(c, tag)
        ]
    assert "hand_in(" in student.cells[-1].source


@each_notebook
def test_an_instructor_version_has_each_solution_in_its_stubs_place(path: Path):
    notebook = read(path)
    solved = pack.instructor_version(notebook, path.stem)
    nbformat.validate(solved)
    codes = [tasks.solution_code(c) for c in notebook.cells if tasks.tagged(c, "solution")]
    assert [c.source for c in solved.cells if tasks.tagged(c, "exercise")] == codes
    assert not any("Solution</summary>" in cell.source for cell in solved.cells)
    explained = [c for c in solved.cells if tasks.tagged(c, "solution")]
    assert all("```" not in c.source and c.source for c in explained)
    copied = [t for t in tasks.tasks_of(notebook, path.stem) if f"{t.module}.{t.check}" not in hidden.VARIANTS]
    assert sum(pack.NO_VARIANT in c.source for c in explained) == len(copied)


@each_notebook
def test_otter_runs_what_the_tasks_need_and_nothing_else(path: Path):
    notebook = read(path)
    student = pack.student_version(notebook, path.stem)
    run = [c for c in student.cells if c.cell_type == "code" and not tasks.tagged(c, otter.IGNORE)]
    assert {c.id for c in run} >= {c.id for c in student.cells if tasks.tagged(c, "exercise")}
    bound = set().union(*(tasks.slices.cell(c.source).binds for c in run))
    for task in tasks.tasks_of(notebook, path.stem):
        for source in task.solved:
            read_there = tasks.slices.cell(source).reads
            assert read_there <= bound, f"{task.name} needs {read_there - bound}"
    assert not any(".train(" in c.source for c in run)


def test_a_test_file_of_otter_is_python_that_holds_values_and_no_solution():
    path = tasks.notebook_paths(["00"])[0]
    for asked in grading.ask(tasks.read_tasks([path]), seed=4):
        text = otter.test_file(asked)
        tree = ast.parse(text)
        [expected] = [
            n.value.args[0].value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "EXPECTED"
        ]
        check = f"{asked.task.module}.{asked.task.check}"
        assert hidden.fault(check, asked.task.solution(), values.loads(expected)) is None
        code = asked.task.solved[-1]
        assert not any(line.strip() in text for line in code.split("\n") if line.startswith("    "))


def test_the_command_writes_both_versions_and_otters_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pack.main(["--out", str(tmp_path), "--notebooks", "00", "--seed", "9"])
    assert {str(p.relative_to(tmp_path)).replace(os.sep, "/") for p in tmp_path.rglob("*.ipynb")} == {
        "student/00_start_here.ipynb", "instructor/00_start_here.ipynb",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "instructor/otter/00_start_here/autograder.zip") as archive:
        assert "tests/seen_once.py" in archive.namelist() and "otter_config.json" in archive.namelist()
    assert "seed 9" in capsys.readouterr().out
    solved = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "instructor").glob("*.ipynb")}
    asked = grading.ask(tasks.read_tasks(tasks.notebook_paths(["00"])), seed=1)
    assert all(mark.points for mark in grading.grade(solved, asked))


def test_a_notebook_whose_exercise_lacks_a_part_is_refused():
    book = read(PATHS[0])
    book.cells = [c for c in book.cells if c.id != "ex2-check"]
    with pytest.raises(ValueError, match="00_start_here: 4 titles, 4 stubs, 3 checks, 4 solutions"):
        tasks.tasks_of(book, "00_start_here")


def executes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINKTUNING_SMOKE", "1")
    student = pack.student_version(read(path), path.stem)
    student.cells = [c for c in student.cells if c.id != "hand-in"]  # it would write beside the repository's notebooks
    resources = {"metadata": {"path": stamp.NOTEBOOKS}}
    NotebookClient(student, timeout=900, kernel_name="python3", resources=resources).execute()


@pytest.mark.slow
def test_a_student_version_runs_with_its_exercises_unsolved(monkeypatch: pytest.MonkeyPatch):
    executes(PATHS[0], monkeypatch)


def test_handing_in_makes_one_archive_of_the_notebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert hand_in.hand_in("Ada", tmp_path) is None and "Download .ipynb" in capsys.readouterr().out
    for name in ("00_start_here.ipynb", "01_grpo.ipynb", "notes.txt"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    made = hand_in.hand_in("Ada Lovelace / 7", tmp_path)
    assert made.name == "Ada-Lovelace-7.zip" and set(grading.notebooks_in(made)) == {
        "00_start_here.ipynb",
        "01_grpo.ipynb",
    }
    with pytest.raises(ValueError, match="give your name"):
        hand_in.hand_in("...", tmp_path)
