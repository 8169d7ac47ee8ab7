"""What this machine can do: a probe that really tries things.

print(probe().table())
"""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
)

ATTENTIONS = ("flash_attention_2", "sdpa", "eager")


@dataclass(frozen=True)
class Trial:
    """One thing tried here: whether it works, and what was seen (a figure, or the first line of the error)."""

    works: bool
    seen: str


@dataclass(frozen=True)
class Machine:
    """A device, its memory in bytes (the GPU's own, or the host's), and what was tried on it, by name."""

    device: str
    name: str
    memory: int
    trials: dict[str, Trial]

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self._choices()["dtype"][0])

    @property
    def quantization(self) -> str:
        return self._choices()["quantization"][0]

    @property
    def optimizer(self) -> str:
        """TRL's and transformers' name, for `optim`."""
        return self._choices()["optimizer"][0]

    @property
    def attention(self) -> str:
        return self._choices()["attention"][0]

    def _choices(self) -> dict[str, tuple[str, str]]:
        """What to use and why: {question: (choice, reason)}."""
        works = {name: trial.works for name, trial in self.trials.items()}
        gpu = self.device == "cuda"
        if not gpu:
            dtype = ("float32", "no CUDA GPU: half precision saves memory that a CPU has, and costs digits")
        elif works["bf16"]:
            dtype = ("bfloat16", "native here, and needs no loss scaling")
        else:
            dtype = ("float16", "bf16 is not native here; LoRA weights stay in float32, the loss is scaled")
        four_bit = ("nf4", "gradient through it agrees") if works["4-bit"] else ("none", "4-bit does not work here")
        if gpu and works["paged 8-bit optimizer"]:
            optimizer = ("paged_adamw_8bit", "a quarter of the state, paged out when memory is short")
        elif gpu and works["8-bit optimizer"]:
            optimizer = ("adamw_8bit", "a quarter of the state")
        else:
            optimizer = ("adamw_torch", "8-bit fails here" if gpu else "full precision: memory is not what is short")
        attention = next(a for a in ATTENTIONS if works[a])
        reason = {"flash_attention_2": "fastest", "sdpa": "PyTorch's own", "eager": "the others fail here"}[attention]
        return {"dtype": dtype, "quantization": four_bit, "optimizer": optimizer, "attention": (attention, reason)}

    def table(self) -> str:
        """Markdown: what was tried and seen, then what is chosen and why."""
        title = f"{self.name}, {self.memory / 2**30:.1f} GiB ({self.device})"
        lines = [title, "", "| tried | works | seen |", "|---|---|---|"]
        lines += [f"| {name} | {'yes' if t.works else 'no'} | {t.seen} |" for name, t in self.trials.items()]
        lines += ["", "| question | choice | why |", "|---|---|---|"]
        lines += [f"| {question} | {choice} | {why} |" for question, (choice, why) in self._choices().items()]
        return "\n".join(lines)


def probe(device: str | None = None) -> Machine:
    """Try dtypes, 4-bit, optimizers and attention on `device` ("cuda", "cpu"; default: the best there is), in seconds.

    Nothing is inferred from a version or a name: each trial runs forward, backward or a step, and looks at the numbers.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda":
        properties = torch.cuda.get_device_properties(_local_rank())
        name, memory = properties.name, properties.total_memory
    else:
        name, memory = f"CPU, {os.cpu_count()} cores", _host_memory()
    trials = {"bf16": _trial(_try_bf16, device)}
    half = torch.float32 if device == "cpu" else torch.bfloat16 if trials["bf16"].works else torch.float16
    trials["4-bit"] = _trial(_try_four_bit, device, half)
    trials["8-bit optimizer"] = _trial(_try_optimizer, device, "AdamW8bit")
    trials["paged 8-bit optimizer"] = _trial(_try_optimizer, device, "PagedAdamW8bit")
    for attention in ATTENTIONS:
        trials[attention] = _trial(_try_attention, device, half, attention)
    return Machine(device, name, memory, trials)


def _trial(attempt: Callable[..., str], *args: Any) -> Trial:
    try:
        return Trial(True, attempt(*args))
    except Exception as error:  # whatever a backend raises means that it does not work here
        text = (str(error).strip().splitlines() or [""])[0]
        return Trial(False, textwrap.shorten(f"{type(error).__name__}: {text}".rstrip(": "), 110, placeholder=" ..."))


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def _host_memory() -> int:
    """Bytes of memory of this host, or what its container may use."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * 2**30
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return min(host, int(text)) if text.isdigit() else host


def _try_bf16(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise RuntimeError("emulated on this GPU, hence slow")
    torch.manual_seed(0)
    a, b = torch.randn(2, 64, 64, device=device)
    half = b.to(torch.bfloat16).requires_grad_()
    ((a.to(torch.bfloat16) @ half).float() ** 2).sum().backward()
    exact = 2 * a.T @ (a @ b)
    error = ((half.grad.float() - exact).norm() / exact.norm()).item()
    if not error < 0.05:
        raise RuntimeError(f"gradient is off by {error:.0%}")
    return f"gradient within {error:.1%} of float32"


def _try_four_bit(device: str, dtype: torch.dtype) -> str:
    """Forward in eval without gradient (as in generation), then forward and backward (as in training)."""
    import bitsandbytes as bnb

    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(256, 64, bias=False, compute_dtype=dtype, quant_type="nf4").to(device)
    _keep_differentiable(layer)
    weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    x, g = torch.randn(8, 256, device=device, dtype=dtype), torch.randn(8, 64, device=device, dtype=dtype)
    with torch.no_grad():
        layer.eval()(x)
    x.requires_grad_()
    y = layer.train()(x)
    y.backward(g)
    forward = torch.cosine_similarity(y.detach().float().flatten(), (x.float() @ weight.T).flatten(), dim=0).item()
    backward = torch.cosine_similarity(x.grad.float().flatten(), (g.float() @ weight).flatten(), dim=0).item()
    if min(forward, backward) < 0.99:
        raise RuntimeError(f"cosine to the true values: forward {forward:.2f}, backward {backward:.2f}")
    return f"cosine to the true gradient {backward:.4f}"


def _try_optimizer(device: str, name: str) -> str:
    import bitsandbytes as bnb

    weight = torch.nn.Parameter(torch.ones(64, 256, device=device))  # 8-bit states begin at 4096 entries
    optimizer = getattr(bnb.optim, name)([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.ones_like(weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a paged optimizer that falls back to a plain one says so in a warning
        optimizer.step()
    moved = (1 - weight.detach()).mean().item()
    if abs(moved - 0.1) > 0.01:  # Adam's first step is the learning rate
        raise RuntimeError(f"first step {moved:.3f} instead of 0.1")
    return f"first step {moved:.3f}, as it should be"


def _try_attention(device: str, dtype: torch.dtype, attention: str) -> str:
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        attn_implementation=attention,
    )
    model = LlamaForCausalLM(config).to(device, dtype)
    ids = torch.tensor([[0, 0, 5, 6, 7], [1, 2, 3, 4, 5]], device=device)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], device=device)
    loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
    loss.backward()
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is not finite")
    return "forward and backward with left padding"


def _keep_differentiable(model: torch.nn.Module) -> None:
    """On CPUs with AVX512-BF16 a forward in eval repacks NF4 weights for good; no gradient is right from then on."""
    import bitsandbytes as bnb

    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
