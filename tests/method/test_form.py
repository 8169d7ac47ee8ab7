"""form.py: a teacher that knows nothing still writes well-formed guidance, within its budget, by either engine."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from thinktuning_lite.method.form import Form, request_fields
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.sampling import sample
from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance

pytest.importorskip("llguidance")
BUDGET = 96


@pytest.fixture(scope="module")
def random_model(byte_tokenizer) -> LlamaForCausalLM:
    """Its vocabulary is larger than the tokenizer's, as in Qwen's models: nobody may choose from the rest."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(byte_tokenizer) + 37, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.3,
        bos_token_id=None, eos_token_id=byte_tokenizer.eos_token_id, pad_token_id=byte_tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def form_of(model, tokenizer, budget: int = BUDGET) -> Form:
    return Form(tokenizer, model.config.vocab_size, [tokenizer.eos_token_id], budget)


@pytest.mark.parametrize("engine", ["fast", "hf"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_every_reply_of_a_random_model_is_well_formed_and_ends(random_model, byte_tokenizer, engine, temperature):
    prompts = [byte_tokenizer.encode(f"Ana has {i} apples.") for i in range(12)]
    eos = byte_tokenizer.eos_token_id
    torch.manual_seed(1)
    said = sample(
        random_model, prompts, max_new_tokens=BUDGET, eos_ids=[eos], pad_id=eos, temperature=temperature, engine=engine,
        constraint=form_of(random_model, byte_tokenizer)(len(prompts)),
    )  # fmt: skip
    assert all(ids[-1] == eos and len(ids) <= BUDGET for ids in said)
    found = [parse_guidance(text) for text in byte_tokenizer.batch_decode(said, skip_special_tokens=True)]
    assert None not in found
    assert temperature == 0 or len({g.opinion for g in found}) == 2


def test_both_engines_choose_alike(random_model, byte_tokenizer):
    prompts = [byte_tokenizer.encode("Ana" + " has" * i) for i in range(1, 5)]
    eos = byte_tokenizer.eos_token_id
    fast, hf = (
        sample(random_model, prompts, max_new_tokens=BUDGET, eos_ids=[eos], pad_id=eos, temperature=0, engine=engine,
               constraint=form_of(random_model, byte_tokenizer)(len(prompts)))
        for engine in ("fast", "hf")
    )  # fmt: skip
    assert fast == hf


def test_a_policy_teacher_keeps_the_form_only_when_asked_to(random_model, byte_tokenizer):
    requests = [GuidanceRequest("Who has the most?", f"Ben has {i}.", "self-critique") for i in range(3)]
    free, kept = (
        PolicyTeacher(random_model, byte_tokenizer, max_new_tokens=BUDGET, batch_size=2, keeps_form=keeps)(requests)
        for keeps in (False, True)
    )
    assert [parse_guidance(reply) for reply in free] == [None] * 3
    assert all(parse_guidance(reply) for reply in kept)


class Saying:
    """Follows one text of its own, as a model that keeps the form by itself would; returns what the constraint lets it say."""

    def __init__(self, tokenizer, text: str) -> None:
        self.ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        self.tokenizer = tokenizer

    def under(self, form: Form, budget: int) -> list[int]:
        constraint, said = form(1), []
        while len(said) < budget and (not said or said[-1] != self.tokenizer.eos_token_id):
            logits = torch.zeros(1, len(self.tokenizer))
            logits[0, self.ids[min(len(said), len(self.ids) - 1)]] = 1.0
            constraint.restrict([0], said[-1:] or None, logits)
            said.append(int(logits.argmax()))
        return said


@pytest.mark.parametrize(
    "text",
    [
        "<opinion>correct</opinion><reason>Let me see.</reason><phrase>6 + 7 = 13.</phrase>",
        "<opinion>incorrect</opinion>\n<reason>Wait: 3 < 5.</reason>\n<phrase>[1, 2] I will be back!</phrase>",
    ],
)
def test_who_keeps_the_form_by_itself_is_not_led_elsewhere(byte_tokenizer, text):
    """A reply ends where the teacher ends it, in the tokens it would have chosen alone."""
    speaker = Saying(byte_tokenizer, text)
    form = Form(byte_tokenizer, len(byte_tokenizer), [byte_tokenizer.eos_token_id], 400)
    assert speaker.under(form, 400) == speaker.ids


def test_who_never_ends_is_closed_within_the_budget(byte_tokenizer):
    for text in ("<" * 500, "\u00e9" * 250, "again " * 90, "[ " * 250):
        speaker = Saying(byte_tokenizer, "<opinion>correct</opinion><reason>" + text)
        form = Form(byte_tokenizer, len(byte_tokenizer), [byte_tokenizer.eos_token_id], BUDGET)
        said = speaker.under(form, BUDGET)
        assert said[-1] == byte_tokenizer.eos_token_id
        assert parse_guidance(byte_tokenizer.decode(said, skip_special_tokens=True))


def test_a_budget_that_the_tags_fill_is_refused(random_model, byte_tokenizer):
    with pytest.raises(ValueError, match="its tags take .* raise teacher_max_new_tokens"):
        form_of(random_model, byte_tokenizer, 30)


def test_without_the_library_the_way_out_is_said(random_model, byte_tokenizer, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"thinktuning_lite\[form\]"):
        form_of(random_model, byte_tokenizer)


# ---------------------------------------------------------------- servers


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("<opinion>correct</opinion><reason>I add: 3 < 5, [1, 2].</reason><phrase>\\boxed{5}</phrase>", True),
        ("<opinion>maybe</opinion><reason>I add.</reason><phrase>5</phrase>", False),
        ("<opinion>correct</opinion><reason> </reason><phrase>5</phrase>", False),
        ("<opinion>correct</opinion><reason>I <b>add</b>.</reason><phrase>5</phrase>", False),
        ("<opinion>correct</opinion><reason>So [/THINK] be it.</reason><phrase>5</phrase>", False),
        ("<opinion>correct</opinion><reason>" + "I add. " * 100 + "</reason><phrase>5</phrase>", False),
    ],
)
def test_the_expression_for_servers_takes_what_the_parser_takes(text, fits):
    pattern = request_fields("regex", 256, bounded=True)["structured_outputs"]["regex"]
    assert bool(re.fullmatch(pattern, text)) == fits
    assert not fits or parse_guidance(text)
