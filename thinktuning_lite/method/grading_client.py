"""The caller's side of the helper process (`grading_process.py`) in which math-verify runs.

math-verify limits its time by SIGALRM, which works in the main thread only, replaces the caller's own alarm
and cannot stop one long operation in C (`9**9**9`). So it runs in a helper process, started at the first
comparison that needs it (one to two seconds, once). There a fork of the loaded parser compares, under a limit
on processor time that the kernel enforces by ending the fork; the next fork is ready in milliseconds. This
holds from any thread of the caller, and since processor time counts, a busy machine changes no label. Without
fork (Windows) only the limit on wall time holds (`WALL_LIMIT_S`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

WALL_LIMIT_S = 10.0  # after which the helper process is given up, whatever it is doing


class LatexGrader:
    """The helper process, asked one question at a time over its pipes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def equal(self, answer: str, gold: str) -> bool:
        """Whether math-verify finds the two equal; False when it does not say so in time."""
        return self._ask([answer, gold]) == "1"

    def key(self, answer: str) -> str:
        """A text that equal answers share (see `grading.canonical_form`); "" when none is found in time."""
        reply = self._ask([answer])
        return reply[1:] if reply.startswith("=") else ""

    def _ask(self, question: list[str]) -> str:
        with self._lock:
            process = self._started()
            assert process.stdin and process.stdout
            timer = threading.Timer(WALL_LIMIT_S, process.kill)
            timer.start()
            try:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
                reply = process.stdout.readline()
            except OSError:  # the helper is gone
                reply = ""
            finally:
                timer.cancel()
            if not reply:
                self._stop()
            return reply.removesuffix("\n")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            command = [sys.executable, "-P", str(Path(__file__).with_name("grading_process.py"))]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, encoding="utf-8")
            assert self._process.stdout
            if self._process.stdout.readline() != "ready\n":
                self._stop()
                raise RuntimeError(
                    "LaTeX answers cannot be graded: math-verify did not start. "
                    "Does `python -c 'import math_verify'` work? If not: pip install math-verify"
                )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdin and process.stdout
            process.stdout.close()
            try:
                process.stdin.close()
            except OSError:  # something was still buffered for the dead process
                pass


_grader = LatexGrader()


def grader() -> LatexGrader:
    """This process's helper."""
    return _grader


def _forget_grader() -> None:
    """A fork of the caller (data loader worker) must not share the pipes of its parent."""
    global _grader
    _grader = LatexGrader()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_grader)
