"""Grading: right marks for right, wrong, empty and hostile submissions; what a student's code does stays in its process."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
import pytest

from thinktuning_lite.lessons.checks import start
from thinktuning_lite.lessons.course import grade, grading, tasks

PATHS = tasks.notebook_paths(["00"])
NOTEBOOK = nbformat.read(PATHS[0], as_version=4)
ASKED = grading.ask(tasks.read_tasks(PATHS), seed=3)


def confined() -> int:
    """The kernel's version of Landlock."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"from thinktuning_lite.lessons.course.landlock import confine; print(confine({folder!r}))"
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


OF = sum(asked.task.points for asked in ASKED)


def submission(stubs: dict[str, str] | None = None, first: str = "") -> str:
    """Notebook 00 solved, but for `stubs` (answer's name -> its cell); `first` stands in front of every answer."""
    book = nbformat.from_dict(json.loads(nbformat.writes(NOTEBOOK)))
    solved = iter(tasks.solved_sources(NOTEBOOK))
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.source = next(solved)
            if tasks.tagged(cell, "exercise"):
                for name, source in (stubs or {}).items():
                    cell.source = source if f"def {name}(" in cell.source else cell.source
                cell.source = first + "\n" + cell.source
    return nbformat.writes(book)


def marks(notebook: str, **kwargs) -> dict[str, grading.Mark]:
    return {m.task.check: m for m in grading.grade({"00_start_here.ipynb": notebook}, ASKED, seconds=1.0, **kwargs)}


def test_solved_is_all_and_untouched_is_nothing():
    assert all(m.points == m.task.points and m.reason == "right" for m in marks(submission()).values())
    empty = marks(nbformat.writes(NOTEBOOK))
    assert all(m.points == 0 and "Not solved yet" in m.reason for m in empty.values())


def test_one_wrong_answer_costs_its_own_points_and_says_why():
    found = marks(submission({"seen_once": "def seen_once(p, n):\n    return p * n"}))
    assert found["seen_once"].points == 0 and "expected number" in found["seen_once"].reason
    assert sum(m.points for m in found.values()) == OF - found["seen_once"].task.points


HOSTILE = {  # what `seen_once` does -> what its reason says
    "while True:\n        pass": "does it loop?",
    "import time; time.sleep(1e6)": "does it loop?",
    "import os; os._exit(0)": "ended its own process",
    "import sys; sys.exit('bye')": "raised SystemExit",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt",
    "return len(bytearray(10**11))": "MemoryError",
    "return seen_once(p, n)": "RecursionError",
    "import os; os.kill(os.getppid(), 9)": "os.kill is not allowed",
    "import subprocess; subprocess.run(['ls'])": "not allowed",
    "import os; os.fork()": "not allowed",
    "return open({stolen!r}).read()": "read no other submission",
    "open({checks!r}, 'a').write('passed')": "its own folder only",
    "import os; os.remove({checks!r})": "outside of the answer's own folder",
    "import os; os.symlink({checks!r}, 'x')": "os.symlink is not allowed",
    "open('mine', 'wb').write(bytes(10**8))": "OSError",
    "return 'x' * 10**7": "characters",
    "return object()": "an answer of type object",
}


@pytest.mark.skipif(os.name == "nt", reason="memory and file limits are the system's")
def test_hostile_answers_lose_their_own_points_only(tmp_path: Path):
    stolen = tmp_path / "other.ipynb"
    stolen.write_text("secret", encoding="utf-8")
    before = Path(start.__file__).read_bytes()
    names = {"stolen": str(stolen), "checks": start.__file__}
    for does, says in HOSTILE.items():
        if says == "MemoryError" and sys.platform != "linux":
            continue  # macOS takes a limit on memory, and does not keep it
        body = does.replace("{stolen!r}", repr(names["stolen"])).replace("{checks!r}", repr(names["checks"]))
        found = marks(submission({"seen_once": f"def seen_once(p, n):\n    {body}"}), private=[tmp_path])
        assert found["seen_once"].points == 0 and says in found["seen_once"].reason, (does, found["seen_once"])
        assert sum(m.points for m in found.values()) == OF - found["seen_once"].task.points, (does, found)
    assert Path(start.__file__).read_bytes() == before


NATIVE = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.kill(os.getppid(), 9)
fd = libc.open({checks!r}.encode(), os.O_WRONLY | os.O_APPEND)
if fd >= 0:
    libc.write(fd, b"# changed", 9)
libc.unlink({stolen!r}.encode())
libc.system(b"touch {made}")
"""


@pytest.mark.skipif(confined() < 6, reason="the kernel has no Landlock that holds signals (Linux 6.12)")
def test_native_code_is_held_where_the_kernel_can(tmp_path: Path):
    stolen, made = tmp_path / "other.ipynb", tmp_path / "made"
    stolen.write_text("secret", encoding="utf-8")
    before = Path(start.__file__).read_bytes()
    first = NATIVE.format(checks=start.__file__, stolen=str(stolen), made=made)
    assert sum(m.points for m in marks(submission(first=first)).values()) == OF  # harmless, and solved
    assert Path(start.__file__).read_bytes() == before and stolen.exists() and not made.exists()


TAMPERING = (
    # the checks, their verdicts, and what compares numbers
    "from thinktuning_lite.lessons import checks\nfrom thinktuning_lite.lessons.checks import start\n"
    "start.isclose = checks.isclose = lambda *a, **k: True\nchecks.hint = checks.passed\n"
    "for n in ('first_wrong', 'useful_groups', 'seen_once', 'expected_reward'):\n"
    "    setattr(start, n, lambda answer: checks.Result(True, 'patched'))\n"
    "import math, builtins\nmath.isclose = builtins.all = lambda *a, **k: True",
    # objects that are equal to everything
    "class Yes(float):\n    def __eq__(self, o): return True\n    def __sub__(self, o): return 0.0\n"
    "    __rsub__ = __sub__\n    __abs__ = lambda self: 0.0\nYES = Yes(0.3)\n",
    # forged replies, written to every file descriptor
    'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'{"dict": [["value", 0.75]]}\\n\' * 3)\n'
    "    except OSError: pass\n",
)


@pytest.mark.parametrize("first", TAMPERING, ids=["patched checks", "equal to all", "forged replies"])
def test_tampering_wins_nothing(first: str):
    names = [asked.task.answer for asked in ASKED]
    value = "YES" if "YES" in first else "0.123"
    wrong = {name: f"def {name}(*a):\n    return {value}" for name in names}
    assert sum(m.points for m in marks(submission(wrong, first)).values()) == 0


def test_what_is_printed_raised_or_defined_elsewhere_is_no_harm():
    noisy = submission(first="print('{\"value\": 1}' * 100)\nimport warnings; warnings.warn('x')")
    assert sum(m.points for m in marks(noisy).values()) == OF
    raising = marks(submission(first="1 / 0"))
    assert all("Your cell raised ZeroDivisionError" in m.reason for m in raising.values())
    gone = marks(submission({"seen_once": "# deleted"}))
    assert gone["seen_once"].reason == "no cell defines seen_once"
    assert "SyntaxError" in marks(submission({"seen_once": "def seen_once(p, n:\n    return"}))["seen_once"].reason


def test_a_folder_of_submissions_to_one_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "in"
    (folder / "dora").mkdir(parents=True)
    solved = submission()
    with zipfile.ZipFile(folder / "=ada.zip", "w") as archive:
        archive.writestr("../../00_start_here.ipynb", solved)  # nothing is unpacked
    (folder / "bob.ipynb").write_text(solved, encoding="utf-8")  # known by what it calls
    (folder / "carl.zip").write_bytes(b"no zip")
    (folder / "dora" / "00_start_here (1).ipynb").write_text("no notebook", encoding="utf-8")
    with zipfile.ZipFile(folder / "emil.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing here")
    out = tmp_path / "grades.csv"
    grade.main([str(folder), "--notebooks", "00", "--out", str(out), "--jobs", "1", "--seconds", "2", "--seed", "1"])
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    totals = {row["submission"]: row["points"] for row in rows if row["task"] == "total"}
    assert totals == {"'=ada.zip": str(OF), "bob.ipynb": str(OF), "carl.zip": "0", "dora": "0", "emil.zip": "0"}
    reasons = {row["submission"]: row["reason"] for row in rows if row["task"] == "00_first_wrong"}
    assert "no archive" in reasons["carl.zip"] and "not a notebook" in reasons["dora"]
    assert reasons["emil.zip"] == "00_start_here was not handed in"
    assert f"=ada.zip: {OF} of {OF}" in capsys.readouterr().out


def test_mistakes_are_said_in_one_line(tmp_path: Path):
    with pytest.raises(SystemExit, match="holds no submission"):
        grade.main([str(tmp_path)])
    (tmp_path / "a.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="no notebook begins with '99'"):
        grade.main([str(tmp_path), "--notebooks", "99"])


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "a\n\tb", "\x1b[31mred"])
def test_no_cell_of_the_table_is_a_formula_or_moves_the_cursor(text: str):
    cell = grade._cell(text)
    assert cell[0] not in "=+-@" and cell.isprintable()


def test_loops_shorten_the_time_of_what_follows_but_not_below_what_the_lecturers_answer_takes():
    slow = [grading.Asked(a.task, a.expected, 0.4) for a in ASKED]
    loop = {name: f"def {name}(*a):\n    while True: pass" for name in ("first_wrong", "useful_groups")}
    busy = {"seen_once": "def seen_once(p, n):\n    import time\n    end = time.process_time() + 0.07\n"
                         "    while time.process_time() < end: pass\n    return 1 - (1 - p) ** n"}  # fmt: skip
    found = {
        m.task.check: m for m in grading.grade({"00_start_here.ipynb": submission(loop | busy)}, slow, seconds=0.1)
    }
    assert "within 2 seconds" in found["first_wrong"].reason and "within 3 seconds" in found["useful_groups"].reason
    assert found["seen_once"].points and found["expected_reward"].points
