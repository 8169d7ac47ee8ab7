"""models.py: the probe, loading from a folder, a cache and a Hub that refuses, tokenizer traps, LoRA targets, merging.

Gated, absent and unreachable models are answered by a local HTTP server in the Hub's own way (status and X-Error-Code),
so the real client raises what it raises in life.
"""

from __future__ import annotations

import copy
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled
from peft import get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from thinktuning_lite.models import load, lora, tokenizers
from thinktuning_lite.models import machine as machine_module
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config, lora_targets
from thinktuning_lite.models.machine import Machine, Trial, probe
from thinktuning_lite.models.planner import plan
from thinktuning_lite.models.tokenizers import fit_tokenizer

bnb = pytest.importorskip("bitsandbytes")
YES, NO = Trial(True, ""), Trial(False, "")


def machine(device: str = "cpu", **works: bool) -> Machine:
    names = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", "flash_attention_2", "sdpa", "eager")
    trials = {n: NO if works.get(n.replace(" ", "_").replace("-", "_"), True) is False else YES for n in names}
    return Machine(device, "some device", 2**34, trials)


CPU = machine(flash_attention_2=False)


# ---------------------------------------------------------------- probe


def test_the_probe_really_tries_and_its_table_says_what_and_why():
    found = probe("cpu")
    assert found.trials["4-bit"].works and found.trials["sdpa"].works and found.trials["eager"].works
    assert (found.dtype, found.quantization, found.optimizer) == (torch.float32, "nf4", "adamw_torch")
    assert not found.trials["paged 8-bit optimizer"].works  # bitsandbytes falls back to an ordinary one on a CPU
    table = found.table()
    for name, trial in found.trials.items():
        assert f"| {name} | {'yes' if trial.works else 'no'} |" in table
    assert "| dtype | float32 |" in table and found.memory > 2**30


def test_a_4_bit_layer_whose_gradient_is_wrong_does_not_pass(monkeypatch):
    """What repacking does to NF4 on a CPU with AVX512-BF16: the forward is fine, the gradient is not."""

    def wrong(ctx, grad):
        return torch.flip(grad @ torch.ones(64, 256), (1,)) + torch.arange(256.0), None, None, None, None

    monkeypatch.setattr(bnb.autograd._functions.MatMul4Bit, "backward", staticmethod(wrong))
    trial = machine_module._trial(machine_module._try_four_bit, "cpu", torch.float32)
    assert not trial.works and "backward" in trial.seen


def test_repacking_is_what_the_flag_prevents():
    """On this CPU (when it has AVX512-BF16) the gradient through NF4 is right only with the flag off."""
    if not bnb.functional.has_avx512bf16():
        pytest.skip("no AVX512-BF16 here: bitsandbytes repacks nothing")

    def gradient(keep: bool) -> torch.Tensor | None:
        torch.manual_seed(0)
        layer = bnb.nn.Linear4bit(128, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu")
        if keep:
            machine_module._keep_differentiable(layer)
        x = torch.randn(4, 128)
        with torch.no_grad():
            layer.eval()(x)
        layer.train()(x.requires_grad_()).sum().backward()
        return x.grad

    torch.manual_seed(0)
    untouched = bnb.nn.Linear4bit(128, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu")
    x = torch.randn(4, 128, requires_grad=True)
    untouched(x).sum().backward()
    torch.testing.assert_close(gradient(keep=True), x.grad)
    spoilt = gradient(keep=False)  # none at all in bitsandbytes 0.50.2
    assert spoilt is None or torch.cosine_similarity(spoilt.flatten(), x.grad.flatten(), dim=0) < 0.9


@pytest.mark.parametrize(
    ("found", "dtype", "quantization", "optimizer", "attention"),
    [
        (machine("cuda"), torch.bfloat16, "nf4", "paged_adamw_8bit", "flash_attention_2"),
        (machine("cuda", bf16=False, flash_attention_2=False), torch.float16, "nf4", "paged_adamw_8bit", "sdpa"),
        (machine("cuda", paged_8_bit_optimizer=False), torch.bfloat16, "nf4", "adamw_8bit", "flash_attention_2"),
        (machine("cuda", **{"4_bit": False, "8_bit_optimizer": False, "paged_8_bit_optimizer": False}),
         torch.bfloat16, "none", "adamw_torch", "flash_attention_2"),
        (machine("cpu", flash_attention_2=False, sdpa=False), torch.float32, "nf4", "adamw_torch", "eager"),
    ],
)  # fmt: skip
def test_what_fails_is_not_chosen(found, dtype, quantization, optimizer, attention):
    assert (found.dtype, found.quantization) == (dtype, quantization)
    assert (found.optimizer, found.attention) == (optimizer, attention)


def test_an_attempt_that_raises_is_a_no_with_its_reason():
    def attempt():
        raise ImportError("no such package\nand a long story")

    assert machine_module._trial(attempt) == Trial(False, "ImportError: no such package")


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_a_local_folder_loads_as_asked(tiny_folder, quantization):
    model, tokenizer = load_policy(tiny_folder, CPU, quantization=quantization)
    four_bit = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert len(four_bit) == (14 if quantization == "nf4" else 0)
    assert not any(m.support_avx512bf16_for_cpu for m in four_bit)
    assert model.config._attn_implementation == "sdpa" and tokenizer.padding_side == "left"
    assert model.dtype == torch.float32


def test_a_model_in_the_hubs_cache_loads_by_its_id_without_a_network(tiny_folder, tmp_path):
    commit = "0" * 40
    repo = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny_folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    model, tokenizer = load_policy("someone/tiny", CPU, quantization="none", cache_dir=tmp_path)
    reference = LlamaForCausalLM.from_pretrained(tiny_folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    assert tokenizer.eos_token_id == reference.config.eos_token_id


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers any repository in the way its name asks for."""

    def do_GET(self) -> None:
        code, error = {
            "gated": (403, "GatedRepo"), "absent": (404, "RepoNotFound"), "private": (401, "RepoNotFound"),
            "moved": (404, "RevisionNotFound"), "ill": (503, ""),
        }[next(word for word in ("gated", "absent", "private", "moved", "ill") if word in self.path)]  # fmt: skip
        self.send_response(code)
        self.send_header("X-Error-Code", error)
        self.send_header("X-Error-Message", "said by the test's server")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield address
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("me/gated", PermissionError, r"is gated.*huggingface.co/me/gated.*hf auth login.*another id.*local folder"),
        ("me/absent", FileNotFoundError, r"no model 'me/absent'.*spelling.*local folder"),
        ("me/private", FileNotFoundError, r"'me/private'.*private.*hf auth login"),
        ("me/moved", FileNotFoundError, r"not that revision"),
    ],
)
def test_a_hub_that_refuses_gives_the_way_out(hub, tmp_path, name, kind, says):
    with pytest.raises(kind, match=says):
        load_policy(name, CPU, cache_dir=tmp_path)


def test_without_a_network_the_message_names_the_model_and_the_ways_out(hub, monkeypatch, tmp_path):
    says = r"'me/far' is not in the cache.*network.*HF_HUB_OFFLINE.*local folder"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=says):
        load_policy("me/far", CPU, cache_dir=tmp_path)


def test_a_dead_line_is_told_apart_from_an_absent_model():
    for error in (OfflineModeIsEnabled("off"), ConnectionError("refused")):
        wrapped = OSError("We couldn't connect")
        wrapped.__cause__ = error
        assert isinstance(load.explain_hub_error(wrapped, "me/x"), ConnectionError)
    assert load.explain_hub_error(OSError("disk full"), "me/x") is None
    assert load.explain_hub_error(ValueError("bad config"), "me/x") is None


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_a_path_that_is_not_there_is_no_hub_id(name):
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_policy(name, CPU)


def test_folders_that_hold_no_whole_model(tiny_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no config.json"):
        load_policy(tmp_path / "empty", CPU)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="it is an adapter"):
        load_policy(tmp_path / "adapter", CPU)
    shutil.copytree(tiny_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ValueError, match="holds no weights"):
        load_policy(tmp_path / "bare", CPU)
    with pytest.raises(ValueError, match="quantization is 'int3'"):
        load_policy(tiny_folder, CPU, quantization="int3")


def test_a_base_model_is_refused_for_its_missing_chat_template(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "base", ignore=shutil.ignore_patterns("chat_template*"))
    with pytest.raises(ValueError, match="no chat template.*instruct version"):
        load_policy(tmp_path / "base", CPU)


# ---------------------------------------------------------------- tokenizer


@pytest.fixture
def pair(tiny_folder):
    return AutoTokenizer.from_pretrained(tiny_folder), LlamaForCausalLM.from_pretrained(tiny_folder)


def test_a_tokenizer_that_fits_is_left_alone(pair):
    tokenizer, model = pair
    before = (tokenizer.eos_token, tokenizer.pad_token)
    assert fit_tokenizer(tokenizer, model) == []
    assert (tokenizer.eos_token, tokenizer.pad_token) == before and tokenizer.padding_side == "left"


def test_a_missing_pad_token_is_a_reserved_one_or_eos(pair, monkeypatch):
    tokenizer, model = pair
    tokenizer.pad_token = None
    assert fit_tokenizer(tokenizer, model) == ["padding with '<|pad|>'"]
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id == 0
    tokenizer.pad_token = None
    monkeypatch.setattr(tokenizers, "_reserved_pad", lambda tokenizer: None)
    assert fit_tokenizer(tokenizer, model) == ["padding with '<|end|>'"]


def test_all_eos_stop_generation_and_the_one_that_ends_a_turn_is_the_tokenizers(pair):
    """As in Qwen's base tokenizers: EOS ends a document, another token ends the assistant's turn."""
    tokenizer, model = pair
    end = tokenizer.eos_token_id
    tokenizer.eos_token = "<|system|>"
    system = tokenizer.eos_token_id
    model.generation_config.eos_token_id = [system, 11]
    notes = fit_tokenizer(tokenizer, model)
    assert tokenizer.eos_token_id == end and model.generation_config.eos_token_id == [end, system, 11]
    assert "'<|end|>', which ends a turn, not '<|system|>'" in notes[0]


def test_without_any_eos_there_is_no_end(pair):
    tokenizer, model = pair
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="EOS"):
        fit_tokenizer(tokenizer, model)
    model.generation_config.eos_token_id = 5
    fit_tokenizer(tokenizer, model)
    assert tokenizer.eos_token_id == 5


def test_more_tokens_than_embeddings_is_refused(pair):
    tokenizer, model = pair
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(ValueError, match=rf"{len(tokenizer)} tokens, the model embeds {len(tokenizer) - 1}"):
        fit_tokenizer(tokenizer, model)


# ---------------------------------------------------------------- LoRA

SMALL = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=64, pad_token_id=0
)
GATED = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
ARCHITECTURES = [
    (LlamaConfig(**SMALL), GATED),
    (MistralConfig(**SMALL, num_key_value_heads=2), GATED),
    (Qwen2Config(**SMALL, num_key_value_heads=2), GATED),
    (Qwen3Config(**SMALL, head_dim=16, num_key_value_heads=2), GATED),
    (Gemma2Config(**SMALL, head_dim=16, num_key_value_heads=2), GATED),
    (Phi3Config(**SMALL), ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]),
    (GPTNeoXConfig(**SMALL), ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"]),
    (FalconConfig(**SMALL), ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"]),
    (GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64), ["c_attn", "c_fc", "c_proj"]),
    (Qwen3MoeConfig(**SMALL, head_dim=16, num_key_value_heads=2, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16),
     ["k_proj", "o_proj", "q_proj", "v_proj"]),
]  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), ARCHITECTURES, ids=lambda x: getattr(x, "model_type", ""))
def test_lora_targets_by_architecture(config, expected):
    """Named by hand from the architectures' own papers and code, and PEFT must find every one of them."""
    model = AutoModelForCausalLM.from_config(config)
    assert lora_targets(model) == expected
    adapted = get_peft_model(model, lora_config(model, rank=2))
    touched = {n.split(".")[-4] for n, p in adapted.named_parameters() if "lora_A" in n}
    assert touched == set(expected)


NO_SDPA = [
    BloomConfig(hidden_size=32, n_layer=2, n_head=2),
    MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, intermediate_size=64),
]


@pytest.mark.parametrize("config", [c for c, _ in ARCHITECTURES] + NO_SDPA, ids=lambda c: c.model_type)
def test_any_architecture_is_loaded_and_planned(config, tokenizer, tmp_path):
    """With the attention that it has, where the machine's own choice is SDPA; Bloom and Mamba have none of it."""
    config = copy.deepcopy(config)
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_policy(tmp_path, CPU, quantization="none")
    with torch.no_grad():
        assert model(torch.tensor([[7, 8, 9]])).logits.isfinite().all()
    planned = plan(tmp_path, quantization="none", group_size=2, prompt_tokens=20, completion_tokens=20, rank=4)
    assert planned.held["base"] == sum(2 * p.numel() for p in model.parameters())
    assert planned.phases["training"]["activations"] > 0


def test_a_model_without_linear_layers_is_refused():
    with pytest.raises(ValueError, match="no linear layer"):
        lora_targets(torch.nn.Sequential(torch.nn.Embedding(3, 3)))


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_a_merged_checkpoint_says_what_base_and_adapter_said(tiny_folder, tmp_path, quantization):
    model, tokenizer = load_policy(tiny_folder, CPU, quantization=quantization)
    adapted = get_peft_model(model, lora_config(model, rank=2))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p.copy_(0.2 * torch.randn_like(p))
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        wanted = adapted.eval()(ids).logits
        with adapted.disable_adapter():
            assert (adapted(ids).logits - wanted).abs().max() > 0.1  # the adapter is heard
    adapted.save_pretrained(tmp_path / "adapter")
    again, _ = load_policy(tiny_folder, CPU, quantization=quantization, adapter=tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again.eval()(ids).logits, wanted)
    lora.merge_adapter(tiny_folder, tmp_path / "adapter", tmp_path / "merged", CPU, quantization=quantization)
    merged = LlamaForCausalLM.from_pretrained(tmp_path / "merged")
    assert Path(tmp_path / "merged" / "chat_template.jinja").exists()
    with torch.no_grad():
        torch.testing.assert_close(merged.eval()(ids).logits, wanted, rtol=1e-4, atol=1e-4)
