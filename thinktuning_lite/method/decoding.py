"""The fast engine behind `sampling.sample`: a bare decoding loop for causal LMs with an ordinary key-value cache.

Against transformers' `generate` it saves three things: the cache is not copied for every token (`DynamicLayer`
concatenates), a finished row leaves the batch at once, and a prompt that several rows share is read, kept and attended
to once for all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from transformers import DynamicCache, TopKLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import DynamicLayer

from thinktuning_lite.method.shared_attention import SharedPrompts, Watch

ROOM = 32  # tokens by which a full cache grows
BLOCK = 128  # rows whose random numbers are drawn together: a batch of several blocks says what batches of one would


@dataclass(frozen=True)
class Sampling:
    """What decides the next token; see `sampling.sample`."""

    max_new_tokens: int
    eos_ids: tuple[int, ...]
    pad_id: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    suppress_ids: tuple[int, ...] = ()


class Constraint(Protocol):
    """What rows may say next. It is called before each token is chosen, and keeps what each row has said."""

    def restrict(self, rows: list[int], said: list[int] | None, logits: torch.Tensor) -> None:
        """Put -inf, in place, where a row may not go on: `logits` (rows, vocabulary), `rows` the prompts' numbers, `said`
        the token that each chose last (None at the start)."""


class RoomyLayer(DynamicLayer):
    """Keys and values (rows, heads, tokens, width) that lie in tensors with room at the end, grown every ROOM tokens."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._keys, self._values = key_states[:, :, :0], value_states[:, :, :0]
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._keys.shape[-2]:
            self._keys, self._values = (_with_room(t, start, end) for t in (self._keys, self._values))
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._keys, self._values = self._keys[indices], self._values[indices]
        self._show(self.get_seq_length())

    def close_gaps(self, gaps: torch.Tensor, movers: torch.Tensor, rows: int) -> None:
        """Put the rows `movers` in the places `gaps` and keep the first `rows`: nothing else is copied."""
        end = self.get_seq_length()
        for t in (self._keys, self._values):
            t[gaps, :, :end] = t[movers, :, :end]
        self._keys, self._values = self._keys[:rows], self._values[:rows]
        self._show(end)

    def _show(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values


def _with_room(old: torch.Tensor, used: int, needed: int) -> torch.Tensor:
    rows, heads, _, width = old.shape
    new = old.new_empty(rows, heads, needed + ROOM, width)
    new[:, :, :used] = old[:, :, :used]
    return new


def can_decode(model: Any) -> bool:
    """Whether this loop drives `model`: a decoder of text alone, told its positions, with a plain cache in each layer.

    Sliding windows, recurrent states, shared or compressed layers, encoders and models without cache are left to
    transformers' `generate`, as are devices other than CPU and CUDA.
    """
    base = _base(model)
    config = base.config
    takes = inspect.signature(type(base).forward).parameters
    return (
        model.device.type in ("cpu", "cuda")
        and {"position_ids", "past_key_values", "attention_mask"} <= takes.keys()
        and not config.is_encoder_decoder
        and config.get_text_config(decoder=True) is config
        and not getattr(base, "_is_stateful", False)
        and base._supports_default_dynamic_cache()
        and all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    )


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    how: Sampling,
    prefix: Sequence[int] = (),
    generator: torch.Generator | None = None,
    constraint: Constraint | None = None,
) -> list[list[int]]:
    """Completions of `prompts` (which hold `prefix`), at most how.max_new_tokens ids each; ids behind an EOS are void.

    Every row draws its own column of uniform numbers, so which rows are still carried changes no other row's tokens.
    Call it without gradients and in evaluation mode. Raises ValueError when the model's logits hold NaN.
    """
    device = model.device
    last, cache, mask, positions, shared = _read(model, prompts, prefix, how.pad_id)
    rows = torch.arange(len(prompts), device=device)  # which prompt each row of the batch continues
    tokens = torch.full((len(prompts), how.max_new_tokens), how.pad_id, device=device)
    eos = torch.tensor(how.eos_ids, dtype=torch.long, device=device)
    uniform, vocabulary = None, last.shape[-1]
    if how.temperature:
        uniform = _uniform(how.max_new_tokens, len(prompts), device, generator)
    chosen = None
    for step in range(how.max_new_tokens):
        if constraint is not None:
            constraint.restrict(rows.tolist(), None if chosen is None else chosen.tolist(), last)
        chosen = _choose(last, how, None if uniform is None else uniform[step, rows])
        tokens[rows, step] = chosen
        ended = torch.isin(chosen, eos)
        going = len(rows) - int(ended.sum())
        if going == 0:
            break
        if going < len(rows):
            order = _close_gaps(cache, ended, going)
            rows, chosen, positions = rows[order], chosen[order], positions[order]
            mask = None if mask is None else mask[order]
            if shared is not None:
                shared.keep(order)
        if shared is not None and not shared.pays:  # few rows are left
            cache, mask, shared = _join(model, cache, mask, shared)
        if step + 1 < how.max_new_tokens:
            chosen = chosen.clamp(max=vocabulary - 1)
            positions = positions + 1
            mask = None if mask is None else torch.nn.functional.pad(mask, (0, 1), value=1)
            last = _forward(model, chosen[:, None], mask, positions[:, None], cache, shared)
    if (tokens == vocabulary).any():  # past the end of a CDF of NaN
        raise ValueError("the model's logits hold NaN, so no token can be drawn: check its weights and dtype")
    return tokens.tolist()


def _uniform(steps: int, rows: int, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
    sizes = [min(BLOCK, rows - start) for start in range(0, rows, BLOCK)]
    kind: dict[str, Any] = dict(dtype=torch.float64, device=device, generator=generator)
    return torch.cat([torch.rand((steps, n), **kind) for n in sizes], 1)


def _read(model: Any, prompts: Sequence[Sequence[int]], prefix: Sequence[int], pad_id: int):
    """The prompts read: (logits of each next token, cache, mask or None when nothing is padded, last positions, shared).

    The prefix is read once, then each different prompt once. What rows share is then `shared`, where the model allows,
    and left out of cache and mask; elsewhere (and for rows that share nothing, where it is None) each row has its copy.
    """
    device, start = model.device, len(prefix)
    cache = _empty_cache(model)
    different = list(dict.fromkeys(tuple(p[start:]) for p in prompts))
    if prefix and all(different):
        positions = torch.arange(start, device=device)[None]
        _forward(model, torch.tensor([list(prefix)], device=device), None, positions, cache)
        cache.batch_select_indices(torch.zeros(len(different), dtype=torch.long, device=device))
    else:
        start, different = 0, list(dict.fromkeys(tuple(p) for p in prompts))
    width = max(map(len, different))
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in different], device=device)
    real = torch.tensor([[1] * start + [0] * (width - len(p)) + [1] * len(p) for p in different], device=device)
    mask = None if len(set(map(len, different))) == 1 else real
    positions = (real.cumsum(1) - 1).clamp(min=0)[:, start:]
    watch = Watch(_base(model), cache)
    with watch.watching():
        logits = _forward(model, ids, mask, positions, cache)
    place = {p: i for i, p in enumerate(different)}
    index = torch.tensor([place[tuple(p[start:])] for p in prompts], device=device)
    shared = None
    if (start or 2 * len(different) <= len(prompts)) and watch.can_share:
        cache, mask, shared = _set_apart(model, cache, mask, index, start)
    elif start or len(different) < len(prompts):
        cache.batch_select_indices(index)
        mask = None if mask is None else mask[index]
    return logits[index], cache, mask, positions[:, -1][index], shared


def _set_apart(model: Any, cache: DynamicCache, mask: torch.Tensor | None, index: torch.Tensor, start: int):
    """(each row's own cache, its mask, what is shared): the first `start` tokens by all rows, or without, whole prompts by `index`."""
    layers: list[Any] = cache.layers
    if start:
        owner, real = torch.zeros_like(index), None
        shared = [(layer.keys[:1, :, :start].clone(), layer.values[:1, :, :start].clone()) for layer in layers]
        mask = None if mask is None else mask[index, start:]
    else:
        owner, real, mask = index, mask, None
        shared = [(layer.keys, layer.values) for layer in layers]
        start = layers[0].get_seq_length()
    own = _empty_cache(model)
    for i, layer in enumerate(layers):
        own.update(layer.keys[:, :, start:][index], layer.values[:, :, start:][index], i)
    return own, mask, SharedPrompts(shared, real, owner)


def _join(model: Any, cache: DynamicCache, mask: torch.Tensor | None, shared: SharedPrompts):
    """`_set_apart` undone: (a cache in which each row has all that is its, its mask, None)."""
    layers: list[Any] = cache.layers
    copies, real = shared.copies()
    whole = _empty_cache(model)
    for i, ((keys, values), own) in enumerate(zip(copies, layers, strict=True)):
        whole.update(torch.cat((keys, own.keys), 2), torch.cat((values, own.values), 2), i)
    pad = torch.nn.functional.pad
    if real is not None:  # prompts of several lengths; else a prefix may stand before such
        mask = pad(real, (0, layers[0].get_seq_length()), value=1)
    elif mask is not None:
        mask = pad(mask, (copies[0][0].shape[2], 0), value=1)
    return whole, mask, None


def _empty_cache(model: Any) -> DynamicCache:
    cache = DynamicCache(config=_base(model).config)
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def _forward(
    model: Any, ids: torch.Tensor, mask: Any, positions: torch.Tensor, cache: DynamicCache,
    shared: SharedPrompts | None = None,
) -> torch.Tensor:  # fmt: skip
    """Logits (rows, vocabulary) in float32 of the token after the last column."""
    architecture: Any = type(_base(model))
    keep = {"logits_to_keep": 1} if _keeps_logits(architecture) else {}
    with nullcontext() if shared is None else shared.acting(_base(model).config, mask):
        out = model(
            input_ids=ids, attention_mask=mask if shared is None else None, position_ids=positions, past_key_values=cache,
            use_cache=True, **keep,
        )  # fmt: skip
    return out.logits[:, -1].float()


@lru_cache
def _keeps_logits(architecture: Any) -> bool:
    return "logits_to_keep" in inspect.signature(architecture.forward).parameters


def _choose(logits: torch.Tensor, how: Sampling, uniform: torch.Tensor | None) -> torch.Tensor:
    """The next token of each row: the likeliest without `uniform` (rows,), else the one at that point of the CDF."""
    if how.suppress_ids:
        logits[:, list(how.suppress_ids)] = -torch.inf
    if uniform is None:
        return logits.argmax(-1)
    logits = logits / how.temperature
    if how.top_k:
        logits = TopKLogitsWarper(min(how.top_k, logits.shape[-1]))(None, logits)
    if how.top_p < 1:
        logits = TopPLogitsWarper(how.top_p)(None, logits)
    cumulative = torch.softmax(logits, -1, dtype=torch.float64).cumsum(-1)
    total = cumulative[:, -1:]
    # The first token whose cumulative probability passes the point: never one of probability 0.
    return torch.searchsorted(cumulative, uniform[:, None] * total, right=True)[:, 0]


def _close_gaps(cache: DynamicCache, ended: torch.Tensor, going: int) -> torch.Tensor:
    """Drop the ended rows from the cache, in place; returns which old row each of the `going` rows is."""
    order = torch.arange(going, device=ended.device)
    gaps = ended[:going].nonzero()[:, 0]
    movers = (~ended[going:]).nonzero()[:, 0] + going
    order[gaps] = movers
    layers: list[Any] = cache.layers  # each a RoomyLayer
    for layer in layers:
        layer.close_gaps(gaps, movers, going)
    return order
