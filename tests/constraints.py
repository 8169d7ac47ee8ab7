"""Write constraints.txt: every package of the environment that the tests run in, with its version.

python tests/constraints.py
"""

from __future__ import annotations

from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

PATH = Path(__file__).resolve().parents[1] / "constraints.txt"
HEAD = "# The environment that the tests run in, whole; written by python tests/constraints.py\n"
_TOOLS = {"pip", "setuptools", "wheel", "thinktuning-lite"}  # pip's own, and this project


def installed() -> dict[str, str]:
    """Versions by canonical name, without local tags (torch's +cpu): those name a build, which each machine chooses."""
    found = {canonicalize_name(d.metadata["Name"]): Version(d.version).public for d in distributions() if _is_kept(d)}
    return dict(sorted(found.items()))


def _is_kept(distribution: Distribution) -> bool:
    name = canonicalize_name(distribution.metadata["Name"] or "")
    return bool(name) and name not in _TOOLS and not name.startswith(("nvidia-", "cuda-", "triton"))  # a GPU build's


def text() -> str:
    return HEAD + "".join(f"{name}=={version}\n" for name, version in installed().items())


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
