"""Small random checkpoints in the style of six families: architecture, kind of tokenizer, template, special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from thinktuning_lite.classroom.problems import generate_problems
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT

SIZE = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
    initializer_range=0.3,
)  # fmt: skip
TURNS = (
    "{%% for m in messages %%}{{ '%s' + m['role'] + '%s' + m['content'] + '%s' }}{%% endfor %%}"
    "{%% if add_generation_prompt %%}{{ '%sassistant%s' }}{%% endif %%}"
)
HEADERS = ("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>\n\n")
CHATML = ("<|im_start|>", "\n", "<|im_end|>\n", "<|im_start|>", "\n")
# Gemma calls the assistant "model", and refuses a system turn; Mistral's turns have no names.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + "
    "m['content'] + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'system' %}{{ raise_exception('Only user and assistant roles are supported') }}"
    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """How its tokenizer splits ("bytes" or "metaspace"), its special tokens by role, template, and architecture."""

    split: str
    special: dict[str, str]
    others: tuple[str, ...]
    template: str
    config: type[PretrainedConfig]
    shape: dict
    eos: tuple[str, ...]  # the generation config's


FAMILIES = {
    "llama3": Family(
        "bytes", dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"),
        ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|finetune_right_pad_id|>"),
        "{{ bos_token }}" + TURNS % HEADERS, LlamaConfig, SIZE, ("<|end_of_text|>", "<|eot_id|>"),
    ),
    "qwen3": Family(
        "bytes", dict(eos_token="<|im_end|>", pad_token="<|endoftext|>"), ("<|im_start|>", "<think>", "</think>"),
        TURNS % CHATML + "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
        "{{ '<think>\n\n</think>\n\n' }}{% endif %}",
        Qwen3Config, SIZE | {"head_dim": 16}, ("<|im_end|>", "<|endoftext|>"),
    ),
    "gemma2": Family(
        "metaspace", dict(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"),
        ("<start_of_turn>", "<end_of_turn>"), GEMMA, Gemma2Config, SIZE | {"head_dim": 16}, ("<eos>", "<end_of_turn>"),
    ),
    "mistral": Family(
        "metaspace", dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"), ("[INST]", "[/INST]"), MISTRAL,
        MistralConfig, SIZE, ("</s>",),
    ),
    "gpt2": Family(
        "bytes", dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>"), (),
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
        GPT2Config, dict(n_embd=32, n_layer=2, n_head=2, n_positions=4096, initializer_range=0.3), ("<|endoftext|>",),
    ),
    "falcon": Family(
        "bytes", dict(eos_token="<|endoftext|>"), (),
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + (eos_token if m['role'] == 'assistant' else '') "
        "+ '\n\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
        FalconConfig, dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, initializer_range=0.3),
        ("<|endoftext|>",),
    ),
}  # fmt: skip


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """A BPE of about 500 tokens trained on the classroom's problems and the teacher's prompt."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=family.split == "metaspace"))
    alphabet: list[str] = []
    if family.split == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
    special = list(dict.fromkeys([*family.special.values(), *family.others]))
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)] if family.split == "metaspace" else []
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special + byte_tokens, initial_alphabet=alphabet, show_progress=False
    )
    texts = [f"{p.question} {p.row()}" for p in generate_problems(0, "train", (1, 2), 50)]
    shown = [part for pair in INSTRUCT_PROMPT.exemplars for part in pair]
    tokenizer.train_from_iterator([*texts, *shown, INSTRUCT_PROMPT.system, "user assistant system model"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **family.special)
    fast.add_special_tokens({"additional_special_tokens": [AddedToken(t, special=True) for t in family.others]})
    fast.chat_template = family.template
    return fast


def make(name: str, folder: Path) -> Path:
    """Save the family's model, tokenizer and generation config as its makers would."""
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    torch.manual_seed(0)
    ids = {k.replace("_token", "_token_id"): tokenizer.convert_tokens_to_ids(t) for k, t in family.special.items()}
    ids.pop("unk_token_id", None)
    config = family.config(
        vocab_size=len(tokenizer), **({"pad_token_id": None, "bos_token_id": None} | ids), **family.shape
    )
    model = AutoModelForCausalLM.from_config(config)
    ends = [tokenizer.convert_tokens_to_ids(t) for t in family.eos]
    model.generation_config = GenerationConfig(eos_token_id=ends if len(ends) > 1 else ends[0], do_sample=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
