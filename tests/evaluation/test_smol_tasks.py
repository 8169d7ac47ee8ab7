"""benchmarks/smol_tasks.py: every task file finds its rows in the folder that it makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from thinktuning_lite.evaluation.harness import TASKS
from thinktuning_lite.evaluation.tasks import graders

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the public files of ../shared/data are not here")
def test_nine_benchmarks_of_few_rows(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("smol_tasks", ROOT / "benchmarks" / "smol_tasks.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    bench.data_folder(DATA, 3, tmp_path)
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))
    names = [*bench.FILES, *bench.INVENTED]
    loaded = TaskManager(include_path=str(TASKS), include_defaults=False).load(names)["tasks"]
    assert {name: len(task.eval_docs) for name, task in loaded.items()} == {
        name: 1 if name in bench.AIME else 3 for name in names
    }
    assert len(loaded) == 9
