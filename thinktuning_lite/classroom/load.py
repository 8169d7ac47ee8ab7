"""The shipped tiny student (and teacher)."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from thinktuning_lite.classroom.problems import DATA

TINY_CLASSROOM = DATA / "tiny_classroom"


def load_classroom(path: str | Path = TINY_CLASSROOM) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The tiny student (and teacher) in float32 on the CPU, with its tokenizer.

    Raises FileNotFoundError when the folder holds no checkpoint.
    """
    path = Path(path)
    if not (path / "config.json").exists():
        raise FileNotFoundError(
            f"no checkpoint in {path}: make it with `python -m thinktuning_lite make-classroom`, or run from a "
            "checkout of the repository, which ships it under data/tiny_classroom"
        )
    return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
