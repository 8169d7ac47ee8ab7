"""ThinkTuningTrainer in real steps: metrics, rollout log, refusals, resume, evaluation, the default teacher."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GUIDANCE, length_reward
from datasets import Dataset
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from peft import LoraConfig
from transformers import AutoTokenizer, LlamaForCausalLM

from thinktuning_lite.classroom.vocabulary import tag_ids
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.rollouts import Rollout, RolloutLog, groups_of, read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import ScriptedTeacher, parse_guidance
from thinktuning_lite.method.trainer import ThinkTuningTrainer

TAUGHT = parse_guidance(GUIDANCE).text


def steps_logged(trainer: Any) -> list[dict]:
    return [row for row in trainer.state.log_history if "loss" in row]


def rollouts(trainer: Any) -> list[Rollout]:
    return list(read_rollouts(Path(trainer.args.output_dir) / "rollouts.jsonl"))


# --- metrics and log ----------------------------------------------------------------------------------------


def test_metrics_of_guidance_agree_with_the_rollout_log(build, scripted_teacher, tokenizer):
    """Every metric is recomputed from the log's rows, over all micro-batches, guided or not."""
    trainer = build(
        scripted_teacher, guided_fraction=0.25, gradient_accumulation_steps=4, max_steps=2, rollout_log_steps=1,
        shaping_mask="teacher", shaping="luffy",
    )  # fmt: skip
    trainer.train()
    taught = len(tokenizer.encode(TAUGHT, add_special_tokens=False)) + 1  # and the EOS
    assert len(scripted_teacher.asked) == 2 * 4  # one of each group of 4
    for step, logged in enumerate(steps_logged(trainer)):
        rows = [r for r in rollouts(trainer) if r.step == step]
        assert len(rows) == 16
        assert logged["guidance/fraction"] == 0.25
        assert logged["guidance/format_failures"] == 0
        assert logged["guidance/teacher_tokens"] == taught
        for who, some in (
            ("guided", [r for r in rows if r.guided]),
            ("own", [r for r in rows if not r.guided]),
        ):
            assert len(some) == {"guided": 4, "own": 12}[who]
            assert logged[f"guidance/reward/{who}"] == pytest.approx(sum(r.reward for r in some) / len(some), rel=1e-4)
            mean = sum(r.advantage for r in some) / len(some)
            assert logged[f"guidance/advantage/{who}"] == pytest.approx(mean, rel=1e-3, abs=1e-5)
        tokens = [
            t for r in rows for t in zip(r.author, r.logps, r.weights, [r.advantage] * len(r.author), strict=True)
        ]
        for who, code in (("teacher", 1), ("own", 0)):
            p = [torch.tensor(logp).exp().item() for author, logp, _, _ in tokens if author == code]
            w = [weight for author, _, weight, _ in tokens if author == code]
            assert logged[f"guidance/probability/{who}"] == pytest.approx(sum(p) / len(p), rel=1e-3)
            assert logged[f"guidance/weight/{who}"] == pytest.approx(sum(w) / len(w), rel=1e-3)
        push = []  # |A s|: LUFFY's s is not its weight, so it is worked out from p
        for author, logp, _, advantage in tokens:
            p = torch.tensor(logp).exp().item()
            push.append(abs(advantage) * (0.1 * p / (p + 0.1) ** 2 if author else 1.0))
        share = sum(x for x, t in zip(push, tokens, strict=True) if t[0]) / sum(push)
        assert logged["guidance/loss_share/teacher"] == pytest.approx(share, rel=1e-3)
        assert logged["seconds/generate"] > 0 and logged["seconds/teach"] > 0 and logged["seconds/score"] > 0


@pytest.mark.parametrize("shaping_mask", ["guided", "teacher"])
def test_rollout_log_round_trips(build, scripted_teacher, tokenizer, tiny_folder, dataset, shaping_mask):
    trainer = build(
        scripted_teacher, guided_fraction=0.25, gradient_accumulation_steps=2, num_iterations=2, max_steps=5,
        rollout_log_steps=2, shaping_mask=shaping_mask,
    )  # fmt: skip
    trainer.train()
    rows = rollouts(trainer)
    # Steps 0, 2 and 4 are logged; 2 iterations, so each of them is the first pass over a generation.
    assert [(s, sum(r.step == s for r in rows)) for s in range(5)] == [(0, 8), (1, 0), (2, 8), (3, 0), (4, 8)]
    prompts = {x["question"]: x["prompt"] for x in dataset}
    start = LlamaForCausalLM.from_pretrained(tiny_folder)
    for (step, _), group in groups_of(rows).items():
        assert len(group) == 4 and len({r.question for r in group}) == 1
        assert sum(r.guided for r in group) == 1
        rewards = torch.tensor([r.reward for r in group])
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        torch.testing.assert_close(torch.tensor([r.advantage for r in group]), advantages, rtol=1e-4, atol=1e-5)
        for r in group:
            assert len(r.token_ids) == len(r.author) == len(r.logps) == len(r.weights)
            assert r.text == tokenizer.decode(r.token_ids, skip_special_tokens=True)
            assert r.reward == pytest.approx(length_reward([[{"content": r.text}]])[0], abs=1e-6)
            assert r.token_ids[-1] == tokenizer.eos_token_id and r.token_ids.count(tokenizer.eos_token_id) == 1
            assert r.author == sorted(r.author)  # the teacher's part comes last
            if r.guided:
                said = [i for i, a in zip(r.token_ids, r.author, strict=True) if a]
                assert tokenizer.decode(said, skip_special_tokens=True) == TAUGHT and r.text.endswith(TAUGHT)
            for author, logp, weight in zip(r.author, r.logps, r.weights, strict=True):
                p, wanted = torch.tensor(logp).double().exp().item(), 1.0
                if author or (r.guided and shaping_mask == "guided"):
                    denominator = p + 0.00025 * r.advantage
                    wanted = (
                        p / denominator if 0 < denominator <= 1 else {True: 1.0001, False: 0.9999}[denominator <= 0]
                    )
                    if r.advantage < 0 and p < 0.01:
                        wanted = 1.0
                assert weight == pytest.approx(wanted, rel=2e-2)  # near the pole p's 5 digits are few
            if step == 0:  # the policy is still the one that was saved
                prompt = tokenizer.apply_chat_template(prompts[r.question], add_generation_prompt=True, tokenize=False)
                ids = tokenizer.encode(prompt, add_special_tokens=False)
                with torch.no_grad():
                    logits = start(torch.tensor([ids + r.token_ids])).logits[0, len(ids) - 1 : -1]
                logps = logits.log_softmax(-1).gather(-1, torch.tensor(r.token_ids)[:, None]).squeeze(-1)
                torch.testing.assert_close(torch.tensor(r.logps), logps, rtol=1e-3, atol=1e-3)


def test_groups_of_several_generations_in_one_step_are_told_apart(build, scripted_teacher):
    trainer = build(
        scripted_teacher, guided_fraction=0.25, gradient_accumulation_steps=4, steps_per_generation=2, max_steps=2,
        rollout_log_steps=1,
    )  # fmt: skip
    trainer.train()
    groups = groups_of(rollouts(trainer))
    assert sorted(groups) == [(s, g) for s in range(2) for g in range(4)]
    for group in groups.values():
        assert len(group) == 4 and len({r.question for r in group}) == 1 and sum(r.guided for r in group) == 1


def test_malformed_feedback_is_counted_and_changes_nothing(build):
    logs = []
    for teacher, fraction in (
        (ScriptedTeacher(lambda r: "<opinion>correct</opinion> Well."), 0.25),
        (None, 0.0),
    ):
        trainer = build(teacher, guided_fraction=fraction, rollout_log_steps=1)
        trainer.train()
        logs.append((trainer, [r.to_json() for r in rollouts(trainer)]))
    (nonsense, guided), (_, unguided) = logs
    assert guided == unguided and len(guided) == 8
    for logged in steps_logged(nonsense):
        assert logged["guidance/fraction"] == 0 and logged["guidance/format_failures"] == 1
        assert "guidance/reward/guided" not in logged


def test_what_a_reward_logs_is_of_the_rollouts_in_training_only(build, scripted_teacher):
    def judged(completions, log_metric, log_extra, **kwargs):
        log_metric("judged", len(completions))
        log_extra("length", [len(c[-1]["content"]) for c in completions])
        return [len(c[-1]["content"]) % 7 / 6 for c in completions]

    trainer = build(scripted_teacher, reward=judged, guided_fraction=0.25, rollout_log_steps=1, max_steps=3)
    trainer.train()
    assert [logged["judged"] for logged in steps_logged(trainer)] == [4, 4, 4]
    assert trainer._pending_extra_logs == {}


def test_half_of_the_feedback_malformed(build):
    turn = iter(range(1000))
    trainer = build(ScriptedTeacher(lambda r: GUIDANCE if next(turn) % 2 else "no"), guided_fraction=0.5, max_steps=3)
    trainer.train()
    for logged in steps_logged(trainer):
        assert logged["guidance/fraction"] == 0.25 and logged["guidance/format_failures"] == 0.5


def test_only_responses_that_ended_by_themselves_are_guided(build, scripted_teacher, tokenizer):
    cut = {"suppress_tokens": [tokenizer.eos_token_id]}
    trainer = build(scripted_teacher, guided_fraction=0.5, generation_kwargs=cut)
    trainer.train()
    assert scripted_teacher.asked == []
    assert all(logged["guidance/fraction"] == 0 for logged in steps_logged(trainer))


def test_without_room_for_guidance_nothing_counts_as_guided(build, scripted_teacher):
    trainer = build(scripted_teacher, guided_fraction=0.25, max_guided_length=1)
    trainer.train()
    assert scripted_teacher.asked
    assert all(logged["guidance/fraction"] == 0 for logged in steps_logged(trainer))


def test_the_teacher_reads_what_the_student_wrote(build, scripted_teacher, dataset):
    trainer = build(scripted_teacher, guided_fraction=0.25, rollout_log_steps=1, behaviours=["self-conflict"])
    trainer.train()
    guided = [r for r in rollouts(trainer) if r.guided]
    read = sorted((q.question, q.response, q.behaviour) for q in scripted_teacher.asked)
    assert read == sorted((r.question, r.text.removesuffix(TAUGHT), "self-conflict") for r in guided)
    assert {q for q, _, _ in read} <= {x["question"] for x in dataset}


@pytest.mark.parametrize("cut", [True, False])
def test_guidance_follows_the_first_answer_or_the_whole_response(build, tokenizer, dataset, cut):
    solution, more = "1+2=3. \\boxed{3}", "\n\nWait, I doubt 3.\n\nAgain: 1+2=4. \\boxed{4}"
    texts = [solution + more, solution, "1+2=3", solution + more]
    asked = []

    def write(request):
        asked.append(request.response)
        return "nonsense" if len(asked) == 4 else GUIDANCE

    trainer = build(ScriptedTeacher(write), guided_fraction=1.0, guide_after_first_answer=cut)
    ids = [tokenizer.encode(t, add_special_tokens=False) + [tokenizer.eos_token_id] for t in texts]
    trainer._inputs = [dataset[0]] * 4
    trainer._teacher_mask = [[0] * len(row) for row in ids]
    guided, logps = trainer._guide([[0]] * 4, ids, [[-1.0] * len(row) for row in ids], 1.0)
    kept = [solution if cut else texts[0], solution, "1+2=3", solution if cut else texts[3]]
    assert asked == kept
    for i, row in enumerate(guided[:3]):
        own = tokenizer.encode(kept[i], add_special_tokens=False)
        taught = tokenizer.encode(TAUGHT, add_special_tokens=False) + [tokenizer.eos_token_id]
        assert row == own + taught == ids[i][: len(own)] + taught
        assert trainer._teacher_mask[i] == [0] * len(own) + [1] * len(taught)
        assert logps[i] == [-1.0] * len(own) + [None] * len(taught)
    assert guided[3] == ids[3] and not any(trainer._teacher_mask[3])  # a malformed reply cuts nothing


@pytest.mark.parametrize("cut", [True, False])
def test_a_rollout_that_was_cut_off_is_guided_behind_its_answer_if_guidance_follows_that(
    build, tokenizer, dataset, cut
):
    solution, more = "1+2=3. \\boxed{3}", "\n\nWait, I doubt 3.\n\nAgain: 1+2=4."
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in (solution + more, solution, "1+2=3")]
    trainer = build(ScriptedTeacher(lambda request: GUIDANCE), guided_fraction=1.0, guide_after_first_answer=cut)
    trainer._inputs, trainer._teacher_mask = [dataset[0]] * 3, [[0] * len(row) for row in ids]
    trainer.num_generations = 3
    guided, _ = trainer._guide([[0]] * 3, ids, None, 1.0)
    own = tokenizer.encode(solution, add_special_tokens=False)
    taught = [*own, *tokenizer.encode(TAUGHT, add_special_tokens=False), tokenizer.eos_token_id]
    assert guided == ([taught, taught, ids[2]] if cut else ids)


def test_where_an_answer_ends_may_be_said(build, tokenizer, dataset):
    ids = [tokenizer.encode("1+2=3. 1+2=4", add_special_tokens=False) + [tokenizer.eos_token_id]] * 2
    asked = []
    teacher = ScriptedTeacher(lambda request: asked.append(request.response) or GUIDANCE)
    trainer = build(teacher, guided_fraction=1.0, guide_after_first_answer=True)
    trainer.answer_end = lambda text: text.find(".") + 1
    trainer._inputs, trainer._teacher_mask, trainer.num_generations = [dataset[0]] * 2, [[0] * len(ids[0])] * 2, 2
    trainer._guide([[0]] * 2, ids, None, 1.0)
    assert [text.strip() for text in asked] == ["1+2=3."] * 2


def test_guidance_fades_and_stops_as_scheduled(build, scripted_teacher):
    trainer = build(
        scripted_teacher, guided_fraction=0.75, guided_fraction_end=0.25, guidance_schedule="linear", guidance_steps=3,
        max_steps=5, rollout_log_steps=1,
    )  # fmt: skip
    trainer.train()
    guided = [sum(r.guided for r in rollouts(trainer) if r.step == s) for s in range(5)]
    assert guided == [3, 2, 1, 0, 0]
    assert [logged.get("guidance/fraction") for logged in steps_logged(trainer)] == [
        0.75,
        0.5,
        0.25,
        None,
        None,
    ]


def test_evaluation_is_not_guided(build, scripted_teacher, dataset):
    trainer = build(
        scripted_teacher,
        eval_dataset=dataset.select(range(2)),
        guided_fraction=0.25,
        per_device_eval_batch_size=4,
    )
    trainer.train()
    asked = len(scripted_teacher.asked)
    metrics = trainer.evaluate()
    assert "eval_reward" in metrics and len(scripted_teacher.asked) == asked
    assert "guidance/fraction" in steps_logged(trainer)[-1]


# --- the policy ---------------------------------------------------------------------------------------------


def test_guidance_raises_the_probability_of_what_the_teacher_wrote(build, scripted_teacher):
    """The point of it all: with guided rollouts alone rewarded, the policy comes to find their words likely."""

    def taught_reward(completions: list[Any], **kwargs: Any) -> list[float]:
        return [float(c[-1]["content"].endswith(TAUGHT)) for c in completions]

    trainer = build(
        scripted_teacher, reward=taught_reward, guided_fraction=0.25, max_steps=12, learning_rate=1e-2, shaping="plain"
    )
    trainer.train()
    p = [logged["guidance/probability/teacher"] for logged in steps_logged(trainer)]
    assert p[-1] > 10 * p[0]
    assert all(logged["guidance/advantage/guided"] > 1 for logged in steps_logged(trainer))


def test_the_student_role_never_samples_the_teachers_tags(build, tokenizer, tiny_folder):
    """The checkpoint's generation config suppresses them, and TRL's sampling must not lift that."""
    model = LlamaForCausalLM.from_pretrained(tiny_folder)
    with torch.no_grad():  # all but certain to be written otherwise
        model.model.embed_tokens.weight[tag_ids(tokenizer)] *= 6
    free = copy.deepcopy(model)
    model.generation_config.suppress_tokens = tag_ids(tokenizer)
    written = []
    for policy in (free, model):
        trainer = build(
            model=policy,
            guided_fraction=0.0,
            generation_kwargs=None,
            max_completion_length=40,
            rollout_log_steps=1,
        )
        trainer.train()
        written.append({i for r in rollouts(trainer) for i in r.token_ids} & set(tag_ids(tokenizer)))
    assert written[0] and not written[1]


def test_the_default_teacher_is_a_frozen_copy(build):
    trainer = build(guided_fraction=0.25, teacher_max_new_tokens=4, max_steps=2)
    assert isinstance(trainer.teacher, PolicyTeacher)
    start = [p.clone() for p in trainer.teacher.model.parameters()]
    ids = torch.arange(6, 20).unsqueeze(0)
    says = trainer.teacher.model(ids).logits.clone()
    assert torch.equal(says, trainer.model(ids).logits)
    trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(trainer.teacher.model.parameters(), start, strict=True))
    assert torch.equal(trainer.teacher.model(ids).logits, says)  # frozen weights are not enough: TRL swaps `forward`
    assert not torch.equal(trainer.model(ids).logits, says)
    assert not any(p.requires_grad for p in trainer.teacher.model.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), start, strict=True))


def test_the_default_teacher_s_template_gets_what_the_student_s_gets(build):
    kwargs = {"enable_thinking": False}
    assert build(guided_fraction=0.25, chat_template_kwargs=kwargs).teacher.chat_template_kwargs == kwargs


def test_with_lora_the_default_teacher_costs_no_second_model(build, tiny_folder):
    # Greedy, the untouched base always says the same; an adapter that moves would be heard.
    trainer = build(
        guided_fraction=0.25, teacher_max_new_tokens=8, max_steps=3, learning_rate=0.1, gradient_checkpointing=True,
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.0), rollout_log_steps=1,
    )  # fmt: skip
    assert trainer.teacher.model is trainer.accelerator.unwrap_model(trainer.model)
    heard = []
    teach = trainer.teacher
    trainer.teacher = lambda requests: heard.append((requests, teach(requests))) or heard[-1][1]
    trainer.train()
    assert any(p.abs().max() > 0 for n, p in trainer.model.named_parameters() if "lora_B" in n)
    base = PolicyTeacher(LlamaForCausalLM.from_pretrained(tiny_folder), trainer.processing_class, TINY_PROMPT, 8)
    assert len(heard) == 3 and all(base(requests) == replies for requests, replies in heard)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"num_generations": 1}, "at least 2 generations"),
        ({"guided_fraction": 1.5}, "guided_fraction=1.5"),
        ({"guided_fraction": -0.1}, "guided_fraction=-0.1"),
        ({"guided_fraction": float("nan")}, "guided_fraction=nan"),
        ({"guided_fraction_end": 2}, "guided_fraction_end=2"),
        ({"shaping": "aas"}, "shaping='aas'.*intended, released, luffy, plain"),
        ({"shaping_mask": "student"}, "shaping_mask='student'.*guided, teacher"),
        ({"guidance_schedule": "step"}, "guidance_schedule='step'"),
        ({"guidance_selection": "best"}, "guidance_selection='best'"),
        ({"behaviours": []}, "behaviours"),
        ({"teacher_max_new_tokens": 0}, "teacher_max_new_tokens=0"),
        ({"gamma_min": 2.0}, "gamma_min"),
        ({"fallback_probability": 1.5}, "fallback_probability"),
    ],
)
def test_a_bad_config_is_refused_with_its_name(settings, overrides, match):
    with pytest.raises(ValueError, match=match):
        ThinkTuningConfig(**settings(**overrides))


def test_all_problems_of_a_config_come_in_one_message(settings):
    with pytest.raises(ValueError, match=r"(?s)shaping='x'.*guided_fraction=3.*top_entropy_quantile"):
        ThinkTuningConfig(**settings(shaping="x", guided_fraction=3, top_entropy_quantile=0.5))


def test_behaviours_must_be_known_to_the_teacher_s_prompt(build):
    with pytest.raises(ValueError, match="shouting.*self-conflict"):
        build(behaviours=["shouting"])
    with pytest.raises(ValueError, match="cannot choose"):  # the tiny prompt names one
        build(behaviours=None)


def test_wrong_inputs_are_refused_before_training(build, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        build(train_dataset=Dataset.from_list([]))
    no_template, no_eos = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    no_template.chat_template, no_eos.eos_token = None, None
    with pytest.raises(ValueError, match="no EOS token"):
        build(tok=no_eos)
    with pytest.raises(ValueError, match="no chat template"):
        build(tok=no_template)
    for path in (str(tmp_path / "nowhere"), "./nowhere", "~/nowhere", "runs/a/checkpoint-9"):
        with pytest.raises(FileNotFoundError, match="no model folder at.*nowhere|checkpoint-9"):
            build(model=path)
    with pytest.raises(FileNotFoundError, match="'nobody/nowhere' is neither"):
        build(model="nobody/nowhere")


def test_a_path_without_tokenizer_arguments_still_finds_a_missing_eos(build, tiny_folder, tmp_path):
    tok = AutoTokenizer.from_pretrained(tiny_folder)
    tok.eos_token = None
    LlamaForCausalLM.from_pretrained(tiny_folder).save_pretrained(tmp_path / "m")
    tok.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="no EOS token"):
        build(model=str(tmp_path / "m"), tok=None)


def test_another_trainers_config_is_refused(settings, tiny_model, dataset, tokenizer):
    from trl import GRPOConfig

    with pytest.raises(TypeError, match="GRPOConfig.*ThinkTuningConfig"):
        ThinkTuningTrainer(tiny_model, length_reward, GRPOConfig(**settings()), dataset, processing_class=tokenizer)


@pytest.mark.parametrize("name", ["rollout_func", "environment_factory"])
def test_what_bypasses_the_splice_is_refused(settings, tiny_model, dataset, tokenizer, name):
    with pytest.raises(ValueError, match=name):
        ThinkTuningTrainer(
            tiny_model, length_reward, ThinkTuningConfig(**settings()), dataset, processing_class=tokenizer,
            **{name: lambda *args: None},
        )  # fmt: skip


def test_selection_by_correctness_needs_the_answers(build, scripted_teacher, dataset):
    with pytest.raises(ValueError, match="guidance_selection='wrong'.*'answer'.*question"):
        build(
            scripted_teacher, dataset.remove_columns("answer"), guided_fraction=0.25, guidance_selection="wrong"
        )  # fmt: skip


# --- resume -------------------------------------------------------------------------------------------------


def test_a_resumed_run_ends_as_one_that_was_never_interrupted(build, scripted_teacher):
    common = dict(
        guided_fraction=0.25, gradient_accumulation_steps=2, max_steps=4, rollout_log_steps=1, shaping="released",
        save_strategy="steps", save_steps=2,
    )  # fmt: skip
    straight = build(scripted_teacher, **common)
    straight.train()
    resumed = build(scripted_teacher, **common)
    resumed.train(resume_from_checkpoint=str(Path(straight.args.output_dir) / "checkpoint-2"))

    late = [r for r in rollouts(straight) if r.step >= 2]
    again = rollouts(resumed)
    assert [(r.step, r.group, r.token_ids, r.author) for r in again] == [
        (r.step, r.group, r.token_ids, r.author) for r in late
    ]
    assert sum(r.guided for r in again) == 4
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


# --- the log as a file --------------------------------------------------------------------------------------


def rollout(text: str = "5+2=7", question: str = "Q") -> Rollout:
    return Rollout(
        3, 1, question, text, [1, 2, 5], [0, 1, 1], [-0.1, -12.5, float("-inf")], [1.0, 0.25, 1.0], 0.5, -1.5
    )


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(), max_size=4))
def test_any_text_survives_the_log(tmp_path, texts):
    path = tmp_path / "log.jsonl"
    path.unlink(missing_ok=True)
    rows = [rollout(t, q) for t in [*texts, "\u2028 \x85 \x1c \r\n \x0b"] for q in ("Q", "\u2029")]
    for row in rows:
        RolloutLog(path).write(row)
    assert list(read_rollouts(path)) == rows


def test_a_line_cut_short_is_skipped_and_a_resumed_log_goes_on_behind_it(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RolloutLog(path)
    log.write(rollout("a"))
    log.write(rollout("b"))
    whole = path.read_bytes()
    for kept in (1, 20, len(whole) // 2 - 2):
        path.write_bytes(whole + whole[:kept])  # killed while writing the third row
        assert [r.text for r in read_rollouts(path)] == ["a", "b"]
        RolloutLog(path).write(rollout("c"))
        assert [r.text for r in read_rollouts(path)] == ["a", "b", "c"]
        assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("bad", ["{}", "not json", '{"schema": 1}', '{"schema": 99}'])
def test_a_foreign_line_is_refused_with_its_number(tmp_path, bad):
    path = tmp_path / "log.jsonl"
    path.write_text(f"{rollout().to_json()}\n{bad}\n{rollout().to_json()}\n")
    with pytest.raises(ValueError, match="line 2"):
        list(read_rollouts(path))
