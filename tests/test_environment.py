"""environment.yml (conda) and pyproject.toml (pip) ask for the same packages, and these are the ones tested here."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import constraints
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PIP_OPTION, *PIP_PART = next(part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict))


def by_name(pins: list[str]) -> dict[str, SpecifierSet]:
    return {Requirement(pin).name: Requirement(pin).specifier for pin in pins}


def test_conda_and_pip_ask_for_the_same_versions():
    assert len(by_name(PIP_PART)) == len(PIP_PART), "a package stands twice in environment.yml"
    assert by_name(PIP_PART) == by_name(PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["gpu"])


def test_condas_python_is_allowed_by_pyproject():
    [python] = [part for part in CONDA["dependencies"] if str(part).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(platform.python_version())


def test_make_conda_and_windows_install_what_was_tested():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if "$(PIP)" in line and "-e " in line]
    assert installs and makefile.count("pip install") == 1 and all("-c constraints.txt" in line for line in installs)
    assert PIP_OPTION == "-c constraints.txt"


def test_constraints_are_what_is_installed_here():
    kept = by_name([line for line in constraints.PATH.read_text(encoding="utf-8").splitlines() if line[0] != "#"])
    installed = constraints.installed()
    other = {n: v for n, v in installed.items() if n in kept and str(kept[n]) != f"=={v}"}
    # Other systems and Pythons need some packages more; the file is written on the first of these.
    written_here = sys.platform == "linux" and sys.version_info[:2] == (3, 11)
    missing = sorted(installed.keys() - kept.keys()) if written_here else []
    assert not other and not missing, f"other versions: {other}, missing: {missing}; run python tests/constraints.py"


def test_constraints_hold_names_and_versions_only():
    lines = constraints.PATH.read_text(encoding="utf-8").splitlines()[1:]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.!]*", line)] == []
    required = [Requirement(pin).name for pin in PROJECT["dependencies"] + EXTRAS["dev"]]
    assert {canonicalize_name(name) for name in required} <= {line.split("==")[0] for line in lines}


def test_gpu_pins_do_not_contradict_dev_pins():
    dev, gpu = by_name(EXTRAS["dev"]), by_name(EXTRAS["gpu"])
    assert all(dev[name] == gpu[name] for name in set(dev) & set(gpu))


@pytest.mark.parametrize("pin", PROJECT["dependencies"] + EXTRAS["dev"])
def test_what_is_installed_here_is_what_is_pinned(pin: str):
    requirement = Requirement(pin)
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        pytest.fail(f"{pin} is not installed: pip install -e '.[dev]'")
    assert requirement.specifier.contains(installed, prereleases=True), f"{requirement.name} {installed} is not {pin}"


def test_the_main_job_and_the_figures_import_without_any_extra():
    """`make run` installs no extra; modules that need one import it where it is used, but for those of the evaluation."""
    evaluation = ("evaluation.", "experiments.table", "experiments.methods", "lessons.checks.evaluation")
    package = ROOT / "thinktuning_lite"
    names = {
        ".".join(p.relative_to(package).with_suffix("").parts).removesuffix(".__init__") for p in package.rglob("*.py")
    }
    extras = [Requirement(pin).name.replace("-", "_") for e in ("gpu", "eval", "browser") for pin in EXTRAS[e]]
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in extras)
    kept = sorted(n for n in names - {"__init__", "__main__", "experiments.beyond"} if not n.startswith(evaluation))
    wanted = "; ".join(f"import thinktuning_lite.{n}" for n in kept)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {blocked}{wanted}"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-1500:]
