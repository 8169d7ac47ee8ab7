"""The one place that reads THINKTUNING_SMOKE: the same code with fewer steps, for tests and CI."""

from __future__ import annotations

import os


def smoke() -> bool:
    """Whether THINKTUNING_SMOKE=1 is set."""
    return os.environ.get("THINKTUNING_SMOKE", "0") == "1"


def steps(full: int, short: int) -> int:
    """`full`, or `short` in a smoke run."""
    return short if smoke() else full
