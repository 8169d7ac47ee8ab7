"""The committed notebooks: one set-up cell, real and clean outputs; and the module that stamps and executes them.

That they execute is tested by test_again.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from thinktuning_lite.lessons import setup, stamp

PATHS = sorted(stamp.NOTEBOOKS.glob("*.ipynb"))
# Homes, temporary and installation folders, on Linux, macOS and Windows; a quote or blank before, so that 3/usr is none.
ABSOLUTE = re.compile(r"(?<![\w.:/])(/home/|/root/|/work/|/tmp/|/usr/|/opt/|/Users/|/content/|[A-Z]:\\\\?Users)")


def notebook_id(path: Path) -> str:
    return path.stem


each_notebook = pytest.mark.parametrize("path", PATHS, ids=notebook_id)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# ---------------------------------------------------------------- the committed notebooks


def test_the_walk_is_there():
    assert [path.stem[:3] for path in PATHS] == [f"{n:02}_" for n in range(len(PATHS))] and len(PATHS) >= 7


def test_all_setup_cells_are_the_one_source():
    notebooks = [read(path) for path in PATHS]
    wanted = stamp.setup_source(stamp.stamped_repo(notebooks))
    for path, notebook in zip(PATHS, notebooks, strict=True):
        found = [cell.source for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
        assert found == [wanted], f"{path.name}: run python -m thinktuning_lite.lessons.stamp"


@each_notebook
def test_the_text_beside_a_notebook_is_that_of_its_cells(path: Path):
    text = stamp.text_path(path).read_text(encoding="utf-8")
    assert text == stamp.text_of(read(path), path.name), "run python -m thinktuning_lite.lessons.stamp"


def test_every_text_has_its_notebook():
    assert {p.stem for p in (stamp.NOTEBOOKS / "text").iterdir()} == {p.stem for p in PATHS}


@each_notebook
def test_badge_title_and_measured_time(path: Path):
    notebook = read(path)
    header = notebook.cells[0].source
    assert header.split("\n")[0] == stamp.badge(stamp.stamped_repo([notebook]), path.name)
    assert re.search(r"(?m)^# \S", header)
    assert stamp.recorded_time(notebook), (
        f"run python -m thinktuning_lite.lessons.stamp --execute notebooks/{path.name}"
    )


def test_the_map_gives_the_times_of_the_headers():
    start = read(stamp.NOTEBOOKS / "00_start_here.ipynb")
    rows = re.findall(r"(?m)^\| \[?(\d\d_\w+)[^|]*\|[^|]*\| (.*) \|$", "\n".join(c.source for c in start.cells))
    times = {path.stem: stamp.recorded_time(read(path)) for path in PATHS}
    assert {name for name, _ in rows} >= set(times)
    for name, took in rows:
        assert took == (times[name].split(",")[0] if name in times else "planned")


def test_the_readme_names_every_notebook():
    walk = (stamp.ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in PATHS if f"| [{path.stem}](notebooks/{path.name}) |" not in walk] == []


@each_notebook
def test_every_code_cell_was_executed_once_in_order_without_an_error(path: Path):
    cells = [cell for cell in code_cells(read(path)) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not [o for o in cell.outputs if o.output_type == "error"], cell.id
        warned = [o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
        assert not warned, f"{cell.id} wrote to stderr: {warned[0][:200]}"


@each_notebook
def test_nothing_of_this_machine_and_no_widget_state(path: Path):
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert "execution" not in cell.metadata, cell.id
        text = cell.source + json.dumps([_without_images(o) for o in cell.get("outputs", [])])
        assert not ABSOLUTE.search(text), f"{cell.id}: {ABSOLUTE.search(text)[0]}"


def _without_images(output: dict) -> dict:
    return output | {"data": {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}}


@each_notebook
def test_cells_are_short(path: Path):
    assert [c.id for c in code_cells(read(path)) if len(c.source.splitlines()) > 30] == []


@each_notebook
def test_outputs_are_small_and_ids_unique(path: Path):
    notebook = read(path)
    assert len(json.dumps([cell.outputs for cell in code_cells(notebook)])) < 1_000_000
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    nbformat.validate(notebook)


@each_notebook
def test_four_exercises_each_with_level_minutes_and_folded_solution(path: Path):
    text = "\n".join(cell.source for cell in read(path).cells)
    exercises = re.findall(r"(?m)^### Exercise (\d+).*\((★[★☆]{2}), \d+ min\)", text)
    assert [number for number, _ in exercises] == [str(n + 1) for n in range(len(exercises))]
    assert len(exercises) >= 4
    assert text.count("<details><summary>Solution</summary>") == len(exercises)


# ---------------------------------------------------------------- stamping


def notebook(*, time: str = "**Time:** measured by the run") -> NotebookNode:
    output = new_output("stream", text="kept\n")
    cells = [
        new_markdown_cell(f"<!-- badge -->\n\n# Title\n\n{time}\n"),
        new_code_cell("# placeholder", metadata={"tags": ["setup"]}),
        new_code_cell("print('kept')", outputs=[output], execution_count=2),
        new_markdown_cell(
            "| notebook | what | min |\n|---|---|---|\n| [01_grpo](01_grpo.ipynb) | a, b | |\n| 09_later | c | |"
        ),
    ]
    return new_notebook(cells=cells)


def test_stamping_puts_in_cell_and_badge_and_leaves_the_rest():
    stamped = notebook()
    stamp.stamp(stamped, "x.ipynb", "me/fork")
    assert stamped.cells[1].source == stamp.setup_source("me/fork")
    assert 'REPO = "me/fork"' in stamped.cells[1].source
    first, second = stamped.cells[0].source.split("\n")[:2]
    assert "github/me/fork/blob/main/notebooks/x.ipynb" in first and second == ""
    assert stamped.cells[2].outputs[0].text == "kept\n" and stamped.cells[2].execution_count == 2
    again = json.dumps(stamped)
    stamp.stamp(stamped, "x.ipynb", "me/fork")
    assert json.dumps(stamped) == again
    assert stamp.stamped_repo([stamped]) == "me/fork"


def test_stamping_refuses_a_notebook_without_a_place_for_it():
    without = notebook()
    without.cells[1].metadata["tags"] = []
    with pytest.raises(ValueError, match="x.ipynb has 0 cells tagged 'setup'"):
        stamp.stamp(without, "x.ipynb", "me/fork")
    bare = notebook()
    bare.cells[0].source = "# Title"
    with pytest.raises(ValueError, match="'<!-- badge -->'"):
        stamp.stamp(bare, "x.ipynb", "me/fork")


def test_time_is_recorded_over_an_older_one_and_read_back():
    timed = notebook()
    assert stamp.recorded_time(timed) is None
    stamp.record_time(timed, 90, 1.26)
    stamp.record_time(timed, 150, 1.26)
    assert timed.cells[0].source.count("**Time:**") == 1
    assert stamp.recorded_time(timed).startswith("2.5 min, 1.3 GB of memory, on ")
    with pytest.raises(ValueError, match="0 lines"):
        stamp.record_time(notebook(time="no such line"), 1, 1)


def test_the_map_takes_the_times():
    start = notebook()
    for times, wanted in (({"01_grpo": "1.5 min, 1 GB"}, "1.5 min"), ({"01_grpo": None}, "not measured yet")):
        stamp.stamp_map(start, times)
        assert f"| [01_grpo](01_grpo.ipynb) | a, b | {wanted} |\n| 09_later | c | planned |" in start.cells[3].source


def test_stamp_all_keeps_a_forks_name_and_touches_no_file_without_need(tmp_path: Path):
    nbformat.write(notebook(), tmp_path / "00_a.ipynb")
    nbformat.write(notebook(), tmp_path / "01_grpo.ipynb")
    stamp.stamp_all("me/fork", tmp_path)
    files = [p for p in sorted(tmp_path.rglob("*")) if p.is_file()]
    assert [p.name for p in files] == ["00_a.ipynb", "01_grpo.ipynb", "00_a.py", "01_grpo.py"]
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in files]
    stamp.stamp_all(None, tmp_path)
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in files] == before
    assert all("me/fork" in read(p).cells[1].source for p in tmp_path.glob("*.ipynb"))


def test_a_change_of_a_cell_or_of_metadata_reaches_notebook_and_text(tmp_path: Path):
    path = tmp_path / "x.ipynb"
    book = notebook()
    book.cells += [
        new_code_cell("x = ...", id="ex1-stub"),
        new_code_cell("assert True", metadata={"tags": ["check"]}),
    ]
    book.metadata["kernelspec"] = {"name": "my-venv", "display_name": "My venv"}
    nbformat.write(book, path)
    stamp.stamp_all("me/fork", tmp_path)
    done, text = read(path), stamp.text_path(path).read_text(encoding="utf-8")
    assert done.metadata.kernelspec == stamp.KERNEL
    hidden = [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in done.cells]
    assert hidden == [False, True, False, False, False, True]
    assert [c.metadata.get("cellView") for c in done.cells] == [None, "form", None, None, None, "form"]
    assert '# %% tags=["exercise"]\nx = ...' in text and "kept\n" not in text and "my-venv" not in text
    done.cells[2].source = "print('changed')"
    nbformat.write(done, path)
    stamp.stamp_all(None, tmp_path)
    assert "print('changed')" in stamp.text_path(path).read_text(encoding="utf-8")


def test_cleaning_drops_what_changes_from_run_to_run():
    book = notebook()
    table = '<table id="T_0f16d"><td id="T_0f16d_row0_col0">T_shirt</td></table>'
    book.cells[2].outputs = [
        new_output("display_data", data={"text/plain": "<pandas.io.formats.style.Styler at 0x7f53f16f2d50>"}),
        new_output("display_data", data={"text/html": table}),
        new_output("display_data", data={"text/html": table.replace("0f16d", "abcde")}),
    ]
    stamp.clean(book)
    first, second, third = (output.data for output in book.cells[2].outputs)
    assert first["text/plain"] == "<pandas.io.formats.style.Styler>"
    assert second["text/html"] == table.replace("0f16d", "00000")
    assert third["text/html"] == table.replace("0f16d", "00001")


def test_executing_fills_in_outputs_time_and_no_trace_of_the_machine(tmp_path: Path):
    book = notebook()
    book.cells[1:3] = [new_code_cell(f"print({str(setup.ROOT / 'data')!r}, 6 * 7)"), new_code_cell("1 + 1")]
    book.metadata["widgets"] = {"state": {}}
    path = tmp_path / "x.ipynb"
    nbformat.write(book, path)
    stamp.execute(path)
    done = read(path)
    assert done.cells[1].outputs[0].text == "data 42\n" and done.cells[2].outputs[0].data["text/plain"] == "2"
    assert "widgets" not in done.metadata and stamp.recorded_time(done).startswith("0.")


def test_a_notebook_that_fails_stays_as_it_was(tmp_path: Path):
    from nbclient.exceptions import CellExecutionError

    book = notebook()
    book.cells[1].source = "1 / 0"
    path = tmp_path / "x.ipynb"
    nbformat.write(book, path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        stamp.execute(path)
    assert path.read_bytes() == before


def test_a_committed_image_keeps_its_words_and_no_second_copy_of_itself():
    data = {
        "image/png": "abc",
        "text/html": '<img src="data:image/png;base64,abc" alt="four bars">',
        "text/plain": "four bars",
    }
    image = new_output("display_data", data, metadata={"image/png": {"alt": "four bars"}})
    table = new_output("display_data", {"text/html": "<table></table>", "text/plain": "a table"})
    book = new_notebook(cells=[new_code_cell("", outputs=[image, table])])
    stamp.clean(book)
    kept, as_before = book.cells[0].outputs
    assert set(kept.data) == {"image/png", "text/plain"} and kept.metadata["image/png"]["alt"] == "four bars"
    assert as_before == table


@pytest.mark.parametrize(
    "arguments, says", [(["--repo", "nonsense"], "owner/name"), (["--execute", "x"], "THINKTUNING_SMOKE")]
)
def test_the_command_refuses_what_it_cannot_do(arguments: list[str], says: str):
    done = subprocess.run(
        [sys.executable, "-m", "thinktuning_lite.lessons.stamp", *arguments],
        cwd=setup.ROOT,
        env=os.environ | {"THINKTUNING_SMOKE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and says in done.stderr


# ---------------------------------------------------------------- the set-up cell at work


def run_cell(source: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The cell in a fresh Python that knows nothing of this checkout but its working directory."""
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # Neither this checkout nor an editable install; but the working folder, as in a kernel.
    hide = (
        "import os, sys; own = os.path.join('thinktuning_lite', 'lessons', 'setup.py')\n"
        "sys.path = [''] + [p for p in sys.path if p and not os.path.exists(os.path.join(p, own))]\n"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", hide + source],
        cwd=cwd,
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_in_a_checkout_the_cell_needs_no_installation():
    done = run_cell(
        stamp.setup_source() + "\nimport thinktuning_lite.classroom.problems as m; print(m.__file__)", stamp.NOTEBOOKS
    )
    assert done.returncode == 0, done.stderr
    assert "torch 2." in done.stdout and "problems.py" in done.stdout and "Installing" not in done.stdout


def test_without_checkout_and_without_a_repository_the_cell_says_what_to_set(tmp_path: Path):
    done = run_cell(stamp.setup_source(), tmp_path)
    assert "Set REPO above" in done.stderr


posix = pytest.mark.skipif(os.name == "nt", reason="needs symbolic links and a script for git")


@posix
@pytest.mark.parametrize("start", [".", "thinktuning_lite", "thinktuning_lite/notebooks"])
def test_beside_a_clone_of_the_packages_name_the_cell_takes_the_package_in_it(tmp_path: Path, start: str):
    (tmp_path / "thinktuning_lite").symlink_to(setup.ROOT)
    found = "\nimport thinktuning_lite.method.places as m; print(m.__file__)"
    done = run_cell(stamp.setup_source() + found, tmp_path / start)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(os.path.join("thinktuning_lite", "method", "places.py"))


def test_half_a_clone_is_said(tmp_path: Path):
    (tmp_path / setup.CLONE / "thinktuning_lite").mkdir(parents=True)
    done = run_cell(stamp.setup_source("me/fork"), tmp_path)
    assert f"{setup.CLONE} is half a clone: delete that folder, run this cell again." in done.stderr.splitlines()[-1]


def fake_git(folder: Path, script: str) -> str:
    git = folder / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    git.chmod(0o755)
    return f"{git.parent}{os.pathsep}{os.environ['PATH']}"


@posix
def test_without_network_the_cell_says_so_in_one_sentence(tmp_path: Path):
    path = fake_git(tmp_path, "echo 'fatal: unable to access: Could not resolve host: github.com' >&2; exit 128")
    done = run_cell(stamp.setup_source("me/fork"), tmp_path, PATH=path)
    last = done.stderr.splitlines()[-1]
    assert "me/fork not cloned" in last and "resolve host" in last and "check the network" in last
    assert not (tmp_path / setup.CLONE).exists()


@posix
def test_a_clone_that_was_cut_short_is_begun_again(tmp_path: Path):
    (tmp_path / f"{setup.CLONE}.part" / "thinktuning_lite").mkdir(parents=True)
    path = fake_git(tmp_path, f'for last; do :; done; ln -s "{setup.ROOT}" "$last"')
    before = f"import os; os.environ['PATH'] = {path!r}\n"
    done = run_cell(before + stamp.setup_source("me/fork").split("from thinktuning_lite.lessons")[0], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / setup.CLONE / "notebooks").is_dir() and not (tmp_path / f"{setup.CLONE}.part").exists()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A hosted machine with its own torch, an older trl in use, and a pip that 'installs' what it is told."""
    versions = {"torch": "2.9.0+cu126", "torchvision": "0.24.0", "trl": "0.20.0", "numpy": "2.1.0", "tqdm": "4.67"}
    calls: list[tuple[list[str], str]] = []
    restarts: list[bool] = []

    def pip(command: list[Any], check: bool) -> None:
        constraints = Path(command[command.index("-c") + 1]).read_text(encoding="utf-8")
        calls.append((command, constraints))
        versions.update(trl="1.16.0", transformers="5.23.0")

    kernel = SimpleNamespace(do_shutdown=lambda restart: restarts.append(restart))
    monkeypatch.setattr(setup, "_version", versions.get)
    monkeypatch.setattr(setup.subprocess, "run", pip)
    monkeypatch.setattr(setup, "_shell", lambda: SimpleNamespace(kernel=kernel))
    monkeypatch.setattr(setup, "_loaded_versions", lambda: {"numpy": "2.1.0"})
    return SimpleNamespace(versions=versions, calls=calls, restarts=restarts, monkeypatch=monkeypatch)


def test_on_a_host_the_pins_go_in_around_its_torch(host: SimpleNamespace, capsys: pytest.CaptureFixture[str]):
    host.monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    setup.install_pins()
    [(command, constraints)] = host.calls
    assert constraints == "torch==2.9.0+cu126\ntorchvision==0.24.0\n"
    asked = command[command.index("-c") + 2 :]
    assert "trl==1.16.0" in asked and "transformers==5.23.0" in asked
    assert not [pin for pin in asked if pin.startswith(("torch", "numpy", "tqdm", "bitsandbytes"))]
    assert host.restarts == [] and "RESTART" not in capsys.readouterr().out


def test_without_network_pips_failure_is_one_sentence(host: SimpleNamespace):
    def offline(command: list[Any], check: bool) -> None:
        raise setup.subprocess.CalledProcessError(1, command)

    host.monkeypatch.setattr(setup.subprocess, "run", offline)
    with pytest.raises(RuntimeError, match="check the network, then run this cell again"):
        setup.install_pins()


def test_with_a_gpu_its_extra_goes_in_as_well(host: SimpleNamespace):
    host.monkeypatch.setattr(setup.shutil, "which", lambda name: "there")
    setup.install_pins()
    assert "bitsandbytes==0.50.2" in host.calls[0][0]


def test_a_notebook_may_ask_for_an_extra_which_a_checkout_has(host: SimpleNamespace):
    setup.install_extra("eval")
    assert host.calls == []
    host.monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    host.monkeypatch.setattr(setup, "CLONE", setup.ROOT.name)
    setup.install_extra("eval")
    assert "lm-eval==0.4.13" in host.calls[0][0]


def test_a_kernel_that_uses_a_replaced_package_is_restarted_and_told_so(host, capsys):
    host.monkeypatch.setattr(setup, "_loaded_versions", lambda: {"numpy": "2.1.0", "trl": "0.20.0"})
    setup.install_pins()
    said = capsys.readouterr().out
    assert (
        host.restarts == [True]
        and "trl was in use" in said
        and "RESTARTING" in said
        and "numpy" not in said.split("Wait")[0][-80:]
    )


def test_where_everything_fits_nothing_is_installed(host: SimpleNamespace):
    host.monkeypatch.setattr(setup, "_satisfied", lambda pin: True)
    setup.install_pins()
    assert host.calls == [] and host.restarts == []


def test_the_host_without_torch_gets_the_pinned_one(host: SimpleNamespace):
    host.versions.pop("torch")
    setup.install_pins()
    assert [pin for pin in host.calls[0][0] if str(pin).startswith("torch>=")]
