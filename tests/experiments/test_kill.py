"""A run of the main job that is killed half-way, and the same command again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.experiments.side_by_side import GROUP_SIZE, PROMPTS_PER_STEP
from thinktuning_lite.method.rollouts import read_rollouts

STEPS = 8
KILLED_AFTER = 3
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (TINY_CLASSROOM / "config.json").exists(), reason=f"no checkpoint in {TINY_CLASSROOM}"),
]


# The command as it is, but for what is evaluated: a few questions show that results are there.
START = """
import sys
from thinktuning_lite import __main__
from thinktuning_lite.classroom import sample
whole = sample.load_tiny_set
sample.load_tiny_set = lambda name: whole(name)[:8] if name == "validation_distractor" else whole(name)
if __name__ == "__main__":
    __main__.main(sys.argv[1:])
"""


def start(cwd: Path) -> subprocess.Popen:
    script = cwd / "start.py"  # a file, so that the workers it spawns read it too
    script.write_text(START, encoding="utf-8")
    options = ["--name", "k", "--seeds", "0", "--arms", "intended", "--sets", "validation_distractor"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}
    log = (cwd / "output.txt").open("a")
    command = [sys.executable, str(script), "run", *options, "--steps", str(STEPS)]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log, start_new_session=True)


def test_a_killed_run_resumes_and_loses_nothing(tmp_path):
    run = tmp_path / "runs" / "k" / "intended-seed0"
    process = start(tmp_path)
    try:
        deadline = time.monotonic() + 240
        while not (run / "metrics.jsonl").exists() or len(read_metrics(run / "metrics.jsonl")) < KILLED_AFTER:
            assert process.poll() is None, (tmp_path / "output.txt").read_text()
            assert time.monotonic() < deadline, "no metrics after four minutes"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = read_metrics(run / "metrics.jsonl")
    assert KILLED_AFTER <= len(before) < STEPS and not (run / "result.json").exists()
    logged = list(read_rollouts(run / "rollouts.jsonl"))
    assert len(logged) == PROMPTS_PER_STEP * GROUP_SIZE  # step 0 is logged

    process = start(tmp_path)
    assert process.wait(timeout=400) == 0, (tmp_path / "output.txt").read_text()
    after = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in after] == list(range(1, STEPS + 1))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[: len(before)] == before  # what was there is there, in its place
    assert list(read_rollouts(run / "rollouts.jsonl"))[: len(logged)] == logged
    assert [row["step"] for row in lines].count(1) == 1  # it went on from a checkpoint, not from the start
    state = json.loads(next(iter(run.glob("checkpoint-*/trainer_state.json"))).read_text())
    assert state["global_step"] == STEPS
    results = json.loads((tmp_path / "runs" / "k" / "results.json").read_text())
    assert results.keys() == {"base", "intended"}
