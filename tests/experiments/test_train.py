"""train.py and datasets_public.py: config files, presets, GSM8K from real files, a run from config to adapter."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import LlamaConfig, Qwen2Config

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.experiments import plan as plan_module
from thinktuning_lite.experiments import presets, values
from thinktuning_lite.experiments import train as train_module
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.method.endpoint import EndpointTeacher
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.teacher import guided_fraction
from thinktuning_lite.models import datasets
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import merge_adapter
from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial
from thinktuning_lite.models.planner import GPUS

ROOT = Path(__file__).resolve().parents[2]
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k"
NAMES = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)
CPU = Machine("cpu", "some CPU", 2**34, {n: Trial(n != "flash_attention_2", "") for n in NAMES})
needs_gsm8k = pytest.mark.skipif(not GSM8K.exists(), reason="the real GSM8K files (shared/data) are not here")
needs_classroom = pytest.mark.skipif(not (TINY_CLASSROOM / "config.json").exists(), reason="no tiny classroom here")


def gpu(gigabytes: float, bf16: bool = True) -> Machine:
    return Machine("cuda", "some GPU", int(gigabytes * 2**30), {n: Trial(n != "bf16" or bf16, "") for n in NAMES})


# ---------------------------------------------------------------- GSM8K


def rows(n: int) -> list[dict[str, str]]:
    answer = "{0}+{0}=<<{0}+{0}={1}>>{1}\n#### {1:,}"
    return [{"question": f"What is {i} + {i}?", "answer": answer.format(i, 2 * i)} for i in range(n)]


def write(path: Path, some: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in some), encoding="utf-8")
    return path


@needs_gsm8k
def test_the_real_gsm8k_splits_whole_and_apart(tokenizer):
    data = datasets.training_data(GSM8K, tokenizer, validation=200, max_prompt_tokens=10**6)
    assert (len(data.train), len(data.validation), data.dropped) == (7273, 200, 0)
    assert not set(data.train["question"]) & set(data.validation["question"])
    finals = {row["answer"] for row in data.train} | {row["answer"] for row in data.validation}
    assert not [a for a in finals if "," in a or "#" in a or not a.lstrip("-").replace(".", "").isdigit()]
    assert data.train[0]["prompt"][0]["content"].endswith("\\boxed{}.")
    assert data.train[0]["question"] in data.train[0]["prompt"][0]["content"]
    test = datasets.gsm8k_rows(GSM8K / "test.jsonl")
    assert len(test) == 1319 and not {r["question"] for r in test} & set(data.train["question"])


def test_a_file_and_a_folder_in_the_hubs_layout_say_the_same(tmp_path):
    import pyarrow
    import pyarrow.parquet

    file = write(tmp_path / "mine.jsonl", rows(12))
    for part, some in (("00000-of-00002", rows(12)[:7]), ("00001-of-00002", rows(12)[7:])):
        path = tmp_path / "hub" / "main" / f"train-{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some), path)
    write(tmp_path / "plain" / "train.jsonl", rows(12))
    assert (
        datasets.gsm8k_rows(file)
        == datasets.gsm8k_rows(tmp_path / "hub")
        == datasets.gsm8k_rows(tmp_path / "plain")
        == rows(12)
    )


def test_the_gold_answer_loses_its_commas():
    assert datasets.boxed_prompts([{"question": "q", "answer": "so\n#### 1,234"}])[0]["answer"] == "1234"
    with pytest.raises(ValueError, match="row 1.*####"):
        datasets.boxed_prompts([*rows(1), {"question": "q", "answer": "5"}])


def test_an_answer_without_hashes_anywhere_is_the_gold_itself(tokenizer, tmp_path):
    plain = [{"question": f"q{i}", "answer": i} for i in range(3)]  # numbers, as many make them
    data = datasets.training_data(write(tmp_path / "a.jsonl", plain), tokenizer, validation=1)
    assert sorted([*data.train["answer"], *data.validation["answer"]]) == ["0", "1", "2"]
    for empty in ("", None, "so\n#### "):
        with pytest.raises(ValueError, match="row 0: the answer is empty"):
            datasets.boxed_prompts([{"question": "q", "answer": empty}])


def test_what_is_held_out_hangs_on_the_question_alone():
    some = rows(50)
    train, held = datasets.hold_out(some, 10)
    assert len(held) == 10 and len(train) == 40
    again = datasets.hold_out(some[::-1], 10)[1]
    assert sorted(r["question"] for r in again) == sorted(r["question"] for r in held)
    twice = datasets.hold_out(some + held[:1], 10)
    assert held[0] in twice[1] and held[0] not in twice[0]  # a copy does not stay behind in train
    assert datasets.hold_out(some, 0) == (some, [])
    with pytest.raises(ValueError, match="validation=50 would take all 50"):
        datasets.hold_out(some, 50)


def test_long_prompts_are_dropped_and_counted(tokenizer, tmp_path):
    long = [{"question": "How many? " * 200, "answer": "#### 1"}] * 3
    data = datasets.training_data(
        write(tmp_path / "a.jsonl", rows(20) + long), tokenizer, validation=4, max_prompt_tokens=300
    )
    assert data.dropped == 3 and len(data.train) + len(data.validation) == 20
    read = [tokenizer.apply_chat_template(p, add_generation_prompt=True) for p in data.train["prompt"]]
    longest = max(len(r["input_ids"]) for r in read)
    exact = datasets.drop_long(data.train.to_list(), tokenizer, longest)
    assert exact[1] == 0 and datasets.drop_long(data.train.to_list(), tokenizer, longest - 1)[1] > 0
    with pytest.raises(ValueError, match="no prompt .* at most 3 tokens"):
        datasets.training_data(tmp_path / "a.jsonl", tokenizer, validation=4, max_prompt_tokens=3)


@pytest.mark.parametrize(("name", "kind", "says"), [
    ("./nowhere.jsonl", FileNotFoundError, "no file or folder"),
    ("nowhere.parquet", FileNotFoundError, "no file or folder"),
    ("someone/absent", (ConnectionError, FileNotFoundError), "someone/absent"),
])  # fmt: skip
def test_data_that_is_not_there(name, kind, says):
    with pytest.raises(kind, match=says):
        datasets.gsm8k_rows(name)


def test_gated_and_unreachable_datasets_give_the_way_out(monkeypatch):
    import httpx
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))
    gated = DatasetNotFoundError("Dataset 'me/gated' is a gated dataset")
    gated.__cause__ = GatedRepoError("gated", response=response)
    for error, kind, says in (
        (gated, PermissionError, "dataset 'me/gated' is gated.*datasets/me/gated.*hf auth login.*local file"),
        (DatasetNotFoundError("doesn't exist"), FileNotFoundError, "no dataset 'me/gated'.*local file"),
        (ConnectionError("no route"), ConnectionError, "out of reach.*local file"),
    ):

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(kind, match=says):
            datasets.gsm8k_rows("me/gated")


def test_files_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lacks answer \(found: question, solution\)"):
        datasets.gsm8k_rows(write(tmp_path / "a.jsonl", [{"question": "q", "solution": "s"}]))
    (tmp_path / "b.jsonl").write_text('{"question": 1}\nnot json\n')
    with pytest.raises(ValueError, match="b.jsonl, line 2"):
        datasets.gsm8k_rows(tmp_path / "b.jsonl")
    (tmp_path / "e.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="e.jsonl is empty"):
        datasets.gsm8k_rows(tmp_path / "e.jsonl")
    (tmp_path / "hub").mkdir()
    write(tmp_path / "hub" / "train.jsonl", rows(3))
    with (tmp_path / "hub" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('["a", "list"]\n')
    with pytest.raises(ValueError, match="train.jsonl, line 4 holds no names and values"):
        datasets.gsm8k_rows(tmp_path / "hub")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match="p.parquet cannot be read"):
        datasets.gsm8k_rows(tmp_path / "p.parquet")
    (tmp_path / "c.csv").write_text("question,answer\n")
    with pytest.raises(ValueError, match="give a .jsonl or .parquet"):
        datasets.gsm8k_rows(tmp_path / "c.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no train.jsonl"):
        datasets.gsm8k_rows(tmp_path / "empty")


# ---------------------------------------------------------------- configs and presets


@pytest.mark.parametrize("name", list(presets.PRESETS))
@pytest.mark.parametrize("machine", [CPU, gpu(15, bf16=False), gpu(80)], ids=["cpu", "t4", "80gb"])
def test_every_preset_is_a_config_that_the_trainer_accepts(name, machine, monkeypatch):
    run, seen = presets.resolve({"preset": name}), {}
    # TrainingArguments refuses GPU precision where there is no GPU; what it is given is what counts here.
    monkeypatch.setattr(presets, "ThinkTuningConfig", lambda **kw: seen.update(kw))
    run.config(machine)
    assert seen["bf16"] == (machine.device == "cuda" and machine.trials["bf16"].works)
    assert seen.get("fp16", False) == (machine.device == "cuda" and not machine.trials["bf16"].works)
    assert seen["optim"] == machine.optimizer
    monkeypatch.undo()
    presets.resolve({"preset": name, "training": {"output_dir": "x"}}).config(CPU)


# docs/faithfulness.md, one by one: what the authors' run is known to have used.
PAPERS = dict(
    num_generations=5, per_device_train_batch_size=5, gradient_accumulation_steps=32, steps_per_generation=128,
    num_train_epochs=1, max_steps=-1, learning_rate=1e-6, lr_scheduler_type="constant", weight_decay=0.01,
    max_grad_norm=1.0, beta=0.0, epsilon=0.2, temperature=1.0, num_iterations=1, loss_type="dapo",
    max_completion_length=1024, teacher_max_new_tokens=1024, guidance_max_tokens=512, max_guided_length=1024,
    teacher_max_prompt_length=3072, shaping="released", shaping_mask="guided", gamma_min=0.001, gamma_max=-0.001, fallback_probability=0.01,
    guided_fraction=0.1, guidance_schedule="linear", guidance_steps=32, guidance_selection="random", behaviours=None,
    reward_needs_eos=True, rollouts_at_a_time=160,
)  # fmt: skip


def differs_from_the_papers(run: presets.Run) -> list[str]:
    """What a run does otherwise than the authors' (each as a text); empty for the preset."""
    c, found = run.config(CPU), []

    def need(name: str, ok: bool) -> None:
        found.extend([] if ok else [name])

    for name, value in PAPERS.items():
        need(name, getattr(c, name) == value)
    need("model", run.model == "meta-llama/Llama-3.2-3B-Instruct" and run.teacher is None)
    need("data", run.data == "openai/gsm8k" and run.validation == 0)  # all 7,473 rows
    need("all weights", run.lora_rank is None and run.torch_dtype == torch.float32)
    need("prompt tokens", run.max_prompt_tokens == 512)
    update = c.per_device_train_batch_size * c.gradient_accumulation_steps
    generation = c.per_device_train_batch_size * c.steps_per_generation
    need("32 prompts an update", update == 32 * 5)
    need("128 prompts a generation", generation == c.generation_batch_size == 128 * 5)
    need("about 232 updates", 7473 // 128 * (generation // update) == 232)
    updates = generation // update
    fractions = [  # of each generation, as the trainer asks for it at its first update
        guided_fraction(
            g * updates, c.guidance_steps, c.guided_fraction, c.guided_fraction_end, c.guidance_schedule
        ) for g in range(58)
    ]  # fmt: skip
    theirs = [0.1 - 0.09 * g / 16 for g in range(16)]
    theirs = [f if f > 0.06 else 0.0 for f in theirs] + [0.0] * 42
    need("guided for 8 generations", fractions == pytest.approx(theirs) and sum(f > 0 for f in fractions) == 8)
    return found


def test_the_papers_preset_holds_the_authors_numbers():
    run = presets.resolve({"preset": "paper"})
    assert differs_from_the_papers(run) == []
    asked = datasets.boxed_prompts([{"question": "How many?", "answer": "#### 3"}])[0]["prompt"]
    assert len(asked) == 1 and asked[0]["role"] == "user" and asked[0]["content"].startswith("How many?")
    assert "step by step" in asked[0]["content"] and "final answer within \\boxed{}" in asked[0]["content"]


@pytest.mark.parametrize(("name", "other"), [
    *((name, {"training": {name: other}}) for name, other in dict(
        num_train_epochs=2, max_steps=100, learning_rate=1e-5, lr_scheduler_type="linear", weight_decay=0.0,
        max_grad_norm=0.5, beta=0.04, epsilon=0.3, temperature=0.7, num_iterations=2, loss_type="grpo",
        max_completion_length=512, teacher_max_new_tokens=512, guidance_max_tokens=None, max_guided_length=None,
        teacher_max_prompt_length=None,
        shaping="intended", shaping_mask="teacher", gamma_min=0.002, gamma_max=-0.002, fallback_probability=0.05,
        guided_fraction=0.2, guidance_schedule="cosine", guidance_steps=8, guidance_selection="wrong",
        behaviours=["self-conflict"], reward_needs_eos=False, rollouts_at_a_time=None,
    ).items()),
    ("32 prompts an update", {"training": {"gradient_accumulation_steps": 128}}),
    ("128 prompts a generation", {"training": {"steps_per_generation": 32}}),
    ("guided for 8 generations", {"training": {"guided_fraction_end": 0.01}}),
    ("data", {"validation": 200}), ("model", {"model": "Qwen/Qwen2.5-3B-Instruct"}), ("all weights", {"lora_rank": 16}),
    ("prompt tokens", {"max_prompt_tokens": 1024}),
])  # fmt: skip
def test_any_other_number_is_found(name, other):
    other = {"training": {}} | other
    off = {"use_bias_correction_kl": False} if name == "beta" else {}
    run = presets.resolve(other | {"preset": "paper", "training": other["training"] | off})
    assert name in differs_from_the_papers(run)


# The published shapes of the presets' models, written out.
QWEN = dict(tie_word_embeddings=True, num_key_value_heads=2, vocab_size=151936)
SHAPES = {
    "Qwen/Qwen2.5-1.5B-Instruct": Qwen2Config(
        hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, **QWEN),
    "Qwen/Qwen2.5-3B-Instruct": Qwen2Config(
        hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16, **QWEN),
    "meta-llama/Llama-3.2-3B-Instruct": LlamaConfig(
        vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True),
}  # fmt: skip


@pytest.mark.parametrize(("name", "card"), [
    ("t4", "T4 16 GB"), ("24gb", "L4 24 GB"), ("80gb", "A100 80 GB"), ("80gb-full", "A100 80 GB"),
    ("paper", "A100 80 GB"),
])  # fmt: skip
def test_every_gpu_preset_fits_its_card_by_the_plan(name, card, tmp_path):
    run = presets.resolve({"preset": name})
    SHAPES[run.model].save_pretrained(tmp_path)
    run = dataclasses.replace(run, model=str(tmp_path))
    machine = gpu(GPUS[card] / 2**30, bf16=name != "t4")
    p = run.memory_plan(machine)
    assert p.fits(GPUS[card])
    assert p.rows % run.training["num_generations"] == 0
    assert p.micro_batch == run.training["per_device_train_batch_size"]


@pytest.mark.parametrize(("machine", "name"), [
    (CPU, "tiny"), (gpu(14.6, bf16=False), "t4"), (gpu(22), "24gb"), (gpu(39.4), "24gb"), (gpu(79.1), "80gb"),
    (gpu(139), "80gb"),
])  # fmt: skip
def test_the_preset_for_a_machine(machine, name):
    assert presets.preset_for(machine) == name


def test_a_config_changes_its_preset_field_by_field(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "preset: t4\nmodel: some/model\nlora_rank: 8\n"
        "training:\n  learning_rate: 2e-5\n  max_steps: 7\n  use_vllm: true\n  vllm_mode: colocate\n"
        "  report_to: wandb\n"
    )
    run = presets.resolve(values.read_config(tmp_path / "a.yaml"))
    assert (run.model, run.lora_rank, run.quantization) == ("some/model", 8, "nf4")
    assert run.training["learning_rate"] == 2e-5 and run.training["max_steps"] == 7
    assert run.training["use_vllm"] is True and run.training["vllm_mode"] == "colocate"
    assert run.training["report_to"] == "wandb"
    assert run.training["num_generations"] == presets.PRESETS["t4"]["training"]["num_generations"]
    assert presets.PRESETS["t4"]["training"]["learning_rate"] == 1e-5  # untouched
    (tmp_path / "a.json").write_text(json.dumps(yaml.safe_load((tmp_path / "a.yaml").read_text())))
    assert presets.resolve(values.read_config(tmp_path / "a.json")) == run


def test_vllm_is_trls_own_switch_and_reaches_the_trainers_config():
    asked = {"use_vllm": True, "vllm_mode": "server", "vllm_server_port": 8123}
    c = presets.resolve({"preset": "tiny", "training": asked}).config(CPU)
    assert c.use_vllm and c.vllm_mode == "server" and c.vllm_server_port == 8123


@pytest.mark.parametrize(("config", "says"), [
    ({"preset": "t5"}, "preset is 't5'.*t4"),
    ({"modle": "x"}, "no field 'modle'; did you mean 'model'"),
    ({"preset": "t4", "training": {"learnig_rate": 1}}, "no field 'learnig_rate'; did you mean 'learning_rate'"),
    ({"preset": "t4", "training": {"learning_rate": "fast"}}, "training.learning_rate is 'fast'; it takes a number"),
    ({"preset": "t4", "training": [1]}, "table of names and values"),
    ({"data": "x"}, "names no model"),
    ({"model": "x"}, "output_dir"),
    ({"preset": "t4", "teacher": {"model": "x"}}, "base_url and model"),
    ({"preset": "t4", "teacher": {"base_url": "x", "model": "y", "apikey": "z"}}, "no field 'apikey'"),
    ({"preset": "t4", "teacher": {"base_url": "x", "model": "y", "timeout": "long"}}, "teacher.timeout is 'long'"),
    ({"preset": "t4", "teacher": {"base_url": "x", "model": "y", "retry": 2}}, "did you mean 'retries'"),
    ({"preset": "t4", "teacher": "http://x"}, "teacher must be a table"),
    ({"preset": "paper", "teacher": {"base_url": "x", "model": "y"}}, "teacher_max_prompt_length limits the frozen start"),
    ({"preset": "t4", "validation": -1}, "validation is -1; it must be at least 0"),
    ({"preset": "t4", "lora_rank": 0}, "lora_rank is 0"),
    ({"preset": "t4", "lora_rank": None}, "4-bit weights are not trained"),
    ({"preset": "80gb-full", "dtype": "fp16"}, "all weights in float16"),
    ({"preset": "t4", "quantization": "int8"}, "quantization is 'int8'; choose one of nf4, none"),
    ({"preset": "t4", "lora_rank": True}, "lora_rank is True; it takes a whole number or none"),
])  # fmt: skip
def test_configs_that_are_refused(config, says):
    with pytest.raises(ValueError, match=says):
        presets.resolve(config)


def test_config_files_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config file"):
        values.read_config(tmp_path / "none.yaml")
    for text, says in (("a: [1", "neither YAML nor JSON"), ("- 1\n", "names and values")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=says):
            values.read_config(tmp_path / "bad.yaml")


@pytest.mark.parametrize(("text", "says"), [
    ("training: {groups: 3}", "ValueError: training has no field 'groups'"),
    ("dtype: int3", "ValueError: dtype is 'int3'; choose one of float32"),
    ("lora_rank: many", "ValueError: lora_rank is 'many'; it takes a whole number or none"),
    ("training: {max_steps: 1.5}", "ValueError: training.max_steps is 1.5; it takes a whole number"),
    ("training: {report_to: wandb}", "ImportError: report_to: wandb needs the package wandb: pip install wandb"),
    ("training: {report_to: [tensorboard]}", "ImportError: report_to: tensorboard needs the package tensorboard"),
    ("training: {use_vllm: true}", "ImportError: use_vllm: true needs the package vllm: pip install vllm"),
    ("resume: nowhere/checkpoint-2", "FileNotFoundError: resume: nowhere/checkpoint-2 holds no trainer_state.json"),
    ("model: ./nowhere", "FileNotFoundError: there is no model folder at './nowhere'"),
    ("training: {learning_rate: [1]}", "ValueError: training.learning_rate is [1]; it takes a number"),
    ("training: {logging_steps: 'a\nb'}", "ValueError: training.logging_steps is 'a b'; it takes a number"),
    ("\x00", "ValueError: "),
])  # fmt: skip
def test_the_command_says_what_is_wrong_in_one_line(text, says, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_module, "probe", lambda: CPU)
    monkeypatch.setattr(train_module.importlib.util, "find_spec", lambda name: None if name in ABSENT else object())
    (tmp_path / "bad.yaml").write_text(f"preset: tiny\n{text}\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        train_module.main(["--config", str(tmp_path / "bad.yaml")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert error.startswith("thinktuning train: " + says)


ABSENT = ("wandb", "tensorboard", "tensorboardX", "vllm")


@pytest.mark.parametrize(("given", "field", "read"), [
    ("lora_rank: none", "lora_rank", None), ("lora_rank: '8'", "lora_rank", 8), ("lora_rank: null", "lora_rank", None),
    ("dtype: bf16", "torch_dtype", torch.bfloat16), ("dtype: none", "torch_dtype", None),
    ("max_prompt_tokens: 1e3", "max_prompt_tokens", 1000), ("resume: 'true'", "resume", True),
    ("resume: a/checkpoint-2", "resume", "a/checkpoint-2"),
    ("training: {resume_from_checkpoint: a/checkpoint-2}", "resume", "a/checkpoint-2"),
    ("training: {max_steps: 1e3}", "training.max_steps", 1000), ("training: {beta: 0}", "training.beta", 0),
    ("training: {learning_rate: 2e-5}", "training.learning_rate", 2e-5),
    ("training: {guidance_steps: none}", "training.guidance_steps", None),
    ("training: {use_vllm: 'false'}", "training.use_vllm", False),
])  # fmt: skip
def test_values_as_yaml_writes_them_are_read_as_what_their_field_is(given, field, read, tmp_path):
    (tmp_path / "a.yaml").write_text(f"preset: 80gb\n{given}\n", encoding="utf-8")
    run = presets.resolve(values.read_config(tmp_path / "a.yaml"))
    got = run.training[field.partition(".")[2]] if "." in field else getattr(run, field)
    assert got == read and type(got) is type(read)
    assert "resume_from_checkpoint" not in run.training


# ---------------------------------------------------------------- runs


@pytest.fixture
def small(tiny_folder, tmp_path, settings) -> dict:
    """A config for two quick steps of LoRA on NF4 with the random tiny model and a file in GSM8K's shape."""
    training = settings(output_dir=str(tmp_path / "run"), guided_fraction=0.25, teacher_max_new_tokens=8)
    training["learning_rate"] = 0.01
    training["generation_kwargs"] = training["generation_kwargs"] | {"max_new_tokens": 16}
    del training["use_cpu"], training["bf16"], training["dataloader_pin_memory"]
    data = write(tmp_path / "data" / "train.jsonl", rows(12))
    return dict(
        model=str(tiny_folder), data=str(data), validation=2, max_prompt_tokens=200, lora_rank=4, training=training
    )


@pytest.fixture(autouse=True)
def rewards_that_differ(monkeypatch):
    """A random policy is never right; its responses' lengths serve as reward."""

    def by_length(completions, **kwargs):
        return [len(c[-1]["content"]) % 7 / 6 for c in completions]

    monkeypatch.setattr(train_module, "correctness_reward", by_length)


def test_a_run_from_config_to_an_adapter_that_says_the_same_when_reloaded(small, tmp_path, tiny_folder):
    run = presets.resolve(small)
    seen = []
    trainer = train_module.train(
        run, CPU, callbacks=[train_module.Live(lambda rows, text: seen.append((len(rows), text)))]
    )
    folder = tmp_path / "run"
    assert [m["step"] for m in read_metrics(folder / "metrics.jsonl")] == [1, 2]
    assert seen[0][0] == 1 and "step 1 of 2" in seen[0][1] and "remaining" in seen[0][1]
    assert "0 s remaining" in seen[1][1]
    known = json.loads((folder / "run.json").read_text())
    assert known["run"]["training"]["guided_fraction"] == 0.25 and "trl" in known["versions"]
    assert (folder / "final" / "adapter_model.safetensors").exists() and (folder / "final" / "tokenizer.json").exists()
    again, _ = load_policy(tiny_folder, CPU, quantization="nf4", adapter=folder / "final")
    assert isinstance(again, PeftModel)
    ids = torch.arange(6, 30)[None]
    with torch.no_grad():
        assert torch.equal(again.eval()(ids).logits, trainer.model.eval()(ids).logits)


def test_an_interrupted_run_goes_on_and_ends_where_an_uninterrupted_one_does(small, tmp_path):
    """Three steps in one go; and one of three steps that stops after two (as killed), then resumed. Bit by bit."""
    small["training"] |= {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    ends = []
    for name, resumed in (("whole", False), ("parts", True)):
        config = small | {"training": small["training"] | {"output_dir": str(tmp_path / name)}}
        if resumed:
            shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / name / "checkpoint-2")
        trainer = train_module.train(presets.resolve(config | {"resume": resumed}), CPU)
        assert trainer.state.global_step == 3
        ends.append({n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad})
    assert [m["step"] for m in read_metrics(tmp_path / "parts" / "metrics.jsonl")] == [3]
    assert all(p.dtype == torch.float32 for p in ends[1].values())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def test_metrics_go_to_tensorboard_by_trls_own_switch(small, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small["training"] |= {"report_to": "tensorboard", "max_steps": 1}
    train_module.train(presets.resolve(small), CPU)
    [folder] = {p.parent for p in (tmp_path / "run").rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"train/reward", "train/guidance/format_failures"} <= set(events.Tags()["scalars"])


def test_who_teaches(small, monkeypatch):
    assert isinstance(train_module.build(presets.resolve(small), CPU).teacher, PolicyTeacher)
    endpoint = {"base_url": "http://localhost:1/v1", "model": "big", "api_key_env": "SOME_KEY_OF_THIS_TEST"}
    with pytest.raises(ValueError, match="SOME_KEY_OF_THIS_TEST"):
        train_module.build(presets.resolve(small | {"teacher": endpoint}), CPU)
    monkeypatch.setenv("SOME_KEY_OF_THIS_TEST", "secret")
    teacher = train_module.build(presets.resolve(small | {"teacher": endpoint}), CPU).teacher
    assert isinstance(teacher, EndpointTeacher) and teacher.api_key == "secret" and teacher.max_new_tokens == 8
    assert "secret" not in json.dumps(small | {"teacher": endpoint})


def test_a_run_with_an_endpoint_plans_its_longer_rows(small):
    endpoint = {"base_url": "http://localhost:1/v1", "model": "big"}
    own, other = (presets.resolve(small | t).memory_plan(CPU) for t in ({}, {"teacher": endpoint}))
    assert other.phases["training"] == own.phases["training"] and "teaching" not in other.phases


def test_what_a_config_says_of_an_endpoint_reaches_its_teacher(small):
    endpoint = {
        "base_url": "http://localhost:1/v1", "model": "big", "timeout": "90", "parallel": 2, "retries": 0,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
    }  # fmt: skip
    teacher = train_module.build(presets.resolve(small | {"teacher": endpoint}), CPU).teacher
    assert (teacher.timeout, teacher.parallel, teacher.retries) == (90, 2, 0)
    assert teacher.extra_body == endpoint["extra_body"] and teacher.model == "big"
    few = {"base_url": "http://localhost:1/v1", "model": "big", "timeout": None}
    teacher = train_module.build(presets.resolve(small | {"teacher": few}), CPU).teacher
    assert (teacher.timeout, teacher.parallel, teacher.retries) == (120, 8, 4)
    with pytest.raises(ValueError, match="parallel=0.*at least 1"):
        train_module.build(presets.resolve(small | {"teacher": endpoint | {"parallel": 0}}), CPU)


def test_dropped_prompts_are_said(small, capsys):
    long = [{"question": "long " * 300, "answer": "#### 1"}]
    small["data"] = str(write(Path(small["data"]).parent / "long.jsonl", rows(12) + long))
    train_module.build(presets.resolve(small), CPU)
    assert "1 prompts of more than 200 tokens were dropped, 10 are left" in capsys.readouterr().out


def test_all_weights_without_lora(small, tmp_path):
    small["training"]["learning_rate"] = 1e-3
    trainer = train_module.train(presets.resolve(small | {"lora_rank": None}), CPU)
    assert not isinstance(trainer.model, PeftModel) and trainer.model.dtype == torch.float32
    assert (tmp_path / "run" / "final" / "model.safetensors").exists()
    assert trainer.teacher.model is not trainer.model


@needs_classroom
def test_the_memory_plan_of_the_tiny_preset():
    p = presets.resolve({"preset": "tiny"}).memory_plan(CPU)
    assert p.rows == 32 and p.micro_batch == 16 and "teaching" in p.phases


# ---------------------------------------------------------------- one folder, several runs


def test_a_second_run_into_the_same_folder_starts_its_logs_anew_and_loses_none(small, tmp_path, capsys):
    small["training"] |= {"max_steps": 1, "rollout_log_steps": 1, "save_strategy": "steps", "save_steps": 1}
    folder = tmp_path / "run"
    for _ in range(2):
        train_module.train(presets.resolve(small), CPU)
    assert f"the earlier run in {folder} was moved to {folder / 'earlier' / '1'}" in capsys.readouterr().out
    for where in (folder, folder / "earlier" / "1"):
        assert [m["step"] for m in read_metrics(where / "metrics.jsonl")] == [1]
        assert (
            len((where / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()) == 5
        )  # the run, and four rollouts
        assert (where / "checkpoint-1").exists() and (where / "final").exists()


def test_only_a_runs_own_files_are_moved_aside(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "final").mkdir()
    assert train_module.set_aside(tmp_path) is None and (tmp_path / "final").exists()
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    assert train_module.set_aside(tmp_path) == tmp_path / "earlier" / "1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["earlier", "notes.txt"]


def test_resume_takes_the_checkpoint_that_is_named_and_a_finished_run_is_not_trained_on(small, tmp_path):
    small["training"] |= {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    train_module.train(presets.resolve(small), CPU)
    folder = tmp_path / "run"
    weights = (folder / "final" / "adapter_model.safetensors").read_bytes()
    named = train_module.train(presets.resolve(small | {"resume": str(folder / "checkpoint-1")}), CPU)
    assert [m["step"] for m in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3]
    assert len((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 5  # steps 2 and 3 done again
    assert named.state.global_step == 3
    shutil.rmtree(folder / "final")
    done = train_module.train(presets.resolve(small | {"resume": True}), CPU)
    assert done.state.global_step == 3
    assert len((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    assert (folder / "final" / "adapter_model.safetensors").read_bytes() == weights


def test_evaluation_is_in_the_metrics(small, tmp_path):
    small["training"] |= {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4}
    train_module.train(presets.resolve(small), CPU)
    assert all({"reward", "eval_reward"} <= set(m) for m in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    with pytest.raises(ValueError, match="validation: 0 holds nothing out"):
        train_module.build(presets.resolve(small | {"validation": 0}), CPU)


def test_fewer_prompts_than_one_generation_are_refused(small):
    small["training"] |= {"per_device_train_batch_size": 44}
    with pytest.raises(ValueError, match="has 10 prompts to train on, and one generation takes 11"):
        train_module.build(presets.resolve(small), CPU)


def test_a_path_to_the_tiny_classroom_is_the_tiny_classroom(monkeypatch):
    monkeypatch.chdir(TINY_CLASSROOM.parent)
    run = presets.resolve({"preset": "tiny", "model": "./tiny_classroom"})
    assert run.is_tiny and train_module._teacher_prompt(run) is train_module.TINY_PROMPT
    assert not presets.resolve({"preset": "tiny", "model": "owner/tiny_classroom"}).is_tiny


# ---------------------------------------------------------------- the check before a run


def test_check_on_the_command_line_names_what_speaks_against_a_run(small, tmp_path, monkeypatch, capsys):
    """A random teacher writes no guidance."""
    monkeypatch.setattr(train_module, "probe", lambda: CPU)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        train_module.main(["--config", str(tmp_path / "a.yaml"), "--check"])
    said = capsys.readouterr().out
    assert stopped.value.code == 1 and "The teacher replied (about" in said
    assert "Problems\n  1. the teacher's reply has not the asked form" in said
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@needs_classroom
def test_check_as_a_command_of_its_own_shows_a_run_that_can_be_started(tmp_path):
    config = {
        "preset": "tiny",
        "training": {"output_dir": str(tmp_path / "run"), "num_generations": 4, "per_device_train_batch_size": 4,
                     "gradient_accumulation_steps": 1, "guided_fraction": 0.25},
    }  # fmt: skip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "thinktuning_lite", "train", "--config", str(tmp_path / "a.yaml"), "--check"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, env=env, cwd=tmp_path, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    for part in ("The student was asked", "A rollout (", "The teacher was asked", "[system] teacher: self-",
                 "The teacher replied", "[student, ", "[teacher, ", "Rewards of the group", "answer in the dataset",
                 "Loss of 4 rows", "No problem was found."):  # fmt: skip
        assert part in done.stdout, part
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("run/*"))


# ---------------------------------------------------------------- precision, merging, planning


def test_all_weights_are_trained_in_float32_unless_another_dtype_is_asked():
    """On a GPU the machine's bf16 would lose steps of 1e-6 (37 of 37,216 weights moved; 30,134 in float32)."""
    full = presets.resolve({"preset": "80gb", "lora_rank": None})
    assert full.torch_dtype == torch.float32 and full.quantization_on(gpu(80)) == "none"
    assert presets.resolve({"preset": "80gb", "lora_rank": None, "dtype": "bf16"}).torch_dtype == torch.bfloat16
    assert presets.resolve({"preset": "80gb"}).torch_dtype is None


def test_the_base_that_a_run_used_lies_beside_adapter_and_checkpoints(small, tmp_path, tiny_folder):
    small["training"] |= {"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = train_module.train(presets.resolve(small | {"quantization": "none"}), CPU)
    folder = tmp_path / "run"
    for where in (folder / "final", folder / "checkpoint-1"):
        assert json.loads((where / "base.json").read_text(encoding="utf-8")) == {
            "quantization": "none", "dtype": "float32"
        }  # fmt: skip
    merge_adapter(tiny_folder, folder / "final", tmp_path / "merged", CPU)  # the machine's default would be nf4
    merged, _ = load_policy(tmp_path / "merged", CPU, quantization="none")
    ids = torch.arange(6, 30)[None]
    with torch.no_grad():
        wanted = trainer.model.eval()(ids).logits
        torch.testing.assert_close(merged.eval()(ids).logits, wanted, rtol=1e-4, atol=1e-4)
    (folder / "final" / "base.json").unlink()
    with pytest.raises(ValueError, match="no base.json.*quantization='nf4' or 'none'"):
        merge_adapter(tiny_folder, folder / "final", tmp_path / "again", CPU)


def test_the_plan_on_the_command_line(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan_module, "probe", lambda: CPU)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
    plan_module.main(["--config", str(tmp_path / "a.yaml"), "--card", "L4 24 GB"])
    said = capsys.readouterr().out
    assert said.startswith(f"{small['model']} on L4 24 GB") and "KV cache" in said and "Fits: T4 16 GB yes" in said
    plan_module.main(["--config", str(tmp_path / "a.yaml")])
    assert "on T4 16 GB" in capsys.readouterr().out  # the smallest card that holds it
    SHAPES["Qwen/Qwen2.5-3B-Instruct"].save_pretrained(tmp_path / "qwen")
    big = small | {"model": str(tmp_path / "qwen"), "quantization": "none", "lora_rank": None}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(big), encoding="utf-8")
    plan_module.main(["--config", str(tmp_path / "b.yaml"), "--card", "T4 16 GB"])
    assert "It does not fit T4 16 GB. Halve per_device_train_batch_size" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        plan_module.main(["--preset", "24gb"])  # not in the cache, no network
    assert stopped.value.code == 2 and "'Qwen/Qwen2.5-3B-Instruct' is not in the cache" in capsys.readouterr().err
