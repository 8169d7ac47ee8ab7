"""A tier of its own (`make test-smol`): the real SmolLM2 from an empty cache; test_fetch.py goes the same way offline."""

from __future__ import annotations

import time

import torch

from thinktuning_lite import __main__ as command_line
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.method.sampling import eos_ids_of, sample
from thinktuning_lite.models import smol
from thinktuning_lite.models.load import load_policy


def test_fetched_trained_for_one_guided_step_and_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(smol, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    command_line.main(["fetch", "smol"])
    fetched = time.perf_counter()
    command_line.main(["train", "--preset", "smol", "--max-steps", "1"])
    trained = time.perf_counter()
    row = read_metrics(tmp_path / "runs" / "train-smol" / "metrics.jsonl")[0]
    assert row["guidance/fraction"] > 0 and row["guidance/format_failures"] == 0
    model, tokenizer = load_policy("smol", quantization="none", dtype=torch.float32)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_dict=False
    )
    [ids] = sample(
        model,
        [asked],
        max_new_tokens=24,
        eos_ids=eos_ids_of(model, tokenizer),
        pad_id=tokenizer.pad_token_id,
        temperature=0,
    )
    assert "Paris" in tokenizer.decode(ids)
    print(f"fetched in {(fetched - began) / 60:.1f} min, one step in {(trained - fetched) / 60:.1f} min")
