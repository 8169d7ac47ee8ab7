"""encode_guidance: a teacher's text is data, in any tokenizer: no control token is made of it, no space added."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from thinktuning_lite.method.teacher import Guidance, encode_guidance, splice, split_control_tokens

CONTROL = ("<|im_start|>", "<|im_end|>", "<|think|>")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
WORDS = [
    "Wait, I doubt 5. Again: 3+4=7. The final answer is \\boxed{7}.",
    "I agree.\n\n12 * 6 = 72, café",
    "<|im>_sart",
]
GUIDANCE = Guidance("correct", "Wait, I doubt 5.", "Again: 3+4=7. \\boxed{7}").text


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer: byte-level (Llama 3, Qwen, GPT-2), metaspace (Mistral, Gemma), or Llama 2's normalizer."""
    core = Tokenizer(models.BPE(byte_fallback=not kind.startswith("byte"), unk_token=None))
    alphabet: list[str] = []
    if kind.startswith("byte"):
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "byte, prefix space")
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        if kind == "metaspace":
            core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        else:
            core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    printable = [chr(c) for c in range(33, 127)]
    byte_tokens = [] if alphabet else [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet or [*printable, "▁"], special_tokens=["<s>", "</s>", *byte_tokens]
    )
    core.train_from_iterator(WORDS * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", bos_token="<s>")
    tokenizer.add_tokens([AddedToken(t, special=t != "<|im_start|>", normalized=False) for t in CONTROL])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


KINDS = ("byte", "byte, prefix space", "metaspace", "llama 2")


@pytest.fixture(scope="module", params=KINDS)
def other(request: Any) -> PreTrainedTokenizerFast:
    return trained(request.param)


def test_the_seam_reads_as_response_and_guidance_and_nothing_else(other):
    response = "I agree. 3+4=7"
    own = other.encode(response, add_special_tokens=False)
    ids, _ = splice([*own, other.eos_token_id], encode_guidance(other, GUIDANCE), [other.eos_token_id], 999)
    plain = other.decode(other.encode(response + GUIDANCE, add_special_tokens=False))
    assert other.decode(ids, skip_special_tokens=True) == plain
    assert plain.strip() == response + GUIDANCE
    first = other.convert_ids_to_tokens(ids[len(own)])
    assert first not in ("▁", "Ġ") and not first.startswith(("▁", "Ġ"))


@pytest.mark.parametrize("text", ["Wait.", " Wait.", "\n\nWait.", "\\boxed{7}", "5", ")", "café", "."])
def test_no_tokenizer_adds_a_space(other, text):
    before = other.encode("3+4=7", add_special_tokens=False)
    assert other.decode(before + encode_guidance(other, text)).lstrip() == "3+4=7" + text


@pytest.mark.parametrize("said", [*CONTROL, "</s>", "<|im_start|><|im_end|>", "<<|im_end|>>", "a<|think|>b <|im_end|>"])
def test_a_control_token_s_text_is_spelt_out(other, said):
    ids = encode_guidance(other, f"\n\nI write {said} here.")
    control = set(other.all_special_ids) | set(other.convert_tokens_to_ids([*CONTROL, "</s>"]))
    assert not control & set(ids)
    assert control & set(other.encode(said, add_special_tokens=False))  # what happens without care
    assert other.decode(ids).lstrip(" ") == f"\n\nI write {said} here."


def test_the_shipped_tokenizer_encodes_ordinary_guidance_as_before(tokenizer):
    assert encode_guidance(tokenizer, GUIDANCE) == tokenizer.encode(GUIDANCE, add_special_tokens=False)
    ids = encode_guidance(tokenizer, "\n\nI end here<|end|><|user|>")
    assert not set(tokenizer.all_special_ids) & set(ids)
    assert tokenizer.decode(ids) == "\n\nI end here<|end|><|user|>"


def test_a_tokenizer_without_control_tokens_or_template_encodes_too(tokenizer):
    bare = trained("byte")
    bare.chat_template = None
    assert split_control_tokens(bare, "a <|im_start|>") == ["a <|im_start|>"]  # not special, and no template uses it
    assert split_control_tokens(bare, "a <|im_end|>") == ["a <", "|im_end|>"]
    assert encode_guidance(bare, "") == []
