"""What `from thinktuning_lite import ...` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import thinktuning_lite

HEAVY = ("torch", "transformers", "trl", "matplotlib", "numpy", "pandas", "IPython", "anywidget")


@pytest.mark.parametrize("name", thinktuning_lite.__all__)
def test_a_public_name_is_the_thing_of_that_name(name: str):
    value = getattr(thinktuning_lite, name)
    assert value.__name__ == name and value.__doc__
    assert name in dir(thinktuning_lite)


def test_no_public_name_hides_a_wing():
    wings = {"method", "classroom", "models", "evaluation", "views", "lessons", "experiments"}
    assert not wings & set(thinktuning_lite.__all__)


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(AttributeError, match="no attribute 'Trainer'; it has .*ThinkTuningTrainer"):
        thinktuning_lite.Trainer  # noqa: B018
    with pytest.raises(ImportError):
        from thinktuning_lite import Trainer  # noqa: F401


def test_importing_the_package_loads_nothing_heavy():
    check = f"import sys, thinktuning_lite; dir(thinktuning_lite); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
