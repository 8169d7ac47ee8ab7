"""Six families, each through load, plan, preflight, three guided steps, save, resume and merge: green, or a stated refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from conftest import GUIDANCE
from families import FAMILIES, make
from transformers import AutoModelForCausalLM

from thinktuning_lite.experiments import presets
from thinktuning_lite.experiments import train as train_module
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.method.teacher import ScriptedTeacher
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import merge_adapter
from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial
from thinktuning_lite.models.tokenizers import _turn_end

NAMES = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)
CPU = Machine("cpu", "some CPU", 2**34, {n: Trial(n != "flash_attention_2", "") for n in NAMES})


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory) -> Path:
    return make(request.param, tmp_path_factory.mktemp("families") / request.param)


def run_of(folder: Path, out: Path, **changes) -> presets.Run:
    """Three steps of LoRA, one of four rollouts guided; random students end by chance, so EOS is forced."""
    data = out.parent / "train.jsonl"
    lines = [f'{{"question": "What is {i} plus {i}?", "answer": "#### {2 * i}"}}\n' for i in range(8)]
    data.write_text("".join(lines), encoding="utf-8")
    _, tokenizer = load_policy(folder, CPU, quantization="none")
    training = dict(
        output_dir=str(out), per_device_train_batch_size=4, num_generations=4, max_completion_length=8, max_steps=3,
        teacher_max_new_tokens=40, guided_fraction=0.25, learning_rate=0.01, lr_scheduler_type="constant",
        generation_kwargs={"forced_eos_token_id": tokenizer.eos_token_id}, save_strategy="steps", save_steps=1,
        logging_steps=1, report_to="none", disable_tqdm=True, log_level="error", gradient_checkpointing=False, seed=1,
        **changes.pop("training", {}),
    )  # fmt: skip
    if folder.name == "qwen3":
        training["chat_template_kwargs"] = {"enable_thinking": False}
    return presets.resolve(
        dict(model=str(folder), data=str(data), validation=0, lora_rank=4, quantization="none", training=training)
        | changes
    )


@pytest.fixture
def taught(monkeypatch) -> list[str]:
    """A random model teaches nothing: the built teacher is asked for real, and well-formed guidance put in its place."""
    asked: list[str] = []
    built = train_module._trainer

    def with_scripted(*args):
        trainer = built(*args)
        teacher = trainer.teacher

        def write(request):
            asked.extend(r if isinstance(r, str) else r.reason for r in teacher([request]))
            return GUIDANCE

        trainer.teacher = ScriptedTeacher(write)
        return trainer

    monkeypatch.setattr(train_module, "_trainer", with_scripted)
    monkeypatch.setattr(
        train_module,
        "correctness_reward",
        lambda completions, **_: [len(c[-1]["content"]) % 7 / 6 for c in completions],
    )
    return asked


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_load_plan_preflight_train_save_resume_merge(folder, quantization, tmp_path, taught):
    run = run_of(folder, tmp_path / "whole", quantization=quantization)
    if (folder.name, quantization) == ("falcon", "nf4"):
        with pytest.raises(ValueError, match="FalconForCausalLM has linear layers of its own kind.*quantization: none"):
            train_module.build(run, CPU, callbacks=[])
        with pytest.raises(ValueError, match="this architecture has linear layers of its own kind"):
            run.memory_plan(CPU)
        return
    assert run.memory_plan(CPU).peak > 0

    found = str(train_module.build(run, CPU, callbacks=[]).check())
    assert "plus" in found and "I doubt 5" in found
    asked_before = len(taught)
    trainer = train_module.train(run, CPU, callbacks=[])
    metrics = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert [m["step"] for m in metrics] == [1, 2, 3] and len(taught) > asked_before
    assert all(m["guidance/fraction"] == 0.25 and m["guidance/format_failures"] == 0 for m in metrics)

    (tmp_path / "parts").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "parts" / "checkpoint-2")
    again = train_module.train(
        run_of(folder, tmp_path / "parts", quantization=quantization, resume=True), CPU, callbacks=[]
    )
    assert again.state.global_step == 3
    ends = [{n: p.detach() for n, p in t.model.named_parameters() if p.requires_grad} for t in (trainer, again)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())

    merge_adapter(folder, tmp_path / "whole" / "final", tmp_path / "merged", CPU)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        wanted = trainer.model.eval()(ids).logits
        torch.testing.assert_close(merged.eval()(ids).logits, wanted, rtol=1e-3, atol=1e-3)


def test_the_token_that_ends_a_turn_ends_a_response(folder):
    model, tokenizer = load_policy(folder, CPU, quantization="none")
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    assert _turn_end(tokenizer) in ends and tokenizer.eos_token_id in ends
    assert tokenizer.pad_token_id is not None and tokenizer.padding_side == "left"
