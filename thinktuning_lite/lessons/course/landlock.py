"""Linux's own fetters for a process that runs a student's code: they hold native code, too.

Landlock (Linux 5.13, man 7 landlock) lets a process give up rights for good, without being root. From kernel 6.12 on that
takes in signals to other processes. Elsewhere there is the audit hook of `student.py` alone.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

# From linux/landlock.h: what may be given up, by the interface's version.
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_EXECUTE, _MAKING = 1 << 0, sum(1 << bit for bit in range(4, 13))
_REFER, _TCP, _SCOPES = 1 << 13, 0b11, 0b11
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, of one number on every architecture
_NO_NEW_PRIVILEGES = 38


def confine(folder: str) -> int:
    """From here on this thread and what it starts run no program, make and change files below `folder` only, open no TCP
    connection and signal no other process: as much of it as the kernel has. Returns its version of Landlock, 0 for none.
    """
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return 0
    files = _EXECUTE | _WRITE_FILE | _MAKING | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = struct.pack("QQQ", files, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE, ctypes.c_char_p(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock: no ruleset")
    for path, allowed in ((folder, files & ~_EXECUTE), (os.devnull, _WRITE_FILE)):
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", allowed, parent)
        done = libc.syscall(_ADD, ruleset, 1, ctypes.c_char_p(rule), 0)
        os.close(parent)
        if done:
            raise OSError(ctypes.get_errno(), f"Landlock: no rule for {path}")
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(_RESTRICT, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock: not confined")
    os.close(ruleset)
    return version
