"""A behaviour of the reader's own: asked for by name, said by the teacher, counted in what the student samples."""

from __future__ import annotations

import pytest

from thinktuning_lite.experiments.own_behaviour import STAND_IN, OwnBehaviour, OwnBehaviourTeacher, instil
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.teacher import GuidanceRequest, NoReply, ScriptedTeacher, parse_guidance

COURAGE = OwnBehaviour("care", "Let me work it out with care.", when_wrong="Wait with care.")


def test_asked_for_by_name_it_speaks_before_the_teachers_own_solution():
    asked = []

    def write(request: GuidanceRequest) -> str | NoReply:
        asked.append(request)
        if request.response == "late":
            return NoReply("late")
        opinion = "correct" if request.response == "good" else "incorrect"
        return f"<opinion>{opinion}</opinion><reason>Hm.</reason><phrase>1+1=2. \\boxed{{2}}</phrase>"

    inner = ScriptedTeacher(write)
    inner.prompt = TINY_PROMPT
    teacher = OwnBehaviourTeacher(inner, COURAGE)
    replies = teacher(
        [GuidanceRequest("q", r, b) for r, b in (
            ("good", COURAGE.name), ("bad", COURAGE.name), ("bad", BEHAVIOURS[0]), ("late", COURAGE.name)
        )]
    )  # fmt: skip
    assert [r.behaviour for r in asked] == [STAND_IN, STAND_IN, BEHAVIOURS[0], STAND_IN]
    assert [parse_guidance(r).reason for r in replies[:3]] == [COURAGE.says, COURAGE.when_wrong, "Hm."]
    assert all(parse_guidance(r).phrase == r"1+1=2. \boxed{2}" for r in replies[:3]) and replies[3] == NoReply("late")
    teacher.prompt.check_behaviours([*BEHAVIOURS, COURAGE.name])
    with pytest.raises(ValueError, match="self-doubt"):
        teacher.prompt.check_behaviours(["self-doubt"])


@pytest.mark.parametrize("text", ["", "  ", "I say <reason> aloud"])
def test_a_sentence_that_no_guidance_could_hold_is_refused(text):
    with pytest.raises(ValueError, match="without tags"):
        OwnBehaviour("mine", text)


def test_it_is_in_the_guided_rollouts_and_counted(tmp_path):
    found = instil(
        COURAGE, steps=1, questions=4, folder=tmp_path, gradient_accumulation_steps=1, max_completion_length=64
    )
    rollouts = list(read_rollouts(tmp_path / "rollouts.jsonl"))
    guided = [r for r in rollouts if r.guided]
    assert len(guided) == 4 and all(COURAGE.count(r.text) == 1 for r in guided)
    assert not any(COURAGE.count(r.text) for r in rollouts if not r.guided)
    assert found["before"] == 0.0 and 0 <= found["after"] <= 1 and len(found["examples"]) == 3
    assert OwnBehaviour("two", "a", "b").count("a b a") == 3


def test_a_sentence_of_words_that_the_student_was_never_taught_is_refused_before_training():
    with pytest.raises(ValueError, match="never had ' check', ' that' as a target"):
        instil(OwnBehaviour("checking", "Let me check that with care."))
