"""The process that runs a student's code. It judges nothing: it answers calls, and is not believed in anything else.

Started by `remote.py` as `python -m thinktuning_lite.lessons.course.student FOLDER MEGABYTES CPU_SECONDS PRIVATE...`, in
an empty folder that alone it may write to. One request a line on standard input, one reply a line on standard output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from thinktuning_lite.lessons.course import landlock, values


def main() -> None:
    folder, megabytes, cpu_seconds, *private = sys.argv[1:]
    requests, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _limit(int(megabytes), int(cpu_seconds))
    answer: Any = None
    for line in requests:
        request = values.loads(line)
        if request["do"] == "prepare":  # the lecturer's imports, before the student's code and its fetters
            said = _tried(lambda sources: _run(sources, {}), request["sources"])
            landlock.confine(folder)
            sys.addaudithook(_fetters(folder, private))
        elif request["do"] == "define":
            namespace: dict[str, Any] = {"__name__": "__main__"}
            said = _tried(_define, request["sources"], request["name"], namespace)
            answer = namespace.get(request["name"])
        else:
            said = _tried(_call, answer, request["arguments"])
        replies.write(said + "\n")
        replies.flush()


def _define(sources: Sequence[str], name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    _run(sources, namespace)
    found = namespace[name]
    return {"function": name} if callable(found) else {"value": found}


def _call(answer: Callable[..., Any], arguments: Sequence[Any]) -> dict[str, Any]:
    return {"value": answer(*arguments)}


def _run(sources: Sequence[str], namespace: dict[str, Any]) -> dict[str, Any]:
    for source in sources:
        exec(compile(source, "cell", "exec"), namespace)
    return {"value": None}


def _tried(do: Callable[..., dict[str, Any]], *arguments: Any) -> str:
    """The reply of `do` as a line; whatever is raised, `exit()` included, is a reply, too."""
    try:
        return values.dumps(do(*arguments))
    except BaseException as error:  # the student's code may raise anything
        try:
            said = str(error)[:500]
        except BaseException:
            said = ""
        return values.dumps({"raised": [type(error).__name__, said]})


def _limit(megabytes: int, cpu_seconds: int) -> None:
    """Memory (which macOS does not keep), processor time, size of files. Windows has no such limits."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (
        (resource.RLIMIT_DATA, megabytes << 20),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 10 << 20),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


_REFUSED = ("os.kill", "os.killpg", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system",
            "os.startfile", "subprocess.Popen", "os.chdir", "os.fchdir", "os.symlink", "os.link", "os.chmod", "os.chown",
            "socket.connect", "socket.bind", "socket.sendto", "signal.pthread_kill", "resource.prlimit")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.utime", "os.setxattr", "shutil.rmtree")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _fetters(folder: str, private: Sequence[str]) -> Callable[[str, tuple], None]:
    """An audit hook, which Python code cannot take away: no other process, no network, writing below `folder` only,
    and nothing read below `private`. It uses no name that the student's code could replace."""
    inside, slash, up, here, nowhere = folder, os.sep, "..", ("", "."), os.devnull
    private = tuple(p + slash for p in private)
    refused, changes, writes = _REFUSED, _CHANGES, _WRITES
    error, isinstance_, type_, str_, bytes_, int_ = PermissionError, isinstance, type, str, bytes, int

    def whole(path: str) -> str:
        """Absolute, without `..`; no link can lead elsewhere, for none can be made."""
        parts: list[str] = []
        path = path.replace("/", slash)
        for part in (path if path.startswith(slash) or path[1:2] == ":" else inside + slash + path).split(slash):
            if part == up:
                parts = parts[:-1]
            elif part not in here:
                parts = [*parts, part]
        return (slash if inside.startswith(slash) else "") + slash.join(parts) + slash

    def allowed(path: Any, writing: bool) -> bool:
        if isinstance_(path, int_):
            return True
        if type_(path) is bytes_:
            path = path.decode("utf-8", "surrogateescape")
        if type_(path) is not str_:
            return not writing and path is None
        if writing:
            return path == nowhere or whole(path).startswith(inside + slash)
        return not whole(path).startswith(private)

    def hook(event: str, arguments: tuple) -> None:
        if event in refused:
            raise error(f"{event} is not allowed in a graded answer")
        if event == "open":
            path, mode, flags = arguments
            if not allowed(path, not isinstance_(flags, int_) or flags & writes != 0):
                raise error("a graded answer may write to its own folder only, and read no other submission")
        elif event in changes:
            for path in arguments[:2]:
                if type_(path) in (str_, bytes_) and not allowed(path, True):
                    raise error(f"{event} outside of the answer's own folder")

    return hook


if __name__ == "__main__":
    main()
