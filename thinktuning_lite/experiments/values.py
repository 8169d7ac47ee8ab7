"""Values out of YAML, JSON or a notebook's dict: read, named rightly, and of the kind that their field has."""

from __future__ import annotations

import dataclasses
import difflib
import types
from functools import lru_cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_NOTHING = ("none", "null", "~", "")


def read_config(path: str | Path) -> dict[str, Any]:
    """A YAML or JSON file as a dict. Raises FileNotFoundError, or ValueError with the place of the mistake."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no config file {path}")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML too
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold names and values, not {type(config).__name__}")
    return config


def checked(given: Any, kind: type, where: str) -> dict[str, Any]:
    """The fields of dataclass `kind` that `given` holds, each as what its field is: 1e-5, '8' and none are text to YAML.

    Raises ValueError for anything but a table, for an unknown name (with the nearest known one), and for a value that
    its field cannot hold.
    """
    names = [f.name for f in dataclasses.fields(kind)]
    check_names(given, names, where)
    prefix = "" if where == "the config" else f"{where}."
    return {name: _typed(prefix + name, value, _kinds(kind, name)) for name, value in given.items()}


def check_names(given: Any, names: list[str], where: str) -> None:
    """Refuse (ValueError) what is no table, and names that are not among `names`."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a table of names and values, not {given!r}")
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            raise ValueError(f"{where} has no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


@lru_cache(maxsize=1024)
def _kinds(kind: type, name: str) -> frozenset[Any]:
    """The types that a field's annotation allows, a union taken apart."""
    hint = get_type_hints(kind)[name]
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return frozenset(get_origin(part) or part for part in parts)


def _typed(name: str, value: Any, kinds: frozenset[Any]) -> Any:
    if bool in kinds and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if value is None or any(type(value) is k for k in kinds) or Any in kinds:
        return value
    if isinstance(value, str) and str not in kinds and type(None) in kinds and value.strip().lower() in _NOTHING:
        return None
    if (int in kinds or float in kinds) and not isinstance(value, bool):
        number = _number(value)
        if number is not None and float in kinds:
            return value if isinstance(value, int) else number
        if number is not None and number.is_integer():
            return int(number)
    if isinstance(value, (str, list, dict)) and kinds - set(_KINDS) - {type(None)}:
        return value  # an enum's name, a list, a table: ThinkTuningConfig itself says what it takes
    if str in kinds and isinstance(value, (str, Path)):
        return str(value)
    wanted = [text for kind, text in _KINDS.items() if kind in kinds and not (kind is int and float in kinds)]
    wanted += ["none"] if type(None) in kinds else []
    raise ValueError(f"{name} is {value!r}; it takes {' or '.join(wanted) or 'another kind of value'}")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
