"""The rollout log of schema 2: the documented schema, this project's trainer, and any of TRL's, which stays what it is."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from conftest import length_reward
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from thinktuning_lite.method.recorder import RolloutRecorder
from thinktuning_lite.method.rollouts import Rollout, parse_row, read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.trainer import ThinkTuningTrainer

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "rollouts.schema.json").read_text(encoding="utf-8"))
ROW = dict(
    step=0, group=0, question="q", text="t", token_ids=[5], author=[0], logps=[-1.0], weights=[1.0], reward=1.0,
    advantage=0.5,
)  # fmt: skip


def lines_of(folder: str | Path) -> list[dict]:
    text = (Path(folder) / "rollouts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def none_for_some(completions, **kwargs):
    return [None if i % 4 == 0 else 1.0 for i in range(len(completions))]


def test_the_trainers_log_is_as_documented(settings, tiny_model, dataset, tokenizer, scripted_teacher):
    args = ThinkTuningConfig(
        **settings(guided_fraction=0.25, guidance_steps=9, rollout_log_steps=1, beta=0.05, use_bias_correction_kl=False,
                   num_iterations=2, max_steps=2)
    )  # fmt: skip
    trainer = ThinkTuningTrainer(
        tiny_model, [length_reward, none_for_some], args, dataset, teacher=scripted_teacher, processing_class=tokenizer
    )
    trainer.train()
    rows = lines_of(args.output_dir)
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    assert rows[0]["run"]["loss_type"] == "grpo" and rows[0]["run"]["shaping"] == args.shaping
    rollouts = list(read_rollouts(Path(args.output_dir) / "rollouts.jsonl"))
    assert len(rollouts) == len(rows) - 1 > 0
    for r in rollouts:
        n = len(r.token_ids)
        assert len(r.ref_logps) == len(r.old_logps) == len(r.entropy) == n and r.finish == "stop"
        assert set(r.rewards) == {"length_reward", "none_for_some"}
        assert (r.replaced is not None) == r.guided
        if r.guided:
            again = length_reward([[{"role": "assistant", "content": r.replaced["text"]}]])[0]
            judged = r.replaced["reward"]
            assert judged in (pytest.approx(again), pytest.approx(again + 1))
    assert any(r.guided for r in rollouts) and any(r.rewards["none_for_some"] is None for r in rollouts)


def test_schema_1_still_opens_and_what_is_undocumented_is_refused():
    assert parse_row(json.dumps(ROW | {"schema": 1})) == Rollout(**ROW)
    jsonschema.validate(json.loads(Rollout(**ROW).to_json()), SCHEMA)
    for wrong in ({"finish": "maybe"}, {"logps": "no"}, {"rewards": [1.0]}, {"unheard_of": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(Rollout(**ROW).to_json()) | wrong, SCHEMA)


def trained(kind, settings, model, dataset, tokenizer, record: bool, **more):
    """Losses and gradients of two steps, and the weights at the end."""
    torch.manual_seed(0)
    made, config = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}[kind]
    values = settings(max_steps=2, gradient_accumulation_steps=2, **more)
    if kind == "rloo":
        values.pop("loss_type")
    args = config(**values)
    trainer = made(
        model=model, reward_funcs=length_reward, args=args, train_dataset=dataset, processing_class=tokenizer
    )
    seen: list[torch.Tensor] = []
    inner = trainer.training_step

    def training_step(*a, **k):
        loss = inner(*a, **k)
        seen.append(loss.clone())
        seen.extend(p.grad.clone() for p in trainer.model.parameters() if p.grad is not None)
        return loss

    trainer.training_step = training_step
    if record:
        RolloutRecorder(trainer, every=1)
    trainer.train()
    return seen + [p.detach().clone() for p in trainer.model.parameters()], args


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_a_recorded_trainer_is_bit_for_bit_the_same_and_its_log_is_whole(
    kind, settings, tiny_folder, dataset, tokenizer
):
    from transformers import LlamaForCausalLM

    runs = []
    for record in (False, True):
        model = LlamaForCausalLM.from_pretrained(tiny_folder)
        values, args = trained(kind, settings, model, dataset, tokenizer, record)
        runs.append(values)
    assert len(runs[0]) == len(runs[1]) > 20
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    rows = lines_of(args.output_dir)
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    rollouts = list(read_rollouts(Path(args.output_dir) / "rollouts.jsonl"))
    assert rows[0]["run"]["trainer"].endswith("Trainer") and len(rollouts) == 2 * 8
    assert {r.step for r in rollouts} == {0, 1} and len({(r.step, r.group) for r in rollouts}) == 4
    for r in rollouts:
        assert r.text == tokenizer.decode(r.token_ids, skip_special_tokens=True)
        assert r.reward == pytest.approx(length_reward([[{"content": r.text}]])[0])


def test_what_cannot_be_recorded_is_refused(settings, tiny_model, dataset, tokenizer):
    class Other: ...

    with pytest.raises(ValueError, match="GRPOTrainer and RLOOTrainer"):
        RolloutRecorder(Other())
    args = ThinkTuningConfig(**settings(guided_fraction=0.0))
    ours = ThinkTuningTrainer(tiny_model, length_reward, args, dataset, processing_class=tokenizer)
    with pytest.raises(ValueError, match="rollout_log_steps"):
        RolloutRecorder(ours)
