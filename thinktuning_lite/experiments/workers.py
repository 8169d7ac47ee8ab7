"""Where the processes that train side by side come from."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any


def context() -> Any:
    """On Linux workers come from one process that has imported everything, ten seconds of work, for all of them."""
    if sys.platform != "linux":  # elsewhere a fork of what holds system libraries is not safe
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["thinktuning_lite.experiments.runs"])
    return made


def get_ready() -> None:
    """Let that process begin with its imports while this one is at its own."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver  # which Windows does not have

        forkserver.ensure_running()
