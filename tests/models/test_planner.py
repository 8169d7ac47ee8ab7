"""planner.py: hand-computed sizes of a known model, and predicted beside measured memory of the tiny one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from torch._C._profiler import _EventType
from transformers import LlamaConfig, Phi3Config

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.classroom.sample import as_prompts, load_tiny_set
from thinktuning_lite.method import decoding
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.sampling import sample
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.models import planner
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config
from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial
from thinktuning_lite.models.planner import GPUS, GiB, largest, plan

NAMES = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)
CPU = Machine("cpu", "some CPU", 2**34, {n: Trial(n != "flash_attention_2", "") for n in NAMES})
# Llama-3.2-3B's published shape, written out; no weights are needed.
LLAMA_3B = LlamaConfig(
    vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
    num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, max_position_embeddings=131072,
)  # fmt: skip
TINY = dict(quantization="nf4", rank=16, dtype=torch.float32, checkpointing=False, device="cpu", teacher="none")
needs_classroom = pytest.mark.skipif(not (TINY_CLASSROOM / "config.json").exists(), reason="no tiny classroom here")


# ---------------------------------------------------------------- by hand


def test_the_parts_of_llama_3b_by_hand():
    """Per block: q, o 3072x3072; k, v 3072x1024; gate, up, down 3072x8192. 3,212,749,824 parameters in all."""
    linear = 28 * (2 * 3072 * 3072 + 2 * 3072 * 1024 + 3 * 3072 * 8192)
    adapter = 28 * 16 * (2 * (3072 + 3072) + 2 * (3072 + 1024) + 3 * (3072 + 8192))
    assert adapter == 24_313_856
    p = plan(LLAMA_3B, group_size=8, prompt_tokens=512, completion_tokens=1024, prompts=2)
    scales = linear / 64 + 4 * linear / 64 / 256
    assert p.held["base"] == pytest.approx(linear / 2 + scales + 2 * (3_212_749_824 - linear), rel=1e-6)
    assert p.held["adapter"] == 4 * adapter and p.held["optimizer"] == 8 * adapter
    assert p.phases["training"]["gradients"] == 4 * adapter
    cache = 2 * 28 * 8 * 128 * 2 * (2 * 8) * (512 + 1024)
    assert p.phases["sampling"]["KV cache"] == cache
    assert p.tokens_per_step == 16 * 1024 and p.rows == 16


def test_full_fine_tuning_holds_sixteen_bytes_a_weight_and_its_teacher():
    p = plan(LLAMA_3B, quantization="none", rank=None, teacher="second model")
    n = 3_212_749_824
    assert p.held == {"base": 4 * n, "teacher": 4 * n, "optimizer": 8 * n}
    assert p.phases["training"]["gradients"] == 4 * n
    assert not p.fits(GPUS["A100 40 GB"])


def test_adapter_off_saves_a_whole_model():
    off, second = (plan(LLAMA_3B, teacher=t) for t in ("adapter off", "second model"))
    assert second.peak - off.peak == off.held["base"] > 2 * GiB


def test_guided_rows_are_longer_whoever_teaches():
    none, endpoint, own = (plan(LLAMA_3B, teacher=t, teacher_tokens=500) for t in ("none", "elsewhere", "adapter off"))
    assert endpoint.phases["training"] == own.phases["training"]
    longer = endpoint.phases["training"]["activations"] / none.phases["training"]["activations"]
    assert longer == pytest.approx((512 + 1024 + 500) / (512 + 1024), rel=0.1)
    assert "teaching" in own.phases and "teaching" not in endpoint.phases


def test_logits_are_those_of_trls_tiles_not_of_the_whole_vocabulary():
    short, long = (plan(LLAMA_3B, micro_batch=m, teacher="none").phases["training"]["logits"] for m in (4, 8))
    assert long - short == 4 * 1024 * 3072 * 4  # from 4096 positions on only the gradient of the hidden states grows


@pytest.mark.parametrize("config", [
    LLAMA_3B,
    Phi3Config(vocab_size=33000, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4),
], ids=lambda c: c.model_type)  # fmt: skip
def test_activations_grow_with_rows_and_tokens_and_hold_no_attention_matrix(config):
    key = planner._key(config)
    small = planner._activations(key, 256, 16, torch.bfloat16)[0]
    assert planner._activations(key, 256, 16, torch.bfloat16, rows=4)[0] == pytest.approx(4 * small, rel=0.05)
    beyond = planner._activations(key, 1024, 16, torch.bfloat16)[0] - 4 * small
    assert -0.05 * 4 * small < beyond < 0.3 * config.num_attention_heads * 1024**2 * 2  # a mask for all heads at most


# ---------------------------------------------------------------- measured


@contextmanager
def allocations() -> Iterator[Callable[[], int]]:
    """What PyTorch's CPU allocator held at most, in bytes, beyond what it held at the start."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        yield lambda: peak
    events, queue = [], list(profile.profiler.kineto_results.experimental_event_tree())
    while queue:
        event = queue.pop()
        queue += event.children
        if event.tag == _EventType.Allocation:
            events.append((event.start_time_ns, event.extra_fields.alloc_size))
    now = peak = 0
    for _, size in sorted(events, key=lambda e: e[0]):
        now += size
        peak = max(peak, now)


def stored(tensors: Any) -> int:
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.fixture
def student():
    if not (TINY_CLASSROOM / "config.json").exists():
        pytest.skip("no tiny classroom here")
    return load_policy(TINY_CLASSROOM, CPU)


def test_the_measuring_itself():
    with allocations() as peak:
        a = torch.zeros(1000, dtype=torch.float32)
        b = a + 1
        del a, b
        torch.zeros(500)
    assert 8000 <= peak() <= 8400


def test_base_and_adapter_as_measured(student):
    model, _ = student
    predicted = plan(TINY_CLASSROOM, **TINY).held
    tensors = list(model.parameters())
    for p in model.parameters():
        quant = getattr(p, "quant_state", None)
        if quant is not None:
            tensors += [quant.absmax, quant.code, quant.state2.absmax, quant.state2.code]
    # A tenth of room: each layer has a table of 272 numbers, which only so small a model notices.
    assert stored(tensors) == pytest.approx(predicted["base"], rel=0.1)
    adapted = get_peft_model(model, lora_config(model, 16))
    assert stored(p for p in adapted.parameters() if p.requires_grad) == predicted["adapter"]


def test_activations_as_measured(student):
    """What autograd really keeps in a forward of the NF4 model with its adapter."""
    model, tokenizer = student
    adapted = get_peft_model(model, lora_config(model, 16))
    own = {p.untyped_storage()._cdata for p in adapted.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    ids = torch.full((4, 100), 7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        adapted.get_base_model().model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    measured = stored(t for c, t in kept.items() if c not in own)
    block, rest = planner._activations(planner._key(model.config), 100, 16, torch.float32)
    assert 4 * (4 * block + rest) == pytest.approx(measured, rel=0.1)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Rows with a copy of their prompt each; on the CPU they share it and need less than is planned."""
    monkeypatch.setattr(decoding.Watch, "can_share", False)


def test_peak_of_sampling_and_of_training_as_measured(student, tmp_path, as_on_a_gpu):
    """Sampling 16 rollouts of 24 tokens, and one loss with backward of 8 rows, within a fifth of what was predicted."""
    model, tokenizer = student
    rows = as_prompts(load_tiny_set("train")[:16])
    args = ThinkTuningConfig(
        output_dir=str(tmp_path), guided_fraction=0.0, num_generations=8, per_device_train_batch_size=8, max_steps=1,
        gradient_accumulation_steps=2, max_completion_length=24, generation_kwargs={"suppress_tokens": [5]},
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = ThinkTuningTrainer(
        model, correctness_reward, args, Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=lora_config(model, 16),
    )  # fmt: skip
    measured: dict[str, int] = {}

    def watch(name: str, call: Callable) -> Callable:
        def watched(*a: Any, **kw: Any) -> Any:
            with allocations() as peak:
                out = call(*a, **kw)
            measured.setdefault(name, peak())
            return out

        return watched

    trainer._generate_single_turn = watch("sampling", trainer._generate_single_turn)
    prepare, inputs = trainer._prepare_inputs, []
    trainer._prepare_inputs = lambda batch: inputs.append(prepare(batch)) or inputs[-1]
    trainer._prepare_inputs(list(trainer.get_train_dataloader())[0])
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 2

    def loss_and_backward():
        trainer.accelerator.backward(trainer._compute_loss(trainer.model, dict(inputs[0])))

    watch("training", loss_and_backward)()
    prompt = inputs[0]["prompt_ids"].shape[1]
    predicted = plan(
        TINY_CLASSROOM, **TINY, group_size=8, prompts=2, prompt_tokens=prompt, completion_tokens=24, micro_batch=8,
    )  # fmt: skip
    for phase, seen in measured.items():
        assert sum(predicted.phases[phase].values()) == pytest.approx(seen, rel=0.2), phase


@pytest.mark.parametrize(("tokens", "drawn"), [(20, True), (120, True), (120, False)])
def test_the_samplers_cache_as_measured(student, tokens, drawn, as_on_a_gpu):
    """Two prompts of unlike length, eight rollouts each: cache with its room, what is copied, and the choice."""
    model, tokenizer = student
    rows = as_prompts(load_tiny_set("train")[:2])
    read = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True)["input_ids"] for r in rows]
    with allocations() as peak:
        sample(
            model, [ids for ids in read for _ in range(8)], max_new_tokens=tokens, eos_ids=[], pad_id=0,
            temperature=float(drawn),
        )  # fmt: skip
    settings = dict(group_size=8, prompt_tokens=max(map(len, read)), completion_tokens=tokens)
    if drawn:
        predicted = plan(TINY_CLASSROOM, **TINY, **settings, prompts=2).phases["sampling"]
    else:  # as a teacher, who reads as many prompts as there are rows
        asked = dict(settings, prompt_tokens=0, completion_tokens=0, teacher_prompt_tokens=settings["prompt_tokens"])
        predicted = plan(
            TINY_CLASSROOM, **TINY | {"teacher": "adapter off"}, **asked, prompts=16, teacher_tokens=tokens
        ).phases["teaching"]  # fmt: skip
    assert sum(predicted.values()) == pytest.approx(peak(), rel=0.1)


# ---------------------------------------------------------------- what fits


def test_the_largest_batch_fits_and_the_next_does_not():
    settings = dict(group_size=8, prompt_tokens=512, completion_tokens=1024)
    for memory in (GPUS["T4 16 GB"], GPUS["L4 24 GB"]):
        best = largest(memory, LLAMA_3B, **settings)
        assert best.fits(memory) and best.rows % 8 == 0
        micro = plan(LLAMA_3B, **settings, micro_batch=2 * best.micro_batch, prompts=1)
        more = plan(LLAMA_3B, **settings, micro_batch=best.micro_batch, prompts=2 * best.rows // 8)
        assert not more.fits(memory) and (best.micro_batch == 8 or not micro.fits(memory))
    assert largest(GPUS["L4 24 GB"], LLAMA_3B, **settings).rows >= largest(GPUS["T4 16 GB"], LLAMA_3B, **settings).rows


def test_what_cannot_fit_says_how_much_is_missing_and_where():
    with pytest.raises(ValueError, match=r"needs \d+\.\d GiB.*there are 14\.5.*'optimizer'.*smaller model"):
        largest(GPUS["T4 16 GB"], LLAMA_3B, quantization="none", rank=None, teacher="second model")


@pytest.mark.parametrize(("wrong", "says"), [
    ({"quantization": "fp8"}, "quantization is 'fp8'"), ({"optimizer": "lion"}, "optimizer is 'lion'"),
    ({"teacher": "mine"}, "teacher is 'mine'"), ({"rank": None}, "4-bit weights are not trained"),
    ({"rank": None, "quantization": "none"}, "without an adapter the teacher is a second model"),
])  # fmt: skip
def test_refusals(wrong, says):
    with pytest.raises(ValueError, match=says):
        plan(LLAMA_3B, **wrong)


def test_the_table_has_every_part_and_every_gpu():
    p = plan(LLAMA_3B)
    table = p.table()
    for name in (*p.held, *p.phases["training"], *GPUS):
        assert name in table
    huge = replace(p, held={"base": 10**12})
    assert "T4 16 GB no" in huge.table() and "H200 141 GB no" in huge.table()
