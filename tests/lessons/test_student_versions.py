"""Every student version runs in its short form, with all exercises unsolved. A tier of its own, `make test-again`."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import each_notebook
from test_course_pack import executes


@pytest.mark.slow
@each_notebook
def test_every_student_version_runs(path: Path, monkeypatch: pytest.MonkeyPatch):
    executes(path, monkeypatch)
