"""Where runs are written: below runs/, by a name that is one on every system, or else in the user's cache folder."""

from __future__ import annotations

import errno
import re
import tempfile
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

from platformdirs import user_cache_path

LONGEST_NAME = 100  # bytes: file systems allow 255, and paths on Windows 260 in all
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\..*)?", re.IGNORECASE
)  # names of Windows' devices


def run_name(name: str) -> str:
    """`name` as it is, when it can name a folder below runs/ on every system.

    Raises ValueError otherwise: letters and digits (of any script), with `-`, `_`, `.` and blanks inside, at most 100
    bytes, and no device of Windows.
    """
    fits = isinstance(name, str) and re.fullmatch(r"\w([\w .-]*[\w-])?", name) and not _DEVICE.fullmatch(name)
    if not fits or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{name!r} cannot name a run: use letters and digits, with - _ . or blanks between them, at most "
            f"{LONGEST_NAME} bytes, and no path"
        )
    return name


def runs_folder(below: Path | None = None) -> Path:
    """`below`/runs (default: the working folder's, as a relative path), or runs/ in the user's cache folder where
    nothing can be written there (a read-only checkout, say), which is then printed.

    Raises PermissionError when neither can be written.
    """
    return _writable(Path.cwd() / "runs" if below is None else below / "runs", relative=below is None)


@cache
def _writable(wanted: Path, relative: bool) -> Path:
    if _can_write(wanted):
        return Path("runs") if relative else wanted
    fallback = user_cache_path("thinktuning_lite") / "runs"
    if not _can_write(fallback):
        raise PermissionError(f"neither {wanted} nor {fallback} can be written: start in a folder that can")
    if parent_process() is None:  # else the command has said so
        print(f"{wanted} cannot be written: everything goes to {fallback}")
    return fallback


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):  # a full disk is no reason to go elsewhere
            raise
        return False
