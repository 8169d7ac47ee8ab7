"""Loading a policy by Hub id or local folder, with errors that say the way out.

machine = probe()
model, tokenizer = load_policy("owner/any-instruct-model", machine)
peft_config = lora_config(model)
"""

from __future__ import annotations

import logging
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
from peft import PeftModel
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from thinktuning_lite.models.machine import Machine, _keep_differentiable, _local_rank, probe
from thinktuning_lite.models.smol import SMOL, fetched_folder
from thinktuning_lite.models.tokenizers import NO_CHAT_TEMPLATE, fit_tokenizer

QUANTIZATIONS = ("nf4", "none")
NO_FOUR_BIT = (
    "{name} has linear layers of its own kind, which bitsandbytes does not load in 4-bit: quantization: none "
    "(quantization='none'), or another model"
)

logger = logging.getLogger(__name__)


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

    "smol" is SmolLM2-135M-Instruct as `thinktuning fetch smol` brought it.
    `machine` (default `probe()`) decides `quantization` ("nf4" or "none"), `dtype` and attention unless given.
    `adapter`: a folder with a trained LoRA adapter to put on top (then not trainable).

    Raises, each with the way out: FileNotFoundError (no such folder, no such model), PermissionError (gated),
    ConnectionError (the Hub is out of reach and the model is not in its cache), ValueError (a folder without weights, a
    tokenizer that cannot chat, an unknown quantization, an architecture that cannot be loaded in 4-bit).
    """
    name = str(fetched_folder() if name == SMOL else name)
    _check_folder(name)
    machine = machine or probe()
    quantization, dtype = quantization or machine.quantization, dtype or machine.dtype
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization is {quantization!r}; choose one of {', '.join(QUANTIZATIONS)}")
    hub = dict(revision=revision, token=token, cache_dir=cache_dir)
    with _hub_errors(name):
        config = AutoConfig.from_pretrained(
            name, **hub
        )  # kilobytes, before gigabytes: a gated or absent model fails here
        tokenizer = AutoTokenizer.from_pretrained(name, **hub)
        if tokenizer.chat_template is None:
            raise ValueError(NO_CHAT_TEMPLATE.format(name=name))
        model = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            attn_implementation=_attention(config, machine),
            device_map={"": _local_rank()} if machine.device == "cuda" else None,
            quantization_config=nf4_config(dtype) if quantization == "nf4" else None,
            **hub,
        )
    if quantization == "nf4":
        _check_four_bit(model)
        _keep_differentiable(model)
    for note in fit_tokenizer(tokenizer, model):
        logger.info("%s: %s", name, note)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return model, tokenizer


def _check_four_bit(model: PreTrainedModel) -> None:
    """bitsandbytes takes plain linear layers; an architecture with none but its own kind stays whole, without a word."""
    from bitsandbytes.nn import Linear4bit

    if not any(isinstance(module, Linear4bit) for module in model.modules()):
        raise ValueError(NO_FOUR_BIT.format(name=type(model).__name__))


def _attention(config: PretrainedConfig, machine: Machine) -> str | None:
    """What the machine does best where the architecture has it; None is transformers' own choice (SDPA, else eager)."""
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if machine.attention == "flash_attention_2" and getattr(kind, "_supports_flash_attn", False):
        return machine.attention
    return "eager" if machine.attention == "eager" else None


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """QLoRA's 4-bit (Dettmers et al., 2023): NF4 weights, double quantization, computing in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
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
        hint = (
            "it is an adapter: load its base, with adapter="
            if (path / "adapter_config.json").exists()
            else ("a model folder is what save_pretrained writes")
        )
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
        module = type(error).__module__.split(".")[0].rstrip("0123456789")  # the client has gone from httpx to httpx2
        if module in ("httpx", "httpcore", "requests", "urllib"):
            return not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
        if isinstance(error, HfHubHTTPError):
            return error.response is None or error.response.status_code >= 500
    return False
