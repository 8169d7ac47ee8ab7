"""The command line: help that is there at once, mistakes in one line, errors without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thinktuning_lite import __main__ as command_line
from thinktuning_lite.experiments import (
    beyond,
    commands,
    methods,
    movie_quote,
    presets,
    side_by_side,
    smol_quote,
    workers,
)
from thinktuning_lite.experiments.folders import InUseError
from thinktuning_lite.models.planner import GPUS

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "trl", "datasets", "matplotlib", "numpy")


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"} | environment
    command = [sys.executable, "-m", "thinktuning_lite", *arguments]
    return subprocess.run(command, capture_output=True, env=env, encoding="utf-8", errors="replace", check=False)


def test_help_lists_every_command():
    done = call("--help")
    assert done.returncode == 0 and all(f"  {name}" in done.stdout for name in command_line.COMMANDS)


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_help_says_what_it_does_takes_and_writes(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        command_line.main([name, "--help"])
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and said.startswith(f"usage: thinktuning {name}")
    assert "\ntakes   " in said and "\nwrites  " in said


def test_help_loads_nothing_heavy():
    check = f"""
import sys
from thinktuning_lite import __main__ as m
for name in m.COMMANDS:
    try:
        m.main([name, "--help"])
    except SystemExit:
        pass
print("LOADED", [m for m in {HEAVY} if m in sys.modules])
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, env=env, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


WRONG = (
    [], ["dance"], ["--fast"], ["run", "--arms", "teacher"], ["run", "--seeds", "one"], ["run", "--step", "3"],
    ["run", "more"], ["run", "--name", "../x"], ["run", "--name=--"], ["run", "--sets", "tset"],
    ["table", "--methods", "magic"], ["quote", "--quote", "x"], ["quote", "--arms", "h-unlearn"],
    ["train", "--preset", "t5"], ["plan", "--card", "mine"], ["lab", "now"], ["make-classroom", "--steps", "many"],
)  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_mistake_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(arguments)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("thinktuning") and said.count("\n") == 1, said


def test_the_names_in_the_help_are_those_that_the_commands_know():
    assert commands.RUN_ARMS == (*side_by_side.ARMS, *side_by_side.DEPARTURES)
    assert tuple(methods.METHODS) == commands.METHODS
    assert tuple(movie_quote.ARMS) == commands.QUOTE_ARMS
    assert tuple(beyond.ARMS) == commands.BEYOND_ARMS
    assert smol_quote.ARMS == commands.SMOL_ARMS
    assert tuple(presets.PRESETS) == commands.PRESETS
    assert tuple(GPUS) == commands.CARDS


@pytest.mark.parametrize("error", [InUseError("runs/x is in use"), OSError(28, "No space left on device")])
def test_what_a_run_meets_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(side_by_side, "main", fail)
    monkeypatch.setattr(workers, "get_ready", lambda: None)
    with pytest.raises(SystemExit, match="thinktuning run: .*(in use|No space)"):
        command_line.main(["run"])


def test_a_console_that_lacks_a_sign_ends_no_run():
    done = call("table", "--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    check = "import thinktuning_lite.__main__ as m\ntry:\n    m.main(['--help'])\nexcept SystemExit:\n    print('42 ± 1 名')"
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, env=env, encoding="ascii", check=False)
    assert done.returncode == 0 and "42 ? 1 ?" in done.stdout


def test_plan_takes_a_model_by_name_with_the_settings_of_the_smallest_gpu(tmp_path, tiny_folder, capsys):
    command_line.main(["plan", str(tiny_folder), "--card", "T4 16 GB"])
    said = capsys.readouterr().out
    assert said.startswith(f"{tiny_folder} on T4 16 GB") and "Fits: T4 16 GB yes" in said, said
