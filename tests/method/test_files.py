"""What a kill, a full disk or a careless hand may leave behind, and what is read from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinktuning_lite.experiments import runs
from thinktuning_lite.method import files
from thinktuning_lite.method.rollouts import Rollout, RolloutLog, read_rollouts
from thinktuning_lite.views import plots

TEXT = "3+4=7, naïve \u2028 名前"  # more bytes than characters, and an end of line that is none


def rollout(step: int, text: str = TEXT) -> Rollout:
    return Rollout(step, 0, "q", text, [5, 1], [0, 1], [-1.0, -2.0], [1.0, 0.5], 1.0, 0.5)


def test_a_log_cut_anywhere_is_read_and_goes_on_behind_its_last_whole_row(tmp_path: Path):
    path = tmp_path / "rollouts.jsonl"
    for step in (0, 1):
        RolloutLog(path).write(rollout(step))
    whole = path.read_bytes()
    row = rollout(2).to_json().encode()
    for kept in range(1, len(row) + 1):  # through the middle of every character, too
        path.write_bytes(whole + row[:kept])
        assert [r.step for r in read_rollouts(path)] == [0, 1]
        if kept % 40 == 0:
            assert plots.advantages_by_author(path)
        RolloutLog(path).write(rollout(3))
        assert [r.step for r in read_rollouts(path)] == [0, 1, 3]
        assert [r.text for r in read_rollouts(path)] == [TEXT] * 3


def test_metrics_behind_a_cut_line_are_kept(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "reward": 0.1}\n{"step": 2, "rew')
    files.append_row(path, '{"step": 2, "reward": 0.2}')
    assert runs.read_metrics(path) == [{"step": 1, "reward": 0.1}, {"step": 2, "reward": 0.2}]
    path.write_bytes('{"step": 1, "reward": 0.1}\n{"step": 2, "é'.encode()[:-1])
    assert runs.read_metrics(path) == [{"step": 1, "reward": 0.1}]


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 9000])
def test_the_last_whole_line_is_found_from_behind(tmp_path: Path, length: int):
    path = tmp_path / "log"
    for before in (b"", b"a\n", b"a\nb\n"):
        path.write_bytes(before + b"x" * length)
        files.append_row(path, "end")
        assert path.read_bytes() == before + b"end\n"


def test_a_resumed_log_has_no_step_twice_and_a_new_run_sets_the_old_log_aside(tmp_path: Path):
    path = tmp_path / "rollouts.jsonl"
    log = RolloutLog(path)
    for step in (0, 0, 2, 2, 4):  # killed within step 4
        log.write(rollout(step))
    log.go_on_at(4)
    log.write(rollout(4, "again"))
    assert [(r.step, r.text) for r in read_rollouts(path)] == [(s, TEXT) for s in (0, 0, 2, 2)] + [(4, "again")]
    before = path.read_bytes()
    log.go_on_at(0)
    assert not path.exists() and (tmp_path / "rollouts.previous.jsonl").read_bytes() == before
    log.go_on_at(0)  # nothing there


def test_json_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "result.json"
    files.write_json(path, {"a": TEXT})
    assert files.read_json(path) == {"a": TEXT}

    def full(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text.encode()[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": TEXT} and [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("cut", [b"", b'{"a": 1', b'{"a": "\xc3', b"\x00\x00\x00"])
def test_a_cut_file_is_named_with_the_way_out(tmp_path: Path, cut: bytes):
    path = tmp_path / "result.json"
    path.write_bytes(cut)
    with pytest.raises(files.NotWholeError, match="result.json is not whole .*: remove that file and start the same"):
        files.read_json(path)


def test_old_rows_are_those_of_json_lines(tmp_path: Path):
    files.append_row(tmp_path / "log", json.dumps({"a": TEXT}, ensure_ascii=False))
    assert [json.loads(line) for line in files.whole_lines(tmp_path / "log")] == [{"a": TEXT}]
