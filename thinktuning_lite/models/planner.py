"""How much memory a run will need, by part, from the model's config alone: what fits on which GPU, how large a batch.

    print(plan("owner/model", group_size=8, prompt_tokens=512, completion_tokens=1024).table())
    print(largest(GPUS["T4 16 GB"], "owner/model", group_size=8, ...).table())

Parameters are counted, and activations recorded, on a model that exists in shape only (PyTorch's fake tensors), so no
formula of a particular architecture is needed; one whose forward does not run so is refused. The KV cache is that of full
attention in every layer: an upper bound for sliding windows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D
from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

from thinktuning_lite.method.decoding import ROOM
from thinktuning_lite.models.load import NO_FOUR_BIT, _hub_errors
from thinktuning_lite.models.lora import lora_config, lora_targets

GiB = 2**30
# What PyTorch reports as the device's memory, which is less than what the card is sold as.
GPUS = {
    "T4 16 GB": int(14.5 * GiB), "L4 24 GB": int(22.0 * GiB), "A100 40 GB": int(39.4 * GiB),
    "A100 80 GB": int(79.1 * GiB), "H100 80 GB": int(79.1 * GiB), "H200 141 GB": int(139.0 * GiB),
}  # fmt: skip
CUDA_CONTEXT = int(0.6 * GiB)  # CUDA's own, with the libraries' workspaces
FRAGMENTATION = 1.1  # the caching allocator holds about a tenth more than what is in use
TEACHER_BATCH = 64  # requests that PolicyTeacher answers at a time
OPTIMIZER_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "sgd": 0}
TEACHERS = ("adapter off", "second model", "elsewhere", "none")


@dataclass(frozen=True)
class Plan:
    """Bytes by part, for one process. `held` is there all the time; of the phases the largest counts.

    `rows` are generated at a time, `micro_batch` of them trained on at a time; `tokens_per_step` is the completion
    tokens of one generation.
    """

    held: dict[str, int]
    phases: dict[str, dict[str, int]]
    rows: int
    micro_batch: int
    tokens_per_step: int

    def worst(self) -> dict[str, int]:
        """The parts at the worst moment: what is held, and the largest phase."""
        return self.held | max(self.phases.values(), key=lambda parts: sum(parts.values()))

    @property
    def peak(self) -> int:
        """Bytes of tensors at the worst moment."""
        return sum(self.worst().values())

    @property
    def on_gpu(self) -> int:
        """`peak` with the allocator's slack and CUDA's own memory: what must fit."""
        return int(self.peak * FRAGMENTATION) + CUDA_CONTEXT

    def fits(self, memory: int) -> bool:
        return self.on_gpu <= memory

    def table(self) -> str:
        """Markdown: the parts, the peak, and which GPUs it fits."""
        rows = [(name, "always", size) for name, size in self.held.items()]
        rows += [(name, phase, size) for phase, parts in self.phases.items() for name, size in parts.items()]
        lines = ["| part | when | GiB |", "|---|---|---|"]
        lines += [f"| {name} | {when} | {size / GiB:.3f} |" for name, when, size in rows]
        lines += [f"| **peak on a GPU** | with slack and CUDA's own | **{self.on_gpu / GiB:.2f}** |", ""]
        lines += [
            f"{self.rows} rollouts at a time, {self.micro_batch} trained on at a time, {self.tokens_per_step:,} "
            "completion tokens a generation.",
            "",
        ]
        fits = [f"{gpu} {'yes' if self.fits(memory) else 'no'}" for gpu, memory in GPUS.items()]
        return "\n".join(lines) + "Fits: " + ", ".join(fits) + "."


def plan(
    model: str | Path | PretrainedConfig,
    *,
    group_size: int = 8,
    prompt_tokens: int = 512,
    completion_tokens: int = 1024,
    prompts: int = 1,
    micro_batch: int = 1,
    quantization: str = "nf4",
    rank: int | None = 16,
    dtype: torch.dtype = torch.bfloat16,
    optimizer: str = "adamw_torch",
    checkpointing: bool = True,
    teacher: str = "adapter off",
    teacher_tokens: int = 512,
    teacher_prompt_tokens: int = 1024,
    guided_tokens: int | None = None,
    guided: int = 1,
    at_a_time: int | None = None,
    device: str = "cuda",
) -> Plan:
    """Predict the memory of one process. No weights are read.

    `prompts` groups are generated at a time; `rank` None is full fine-tuning (float32 weights, autocast to `dtype`);
    `guided` rollouts of a group are answered by the teacher, which reads `teacher_prompt_tokens` beyond the response; its
    memory is another's when it teaches "elsewhere" (an endpoint). A guided row is longer by `guided_tokens` (default
    `teacher_tokens`, the reply), and so are all rows of its micro-batch, whoever teaches. `at_a_time` rows are sampled
    together (default: all). On a "cpu" device rollouts come from `sampling.sample`, as the teacher's replies do everywhere,
    and TRL scores the prompt's positions too.

    Raises ValueError for an unknown quantization, optimizer or teacher, for full fine-tuning of 4-bit weights, and for an
    architecture whose activations cannot be recorded.
    """
    _check(quantization, rank, optimizer, teacher)
    with _hub_errors(str(model)):
        config = model if isinstance(model, PretrainedConfig) else AutoConfig.from_pretrained(model)
    text = config.get_text_config()
    size, full = dtype.itemsize, rank is None
    shape = _parameters(_key(config), 0 if full else rank)
    trained = shape.total if full else shape.adapter
    held = _held(shape, quantization, size, full, optimizer, second=teacher == "second model")

    rows, own = prompts * group_size, prompt_tokens + completion_tokens
    taught = own + (0 if teacher == "none" else teacher_tokens if guided_tokens is None else guided_tokens)
    workspace = shape.largest_linear * size if quantization == "nf4" else 0
    together = min(rows, at_a_time or rows)
    read = -(-together // group_size) if device == "cpu" else None
    phases = {"sampling": _generation(text, shape.widest, together, prompt_tokens, own, size, read)}
    if teacher in ("adapter off", "second model"):
        reads = own + teacher_prompt_tokens
        asked = min(prompts * guided, TEACHER_BATCH)
        phases["teaching"] = _generation(text, shape.widest, asked, reads, reads + teacher_tokens, size, asked, True)
    for parts in phases.values():
        parts["dequantized weight"] = workspace
    phases["training"] = _training(config, taught, micro_batch, rank, dtype, checkpointing)
    phases["training"]["gradients"] = 4 * trained
    scored = micro_batch * (taught - prompt_tokens if device == "cuda" else taught)
    phases["training"]["logits"] = _logits(text, scored, size, full)
    phases["training"]["backward"] += workspace
    return Plan(held, phases, rows, micro_batch, rows * completion_tokens)


def _held(shape: _Shape, quantization: str, size: int, full: bool, optimizer: str, second: bool) -> dict[str, int]:
    base = _base_bytes(shape, quantization, 4 if full else size)
    trained = shape.total if full else shape.adapter
    held = {"base": base} | ({"teacher": base} if second else {})  # a frozen copy of the start
    if not full:
        held["adapter"] = 4 * trained
    return held | {"optimizer": int(OPTIMIZER_BYTES[optimizer] * trained)}


def _training(config, tokens, micro_batch, rank, dtype, checkpointing) -> dict[str, int]:
    text = config.get_text_config()
    block, rest = (micro_batch * n for n in _activations(_key(config), tokens, rank, dtype))
    inputs = micro_batch * tokens * text.hidden_size * dtype.itemsize
    layers = text.num_hidden_layers
    kept = layers * inputs + block if checkpointing else layers * block
    return {"gradients": 0, "activations": kept + rest, "backward": block // 2}


def _logits(text: Any, scored: int, size: int, full: bool) -> int:
    """TRL never holds all logits: a tile of them, and the gradients of hidden states and (full) of the head."""
    tile = min(scored, TOKEN_CHUNK_SIZE) * _CHUNKED_LOGPROB_CHUNK_SIZE * size
    return tile + scored * text.hidden_size * 4 + (4 * text.vocab_size * text.hidden_size if full else 0)


def largest(memory: int, model: str | Path | PretrainedConfig, **settings: Any) -> Plan:
    """The plan with the largest micro-batch, then the most prompts at a time, that fits into `memory` bytes of a GPU.

    `settings` as for `plan`. Raises ValueError, saying what is too large, when not even one rollout at a time fits.
    """
    settings = {k: v for k, v in settings.items() if k not in ("micro_batch", "prompts")}
    group = settings.get("group_size", 8)
    best = plan(model, micro_batch=1, prompts=1, **settings)
    if not best.fits(memory):
        parts = best.worst()
        name = max(parts, key=parts.get)
        raise ValueError(
            f"it needs {best.on_gpu / GiB:.1f} GiB with one rollout at a time, and there are {memory / GiB:.1f}; the "
            f"largest part is {name!r} ({parts[name] / GiB:.1f} GiB). Take a smaller model, 4-bit, or fewer tokens"
        )
    for key in ("micro_batch", "prompts"):
        value = 2
        while value <= (group if key == "micro_batch" else 128):
            sizes = {"micro_batch": best.micro_batch, "prompts": best.rows // group, key: value}
            trial = plan(model, **settings | sizes)
            if not trial.fits(memory):
                break
            best, value = trial, 2 * value
    return best


def _check(quantization: str, rank: int | None, optimizer: str, teacher: str) -> None:
    for name, value, choices in (("quantization", quantization, ("nf4", "none")), ("teacher", teacher, TEACHERS),
                                 ("optimizer", optimizer, tuple(OPTIMIZER_BYTES))):  # fmt: skip
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
    if quantization == "nf4" and rank is None:
        raise ValueError("4-bit weights are not trained themselves: give a LoRA rank, or quantization='none'")
    if rank is None and teacher == "adapter off":
        raise ValueError("without an adapter the teacher is a second model: teacher='second model' (or 'elsewhere')")


@dataclass(frozen=True)
class _Shape:
    """Parameters: of the blocks' linear layers that 4-bit takes, of all, of the adapter; the largest layer, the widest."""

    linear: int
    total: int
    adapter: int
    largest_linear: int
    widest: int


def _key(config: PretrainedConfig) -> str:
    return config.to_json_string(use_diff=False)


def _config(key: str, layers: int | None = None) -> PretrainedConfig:
    values = json.loads(key)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    if layers is not None:
        text = config.get_text_config()
        text.num_hidden_layers = layers
        computed = isinstance(getattr(type(text), "layer_types", None), property)
        if getattr(text, "layer_types", None) and not computed:
            text.layer_types = text.layer_types[:layers]
    return config


@lru_cache(maxsize=64)
def _parameters(key: str, rank: int) -> _Shape:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_config(key))
    names = set(lora_targets(model))
    layers = [m for n, m in model.named_modules() if n.split(".")[-1] in names and hasattr(m, "weight")]
    linears = [m.weight for m in layers]
    return _Shape(
        linear=sum(m.weight.numel() for m in layers if type(m) in (nn.Linear, Conv1D)),
        total=sum(p.numel() for p in model.parameters()),  # tied weights once
        adapter=rank * sum(sum(w.shape) for w in linears),
        largest_linear=max(w.numel() for w in linears),
        widest=max(max(w.shape) for w in linears),
    )


def _base_bytes(shape: _Shape, quantization: str, size: int) -> int:
    if quantization == "none":
        return shape.total * size
    if not shape.linear:
        raise ValueError(NO_FOUR_BIT.format(name="this architecture"))
    # Half a byte a weight, a one-byte scale for 64 of them, a float32 scale for 256 scales.
    return int(shape.linear * (1 / 2 + 1 / 64 + 4 / (64 * 256))) + (shape.total - shape.linear) * size


def _generation(
    text: Any, widest: int, rows: int, prompt: int, total: int, size: int, read: int | None, greedy: bool = False
) -> dict[str, int]:
    """`read` is the number of different prompts, each read once, with `sampling.sample`; None: transformers' generate.

    Counted with a copy of its prompt for each row, as on a GPU; on the CPU rows share it, and need less.
    """
    every = getattr(text, "num_attention_heads", None)  # None: no attention (Mamba), whose state does not grow
    heads = getattr(text, "num_key_value_heads", None) or every or 0
    head = getattr(text, "head_dim", None) or (text.hidden_size // every if every else 0)
    token = 2 * text.num_hidden_layers * heads * head * size
    # The prompt is read while the cache is still short; later each layer's cache is copied as it grows.
    wide = (4 * text.hidden_size + 3 * widest) * size
    room, copied = (total, total) if read is None else _room(prompt, total - 1)
    readers = rows if read is None else read
    reading = readers * prompt * (wide + token) - token * rows * room
    return {
        "KV cache": token * rows * room,
        "reading the prompt, or a layer's cache growing": max(reading, token * rows * copied // text.num_hidden_layers),
        # logits, scaled ones and probabilities in float32; `sample` draws in float64
        "next-token logits": (3 * 4 if read is None or greedy else 2 * 4 + 2 * 8) * rows * text.vocab_size,
    }


def _room(prompt: int, needed: int) -> tuple[int, int]:
    """Tokens for which `sampling.sample` holds room in the end, and before it last grew (0: it did not)."""
    room, before = prompt + ROOM, 0
    while room < needed:
        room, before = room + 1 + ROOM, room
    return room, before


@lru_cache(maxsize=64)
def _activations(key: str, tokens: int, rank: int | None, dtype: torch.dtype, rows: int = 1) -> tuple[int, int]:
    """Bytes kept for backward by one block, and by all that is outside the blocks, seen on a model of 1 and of 2."""
    try:
        one, two = (_saved(key, layers, rows, tokens, rank, dtype) for layers in (1, 2))
    except (RuntimeError, TypeError, NotImplementedError) as error:  # PyTorch has no fake of some of its kernels
        kind, first = json.loads(key)["model_type"], str(error).strip().splitlines()[0]
        raise ValueError(
            f"the activations of {kind!r} cannot be planned, because its forward does not run without weights ({first}); "
            "try a short run, and watch the memory"
        ) from error
    return two - one, max(0, 2 * one - two)


def _saved(key: str, layers: int, rows: int, tokens: int, rank: int | None, dtype: torch.dtype) -> int:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_config(key, layers), dtype=torch.float32 if rank is None else dtype)
        if rank is not None:
            model = get_peft_model(model, lora_config(model, rank))  # which makes the adapter float32
    backbone = (model if rank is None else model.get_base_model()).base_model
    hidden = model.get_input_embeddings().weight.shape[1]
    # Fake CPU tensors, not meta ones: for those attention takes a path that keeps every attention matrix.
    with FakeTensorMode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        weights = {
            name: torch.empty(t.shape, dtype=t.dtype, device="cpu").requires_grad_(t.requires_grad)
            for name, t in (*backbone.named_parameters(), *backbone.named_buffers())
        }
        own = {t.untyped_storage()._cdata for t in weights.values()}
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.setdefault(tensor.untyped_storage()._cdata, tensor)  # held, so that no storage is counted as another
            return tensor

        embedded = torch.empty(rows, tokens, hidden, dtype=dtype, device="cpu", requires_grad=True)
        mask = torch.ones(rows, tokens, dtype=torch.long, device="cpu")
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            inputs = {"inputs_embeds": embedded, "attention_mask": mask, "use_cache": False}
            functional_call(backbone, weights, kwargs=inputs)
        return sum(t.untyped_storage().nbytes() for c, t in kept.items() if c not in own)
