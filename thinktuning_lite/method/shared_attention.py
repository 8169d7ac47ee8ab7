"""Attention over a prompt that several rows of a batch share: its keys and values lie in memory once, and are read once a token.

The attention of a row over what it shares and over what is its own are two softmaxes; their logarithms of the sum of
exponentials say how to weigh them (the cascade of FlashInfer and vLLM, https://flashinfer.ai/2024/02/02/cascade-inference.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Lock
from typing import Any

import torch
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

LEAST = 2**19  # bytes of a layer's keys and values: where sharing saves less reading than this, copies are faster
_NUMBERS = count()
_WATCHING = Lock()

# SDPA's kernel on the CPU, as it is behind the public function, which keeps the second result to itself.
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Watch:
    """Whether a model's rows can share prompts, told by its own forward pass over them: architectures differ in too many ways.

    They can where each layer attends once, by transformers' SDPA from its registry, on the CPU, to just what its cache
    holds, with nothing added. Latent, differential or recurrent attention, biases and functions of a model's own do not.
    """

    def __init__(self, model: Any, cache: DynamicCache) -> None:
        self.layers: list[Any] = cache.layers
        self.seen: list[tuple[Any, bool]] = []
        own = ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward
        self.worth_it = own and model.config._attn_implementation == "sdpa" and model.device.type == "cpu"

    @property
    def can_share(self) -> bool:
        return self.worth_it and self.seen == [(i, True) for i in range(len(self.layers))]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """During one forward pass, which goes as without."""
        if not self.worth_it:
            yield
            return
        with _WATCHING:  # the registry is everybody's
            ALL_ATTENTION_FUNCTIONS["sdpa"] = self._note
            try:
                yield
            finally:
                del ALL_ATTENTION_FUNCTIONS["sdpa"]  # the registry's own is there again

    def _note(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
    ):
        number = getattr(module, "layer_idx", None)
        layer = self.layers[number] if number in range(len(self.layers)) else None
        plain = layer is not None and key is layer.keys and value is layer.values and key.shape == value.shape
        self.seen.append((number, plain and kwargs.get("position_bias") is None))
        return sdpa_attention_forward(module, query, key, value, *args, **kwargs)


class SharedPrompts:
    """What rows have in common, and who shares what; one new token a row attends to it and to the row's own cache.

    `layers`: keys and values of each layer, (groups, key heads, tokens, width). `real`: 1 where a shared token is no
    padding, (groups, tokens), or None. `owner`: the group of each row, (rows,).
    """

    def __init__(
        self, layers: list[tuple[torch.Tensor, torch.Tensor]], real: torch.Tensor | None, owner: torch.Tensor
    ) -> None:
        self.layers, self.real, self.bias = layers, real, _bias(real, layers[0][0].dtype)
        seats = [0] * len(layers[0][0])
        seat = []
        for group in owner.tolist():
            seat.append(seats[group])
            seats[group] += 1
        self.size = max(seats)  # rows of the largest group
        self._sit(owner * self.size + torch.tensor(seat, device=owner.device))

    def _sit(self, place: torch.Tensor) -> None:
        """`place` is the seat of each row; `row_at` the row of each seat, and any row where a seat is free."""
        groups = len(self.layers[0][0])
        self.place, self.row_at = place, place.new_zeros(groups * self.size)
        self.row_at[place] = torch.arange(len(place), device=place.device)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows, in this order."""
        self._sit(self.place[rows])

    @property
    def pays(self) -> bool:
        """Whether the reading that is saved outweighs the sorting of rows by groups."""
        keys, values = self.layers[0]
        return (len(self.place) - len(keys)) * (keys.nbytes + values.nbytes) >= LEAST * len(keys)

    def copies(self) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor | None]:
        """(keys and values of each layer, `real`) with a copy of what is shared for each row."""
        owner = self.place // self.size
        return [(k[owner], v[owner]) for k, v in self.layers], None if self.real is None else self.real[owner]

    @contextmanager
    def acting(self, config: Any, own: torch.Tensor | None) -> Iterator[None]:
        """A forward pass inside takes this attention; `own` is 1 where a row's own token is no padding (rows, tokens)."""
        name, was = f"shared prompts {next(_NUMBERS)}", config._attn_implementation
        self.own_bias = _bias(own, self.layers[0][0].dtype)
        ALL_ATTENTION_FUNCTIONS[name] = self.attend
        config._attn_implementation = name  # a name without a mask function: transformers makes no mask
        try:
            yield
        finally:
            config._attn_implementation = was
            del ALL_ATTENTION_FUNCTIONS[name]

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: None,
        scaling: float | None = None, **_: Any,
    ) -> tuple[torch.Tensor, None]:  # fmt: skip
        """As transformers' SDPA, which without a bias heeds no more: `query` (rows, heads, 1, width), `key` and `value` are the rows' own."""
        keys, values = self.layers[module.layer_idx]
        (rows, heads, _one, width), (groups, key_heads) = query.shape, keys.shape[:2]
        query = query.reshape(rows, key_heads, -1, width)  # queries of one key head as if they were several tokens'
        # The queries of a group lie side by side, so that one product reads the keys for all of them.
        seated = query.view(rows, -1).index_select(0, self.row_at)
        seated = seated.view(groups, self.size, key_heads, -1).transpose(1, 2).reshape(groups, key_heads, -1, width)
        seen, mass = _flash(seated, keys, values, attn_mask=self.bias, scale=scaling)
        own_seen, own_mass = _flash(query, key, value, attn_mask=self.own_bias, scale=scaling)
        seen, mass = (self._by_row(x).view(rows, heads, -1) for x in (seen, mass))
        share = torch.sigmoid(mass - own_mass.reshape(rows, heads, 1))
        out = torch.lerp(own_seen.reshape(rows, heads, -1).float(), seen.float(), share)
        return out.to(query.dtype)[:, None], None

    def _by_row(self, x: torch.Tensor) -> torch.Tensor:
        """(groups, key heads, seats x queries of a key head, ...) as (rows, all that is a row's)."""
        groups, key_heads = x.shape[:2]
        x = x.reshape(groups, key_heads, self.size, -1).transpose(1, 2)
        return x.reshape(groups * self.size, -1).index_select(0, self.place)


def _bias(real: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """What is added to scores, (groups or rows, 1, 1, tokens): 0, and the lowest number at padding."""
    return None if real is None else torch.zeros(()).where(real > 0, torch.finfo(dtype).min).to(dtype)[:, None, None]
