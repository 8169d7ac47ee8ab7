"""Runs that are cut off at any moment, by a kill or a full disk, go on and end with the figures of an undisturbed one."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from thinktuning_lite.experiments import runs
from thinktuning_lite.method import checkpoints, files, rollouts
from thinktuning_lite.method.checkpoints import newest_checkpoint
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig

STEPS = 3
MOMENTS = int(os.environ.get("THINKTUNING_DRILL", "4"))  # 20 by hand
# What writes to the disk while a run trains: (where, what, whether a part of it is there when it fails).
WRITES: dict[str, tuple[Any, str]] = {
    "metrics": (runs, "append_row"),
    "rollouts": (rollouts, "append_row"),
    "weights": (checkpoints.Trainer, "_save"),
    "optimizer": (checkpoints.Trainer, "_save_optimizer_and_scheduler"),
    "random state": (checkpoints.Trainer, "_save_rng_state"),
    "manifest": (checkpoints, "write_json"),
    "rename": (Path, "rename"),
    "rotation": (checkpoints, "rotate_checkpoints"),
}


def length_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    return [len(c[-1]["content"]) % 7 / 6 for c in completions]


@pytest.fixture
def train(new_model: Callable, settings: Callable[..., dict], tmp_path: Path) -> Callable[[str], dict]:
    """train(name): a small run, or what is left of it; returns what it ends with."""

    def run(name: str) -> dict[str, Any]:
        folder = tmp_path / name
        config = settings(
            output_dir=str(folder), max_steps=STEPS, save_strategy="steps", save_steps=1, save_total_limit=1,
            rollout_log_steps=1, guided_fraction=0.25, teacher_max_new_tokens=8,
        )  # fmt: skip
        policy = new_model()
        trainer = runs.train_run(name, ThinkTuningConfig(**config), reward_funcs=length_reward, policy=policy)
        return {
            "weights": {n: p.detach().clone() for n, p in trainer.model.named_parameters()},
            "metrics": [{k: v for k, v in m.items() if not _is_time(k)} for m in runs.read_metrics(folder / "metrics.jsonl")],
            "rollouts": list(read_rollouts(folder / "rollouts.jsonl")),
            "checkpoints": sorted(p.name for p in folder.iterdir() if p.is_dir()),
        }  # fmt: skip

    return run


def _is_time(name: str) -> bool:
    return "time" in name or name.startswith(("seconds/", "profiling/"))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    equal = all(torch.equal(a["weights"][n], b["weights"][n]) for n in a["weights"])
    return equal and all(a[k] == b[k] for k in ("metrics", "rollouts", "checkpoints"))


class Cut(BaseException):
    """What a kill is to a process: nothing catches it."""


def fail(monkeypatch: pytest.MonkeyPatch, what: str, call: int, after: bool, error: BaseException) -> None:
    """Let the call-th use of a write fail, before it does anything or after it is done."""
    place, name = WRITES[what]
    original, count = getattr(place, name), iter(range(1000))

    def broken(*args: Any, **kwargs: Any) -> Any:
        now = next(count) == call
        if now and not after:
            raise error
        result = original(*args, **kwargs)
        if now:
            raise error
        return result

    monkeypatch.setattr(place, name, broken)


def test_a_run_cut_off_at_random_moments_ends_like_an_undisturbed_one(train, tmp_path, monkeypatch, caplog):
    whole = train("whole")
    assert [m["step"] for m in whole["metrics"]] == [1, 2, 3] and whole["checkpoints"] == ["checkpoint-3"]
    assert len(whole["rollouts"]) == STEPS * 4
    draw = random.Random(15)
    for i in range(MOMENTS):
        what = draw.choice(list(WRITES))
        error = draw.choice([Cut(), OSError(28, "No space left on device")])
        moment = (what, draw.randrange(4 if what == "rollouts" else 2), draw.random() < 0.5, error)
        with monkeypatch.context() as patch:
            fail(patch, *moment)
            with pytest.raises((Cut, OSError)):
                train(f"cut{i}")
        left = [p for p in (tmp_path / f"cut{i}").glob("checkpoint-*") if checkpoints.what_is_missing(p)]
        assert not left, moment
        assert same(train(f"cut{i}"), whole), moment


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 16 MB; skips where none can be mounted (that takes Linux and root)."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "small", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: the injected errors above must do")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def leave_free(disk: Path, free: int) -> Path:
    """Fill the disk up to `free` bytes; returns the file that does it."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - free))
    return filler


def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(train, small_disk, tmp_path):
    whole = train("whole")
    size = sum(p.stat().st_size for p in (tmp_path / "whole").rglob("*") if p.is_file())
    draw, failed = random.Random(16), 0
    while failed < MOMENTS:
        free, name = draw.randrange(2 * size), f"disk/full{failed}"
        filler = leave_free(small_disk, free)
        try:
            train(name)
        except OSError as error:
            assert "No space left" in str(error) or "Make room" in str(error), error
            failed += 1
            filler.unlink()
            assert not [p for p in (tmp_path / name).glob("checkpoint-*") if checkpoints.what_is_missing(p)], free
            assert same(train(name), whole), free
        filler.unlink(missing_ok=True)
        shutil.rmtree(tmp_path / name)


def test_a_checkpoint_that_cannot_be_saved_says_what_to_do(train, monkeypatch):
    fail(monkeypatch, "optimizer", 1, False, RuntimeError("PytorchStreamWriter failed writing file"))
    with pytest.raises(OSError, match="checkpoint-2 could not be saved .*Make room, then start the same run again"):
        train("full")


SPOILT = {
    "gone": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "cut": lambda p: p.write_bytes(p.read_bytes()[:-20]),
}


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with the files of checkpoints, and their manifests."""
    folder = tmp_path_factory.mktemp("run")
    for step in (9, 10):
        place = folder / f"checkpoint-{step}"
        place.mkdir()
        for name in ("model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"):
            (place / name).write_bytes(b'{"step": 10, "a": 12345}')
        files.write_json(place / checkpoints.MANIFEST, checkpoints._sizes(place))
    return folder


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", checkpoints.MANIFEST]
)
def test_the_newest_whole_checkpoint_is_taken_and_the_other_named(two_checkpoints, tmp_path, name, how, caplog):
    run = tmp_path / "run"
    shutil.copytree(two_checkpoints, run)
    assert newest_checkpoint(run) == str(run / "checkpoint-10")
    if (name, how) == (checkpoints.MANIFEST, "gone"):  # as another program saves: its state file is written last
        (run / "checkpoint-10" / "trainer_state.json").unlink()
    SPOILT[how](run / "checkpoint-10" / name)
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(run) == str(run / "checkpoint-9")
    assert "checkpoint-10 is passed over" in caplog.text
    SPOILT[how](run / "checkpoint-9" / "trainer_state.json")
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(run) is None
    assert "holds no whole checkpoint: this run starts at its first step" in caplog.text


def test_no_checkpoint_is_no_trouble(tmp_path, caplog):
    (tmp_path / "checkpoint-x").mkdir()
    assert newest_checkpoint(tmp_path) is None and newest_checkpoint(tmp_path / "nowhere") is None
    assert not caplog.records


def test_the_partial_checkpoint_of_another_program_is_passed_over(train, tmp_path):
    """As transformers' own Trainer leaves one when it is killed while saving: weights, and no trainer_state.json."""
    whole = train("run")
    late = tmp_path / "run" / "checkpoint-9"
    late.mkdir()
    shutil.copy(tmp_path / "run" / "checkpoint-3" / "model.safetensors", late)
    again = train("run")
    assert all(torch.equal(again["weights"][n], whole["weights"][n]) for n in whole["weights"])


def test_a_run_cut_off_after_its_last_step_is_not_trained_further(train):
    whole = train("run")
    assert same(train("run"), whole)
