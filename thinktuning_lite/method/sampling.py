"""Sampling from a causal LM: the one function that the trainer, the teacher, the classroom and the evaluation share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from thinktuning_lite.method import decoding
from thinktuning_lite.method.decoding import Constraint, Sampling

ENGINES = ("auto", "fast", "hf")
SHORTEST_PREFIX = 64  # tokens


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    pad_id: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    suppress_ids: Sequence[int] = (),
    prefix: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    engine: str = "auto",
    constraint: Constraint | None = None,
) -> list[list[int]]:
    """One completion for each prompt (token ids), cut after its first EOS, which is kept; padding never counts.

    `temperature` 0 is greedy. Nothing of the checkpoint's own generation config acts (no repetition penalty, no top-p):
    what shall act is named here, `suppress_ids` too (tokens that are never chosen; see `suppressed_ids`).
    `prefix` are the token ids with which all prompts begin, such as a system prompt with exemplars: it is read once for
    the whole batch, and each prompt still holds it. The batch is as large as `prompts`: callers cut it to their memory.
    The model answers in evaluation mode and is left as it was. `constraint`, made for these prompts, says what may come next.

    Raises ValueError for an empty prompt, a prompt that does not begin with `prefix`, or an unknown engine.
    """
    _check(prompts, prefix, engine)
    if not prompts:
        return []
    how = Sampling(max_new_tokens, tuple(eos_ids), pad_id, temperature, top_k, top_p, tuple(suppress_ids))
    fast = engine != "hf" and decoding.can_decode(model)
    if engine == "fast" and not fast:
        raise ValueError(f"{type(model).__name__}: the fast engine cannot drive this model; use engine='auto' or 'hf'")
    # A PEFT model with its adapter switched off says that nothing in it trains.
    trains = hasattr(model, "peft_config") or any(p.requires_grad for p in model.parameters())
    # Inference mode saves a tenth of the time, but its tensors must never meet a module that trains.
    with torch.no_grad() if trains else torch.inference_mode(), speaking(model):
        if fast:
            rows = decoding.decode(model, prompts, how, list(prefix or []), generator, constraint)
        else:
            rows = _generate(model, prompts, how, generator, constraint)
    return [_until_eos(row, eos_ids) for row in rows]


def eos_ids_of(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a turn: the tokenizer's EOS first, then those of the model's generation config."""
    named = model.generation_config.eos_token_id if getattr(model, "generation_config", None) else None
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return own + [i for i in named if i not in own]


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int] | None:
    """What all prompts begin with, for `sample`'s `prefix`; None when it is too short to be worth a reading of its own."""
    if len(prompts) < 2:
        return None
    start = list(os.path.commonprefix([list(p[:-1]) for p in prompts]))
    return start if len(start) >= SHORTEST_PREFIX else None


def suppressed_ids(model: Any) -> list[int]:
    """The tokens that the checkpoint's generation config forbids (in the tiny classroom: the teacher's tags)."""
    return list(getattr(getattr(model, "generation_config", None), "suppress_tokens", None) or [])


# Of a generation config: what `sample` knows, what says nothing about a token's choice, what is neutral at this value.
_KNOWN = ("max_new_tokens", "temperature", "top_k", "top_p", "suppress_tokens", "eos_token_id", "pad_token_id")
_SILENT = (
    "bos_token_id", "do_sample", "disable_compile", "max_length", "use_cache", "output_attentions",
    "output_hidden_states", "_from_model_config", "transformers_version",
)  # fmt: skip
# What a checkpoint's generation config may hold that bends sampling, and the value at which it does nothing.
_HABITS = {"min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "no_repeat_ngram_size": 0}
_NEUTRAL = {"repetition_penalty": 1.0, "cache_implementation": None, **_HABITS}


def without_habits(asked: GenerationConfig, own: GenerationConfig) -> None:
    """Say in `asked`, in place, that none of the checkpoint's `own` habits shall act.

    `generate` fills what is asked as None from the checkpoint's own, and rollouts would not be the policy's.
    """
    for name, neutral in _HABITS.items():
        if getattr(asked, name) is None and getattr(own, name) is not None:
            setattr(asked, name, neutral)


def settings_of(own: GenerationConfig, asked: GenerationConfig) -> dict[str, Any] | None:
    """Arguments for `sample` from a checkpoint's generation config and the one asked for, which wins where it speaks.

    None when they hold something that `sample` does not know (a penalty, forced or banned words, beams, ...).
    """
    both = {k: v for k, v in (own.to_diff_dict() | asked.to_diff_dict()).items() if v is not None}
    others = both.keys() - {*_KNOWN, *_SILENT}
    if any(k not in _NEUTRAL or both[k] != _NEUTRAL[k] for k in others):
        return None
    eos = both.get("eos_token_id", [])
    return dict(
        max_new_tokens=both["max_new_tokens"],
        temperature=both.get("temperature", 1.0) if both.get("do_sample") else 0.0,
        top_k=both.get("top_k", 0),
        top_p=both.get("top_p", 1.0),
        suppress_ids=both.get("suppress_tokens", []),
        eos_ids=[eos] if isinstance(eos, int) else eos,
        pad_id=both["pad_token_id"],
    )


@contextmanager
def speaking(model: Any) -> Iterator[Any]:
    """Evaluation mode, KV cache on, gradient checkpointing off; all as before afterwards, also after an error."""
    was_training = {m: m.training for m in model.modules()}
    checkpointed = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
    use_cache = getattr(model.config, "use_cache", None)
    try:
        model.eval()
        for m in checkpointed:
            m.gradient_checkpointing = False
        model.config.use_cache = True
        yield model
    finally:
        for m in checkpointed:
            m.gradient_checkpointing = True
        model.config.use_cache = use_cache
        for m, training in was_training.items():
            m.training = training


def _check(prompts: Sequence[Sequence[int]], prefix: Sequence[int] | None, engine: str) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; choose one of {', '.join(ENGINES)}")
    start = list(prefix or [])
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {i} has no token: there is nothing to continue")
        if list(prompt[: len(start)]) != start:
            raise ValueError(f"prompt {i} does not begin with the prefix of {len(start)} tokens that all should share")


def _until_eos(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in eos_ids), None)
    return ids if end is None else ids[: end + 1]


# ---------------------------------------------------------------- transformers' own generate


def _generate(
    model: Any, prompts: Sequence[Sequence[int]], how: Sampling, generator: torch.Generator | None,
    constraint: Constraint | None,
) -> list[list[int]]:  # fmt: skip
    drawn = dict(do_sample=True, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p)
    config = GenerationConfig(
        max_new_tokens=how.max_new_tokens,
        eos_token_id=list(how.eos_ids) or None,
        pad_token_id=how.pad_id,
        suppress_tokens=list(how.suppress_ids) or None,
        **(drawn if how.temperature else {}),
    )
    pad_id = how.pad_id
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    with _without_own_config(model), _seeded_by(generator, model.device):
        held = LogitsProcessorList([_Restrict(constraint, width)] if constraint else [])
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=held)
    return out[:, width:].tolist()


class _Restrict(LogitsProcessor):
    """A constraint as `generate` calls it: with all rows at each step, ended ones too."""

    def __init__(self, constraint: Constraint, width: int) -> None:
        self.constraint, self.width = constraint, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        said = input_ids[:, -1].tolist() if input_ids.shape[1] > self.width else None
        self.constraint.restrict(list(range(len(input_ids))), said, scores)
        return scores


@contextmanager
def _without_own_config(model: Any) -> Iterator[None]:
    """`generate` fills what a config leaves open from the checkpoint's own, which a PEFT model holds one level down."""
    holders = {id(m): m for m in (model, *_inner(model)) if getattr(m, "generation_config", None) is not None}.values()
    own = [m.generation_config for m in holders]
    try:
        for m in holders:
            m.generation_config = GenerationConfig()
        yield
    finally:
        for m, config in zip(holders, own, strict=True):
            m.generation_config = config


def _inner(model: Any) -> list[Any]:
    return [model.get_base_model()] if hasattr(model, "get_base_model") else []


@contextmanager
def _seeded_by(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """`generate` knows the global generator only: seed it from `generator`, and give it back as it was."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
