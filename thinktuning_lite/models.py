"""Which student fits this machine: a probe that really tries things, loading by Hub id or folder, LoRA, merging.

    machine = probe()
    print(machine.table())
    model, tokenizer = load_policy("owner/any-instruct-model", machine)
    peft_config = lora_config(model)
"""

from __future__ import annotations

import gc
import logging
import os
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from peft import LoraConfig, PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from thinktuning_lite.problems import DATA

TINY_CLASSROOM = DATA / "tiny_classroom"
QUANTIZATIONS = ("nf4", "none")
ATTENTIONS = ("flash_attention_2", "sdpa", "eager")

logger = logging.getLogger(__name__)


def load_classroom(path: str | Path = TINY_CLASSROOM) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The tiny student (and teacher) in float32 on the CPU, with its tokenizer.

    Raises FileNotFoundError when the folder holds no checkpoint.
    """
    path = Path(path)
    if not (path / "config.json").exists():
        raise FileNotFoundError(
            f"no checkpoint in {path}: make it with `python -m thinktuning_lite.make_classroom`, or run from a "
            "checkout of the repository, which ships it under data/tiny_classroom"
        )
    return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)


# ---------------------------------------------------------------- what this machine can do


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
    text = limit.read_text().strip() if limit.exists() else "max"
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
        vocab_size=32, hidden_size=128, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, attn_implementation=attention,
    )
    model = LlamaForCausalLM(config).to(device, dtype)
    ids = torch.tensor([[0, 0, 5, 6, 7], [1, 2, 3, 4, 5]], device=device)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], device=device)
    loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
    loss.backward()
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is not finite")
    return "forward and backward with left padding"


# ---------------------------------------------------------------- loading


def load_policy(
    name: str | Path,
    machine: Machine | None = None,
    *,
    quantization: str | None = None,
    dtype: torch.dtype | None = None,
    adapter: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An instruct model by Hub id or local folder, on this machine's device, ready for the trainer, with its tokenizer.

    `machine` (default `probe()`) decides `quantization` ("nf4" or "none"), `dtype` and attention unless given.
    `adapter`: a folder with a trained LoRA adapter to put on top (then not trainable).

    Raises, each with the way out: FileNotFoundError (no such folder, no such model), PermissionError (gated),
    ConnectionError (the Hub is out of reach and the model is not in its cache), ValueError (a folder without weights, a
    tokenizer that cannot chat, an unknown quantization).
    """
    name = str(name)
    _check_folder(name)
    machine = machine or probe()
    quantization, dtype = quantization or machine.quantization, dtype or machine.dtype
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization is {quantization!r}; choose one of {', '.join(QUANTIZATIONS)}")
    hub = dict(revision=revision, token=token, cache_dir=cache_dir)
    with _hub_errors(name):
        AutoConfig.from_pretrained(name, **hub)  # kilobytes, before gigabytes: a gated or absent model fails here
        tokenizer = AutoTokenizer.from_pretrained(name, **hub)
        if tokenizer.chat_template is None:
            raise ValueError(_NO_CHAT_TEMPLATE.format(name=name))
        model = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            attn_implementation=machine.attention,
            device_map={"": _local_rank()} if machine.device == "cuda" else None,
            quantization_config=nf4_config(dtype) if quantization == "nf4" else None,
            **hub,
        )
    if quantization == "nf4":
        _keep_differentiable(model)
    for note in fit_tokenizer(tokenizer, model):
        logger.info("%s: %s", name, note)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return model, tokenizer


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """QLoRA's 4-bit (Dettmers et al., 2023): NF4 weights, double quantization, computing in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _keep_differentiable(model: torch.nn.Module) -> None:
    """On CPUs with AVX512-BF16 a forward in eval repacks NF4 weights for good; no gradient is right from then on."""
    import bitsandbytes as bnb

    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


_NO_CHAT_TEMPLATE = (
    "the tokenizer of {name!r} has no chat template, so it is probably a base model: take its instruct version, or put "
    "a chat_template.jinja into a local copy of it"
)


def _check_folder(name: str) -> None:
    path = Path(name).expanduser()
    if not path.exists():
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
            raise FileNotFoundError(
                f"there is no model folder at {name!r}: check the path, or give a Hub id (owner/name)"
            )
        return
    if not (path / "config.json").exists():
        hint = "it is an adapter: load its base, with adapter=" if (path / "adapter_config.json").exists() else (
            "a model folder is what save_pretrained writes")
        raise FileNotFoundError(f"the folder {name!r} has no config.json; {hint}")
    if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        raise ValueError(f"the folder {name!r} holds no weights (*.safetensors): download it whole")


class _hub_errors:
    """Turns what the Hub's client raises, however wrapped by transformers, into one error that says the way out."""

    def __init__(self, name: str, kind: str = "model") -> None:
        self.name, self.kind = name, kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if error is not None and (better := explain_hub_error(error, self.name, self.kind)) is not None:
            raise better from error


def explain_hub_error(error: BaseException, name: str, kind: str = "model") -> Exception | None:
    """What to do about an error of the Hub's client, as an exception to raise; None when it is another error."""
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__

    def any_is(*types: type) -> bool:
        return any(isinstance(e, types) for e in chain)

    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"
    local = "or give a local " + ("folder with config.json, tokenizer and weights" if kind == "model" else "file")
    if any_is(GatedRepoError):
        return PermissionError(
            f"the {kind} {name!r} is gated. Accept its terms at {page}, then log in with `hf auth login` (or set "
            f"HF_TOKEN); or choose another id that is open; {local}"
        )
    if any_is(RevisionNotFoundError):
        return FileNotFoundError(f"the {kind} {name!r} is on the Hub, but not that revision: see {page}/tree/main")
    if any_is(RepositoryNotFoundError):
        return FileNotFoundError(
            f"there is no {kind} {name!r} on the Hub, or it is private. Check the spelling (owner/name); if it is "
            f"private, log in with `hf auth login`; {local}"
        )
    if any_is(OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError) or _no_network(chain):
        return ConnectionError(
            f"the {kind} {name!r} is not in the cache, and the Hub is out of reach. Check the network and that "
            f"HF_HUB_OFFLINE is not set; {local}"
        )
    return None


def _no_network(chain: list[BaseException]) -> bool:
    """The client's network failures that share no base class with the above, and the Hub's own 5xx replies."""
    for error in chain:
        if type(error).__module__.split(".")[0] in ("httpx", "httpcore", "requests", "urllib3"):
            return not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
        if isinstance(error, HfHubHTTPError):
            return error.response is None or error.response.status_code >= 500
    return False


# ---------------------------------------------------------------- tokenizer


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[str]:
    """Make tokenizer and model agree on how a turn ends and what pads, in place; returns what was changed.

    - The token that closes the assistant's turn in the chat template becomes the tokenizer's EOS (base tokenizers end
      documents with another one), and all EOS that either knows stop the generation.
    - A missing pad token becomes a reserved one where there is one, else EOS (padding is masked either way).
    - Prompts are padded on the left.

    Raises ValueError without chat template, without any EOS, or when the tokenizer has tokens that the model lacks.
    """
    notes = []
    if tokenizer.chat_template is None:
        raise ValueError(_NO_CHAT_TEMPLATE.format(name=tokenizer.name_or_path))
    known = model.generation_config.eos_token_id
    known = [] if known is None else [known] if isinstance(known, int) else list(known)
    turn_end = _turn_end(tokenizer)
    if turn_end is not None and turn_end != tokenizer.eos_token_id:
        before, tokenizer.eos_token = tokenizer.eos_token, tokenizer.convert_ids_to_tokens(turn_end)
        notes.append(f"EOS is {tokenizer.eos_token!r}, which ends a turn, not {before!r}")
    if tokenizer.eos_token_id is None:
        if not known:
            raise ValueError("neither tokenizer nor model knows an EOS token: set tokenizer.eos_token")
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(known[0])
        notes.append(f"EOS is {tokenizer.eos_token!r}, the model's")
    stops = list(dict.fromkeys([tokenizer.eos_token_id, *known]))
    if stops != known:
        notes.append(f"generation stops at {tokenizer.convert_ids_to_tokens(stops)}")
    model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = _reserved_pad(tokenizer) or tokenizer.eos_token
        notes.append(f"padding with {tokenizer.pad_token!r}")
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "left"
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}: they do not belong together, or the "
            "model's embeddings were not resized after tokens were added"
        )
    return notes


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Id of the special token right after the assistant's words in the chat template; None when there is none."""
    mark = "x7q7x"
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": mark}]
    tail = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(mark)[2]
    ids = tokenizer.encode(tail.strip(), add_special_tokens=False)
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def _reserved_pad(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A token that its makers left for padding, as Llama 3.2's <|finetune_right_pad_id|>."""
    names = (str(token) for token in tokenizer.added_tokens_decoder.values())
    return next((name for name in names if "pad" in name.lower()), None)


# ---------------------------------------------------------------- LoRA

# Linear layers that LoRA should leave alone: routers choose experts, and a small push there changes all.
_NO_TARGETS = ("gate", "router", "shared_expert_gate")


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
    if not names:
        raise ValueError(
            f"no linear layer found inside the blocks of {type(model).__name__}: name the layers for LoRA yourself, "
            "peft.LoraConfig(target_modules=[...])"
        )
    return sorted(names)


def lora_config(model: PreTrainedModel, rank: int = 16, alpha: int = 32) -> LoraConfig:
    """LoRA on `lora_targets(model)`, without dropout: TRL samples in train mode, so it would be in the samples."""
    return LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
        target_modules=lora_targets(model),
    )


def merge_adapter(
    base: str | Path, adapter: str | Path, folder: str | Path, machine: Machine | None = None, *,
    quantization: str | None = None, dtype: torch.dtype | None = None,
) -> None:
    """Write base + adapter as one ordinary checkpoint with its tokenizer into `folder`.

    `quantization` as in training. A 4-bit base is first expanded to `dtype`, and the adapter is added to just those
    values that it was trained on: merging into the original weights would bring back the quantization error that it has
    learnt to live with, and merging in 4-bit would round the adapter away.
    """
    model, tokenizer = load_policy(base, machine, quantization=quantization, dtype=dtype)
    if getattr(model, "is_loaded_in_4bit", False):
        dtype = dtype or model.dtype
        model = model.dequantize().to(dtype)
        model.is_loaded_in_4bit = False  # transformers leaves it on, and PEFT goes by it
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model, merged
    gc.collect()
