"""benchmarks/gpu.py at toy size on the CPU: the same code as on a GPU, every scenario in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_benchmark"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_shapes_are_the_published_ones(gpu):
    """Parameter counts as their model cards have them."""
    from transformers import AutoModelForCausalLM

    for name, count in (("3b", 3_212_749_824), ("1.5b", 1_543_714_304), ("smol", 134_515_008)):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(gpu.shape(name))
        assert sum(p.numel() for p in model.parameters()) == count


def test_prompts_have_the_length_they_say(gpu, tokenizer):
    for row in gpu.prompts(tokenizer, gpu.SIZES["toy"], 12):
        assert len(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]) == 48


@pytest.fixture(scope="module")
def results(gpu, tmp_path_factory):
    """All scenarios in this process: in one of its own, as the test below has it, each costs ten seconds of imports."""
    folder = tmp_path_factory.mktemp("toy")
    gpu.save_random("toy", folder, "cpu")
    return {name: gpu.run("toy", folder, name, 2) for name in gpu.SCENARIOS}


def test_every_scenario_gives_its_figures(gpu, results):
    assert set(results) == {"trl", "off", "guided", "guided, second model", "guided, 15 GB"}
    for name, result in results.items():
        seconds = result["seconds"]
        parts = seconds["sampling"] + seconds["teaching"] + seconds["training"]
        assert seconds["step"] == pytest.approx(parts, abs=0.3)
        assert (seconds["teaching"] > 0) == name.startswith("guided") == (result["guided share"] == 0.25)
        assert result["sampled tokens per second"] > 0 and result["trained completion tokens per second"] > 0
        assert result["predicted bytes"] > 0 and result["peak bytes"]["process"] > 10**8


def test_a_second_model_costs_what_it_holds(gpu, results):
    extra = results["guided, second model"]["predicted bytes"] - results["guided"]["predicted bytes"]
    assert extra == gpu.plan(gpu.shape("toy"), rank=4, dtype=torch.float32).held["base"]


@pytest.mark.slow
def test_the_command_writes_one_json_with_the_machines_name(tmp_path):
    command = [sys.executable, str(SCRIPT), "--shapes", "toy", "--steps", "1", "--out", str(tmp_path / "out.json")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, "--scenarios", "guided"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["machine"] and report["versions"]["trl"] and report["toy"]["size"]["group"] == 4
    assert report["toy"]["scenarios"]["guided"]["guided share"] == 0.25


def test_a_scenario_that_fails_is_recorded_and_the_others_go_on(gpu, monkeypatch):
    def died(command, **kwargs):
        bad = "guided, second model" in command
        error = "Traceback\ntorch.OutOfMemoryError: 99 GiB\n"
        return subprocess.CompletedProcess(command, int(bad), '{"seconds": 1}\n', error)

    monkeypatch.setattr(gpu.subprocess, "run", died)
    assert gpu.all_scenarios("toy", 1, ["guided, second model", "off"]) == {
        "guided, second model": {"failed": "torch.OutOfMemoryError: 99 GiB"}, "off": {"seconds": 1},
    }  # fmt: skip


def test_without_a_gpu_real_sizes_are_refused(gpu, monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--shapes toy" in capsys.readouterr().err
