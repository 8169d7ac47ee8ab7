"""Answers and arguments as JSON, between the process that runs a student's code and the one that judges it.

Only data is carried: decoding runs nothing of the sender's, which pickle would. What has no form here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from thinktuning_lite.method.prompts import Behaviour, TeacherPrompt

LONGEST = 1_000_000  # characters of one message
_CLASSES = {"Behaviour": Behaviour, "TeacherPrompt": TeacherPrompt}


def dumps(value: Any) -> str:
    """One line of JSON. Raises TypeError for what is no data, ValueError for what is too long or refers to itself."""
    try:
        text = json.dumps(_plain(value))
    except RecursionError as error:
        raise ValueError("an answer that contains itself, or is nested too deep") from error
    if len(text) > LONGEST:
        raise ValueError(f"an answer of {len(text):,} characters: {LONGEST:,} are the most")
    return text


def loads(text: str) -> Any:
    """The value of `dumps`. Raises ValueError for anything else."""
    try:
        return _value(json.loads(text))
    except (KeyError, IndexError, TypeError, RecursionError) as error:
        raise ValueError(f"not an answer: {text[:80]!r}") from error


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if value is ...:
        return {"ellipsis": []}
    if isinstance(value, dict):
        return {"dict": [[_plain(k), _plain(v)] for k, v in value.items()]}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [_plain(v) for v in value]}
    if isinstance(value, (Iterator, range)):  # what zip, map and the like return, for checks that ask for a sequence
        return [_plain(v) for v in value]
    if type(value).__name__ in _CLASSES:
        fields = ((name, getattr(value, name)) for name in _CLASSES[type(value).__name__].__dataclass_fields__)
        return {type(value).__name__: [[name, _plain(v)] for name, v in fields]}
    return _plain_array(value)


def _plain_array(value: Any) -> Any:
    library = type(value).__module__.split(".")[0]
    if library == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu()
        return {"tensor": [str(value.dtype).removeprefix("torch."), value.tolist()]}
    if library == "numpy" and hasattr(value, "tolist"):
        return {"array": [str(value.dtype), value.tolist()]} if value.ndim else _plain(value.item())
    raise TypeError(f"an answer of type {type(value).__name__}: return numbers, text, lists, arrays or tensors")


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(v) for v in plain]
    if not isinstance(plain, dict):
        return plain
    [(kind, parts)] = plain.items()
    if kind == "ellipsis":
        return ...
    if kind == "dict":
        return {_value(k): _value(v) for k, v in parts}
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](_value(v) for v in parts)
    if kind in _CLASSES:
        return _CLASSES[kind](**{name: _value(v) for name, v in parts})
    return _array(kind, *parts)


def _array(kind: str, dtype: str, numbers: Any) -> Any:
    if kind == "tensor":
        import torch

        found = getattr(torch, dtype)
        if not isinstance(found, torch.dtype):
            raise TypeError(dtype)
        return torch.tensor(numbers, dtype=found)
    if kind == "array":
        import numpy as np

        if np.dtype(dtype).kind not in "biufU":
            raise TypeError(dtype)
        return np.array(numbers, dtype=dtype)
    raise KeyError(kind)
