"""Where commands and notebooks write, and where else when they cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from thinktuning_lite.experiments.folders import RunPlan
from thinktuning_lite.lessons import setup
from thinktuning_lite.method import places


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, and nothing remembered of earlier tests."""
    places._writable.cache_clear()
    monkeypatch.setattr(places, "user_cache_path", lambda name: tmp_path / "cache" / name)
    yield tmp_path / "cache" / "thinktuning_lite"
    places._writable.cache_clear()


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything outside the cache folder refuses to be written (root may write where modes say otherwise)."""
    original = places.tempfile.TemporaryFile

    def refuse(dir: Path):
        if "cache" not in Path(dir).parts:
            raise PermissionError(13, "Permission denied")
        return original(dir=dir)

    monkeypatch.setattr(places.tempfile, "TemporaryFile", refuse)


def test_commands_write_below_the_working_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert RunPlan("a").folder == Path("runs/a") and capsys.readouterr().out == ""


def test_a_read_only_folder_sends_commands_to_the_cache_and_says_so_once(
    tmp_path, monkeypatch, capsys, read_only, cache_folder
):
    monkeypatch.chdir(tmp_path)
    assert {RunPlan("a").folder for _ in range(3)} == {cache_folder / "runs" / "a"}
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and str(cache_folder / "runs") in said and "cannot be written" in said


@pytest.mark.parametrize("start", [".", "notebooks", "notebooks/deeper"])
def test_notebooks_in_a_checkout_write_to_its_runs(tmp_path, monkeypatch, start):
    (tmp_path / start).mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path / start)
    assert setup.workplace("notebook04") == tmp_path / "runs" / "notebook04"
    assert (tmp_path / "runs" / "notebook04").is_dir()


def test_notebooks_elsewhere_write_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert setup.workplace("notebook04") == tmp_path / "runs" / "notebook04"


def test_a_read_only_course_folder_sends_notebooks_to_the_cache(tmp_path, monkeypatch, capsys, read_only, cache_folder):
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert setup.workplace("notebook04") == cache_folder / "runs" / "notebook04"
    assert str(cache_folder) in capsys.readouterr().out


def test_names_that_are_paths_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="cannot name a run"):
        setup.workplace("../notebook04")


def test_nowhere_to_write(tmp_path, monkeypatch, read_only):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "user_cache_path", lambda name: tmp_path / name)
    with pytest.raises(PermissionError, match="start in a folder that can"):
        print(RunPlan("a").folder)


def test_a_full_disk_is_said_and_sends_nothing_elsewhere(tmp_path, monkeypatch):
    def full(dir: Path):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space"):
        print(RunPlan("a").folder)


@pytest.mark.skipif(os.name == "nt" or not shutil.which("setpriv"), reason="needs setpriv to give up root's rights")
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can give up its rights")
def test_a_folder_that_really_is_read_only(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    for folder in (home, *tmp_path.parents):
        if folder.is_relative_to(Path(tmp_path.anchor, "tmp")) and folder != Path(tmp_path.anchor, "tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o555)
    home.chmod(0o777)
    probe = "from thinktuning_lite.method.places import runs_folder; print(runs_folder())"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", probe],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(setup.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Permission denied" in done.stderr and "places" not in done.stderr:
        pytest.skip("another user cannot run this Python")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(home / "thinktuning_lite" / "runs")
