"""A prompt that rows share is attended to once for all of them: the same logits, whatever the model, and no trace left."""

from __future__ import annotations

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.method.test_sampling import DECODED, ask, build, ragged
from thinktuning_lite.method import decoding, shared_attention

# Attention that no prompt can be shared in: not from transformers' registry, or to other keys and values than the cache's.
OWN_ATTENTION = {
    "falcon": DECODED["falcon"],
    "llama": dict(attn_implementation="eager"),
    "doge": {},
    "diffllama": {},
    "hrm_text": {},
    "deepseek_v3": dict(
        num_hidden_layers=1, q_lora_rank=None, kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8
    ),
}
PREFIX = list(range(10, 50))
BATCHES = {
    "groups": dict(prompts=[p for p in ragged() for _ in range(3)]),
    "prefix": dict(prompts=[PREFIX + p for p in ragged()], prefix=PREFIX),
    "prefix and groups": dict(prompts=[PREFIX + p for p in ragged() for _ in range(3)], prefix=PREFIX),
    "groups of one length": dict(prompts=[p for p in ragged() if len(p) == 3 for _ in range(4)]),
}


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch):
    monkeypatch.setattr(shared_attention, "LEAST", 0)  # for the few rows of a test, too


def logits_of(model, batch, monkeypatch, shares: bool | None = None, **how):
    """Each step's logits and the completions; `shares` False keeps a copy of the prompt for each row."""
    seen, made = [], []
    choose, apart = decoding._choose, decoding._set_apart
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_choose", lambda logits, *rest: seen.append(logits.clone()) or choose(logits, *rest))
        patch.setattr(decoding, "_set_apart", lambda *given: made.append(given) or apart(*given))
        if shares is False:
            patch.setattr(decoding.Watch, "can_share", False)
        torch.manual_seed(0)
        completions = ask(model, **batch, **how)
    assert len(made) == (shares is not False)  # it was shared, or it was not
    return seen, completions


@pytest.mark.parametrize("kind", [k for k in DECODED if k != "falcon"])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_the_logits_are_those_of_rows_with_a_copy_each(kind, batch, monkeypatch):
    model = build(kind, **DECODED[kind])
    ends = dict(eos_ids=[1, 2, 3, 4, 5, 6])  # rows leave at every step
    shared, copied = (logits_of(model, batch, monkeypatch, shares, **ends) for shares in (True, False))
    assert shared[1] == copied[1] and len({tuple(row) for row in shared[1]}) > 2
    for a, b in zip(shared[0], copied[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("rows_left", [2, 1])
def test_the_last_rows_go_on_with_copies(batch, rows_left, monkeypatch):
    model, joined, join = build("qwen2", **DECODED["qwen2"]), [], decoding._join
    ends = dict(eos_ids=[1, 2, 3, 4, 5, 6], max_new_tokens=60)
    apart = logits_of(model, batch, monkeypatch, False, **ends)
    monkeypatch.setattr(decoding, "_join", lambda *given: joined.append(given[-1].place) or join(*given))
    monkeypatch.setattr(shared_attention.SharedPrompts, "pays", property(lambda self: len(self.place) > rows_left))
    some = logits_of(model, batch, monkeypatch, True, **ends)
    assert some[1] == apart[1] and [1 <= len(place) <= rows_left for place in joined] == [True]
    for a, b in zip(some[0], apart[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_sharing_pays_where_it_saves_half_a_mebibyte_of_reading(monkeypatch):
    monkeypatch.undo()
    keys = torch.zeros(2, 4, 128, 32)  # 64 KiB a prompt, and as much of values
    shared = shared_attention.SharedPrompts([(keys, keys)], None, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert shared.pays  # six rows read what two had to
    shared.keep(torch.tensor([0, 1, 2, 4, 5]))
    assert not shared.pays


def test_half_precision(monkeypatch):
    model = build(num_key_value_heads=2).bfloat16()
    shared, copied = (logits_of(model, BATCHES["groups"], monkeypatch, s, eos_ids=()) for s in (True, False))
    exact = logits_of(build(num_key_value_heads=2), BATCHES["groups"], monkeypatch, True, eos_ids=())
    step = 1  # later tokens differ, and with them what follows
    off = [(x[0][step].float() - exact[0][step]).abs().max().item() for x in (shared, copied)]
    assert off[0] < 2 * off[1]


def test_few_repetitions_are_not_worth_it(monkeypatch):
    with pytest.raises(AssertionError):
        logits_of(build(), dict(prompts=ragged()), monkeypatch, True)


@pytest.mark.parametrize("kind", OWN_ATTENTION)
def test_a_model_with_attention_of_its_own_keeps_it(kind, monkeypatch):
    model, prompts = build(kind, **OWN_ATTENTION[kind]), BATCHES["groups"]["prompts"]
    monkeypatch.setattr(decoding, "_set_apart", None)  # calling it would fail
    said = [ask(model, prompts, temperature=0, engine=engine) for engine in ("fast", "hf")]
    assert said[0] == said[1] and len({tuple(row) for row in said[0]}) > 2


def test_the_model_is_as_it_was_also_after_an_error():
    model, names = build(), set(ALL_ATTENTION_FUNCTIONS)
    prompts = BATCHES["groups"]["prompts"]
    ask(model, prompts)
    calls: list[int] = []

    def fail(layer, given):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError

    handle = model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        ask(model, prompts, eos_ids=())
    handle.remove()
    assert model.config._attn_implementation == "sdpa" and set(ALL_ATTENTION_FUNCTIONS) == names
    assert ask(model, prompts, temperature=0) == ask(model, prompts, temperature=0, engine="hf")
