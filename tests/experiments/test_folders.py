"""Names and folders: --fresh removes what a run wrote, and nothing else, whatever the name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thinktuning_lite.experiments import folders, movie_quote, runs, side_by_side, table

COMMANDS = {"run": side_by_side, "table": table, "quote": movie_quote}
NO_NAMES = (
    # dots and paths
    *(".", "..", "...", "./", "../", "../..", "../../other", "..\\..\\other", "a/..", "a/../..", "a/b", "a\\b", "./a"),
    *("/", "//", "/tmp", "{absolute}", "{absolute}/notebooks", "~", "~/x", "C:", "C:\\Users", "C:/Users", "\\\\host\\share"),
    *("../notebooks", "../runs", "../runs/other", "runs/../..", "a/./../../x", "file:///x", "..%2f..", "%2e%2e"),
    # nothing, blanks, control characters
    *("", " ", "  ", "\t", "\n", "\r\n", "\0", "a\0b", "a\nb", "a\tb", "a\n", " a", "a ", "a.", ".a", ".git", "-", "--", "-a"),
    *("\u200b", "\u00a0", "\u2028", "a\u2028b", "\ufeff", "\u202eb", "a\u0000", "\x1b[31m", "\x7f", "\udc80", "a\udcff"),
    # shells and wildcards
    *("*", "?", "a*", "a?", "[a]", "a|b", "a>b", "a<b", 'a"b', "a:b", "$HOME", "${HOME}", "`ls`", "$(ls)", "a;b", "a&b", "!"),
    *("'", '"', "a'b", "#", "=", "@", "^", "(", "{", "{a}", "a,b", "+", "%TEMP%"),
    # Windows' devices, and too long
    *("CON", "con", "nul", "NUL.txt", "aux", "prn", "com1", "COM9.log", "lpt1", "Lpt3.tar.gz"),
    *("a" * 101, "a" * 300, "ü" * 51, "名" * 34, "😀", "a😀"),
)  # fmt: skip
NAMES = ("a", "A.b-c_d", "two words", "müller", "名前", "конец", "0", "_", "..a"[2:], "concert", "a" * 100)


def tree(folder: Path) -> dict[str, str | None]:
    return {
        str(p.relative_to(folder)): p.read_text(encoding="utf-8") if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with notebooks and another run, in a folder beside others; nothing is trained in it."""
    for name in (
        "project/notebooks/00.ipynb",
        "project/runs/other/result.json",
        "project/runs/notes.txt",
        "other/x.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "project")
    for module in COMMANDS.values():
        monkeypatch.setattr(module, "run", lambda plan: pytest.fail(f"{plan.name!r} was taken for a name"))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_hundred_hostile_names_touch_nothing(command: str, project: Path, capsys: pytest.CaptureFixture[str]):
    assert len(set(NO_NAMES)) >= 100
    before = tree(project)
    for name in NO_NAMES:
        name = name.replace("{absolute}", str(project))
        with pytest.raises(SystemExit) as stopped:
            COMMANDS[command].main([f"--name={name}", "--fresh"])
        assert stopped.value.code == 2, name
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "cannot name a run" in said, name
        assert tree(project) == before, name


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_script_are_folders_below_runs(name: str):
    assert folders.RunPlan(name).folder == Path("runs") / name


def test_a_plan_made_in_code_is_checked_too():
    with pytest.raises(ValueError, match="cannot name a run"):
        side_by_side.Plan(name="../x")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("taken", ["other", "notes.txt", "link", "dangling"])
def test_what_is_no_run_is_neither_emptied_nor_written_to(
    command: str, taken: str, project: Path, capsys: pytest.CaptureFixture[str]
):
    link = project / "project" / "runs" / "link"
    link.symlink_to(project / "other")
    link.with_name("dangling").symlink_to(project / "nowhere")
    (project / "other" / folders.MARKER).write_text('{"name": "another"}', encoding="utf-8")
    before = tree(project)
    for options in ([], ["--fresh"]):
        with pytest.raises(SystemExit, match="give another --name|Give another --name"):
            COMMANDS[command].main(["--name", taken, *options])
        assert tree(project) == before


def test_a_link_to_a_run_is_not_followed(project: Path):
    runs.claim(side_by_side.Plan(name="mine"))
    Path("runs/copy").symlink_to(Path("runs/mine").absolute())
    (project / "project/runs/mine" / folders.MARKER).write_text('{"name": "copy"}', encoding="utf-8")
    with pytest.raises(SystemExit, match="is not emptied"):
        runs.claim(side_by_side.Plan(name="copy"), fresh=True)


def test_fresh_empties_a_run_and_leaves_what_its_links_point_to(project: Path):
    plan = side_by_side.Plan(name="mine", steps=10)
    runs.claim(plan)
    (plan.folder / "grpo-seed0" / "checkpoint-2").mkdir(parents=True)
    (plan.folder / "grpo-seed0" / "result.json").write_text("{}", encoding="utf-8")
    (plan.folder / "elsewhere").symlink_to(project / "other")
    runs.claim(side_by_side.Plan(name="mine", steps=20), fresh=True)
    assert {p.name for p in plan.folder.iterdir()} == {folders.MARKER, "config.json", "environment.json"}
    assert json.loads((plan.folder / "config.json").read_text(encoding="utf-8"))["steps"] == 20
    assert (project / "other" / "x.txt").exists() and Path("runs/other/result.json").exists()


def test_a_removal_cut_short_can_be_done_again(project: Path, monkeypatch: pytest.MonkeyPatch):
    plan = side_by_side.Plan(name="mine")
    runs.claim(plan)
    (plan.folder / "a").mkdir()
    monkeypatch.setattr(folders.shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        runs.claim(plan, fresh=True)
    monkeypatch.undo()
    monkeypatch.chdir(project / "project")
    runs.claim(plan, fresh=True)
    assert not (plan.folder / "a").exists()


HOLD = """
import sys, time
from pathlib import Path
from thinktuning_lite.experiments.folders import held
with held(Path("runs/mine")):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_run_of_a_name_says_who_holds_it_and_touches_nothing(project: Path):
    plan = side_by_side.Plan(name="mine")
    runs.claim(plan)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout.readline() == "held\n"
        before = tree(project)
        for options in ([], ["--fresh"]):
            with pytest.raises(folders.InUseError, match=rf"runs.mine is in use by process {process.pid} on .* since"):
                side_by_side.main(["--name", "mine", *options])
            assert tree(project) == before
    finally:
        process.kill()
        process.wait()
    with folders.held(plan.folder):  # a killed process holds nothing
        assert folders.read_json(plan.folder / folders.HOLDER)["process"] == os.getpid()


def test_what_a_block_holds_is_free_again_behind_it_even_after_an_interrupt(project: Path):
    with pytest.raises(KeyboardInterrupt), folders.held(Path("runs/mine")):
        raise KeyboardInterrupt
    with folders.held(Path("runs/mine")), pytest.raises(folders.InUseError), folders.held(Path("runs/mine")):
        pass


def sleep(path: Path, bar: int) -> None:
    path.write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(600)


START = """
import sys
from pathlib import Path
from tests.experiments.test_folders import sleep
from thinktuning_lite.experiments import runs
if __name__ == "__main__":
    runs.run_side_by_side([(sleep, Path(sys.argv[1]))])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="asks by signal 0 whether a process lives")
def test_workers_end_with_the_run_that_was_killed(tmp_path: Path):
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "start.py").write_text(START, encoding="utf-8")
    note = tmp_path / "worker"
    command = [sys.executable, str(tmp_path / "start.py"), str(note)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: note.exists() and note.read_text(encoding="utf-8"))
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not lives(int(note.read_text(encoding="utf-8"))))


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8") if Path("/proc").exists() else True
    )


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_make_takes_only_one_for_fresh():
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")
    assert "$(if $(filter 1,$(FRESH)),--fresh)" in makefile and "rm -rf .venv runs" not in makefile
