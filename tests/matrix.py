"""Run notebooks in their short form under locales, from other folders and from a wheel; print which end well.

    python tests/matrix.py [00 05 ...] [--only C cp1252 root elsewhere wheel read-only]

Not part of the tests: all of them take about two minutes of two cores a column. For the column `wheel` first
`pip wheel --no-deps -w dist .`; `read-only` needs Linux, where it mounts the checkout so. Exit status 1 when a notebook
fails. To try another Python, start it with that one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# As on a Windows of western Europe: what opens a text without naming its encoding gets CP1252.
CP1252 = """
import builtins, io
_open = io.open
def open_(file, mode="r", buffering=-1, encoding=None, *rest, **more):
    return _open(file, mode, buffering, "cp1252" if encoding in (None, "locale") and "b" not in mode else encoding, *rest, **more)
builtins.open = io.open = open_
"""
RUN = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=900, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
"""


# The rest of the command runs where the checkout ($1) cannot be written, not even by root.
READ_ONLY = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
READ_ONLY += ['mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"', "sh", str(ROOT)]


def setting(name: str, scratch: Path) -> tuple[dict[str, str], Path]:
    """Environment and working folder of a column."""
    ascii_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    here = {"PYTHONPATH": str(ROOT)}
    if name == "C":
        return here | ascii_locale, ROOT / "notebooks"
    if name == "cp1252":
        (scratch / "sitecustomize.py").write_text(CP1252, encoding="utf-8")
        more = {"PYTHONPATH": f"{scratch}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "cp1252"}
        return ascii_locale | more, ROOT / "notebooks"
    if name == "wheel":
        [wheel] = (ROOT / "dist").glob("thinktuning_lite-*.whl")
        zipfile.ZipFile(wheel).extractall(scratch / "site")
        return {"PYTHONPATH": str(scratch / "site")}, scratch
    if name == "read-only":
        return here | {"XDG_CACHE_HOME": str(scratch)}, ROOT / "notebooks"
    return here, ROOT if name == "root" else scratch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", default=[""], help="beginnings of their names; default: all")
    columns = ["C", "cp1252", "root", "elsewhere", "wheel", "read-only"]
    parser.add_argument("--only", nargs="+", choices=columns, default=columns)
    options = parser.parse_args()
    books = [p for p in sorted((ROOT / "notebooks").glob("*.ipynb")) if p.name.startswith(tuple(options.notebooks))]
    failed = 0
    for column in options.only:
        for book in books:
            with tempfile.TemporaryDirectory() as scratch:
                own, cwd = setting(column, Path(scratch))
                env = os.environ | {"THINKTUNING_SMOKE": "1", "OMP_NUM_THREADS": "1"} | own
                command = [sys.executable, "-X", "utf8", "-c", RUN, str(book), str(cwd)]
                command = READ_ONLY + command if column == "read-only" else command
                done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", errors="replace")
            failed += done.returncode != 0
            why = done.stderr.strip().splitlines()[-1:] if done.returncode else ""
            print(done.stderr if done.returncode else "", end="", file=sys.stderr)
            print(f"| {column} | {book.stem} | {'failed' if done.returncode else 'ends well'} | {why} |", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
