"""LoRA: which layers, with what settings, and merging an adapter into its base."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from transformers import (
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.machine import Machine

# Linear layers that LoRA should leave alone: routers choose experts, and a small push there changes all.
_NO_TARGETS = ("gate", "router", "shared_expert_gate")
# A Mamba mixer's kernel reads this weight by itself, past an adapter (PEFT refuses it).
_MAMBAS, _NO_MAMBA_TARGETS = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"), ("out_proj", "conv1d")


def lora_targets(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers inside the decoder's blocks, of any architecture: all of them, as QLoRA found best.

    Output head, embeddings and expert routers are left out. Raises ValueError when there is none.
    """
    kinds = (torch.nn.Linear, Conv1D)  # bitsandbytes' layers are subclasses of Linear
    names = {
        parts[-1]
        for parts, module in ((name.split("."), module) for name, module in model.named_modules())
        if isinstance(module, kinds) and any(p.isdigit() for p in parts) and parts[-1] not in _NO_TARGETS
    }
    if getattr(getattr(model, "config", None), "model_type", "") in _MAMBAS:
        names -= set(_NO_MAMBA_TARGETS)
    if not names:
        raise ValueError(
            f"no linear layer found inside the blocks of {type(model).__name__}: name the layers for LoRA yourself, "
            "peft.LoraConfig(target_modules=[...])"
        )
    return sorted(names)


def lora_config(model: PreTrainedModel, rank: int = 16, alpha: int = 32) -> LoraConfig:
    """LoRA on `lora_targets(model)`, without dropout: TRL samples in train mode, so it would be in the samples."""
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=lora_targets(model),
    )


BASE_RECORD = "base.json"


def record_base(model: torch.nn.Module, folder: str | Path) -> None:
    """Write beside an adapter how its base was loaded, {"quantization", "dtype"}, for `merge_adapter` to do the same."""
    if not isinstance(model, PeftModel):
        return
    base = model.get_base_model()
    four_bit = getattr(base, "is_loaded_in_4bit", False)
    dtype = base.get_input_embeddings().weight.dtype
    known = {"quantization": "nf4" if four_bit else "none", "dtype": str(dtype).removeprefix("torch.")}
    (Path(folder) / BASE_RECORD).write_text(json.dumps(known) + "\n", encoding="utf-8")


def merge_adapter(
    base: str | Path,
    adapter: str | Path,
    folder: str | Path,
    machine: Machine | None = None,
    *,
    quantization: str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write base + adapter as one ordinary checkpoint with its tokenizer into `folder`.

    `quantization` and `dtype` as in training: by default what `record_base` wrote beside the adapter. A 4-bit base is
    first expanded to `dtype`, and the adapter is added to just those values that it was trained on: merging into the
    original weights would bring back the quantization error that it has learnt to live with, and merging in 4-bit would
    round the adapter away.

    Raises ValueError when neither says how the base was loaded: on another base the adapter says something else.
    """
    record = Path(adapter) / BASE_RECORD
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    quantization = quantization or known.get("quantization")
    if quantization is None:
        raise ValueError(
            f"{adapter} has no {BASE_RECORD}, so it is not known whether its base was trained in 4-bit: say "
            "quantization='nf4' or 'none', as in training"
        )
    if dtype is None and "dtype" in known:
        dtype = getattr(torch, known["dtype"])
    model, tokenizer = load_policy(base, machine, quantization=quantization, dtype=dtype)
    if getattr(model, "is_loaded_in_4bit", False):
        model = _expanded(model, dtype or model.dtype)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model, merged
    gc.collect()


def _expanded(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A 4-bit model with its weights written out, in the layers that its architecture has, so that it can be saved."""
    with torch.device("meta"):
        plain = type(model)(model.config)
    model = model.dequantize().to(dtype)
    model.is_loaded_in_4bit = False  # transformers leaves it on, and PEFT goes by it
    for name, layer in plain.named_modules():
        if isinstance(layer, Conv1D):  # GPT-2's, whose weight lies the other way round; bitsandbytes made it a Linear
            linear = model.get_submodule(name)
            layer.weight, layer.bias = torch.nn.Parameter(linear.weight.T.contiguous()), linear.bias
            model.set_submodule(name, layer)
    return model
