"""What a run leaves on the disk: JSON that is whole or not there, and logs that a kill cannot spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write JSON that is there whole or not at all: a kill or a full disk leaves the file as it was."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class NotWholeError(ValueError):
    """A file that something cut or changed; the message says what to do."""


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises NotWholeError for a file that is no JSON (any more)."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise NotWholeError(
            f"{path} is not whole ({error}): remove that file and start the same command again, which makes it anew"
        ) from error


def append_row(path: Path, text: str) -> None:
    """Append a line; what a kill left of an unfinished one is cut off first, so that it swallows no row behind it."""
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        whole = _end_of_whole_lines(file, end)
        if whole < end:
            file.truncate(whole)
        file.write(text.encode() + b"\n")


def _end_of_whole_lines(file: Any, end: int, block: int = 4096) -> int:
    """Where the last line that was ended ends, read from behind."""
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a log that were ended, without their ends; a last one that a kill cut is left out.

    Bytes, because a cut may go through a character, and because texts may hold U+2028 and other ends of lines.
    """
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]
