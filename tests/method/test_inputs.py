"""What is refused before a step, with the place named; and what the teacher reads as the question."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import length_reward
from datasets import Dataset, IterableDataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    ProcessorMixin,
)

from thinktuning_lite.method.inputs import position_limit, prefill_of, question_of
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.settings import ThinkTuningConfig

# --- settings -----------------------------------------------------------------------------------------------

RISING = {"guided_fraction": 0.0, "guided_fraction_end": 0.5, "guidance_schedule": "linear"}


@pytest.mark.parametrize("breaking", [{"loss_type": "vespo"}, {"importance_sampling_level": "sequence"}])
def test_guidance_that_begins_at_zero_is_still_guidance(settings, breaking):
    assert ThinkTuningConfig(**settings(**RISING)).guides
    with pytest.raises(ValueError, match="vespo|importance_sampling_level"):
        ThinkTuningConfig(**settings(**RISING, **breaking))
    assert not ThinkTuningConfig(**settings(**RISING | {"guided_fraction_end": None}, **breaking)).guides
    assert not ThinkTuningConfig(**settings(**RISING, **breaking, guidance_steps=0)).guides


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"guided_fraction": 0.1, "guided_fraction_end": 0.5}, "guided_fraction_end=0.5 does nothing.*constant"),
        ({"guided_fraction": 0.1, "guidance_steps": -1}, "guidance_steps=-1"),
    ],
)
def test_settings_that_would_silently_do_nothing_are_refused(settings, overrides, match):
    with pytest.raises(ValueError, match=match):
        ThinkTuningConfig(**settings(**overrides))


# --- columns, rows, tokenizers ------------------------------------------------------------------------------


def test_a_missing_column_is_named_with_the_function_that_wants_it(build, dataset, scripted_teacher):
    def scored(completions: list[Any], difficulty: list[int], weight: float = 1.0, **kwargs: Any) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(ValueError, match="no column 'prompt'.*question, answer"):
        build(scripted_teacher, dataset.remove_columns("prompt"))
    for streamed in (False, True):
        data = dataset.remove_columns("answer")
        with pytest.raises(ValueError, match="'correctness_reward' needs a column 'answer'.*prompt, question"):
            build(
                scripted_teacher,
                data.to_iterable_dataset() if streamed else data,
                reward=[length_reward, correctness_reward],
            )
    with pytest.raises(ValueError, match="'scored' needs a column 'difficulty'"):
        build(scripted_teacher, reward=scored)
    build(scripted_teacher, dataset.add_column("difficulty", [1] * len(dataset)), reward=scored)


def test_fewer_rows_than_one_generation_asks_are_refused(build, dataset, scripted_teacher):
    with pytest.raises(ValueError, match="has 3 rows.*asks 4 different"):
        build(scripted_teacher, dataset.select(range(3)), gradient_accumulation_steps=4)
    build(scripted_teacher, dataset.select(range(4)), gradient_accumulation_steps=4)


def test_a_stream_without_rows_is_refused(build, scripted_teacher):
    with pytest.raises(ValueError, match="no rows"):
        build(scripted_teacher, IterableDataset.from_generator(lambda: iter(())))


class Processor(ProcessorMixin):
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


def test_a_processor_is_refused_with_the_way_out(build, tokenizer):
    with pytest.raises(TypeError, match="processor .Processor.*processor.tokenizer"):
        build(tok=Processor(tokenizer))


def test_a_row_without_a_question_is_refused_when_it_is_the_first(build, dataset, scripted_teacher):
    silent = Dataset.from_list([{"prompt": [{"role": "system", "content": "Solve."}], "answer": "1"}] * 4)
    with pytest.raises(ValueError, match="no question for the teacher.*'question'"):
        build(scripted_teacher, silent)
    build(scripted_teacher, silent, guided_fraction=0.0)


def test_a_prompt_to_which_a_template_was_applied_is_refused(build, dataset, tokenizer, scripted_teacher):
    templated = dataset.map(
        lambda row: {
            "prompt": tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        },
    )
    with pytest.raises(ValueError, match="teacher would be shown '.*chat template was already applied"):
        build(scripted_teacher, templated.remove_columns("question"))
    build(scripted_teacher, templated)  # the column `question` is what the teacher reads
    plain = templated.remove_columns("question").map(lambda row: {"prompt": "How many are 2 and 3?"})
    build(scripted_teacher, plain)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image": "a picture"}, "column 'image'"),
        ({"images": ["a picture"]}, "column 'images'"),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}]},
         "part of type 'image'"),
    ],
)  # fmt: skip
def test_what_the_teacher_could_not_see_is_refused_and_the_way_out_named(build, scripted_teacher, change, named):
    row = {"prompt": [{"role": "user", "content": "How many?"}], "answer": "1"} | change
    with pytest.raises(ValueError, match=f"{named}.*guidance is text only.*guided_fraction=0"):
        build(scripted_teacher, Dataset.from_list([row] * 4))


def test_an_empty_picture_column_is_no_picture(build, scripted_teacher, dataset):
    build(scripted_teacher, dataset.add_column("image", [None] * len(dataset)))


# --- the question -------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "How many?"}
PREFILL = {"role": "assistant", "content": "Let me see:"}


@pytest.mark.parametrize(
    ("row", "question", "prefill"),
    [
        ({"prompt": [USER]}, "How many?", ""),
        ({"prompt": [{"role": "system", "content": "Solve."}, USER, PREFILL]}, "How many?", "Let me see:"),
        ({"prompt": [USER, PREFILL, {"role": "user", "content": "And now?"}]}, "And now?", ""),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "How"}, {"type": "image"},
                                                  {"type": "text", "text": "many?"}]}]}, "How\nmany?", ""),
        ({"prompt": [USER, {"role": "user", "content": None}]}, "How many?", ""),
        ({"prompt": [USER], "question": None}, "How many?", ""),
        ({"prompt": [USER], "question": "In short?"}, "In short?", ""),
        ({"prompt": "Plain text."}, "Plain text.", ""),
        ({"prompt": [{"role": "system", "content": "Solve."}]}, "", ""),
        ({"prompt": []}, "", ""),
    ],
)  # fmt: skip
def test_the_question_is_the_last_user_message_with_text(row, question, prefill):
    assert (question_of(row), prefill_of(row)) == (question, prefill)


def test_the_teacher_reads_the_prefill_and_what_followed_it(build, dataset, scripted_teacher, tokenizer):
    begun = dataset.map(lambda row: {"prompt": [*row["prompt"], {"role": "assistant", "content": "1+1=2. "}]})
    trainer = build(scripted_teacher, begun.remove_columns("question"), guided_fraction=0.25)
    trainer._inputs = [begun.remove_columns("question")[0]] * 4
    ids = [tokenizer.encode("has 3", add_special_tokens=False) + [tokenizer.eos_token_id]] * 4
    trainer._teacher_mask = [[0] * len(row) for row in ids]
    trainer._guide([[0]] * 4, ids, None, 0.25)
    (asked,) = scripted_teacher.asked
    assert asked.question == dataset[0]["prompt"][-1]["content"]
    assert asked.response == "1+1=2. " + tokenizer.decode(ids[0], skip_special_tokens=True)


def test_rows_without_a_question_stay_unguided(build, dataset, scripted_teacher):
    trainer = build(scripted_teacher, guided_fraction=0.5)
    trainer._inputs = [{"prompt": []}] * 4 + [dataset[0]] * 4
    ids = [[7, trainer.eos_token_ids[0]]] * 8
    picks, _ = trainer._pick(ids, ["7"] * 8, 0.5)
    assert len(picks) == 2 and min(picks) >= 4


# --- learned positions --------------------------------------------------------------------------------------


def gpt2(tokenizer: Any, positions: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": tokenizer.pad_token_id}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=positions, n_embd=32, n_layer=1, n_head=2, **ids)
    )


def test_who_has_learned_positions(tokenizer):
    assert position_limit(gpt2(tokenizer, 64)) == 64
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50, max_position_embeddings=40)
    assert position_limit(OPTForCausalLM(OPTConfig(**small, ffn_dim=16, word_embed_proj_dim=16))) == 40
    assert position_limit(LlamaForCausalLM(LlamaConfig(**small, intermediate_size=16))) is None


def test_guidance_is_cut_at_the_last_learned_position(build, tokenizer, dataset, scripted_teacher):
    longest = max(
        len(tokenizer.apply_chat_template(x["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"])
        for x in dataset
    )
    with pytest.raises(ValueError, match=f"{longest + 15} learned positions.*needs {longest + 16}"):
        build(scripted_teacher, model=gpt2(tokenizer, longest + 15), guided_fraction=0.25)
    trainer = build(
        scripted_teacher, model=gpt2(tokenizer, longest + 16), guided_fraction=1.0, max_steps=3, rollout_log_steps=1
    )
    trainer.train()  # an index error without the cut
    assert scripted_teacher.asked
    guided = [logged["guidance/fraction"] for logged in trainer.state.log_history if "guidance/fraction" in logged]
    assert len(guided) == 3 and max(guided) > 0


def test_a_tokenizer_is_still_looked_at(build, tokenizer):
    no_eos = copy.deepcopy(tokenizer)
    no_eos.eos_token = None
    with pytest.raises(ValueError, match="no EOS"):
        build(tok=no_eos)
