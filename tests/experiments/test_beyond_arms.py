"""The arms' parts: policies that read the log, teachers made wrong, weak, or asked together."""

from __future__ import annotations

import random

import pytest

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.turns import solution_text
from thinktuning_lite.experiments import beyond_policies as policies
from thinktuning_lite.experiments.beyond_arms import ARMS, RELEASED
from thinktuning_lite.experiments.beyond_teachers import (
    Agreement,
    HintFirst,
    SecondReader,
    WrongTeacher,
    weak_teacher,
    with_an_error,
    written,
)
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.equations import equations
from thinktuning_lite.method.prompts import BEHAVIOURS
from thinktuning_lite.method.teacher import Guidance, GuidanceRequest, NoReply, ScriptedTeacher, parse_guidance

PHRASE = "Again: 20*4=80. 3*4=12. 80+12=92. 92-5=87. \\boxed{87}"
SAID = Guidance("incorrect", "Wait, 23*4=82 looks wrong to me.", PHRASE)


# --- policies -----------------------------------------------------------------------------------------------


def step(**metrics: float) -> dict:
    return {f"guidance/{name.replace('__', '/')}": value for name, value in metrics.items()}


def test_the_bandit_turns_to_the_behaviour_that_helps_and_draws_evenly_before_it_knows():
    choose, rng = policies.thompson(("a", "b", "c")), random.Random(0)
    blank = [choose([{"loss": 0.1}], rng) for _ in range(600)]
    assert all(150 < blank.count(b) < 250 for b in "abc")
    log = [
        {"guidance/behaviour/a/guided": 4.0, "guidance/behaviour/a/helped": 0.25, "guidance/behaviour/b/guided": 4.0,
         "guidance/behaviour/b/helped": 1.0},
    ] * 5  # fmt: skip
    drawn = [choose(log, rng) for _ in range(200)]
    assert drawn.count("a") == 0  # 5 of 20 helped
    assert drawn.count("b") > 180  # 20 of 20
    assert drawn.count("c") > 0  # never tried: it may still be the best


def spent(policy, steps: int, tokens: float = policies.REPLY_TOKENS) -> tuple[list[float], float]:
    """The fractions that a policy asks for in a run, and the teacher's tokens that it then cost."""
    log: list[dict] = []
    for i in range(steps):
        fraction = policy(i, log)
        guided = max(1, round(fraction * 8)) / 8 if fraction > 0 else 0.0
        log.append(
            step(fraction=guided, teacher_tokens=tokens) | step(all_wrong=0.1, reward__own=0.4, reward__guided=0.9)
        )
    return [row["guidance/fraction"] for row in log], policies.teacher_tokens(log)


@pytest.mark.parametrize("name", policies.SCHEDULES)
@pytest.mark.parametrize("tokens", [policies.REPLY_TOKENS, 80.0])
def test_every_schedule_spends_what_the_main_job_spends(name: str, tokens: float):
    steps = 32
    budget = policies.guided_rollouts(steps) * policies.REPLY_TOKENS
    fractions, cost = spent(policies.within_budget(policies.SCHEDULES[name](steps), steps), steps, tokens)
    assert abs(cost - budget) <= 8 * policies.REPLY_TOKENS / 2 + 8 * 4 * (tokens - policies.REPLY_TOKENS)
    assert max(fractions) <= policies.HIGHEST


def test_the_schedules_differ_in_when_they_guide():
    steps, last = 32, {}
    for name in policies.SCHEDULES:
        fractions, _ = spent(policies.within_budget(policies.SCHEDULES[name](steps), steps), steps)
        last[name] = max(i for i, f in enumerate(fractions) if f > 0)
    assert last["spread"] == 31  # to the end
    assert last["cosine"] < 22 and last["linear"] < 22  # much, and early


def test_the_controller_guides_more_where_groups_are_all_wrong_and_ends_when_own_rollouts_match():
    policy = policies.by_need()
    need = step(all_wrong=0.0625, reward__own=0.2, reward__guided=0.9, fraction=0.25)
    none = step(all_wrong=0.0, reward__own=0.6, reward__guided=0.9, fraction=0.125)
    matched = step(all_wrong=0.0, reward__own=0.9, reward__guided=0.9, fraction=0.125)
    assert policy(0, []) == 1 / 8
    assert policy(4, [need] * 4) == 3 / 16
    assert policy(9, [need] * 4 + [none] * 4) == 1 / 8
    assert policy(5, [step(all_wrong=0.9, reward__own=0.0, reward__guided=0.9)] * 4) == policies.HIGHEST_BY_NEED
    assert policy(3, [matched] * 3) > 0  # three steps are not enough to tell
    ended = [need] * 4 + [matched] * 4
    assert policy(8, ended) == 0
    assert policy(12, ended + [{"guidance/reward/own": 0.1}] * 4) == 0  # and it stays so


def test_a_fraction_policy_and_a_behaviour_policy_see_the_log_and_are_followed(build, scripted_teacher):
    seen: list[tuple[int, int]] = []

    def fraction(at: int, log) -> float:
        seen.append((at, sum("loss" in row for row in log)))
        return 0.5 if at == 1 else 0.0

    trainer = build(
        scripted_teacher, max_steps=3, guided_fraction=0.25,
        fraction_policy=fraction, behaviour_policy=lambda log, rng: BEHAVIOURS[len(log) % 4],
    )  # fmt: skip
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert seen == [(0, 0), (1, 1), (2, 2)]
    assert [row.get("guidance/fraction", 0.0) for row in rows] == [0.0, 0.5, 0.0]
    assert {r.behaviour for r in scripted_teacher.asked} == {BEHAVIOURS[1]}
    assert rows[1][f"guidance/behaviour/{BEHAVIOURS[1]}/guided"] == 2
    assert 0 <= rows[1][f"guidance/behaviour/{BEHAVIOURS[1]}/helped"] <= 1
    others = [b for b in BEHAVIOURS if b != BEHAVIOURS[1]]
    assert {row.get(f"guidance/behaviour/{b}/guided", 0.0) for row in rows for b in others} == {0.0}
    assert not any(f"guidance/behaviour/{b}/helped" in row for row in rows for b in others)


def test_a_resumed_run_goes_on_with_what_its_policies_had_learnt(build, scripted_teacher, tmp_path):
    def run(checkpoint: str | None) -> list[str]:
        trainer = build(
            scripted_teacher, guided_fraction=0.5, max_steps=6, save_strategy="steps", save_steps=3,
            output_dir=str(tmp_path), behaviour_policy=policies.thompson(BEHAVIOURS),
            fraction_policy=lambda at, log: 1.0 if policies.teacher_tokens(log) < 16 * 64 * 3 else 0.5,
        )  # fmt: skip
        begun = len(scripted_teacher.asked)
        trainer.train(resume_from_checkpoint=checkpoint)
        return [r.behaviour for r in scripted_teacher.asked[begun:]]

    whole, resumed = run(None), run(str(tmp_path / "checkpoint-3"))
    assert len(whole) > len(resumed) > 0
    assert whole[-len(resumed) :] == resumed


# --- teachers -----------------------------------------------------------------------------------------------


def test_an_error_changes_the_answer_and_nothing_of_the_form():
    for seed in range(50):
        changed = with_an_error(PHRASE, random.Random(seed))
        assert extract_answer(changed) not in (None, "87")
        assert len(equations(changed)) == 4 and sum(not e.holds for e in equations(changed)) == 1
        assert changed.startswith("Again: ") and changed.count("\\boxed{") == 1
    assert len({with_an_error(PHRASE, random.Random(s)) for s in range(50)}) > 10
    assert with_an_error("Again: \\boxed{4}", random.Random(0)) == "Again: \\boxed{4}"


def test_an_error_is_carried_on():
    changed = next(
        c for s in range(99) if "20*4=80" in (c := with_an_error(PHRASE, random.Random(s))) and "12=92" not in c
    )
    *_, before, last = equations(changed)
    assert last.left == before.said and last.holds


def test_a_wrong_teacher_errs_at_its_rate_and_the_same_way_again():
    requests = [GuidanceRequest(f"question {i}", "response") for i in range(400)]
    for rate in (0.0, 1 / 3, 1.0):
        teacher = WrongTeacher(ScriptedTeacher(lambda r: written(SAID)), rate, seed=1)
        replies = teacher(requests)
        wrong = sum(extract_answer(parse_guidance(r).phrase) != "87" for r in replies) / len(replies)
        assert wrong == pytest.approx(rate, abs=0.06)
        assert teacher(requests[7:9]) == replies[7:9]
    assert all(parse_guidance(r).reason == SAID.reason for r in replies)
    silent = WrongTeacher(ScriptedTeacher(lambda r: NoReply("gone")), 1.0, seed=1)
    assert silent(requests[:1]) == [NoReply("gone")]


def test_the_second_teacher_reads_what_the_first_said_and_is_the_one_heard():
    read = []
    second = ScriptedTeacher(lambda r: read.append(r.response) or "second")
    first = ScriptedTeacher(lambda r: "nonsense" if r.question == "q2" else written(SAID))
    said = SecondReader(first, second)([GuidanceRequest("q1", "mine"), GuidanceRequest("q2", "mine")])
    assert said == ["second", "second"]
    assert read == [f"mine\n\n{SAID.reason}\n\n{SAID.phrase}", "mine"]


def test_guidance_is_given_only_where_two_end_alike():
    other = written(Guidance("correct", "Let me confirm.", "Again: 80+7=87. \\boxed{87}"))
    wrong = written(Guidance("correct", "Let me confirm.", "Again: 80+6=86. \\boxed{86}"))
    for reply, given in ((other, written(SAID)), (wrong, None), ("nonsense", None), (NoReply("gone"), None)):
        both = Agreement(ScriptedTeacher(lambda r: written(SAID)), ScriptedTeacher(lambda r, x=reply: x))
        (said,) = both([GuidanceRequest("q", "r")])
        assert said == given if given else isinstance(said, NoReply)


def test_what_both_teachers_wrote_counts(scripted_teacher):
    scripted_teacher.generated_tokens = 5
    assert Agreement(scripted_teacher, scripted_teacher).generated_tokens == 10
    assert WrongTeacher(scripted_teacher, 1.0, 0).generated_tokens == 5


def test_the_solution_follows_only_where_the_hint_fails(monkeypatch):
    policy, tokenizer = load_classroom()
    teacher = HintFirst(
        ScriptedTeacher(lambda r: "nonsense" if r.question == "q3" else written(SAID)), policy, tokenizer
    )
    found = "Again: 23*4=92. 92-5=87. \\boxed{87}"
    own, asked = [found, "Again: 23*4=82. 82-5=77. \\boxed{77}", "Again: 3*4="], []
    monkeypatch.setattr(teacher, "_going_on", lambda hints: asked.extend(hints) or own)
    requests = [GuidanceRequest(f"q{i}", "r") for i in range(4)]
    assert teacher(requests) == [
        written(Guidance(SAID.opinion, SAID.reason, found)), written(SAID), written(SAID), "nonsense"
    ]  # fmt: skip
    assert asked == [(r, SAID.reason) for r in requests[:3]]


def test_the_student_goes_on_in_its_own_role():
    policy, tokenizer = load_classroom()
    rows = sample.load_tiny_set("validation")[:4]
    hints = [
        (GuidanceRequest(r["question"], "23*4=82. \\boxed{82}"), "Hold on, 23*4=82 looks wrong to me.") for r in rows
    ]
    solutions = HintFirst(ScriptedTeacher(str), policy, tokenizer)._going_on(hints)
    assert all(equations(s) and "<" not in s and s == s.strip() for s in solutions)


def test_a_weak_teacher_keeps_the_form_and_errs_more_than_the_shipped_one():
    rows = sample.load_tiny_set("validation")[:40]
    attempts = [solution_text(r["chain"].split()) for r in rows]
    requests = [GuidanceRequest(r["question"], a, b) for r, a, b in zip(rows, attempts, BEHAVIOURS * 10, strict=True)]
    right = {}
    for name, noise in (("shipped", 0.0), ("weak", None)):
        said = [parse_guidance(r) for r in weak_teacher(101, *(() if noise is None else (noise,)))(requests)]
        right[name] = sum(
            bool(g) and extract_answer(g.phrase) == row["answer"] for g, row in zip(said, rows, strict=True)
        )
        assert sum(g is not None for g in said) >= 0.8 * len(rows)
    assert right["weak"] <= right["shipped"] - 4


# --- the table of arms --------------------------------------------------------------------------------------


def test_every_arm_names_a_control_that_there_is_and_says_what_it_does():
    for name, arm in ARMS.items():
        assert arm.control in ARMS and arm.says and arm.group, name
    assert {a.control for a in ARMS.values() if a.group in ("feedback", "curriculum")} == {RELEASED}
