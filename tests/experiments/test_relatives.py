"""ThinkTuning's relatives: what each trains on, and what its teacher has read."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from thinktuning_lite.classroom import turns
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.sample import load_tiny_set
from thinktuning_lite.experiments import relatives
from thinktuning_lite.experiments.runs import read_metrics
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import Guidance
from thinktuning_lite.method.trainer import ThinkTuningTrainer


@pytest.fixture
def trained(settings, new_model, dataset, tokenizer):
    """A trainer of the given class after its run, and the rollouts that it was trained on."""

    def train(kind: type[ThinkTuningTrainer], reward, teacher=None, **overrides):
        args = ThinkTuningConfig(**settings(rollout_log_steps=1, **overrides))
        policy = new_model()
        trainer = kind(
            policy, reward, args, dataset, teacher=teacher, teacher_prompt=TINY_PROMPT, processing_class=tokenizer
        )
        trainer.train()
        return trainer, list(read_rollouts(Path(args.output_dir) / "rollouts.jsonl"))

    return train


def test_dynamic_sampling_trains_on_groups_of_unequal_rewards(trained, dataset):
    flat = set(dataset["question"][:4])

    def reward(completions, question, **kwargs):
        return [1.0 if q in flat else len(c[-1]["content"]) % 7 / 6 for c, q in zip(completions, question, strict=True)]

    options = dict(guided_fraction=0.0, max_steps=6)
    _, plain = trained(ThinkTuningTrainer, reward, **options)
    trainer, chosen = trained(relatives.UnequalGroupsTrainer, reward, **options)
    assert len(plain) == len(chosen) == 6 * 4
    # Of five groups a step, at most four can be flat.
    assert flat & {r.question for r in plain} and not flat & {r.question for r in chosen}
    for step in range(6):
        group = [r for r in chosen if r.step == step]
        assert len({r.question for r in group}) == 1 and len({r.reward for r in group}) > 1
    assert [row["unequal_groups"] for row in trainer.state.log_history if "loss" in row] == [1.0] * 6


def test_dynamic_sampling_fills_up_with_equal_groups_and_draws_alike_again(trained, dataset):
    alive = dataset["question"][0]

    def reward(completions, question, **kwargs):
        return [len(c[-1]["content"]) % 7 if q == alive else 1.0 for c, q in zip(completions, question, strict=True)]

    (_, first), (_, second) = (
        trained(relatives.UnequalGroupsTrainer, reward, guided_fraction=0.0, max_steps=6) for _ in range(2)
    )
    assert len(first) == 6 * 4 and 0 < sum(r.question == alive for r in first) < 24
    assert [(r.question, r.text) for r in first] == [(r.question, r.text) for r in second]


def test_budgets_of_dynamic_sampling_are_equal():
    sampled = relatives.equal_token_steps(32) * (relatives.PROMPTS_PER_STEP + relatives.EXTRA_GROUPS)
    assert 0 <= 32 * relatives.PROMPTS_PER_STEP - sampled < relatives.PROMPTS_PER_STEP + relatives.EXTRA_GROUPS


def test_a_refinement_stands_in_the_attempts_place(trained, scripted_teacher, tokenizer):
    _, rollouts = trained(
        relatives.RefinementTrainer,
        lambda completions, **k: [float(len(c[-1]["content"])) for c in completions],
        scripted_teacher,
        guided_fraction=0.25,
        shaping="luffy",
    )
    guided = [r for r in rollouts if r.guided]
    assert len(guided) == 2
    for r in guided:
        assert r.text == r"3+4=7. \boxed{7}" and all(r.author)
        assert r.token_ids[-1] == tokenizer.eos_token_id and r.replaced["text"] not in r.text


# ---------------------------------------------------------------- self-distillation


def test_the_self_teacher_has_read_what_its_checker_role_was_trained_on():
    """Its context is a prefix of a turn of the classroom's own pretraining, whose second solution it is about to say."""
    _, tokenizer = load_classroom()
    problem = turns.draw_problem(random.Random(1))
    attempt = turns.solution_text([str(s) for s in problem.steps])
    said = Guidance("correct", relatives._REFLECTION, turns.PHRASE_START + "rest")
    messages = turns.checker_messages(problem.question)
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + attempt + said.text
    asked = [{"role": "user", "content": problem.question}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert relatives.teacher_template(tokenizer).format(prompt=prompt, solution=attempt) + "rest" == whole


def test_the_self_teacher_finds_the_worked_route_likelier_than_the_student_does():
    model, tokenizer = load_classroom()
    problems = [p for p in (turns.draw_problem(random.Random(i)) for i in range(40)) if p.has_product][:6]

    def logp(context: str, text: str) -> float:
        ids, said = (tokenizer.encode(t, add_special_tokens=False) for t in (context, text))
        with torch.no_grad():
            logits = model(torch.tensor([ids + said])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        return logits.gather(-1, torch.tensor(said)[:, None]).sum().item()

    for problem in problems:
        asked = [{"role": "user", "content": problem.question}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        plain = turns.solution_text([str(s) for s in problem.steps])
        context = relatives.teacher_template(tokenizer).format(prompt=prompt, solution=plain)
        careful = turns.solution_text(turns.careful_steps(problem))
        assert logp(context, careful) > logp(prompt, careful) + 1


@pytest.mark.parametrize("method", ["sdpo", "sdft"])
def test_self_distillation_trains_and_goes_on(method, tmp_path, monkeypatch):
    monkeypatch.setattr(relatives, "PROMPTS_PER_STEP", 2)
    relatives.train_self_distilled(method, 1, 0, tmp_path)
    trainer = relatives.train_self_distilled(method, 2, 0, tmp_path)
    start, tokenizer = load_classroom()
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert any(not torch.equal(a, b) for a, b in zip(trainer.model.parameters(), start.parameters(), strict=True))
    frozen = trainer.accelerator.unwrap_model(trainer.teacher_model)
    assert all(torch.equal(a, b) for a, b in zip(frozen.parameters(), start.parameters(), strict=True))
    config = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text(encoding="utf-8"))
    assert config["global_step"] == 2


def test_every_training_problem_has_its_solution_as_context():
    _, tokenizer = load_classroom()
    rows = load_tiny_set("train")[:20]
    for row, given in zip(rows, relatives.prompts_as_text(tokenizer, rows), strict=True):
        assert row["question"] in given["prompt"] and given["privileged_context"].endswith(
            f"\\boxed{{{row['answer']}}}"
        )
