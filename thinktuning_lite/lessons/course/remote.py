"""The judging side of the wall: a student's answer as an object that a check can call.

The trust boundary, in five lines:
1. A student's code runs in a process of its own (`student.py`) and is never imported, unpickled or executed anywhere else.
2. Checks, hidden variants and expected values live in the judging process, which gets nothing but data (`values.py`).
3. So patching a check, exiting, looping or printing changes the student's process, which is thrown away; the clock is ours.
4. Memory, time, files, network and other processes are limited there by the system (`landlock.py`) and by an audit hook.
5. Not held: native code that reads files; and off Linux, native code. For marks that count, grade in a container.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import psutil

from thinktuning_lite.lessons.course import values
from thinktuning_lite.lessons.setup import ROOT

STARTING = 60.0  # processor seconds for Python and the lecturer's own imports


class AnswerLostError(Exception):
    """The student's process gave no answer: what it did instead, in words for the student."""


class Student:
    """A process for the answers of one notebook; started anew after one that was lost. Use it in a `with`.

    `prepare`: import statements of the lecturer's own solutions, run before the student's code. `seconds`: of processor
    time, for all that one answer takes. `private`: folders that the student's code may not read.
    """

    def __init__(
        self, prepare: Sequence[str], seconds: float = 10.0, megabytes: int = 2048, private: Sequence[Path] = ()
    ) -> None:
        self._prepare, self.seconds, self._megabytes = list(prepare), seconds, megabytes
        self._private = [str(Path(p).resolve()) for p in private]
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="answer-", ignore_cleanup_errors=True)
        self._until = self._cpu_until = 0.0
        self.lost = ""  # why the last answer was lost
        self.timed_out = False  # ... and whether its time was over

    def __enter__(self) -> Student:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()
        self._folder.cleanup()

    def answer(self, sources: Sequence[str], name: str) -> Any:
        """Run `sources` and give what they call `name`: data, or a function to be called as if it were here.

        Raises AnswerLostError, or what the student's code raises.
        """
        self.lost, self.timed_out = "", False
        if self._process is None:
            self._start()
        self._allow(self.seconds)
        said = self._ask({"do": "define", "sources": list(sources), "name": name})
        return self._call if "function" in said else said["value"]

    def _allow(self, seconds: float) -> None:
        self._cpu_until = self._cpu_seconds()[0] + seconds
        self._until = time.monotonic() + 60 * seconds  # for what neither works nor is seen to sleep

    def _call(self, *arguments: Any) -> Any:
        return self._ask({"do": "call", "arguments": list(arguments)})["value"]

    def _start(self) -> None:
        command = [sys.executable, "-P", "-B", "-m", "thinktuning_lite.lessons.course.student"]
        limits = [self._folder.name, str(self._megabytes), str(int(12 * self.seconds + STARTING))]
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH")}
        own = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
        own |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        own |= dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP", "MPLCONFIGDIR"), self._folder.name)
        own |= {"HF_HUB_OFFLINE": "1", "TORCHDYNAMO_DISABLE": "1"}
        self._process = subprocess.Popen(
            [*command, *limits, *self._private], cwd=self._folder.name, env=kept | own, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()
        self._allow(STARTING)
        self._ask({"do": "prepare", "sources": self._prepare})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises AnswerLostError, and ends the process, where no well-formed reply comes in time."""
        if self._process is None:
            raise AnswerLostError(self.lost)
        try:
            self._process.stdin.write(values.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._line()
            if not line.endswith(b"\n"):
                raise EOFError
            said = values.loads(line.decode())
            raised = said.get("raised")
            if raised is None and said.keys() & {"value", "function"}:
                return said
            kind, words = (str(part) for part in raised)
        except queue.Empty:
            self.timed_out = True
            self._lose(f"No answer within {self.seconds:.0f} seconds of processor time: does it loop?")
        except (OSError, EOFError):
            self._lose("Your code ended its own process{}.")
        except (ValueError, AttributeError, KeyError, TypeError):
            self._lose("Your code wrote something that is no answer to where answers are read.")
        raise _raised(kind, words)

    def _line(self) -> bytes:
        """The next line. Raises queue.Empty when the answer has used its processor time, or has slept as long.

        Not the clock's time: a machine that grades in parallel is busy, and an honest answer must not be lost to that.
        """
        slept = 0.0
        while time.monotonic() < self._until and slept < self.seconds:
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=0.5)
            used, sleeps = self._cpu_seconds()
            if used > self._cpu_until:
                break
            slept += 0.5 if sleeps else 0.0
        raise queue.Empty

    def _cpu_seconds(self) -> tuple[float, bool]:
        """Processor seconds of the process, and whether it sleeps (Windows does not tell)."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            used = process.cpu_times()
            return used.user + used.system, process.status() == psutil.STATUS_SLEEPING
        return 0.0, False

    def _lose(self, why: str) -> NoReturn:
        self.lost = why.format(_why(self._end()))
        raise AnswerLostError(self.lost) from None

    def _end(self) -> int | None:
        """Kill the process and what it started; its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)  # one that ended by itself has its own status
        ended = process.returncode
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        return ended


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    """Pass lines on until the end, or until one that is too long; b"" says that no more comes."""
    with contextlib.suppress(OSError, ValueError):
        while (line := process.stdout.readline(values.LONGEST + 2)).endswith(b"\n"):
            lines.put(line)
    lines.put(b"")


def _why(code: int | None) -> str:
    if code is None or code == 0:
        return ""
    if code < 0 and -code in list(signal.Signals):
        return f" ({signal.Signals(-code).name})"
    return f" (exit status {code})"


def _raised(kind: str, said: str) -> BaseException:
    """What the student's code raised, as the like-named exception of Python's own, or one made for it."""
    known = getattr(builtins, kind, None)
    if kind == "MemoryError":
        said = said or "more memory than an answer may take"
    if isinstance(known, type) and issubclass(known, (Exception, SystemExit)) and not issubclass(known, UnicodeError):
        with contextlib.suppress(TypeError):
            return known(said)
    return type(kind if kind.isidentifier() else "Exception", (Exception,), {})(said)
