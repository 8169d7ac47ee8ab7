"""`thinktuning inspect`: a page of whatever log it is given, or one line that says what is wrong."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import pytest

from thinktuning_lite import __main__ as command_line
from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.experiments import inspect
from thinktuning_lite.method.rollouts import Rollout, RolloutLog


def write_log(folder: Path, groups: int = 3) -> Path:
    log = RolloutLog(folder / "rollouts.jsonl")
    for g in range(groups):
        for i in range(2):
            log.write(Rollout(0, g, f"Q{g}?", "4", [10, 11], [0, 0], [-0.1, -0.2], [1.0, 1.0], float(i), 0.7))
    return log.path


def index_of(page: Path) -> dict:
    pane = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])[0]
    return json.loads(zlib.decompress(base64.b85decode(pane["index"].replace(",", "<"))))


def test_a_run_becomes_a_page_beside_its_log(tmp_path, capsys):
    write_log(tmp_path)
    command_line.main(["inspect", str(tmp_path), "--no-open", "--groups", "2"])
    assert index_of(tmp_path / "inspector.html")["listing"]["total"] == 2
    assert "3 groups" in capsys.readouterr().out


def test_a_log_of_another_trainer_and_another_place(tmp_path):
    row = {"input": "1+1?", "output": "it is two", "gts": "2", "score": 1.0, "step": 3}
    (tmp_path / "3.jsonl").write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
    out = tmp_path / "deeper" / "page.html"
    command_line.main(["inspect", str(tmp_path), "--no-open", "--out", str(out), "--tokenizer", str(TINY_CLASSROOM)])
    assert index_of(out)["words"] == ["it ", "is ", "two"] and index_of(out)["places"] == {"3/0": 0}


def test_the_page_is_opened_unless_told_otherwise(tmp_path, monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setattr(inspect.webbrowser, "open", lambda url: bool(opened.append(url)))
    command_line.main(["inspect", str(write_log(tmp_path))])
    assert opened == [(tmp_path / "inspector.html").resolve().as_uri()]
    assert "open that file" in capsys.readouterr().out


def test_two_runs_stand_side_by_side(tmp_path):
    for name in ("one", "two"):
        write_log(tmp_path / name)
    command_line.main(["inspect", str(tmp_path / "one"), str(tmp_path / "two"), "--no-open"])
    page = (tmp_path / "one" / "inspector.html").read_text(encoding="utf-8")
    assert "<title>one, two</title>" in page


@pytest.mark.parametrize("content", ['{"step": 0}\n', "", None], ids=["no rollout", "empty", "nothing there"])
def test_what_holds_no_rollouts_is_said_in_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / "rollouts.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["inspect", str(tmp_path), "--no-open"])
    said = str(stopped.value)
    assert said.startswith("thinktuning inspect: ") and "rollouts" in said and "\n" not in said
    assert not (tmp_path / "inspector.html").exists()
