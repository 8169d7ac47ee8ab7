"""Where training samples: by our sampler on the CPU of one process, by TRL for whatever that sampler does not know."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import length_reward
from transformers import GenerationConfig
from trl import GRPOTrainer

from thinktuning_lite.method import generation_seam
from thinktuning_lite.method.sampling import settings_of
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.trainer import ThinkTuningTrainer


@pytest.fixture
def build(settings, tiny_model, dataset, tokenizer, scripted_teacher):
    plain = settings()["generation_kwargs"]["suppress_tokens"]

    def make(**overrides: Any) -> ThinkTuningTrainer:
        asked = dict(generation_kwargs={"suppress_tokens": plain}, guided_fraction=0.25) | overrides
        args = ThinkTuningConfig(**settings(**asked))
        return ThinkTuningTrainer(
            tiny_model, length_reward, args, dataset, teacher=scripted_teacher, processing_class=tokenizer
        )

    return make


@pytest.fixture
def counted(monkeypatch) -> dict[str, list]:
    """The generations made by our sampler and by TRL's own code."""
    calls: dict[str, list] = {"sampler": [], "trl": []}
    sampler, single_turn = generation_seam.sample, GRPOTrainer._generate_single_turn

    def sampled(model, prompts, **how):
        calls["sampler"].append(sampler(model, prompts, **how))
        return calls["sampler"][-1]

    def by_trl(self, prompt_ids, *args, **kwargs):
        calls["trl"].append(single_turn(self, prompt_ids, *args, **kwargs))
        return calls["trl"][-1]

    monkeypatch.setattr(generation_seam, "sample", sampled)
    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", by_trl)
    return calls


def test_training_samples_through_our_sampler_and_guides_what_it_gave(build, counted, scripted_teacher):
    trainer = build(max_steps=3, max_completion_length=48)
    trainer.train()
    assert len(counted["sampler"]) == 3 and not counted["trl"]
    said = {row for completions in counted["sampler"] for row in map(tuple, completions)}
    eos, banned = trainer.eos_token_ids, set(trainer.args.generation_kwargs["suppress_tokens"])
    assert all(len(row) == 48 or row[-1] in eos for row in said)
    assert not banned & {i for row in said for i in row}
    assert scripted_teacher.asked
    assert [row["guidance/fraction"] > 0 for row in trainer.state.log_history if "loss" in row] == [True] * 3


@pytest.mark.parametrize(
    "asked",
    [
        dict(sampling_engine="hf"),
        dict(repetition_penalty=1.1),
        dict(min_p=0.1),
        dict(generation_kwargs={"forced_eos_token_id": 5}),
        dict(generation_kwargs={"num_beams": 2}),
    ],
    ids=str,
)
def test_what_the_sampler_does_not_know_is_left_to_trl(build, counted, asked):
    build(max_steps=1, guided_fraction=0.0, **asked).train()
    assert len(counted["trl"]) == 1 and not counted["sampler"]


def test_a_checkpoint_with_habits_of_its_own_is_left_to_trl(build, counted, tiny_model):
    tiny_model.generation_config.bad_words_ids = [[7, 8]]
    build(max_steps=1, guided_fraction=0.0).train()
    assert len(counted["trl"]) == 1 and not counted["sampler"]


def test_settings_are_the_asked_ones_over_the_checkpoints():
    own = GenerationConfig(eos_token_id=5, suppress_tokens=[7], temperature=0.6, top_p=0.9)
    asked = GenerationConfig(
        max_new_tokens=9, do_sample=True, temperature=1.0, eos_token_id=[5, 6], pad_token_id=0, repetition_penalty=1.0
    )
    assert settings_of(own, asked) == dict(
        max_new_tokens=9, temperature=1.0, top_k=0, top_p=0.9, suppress_ids=[7], eos_ids=[5, 6], pad_id=0
    )
    assert settings_of(GenerationConfig(bad_words_ids=[[3]]), asked) is None
    greedy = settings_of(own, GenerationConfig(max_new_tokens=9, pad_token_id=0, do_sample=False))
    assert greedy["temperature"] == 0 and greedy["eos_ids"] == [5]


def test_an_unknown_engine_is_refused(settings):
    with pytest.raises(ValueError, match="sampling_engine='vllm': choose one of auto, hf"):
        ThinkTuningConfig(**settings(sampling_engine="vllm"))
