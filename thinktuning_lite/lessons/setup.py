"""The notebooks' shared set-up cell, their Colab badges, and the run that fills in outputs and measured times.

    python -m thinktuning_lite.lessons.stamp [--repo owner/name]      stamp set-up cells, badges and the map of times
    python -m thinktuning_lite.lessons.stamp --times                  ... and print each notebook's measured time
    python -m thinktuning_lite.lessons.stamp --execute notebooks/00_start_here.ipynb ...     run in full, then stamp

Imports nothing beyond the standard library when a notebook imports it: on a hosted machine it runs before anything is
installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

ROOT = Path(__file__).resolve().parents[2]
CLONE = "thinktuning_lite_repo"  # not the package's name: Python would take the folder for the package
HOSTS_OWN = ("torch", "torchvision", "torchaudio")  # built for the host's driver, so never replaced


def prepare() -> None:
    """What the set-up cell calls: on a hosted machine install the pins, everywhere quiet the bars and show figures."""
    if ROOT.name == CLONE:
        install_pins()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a missing optional CPU kernel
    shell = _shell()
    if shell is not None:
        shell.run_line_magic("matplotlib", "inline")  # else a Figure shows as text
    names = ("torch", "transformers", "trl")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{n} {_version(n) or 'missing'}" for n in names))
    missing = [n for n in names if _version(n) is None]
    if missing:
        raise ModuleNotFoundError(
            f"{', '.join(missing)} not installed for {Path(sys.executable).name}: run `make lab` in the repository, or "
            "`pip install -e .` there, and open the notebook with that Python"
        )


def workplace(name: str) -> Path:
    """A folder to write to, runs/`name`: of the checkout when started in it, else of the working folder.

    Where that cannot be written it is in the user's cache folder, and a line says so. Raises ValueError for a name that
    is a path, PermissionError when nothing can be written.
    """
    from thinktuning_lite.method.places import run_name, runs_folder  # needs platformdirs, which `prepare` installs

    here = Path.cwd()
    folder = runs_folder(ROOT if here == ROOT or ROOT in here.parents else here) / run_name(name)
    folder.mkdir(exist_ok=True)
    return folder


def install_extra(name: str) -> None:
    """On a hosted machine install an extra of pyproject.toml as well (`eval`); elsewhere `make lab` has brought it."""
    if ROOT.name == CLONE:
        install_pins(name)


def install_pins(*extras: str) -> None:
    """pip-install pyproject.toml's pins around the host's torch; restart the kernel only if loaded packages changed."""
    extras = (*extras, "gpu") if shutil.which("nvidia-smi") is not None else extras
    wanted = [pin for pin in pins(*extras) if not _is_hosts_own(pin)]
    todo = [pin for pin in wanted if not _satisfied(pin)]
    if not todo:
        return
    print(f"Installing {', '.join(todo)} (a minute or two) ...")
    before = _loaded_versions()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt", delete=False) as file:
        file.write("".join(f"{n}=={_version(n)}\n" for n in HOSTS_OWN if _version(n)))
    try:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-c", file.name, *todo], check=True)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            "pip could not install what this notebook needs (its own words are above): check the network, then run this "
            "cell again"
        ) from error
    finally:
        os.unlink(file.name)
    importlib.invalidate_caches()
    changed = sorted(n for n, v in before.items() if _version(n) != v)
    if changed:
        print(
            f"{', '.join(changed)} was in use and is now another version: RESTARTING this kernel. "
            "Wait a moment, then run this cell again and go on."
        )
        _shell().kernel.do_shutdown(restart=True)


def pins(*extras: str) -> list[str]:
    """The requirements in pyproject.toml, with those of the extras asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["dependencies"] + [pin for extra in extras for pin in project["optional-dependencies"][extra]]


def _is_hosts_own(pin: str) -> bool:
    return re.match(r"[\w-]+", pin)[0] in HOSTS_OWN and _version("torch") is not None


def _satisfied(pin: str) -> bool:
    from packaging.requirements import Requirement  # comes with pip's own ecosystem on every host

    requirement = Requirement(pin)
    installed = _version(requirement.name)
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _loaded_versions() -> dict[str, str | None]:
    """Version of every distribution of which this process has imported a module."""
    owners = metadata.packages_distributions()
    return {name: _version(name) for module in list(sys.modules) for name in owners.get(module, ())}


def _shell():
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
