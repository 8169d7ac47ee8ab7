"""Detectors against labels, changes of mind and first errors against cases worked out by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from thinktuning_lite.classroom.problems import generate_problems
from thinktuning_lite.classroom.turns import REASONS, careful_steps, solution_text, student_turn
from thinktuning_lite.evaluation import behaviours
from thinktuning_lite.evaluation.harness import Record

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def record(text: str, gold: str, correct: bool, **doc) -> Record:
    doc = {"question": f"q{gold}", "answer": gold, "steps": 2, "product": False} | doc
    return Record(doc, [text], [None], [correct], [len(text)])


# --- detectors ----------------------------------------------------------------------------------------------


def test_the_labelled_examples_are_well_formed_and_hold_every_behaviour_and_its_absence():
    examples = behaviours.labelled_examples()
    assert len(examples) >= 90 and len({e["text"] for e in examples}) == len(examples)
    for part in ("tuned", "held-out"):
        labels = [e["labels"] for e in examples if e["part"] == part]
        assert sum(not x for x in labels) >= 12
        assert all(set(x) <= set(behaviours.DETECTORS) for x in labels)
        assert all(sum(name in x for x in labels) >= 3 for name in behaviours.DETECTORS)


def test_detectors_on_examples_that_were_not_used_to_write_them():
    """Measured: no false alarm among 52; recall 0.78, 1.00, 0.62, 0.57, 1.00. Words announce, they do not exhaust."""
    measured = behaviours.measure(e for e in behaviours.labelled_examples() if e["part"] == "held-out")
    found = {name: (round(q.precision[0], 2), round(q.recall[0], 2)) for name, q in measured.items()}
    assert found == {
        "self-conflict": (1.0, 0.78),
        "self-critique": (1.0, 1.0),
        "self-agreement": (1.0, 0.62),
        "self-consultancy": (1.0, 0.57),
        "worked-route": (1.0, 1.0),
    }
    low, high = measured["self-agreement"].recall[1:]
    assert low < 0.35 and high > 0.85  # eight examples say that little


def test_measure_counts_hits_false_alarms_and_misses():
    examples = [
        {"text": "a", "labels": ["self-conflict"]},
        {"text": "b", "labels": ["self-conflict"]},
        {"text": "c", "labels": []},
    ]
    said = {"a": {"self-conflict"}, "b": set(), "c": {"self-conflict", "worked-route"}}
    measured = behaviours.measure(examples, said.__getitem__)
    assert measured["self-conflict"] == behaviours.Quality(hits=1, false_alarms=1, misses=1)
    assert measured["worked-route"] == behaviours.Quality(0, 1, 0)
    assert measured["self-conflict"].precision[0] == measured["self-conflict"].recall[0] == 0.5


def test_every_reason_of_the_tiny_teacher_is_found_under_its_own_behaviour():
    for behaviour, by_opinion in REASONS.items():
        for templates in by_opinion.values():
            for template in templates:
                said = template.format(a="34", s="30+4=35")
                assert behaviour in behaviours.behaviours(f"30+4=35. \\boxed{{35}}\n\n{said}\n\nAgain: 30+4=34."), said


def test_no_reflection_in_what_the_students_role_was_pretrained_on():
    rng = random.Random(0)
    for problem in generate_problems(0, "train", (1, 3, 6), 300):
        assert behaviours.behaviours(student_turn(rng, problem)) == set()
        expected = {"worked-route"} if problem.has_product else set()
        assert behaviours.behaviours(solution_text(careful_steps(problem))) == expected


@pytest.mark.skipif(not DATA.is_dir(), reason="the public files of ../shared/data are not here")
def test_real_solutions_of_children_problems_rarely_set_it_off():
    """7,473 GSM8K solutions were written by people in one go. Every hit of a reflection detector is a false alarm."""
    lines = (DATA / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    shown = [behaviours.behaviours(json.loads(line)["answer"]) & set(behaviours.REFLECTION) for line in lines]
    assert sum(map(bool, shown)) <= 0.002 * len(lines)


# --- changes of mind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, gold, expected",
    [
        (r"\boxed{5}. Wait. \boxed{7}", "7", "wrong to right"),
        (r"\boxed{7}. Wait. \boxed{5}", "7", "right to wrong"),
        (r"\boxed{7}, or \boxed{9}, no: \boxed{7.0}", "7", "right to right"),
        (r"\boxed{1} \boxed{2}", "7", "wrong to wrong"),
        (r"\boxed{\frac{1}{2}} and \boxed{0.5}", "1/2", "right to right"),
        (r"\boxed{7}", "7", "one answer"),
        (r"It is 7. \boxed{", "7", "no answer"),
        (r"\boxed{} then \boxed{7}", "7", "one answer"),
    ],
)
def test_transition(text, gold, expected):
    assert behaviours.transition(text, gold) == expected


def test_stated_answers_with_braces_inside():
    assert behaviours.stated_answers(r"a \boxed{\frac{1}{2}} b \fbox{x_{1}} c \boxed{3") == [r"\frac{1}{2}", "x_{1}"]


def test_transitions_counts_all_samples():
    both = Record({"answer": "7"}, [r"\boxed{5} \boxed{7}", "?"], ["7", None], [True, False], [1, 1])
    counts = behaviours.transitions([both, record(r"\boxed{7}", "7", True)])
    assert counts == dict.fromkeys(behaviours.TRANSITIONS, 0) | {"wrong to right": 1, "no answer": 1, "one answer": 1}


# --- where errors come from ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (r"21*3=63. 63-8=55. \boxed{55}", None),
        (r"21*3=73. 73-8=65. \boxed{65}", "product"),
        (r"21*3=63. 63-8=56. \boxed{56}", "difference"),
        (r"21+3=25. 25*2=51. \boxed{51}", "sum"),
        (r"21*3=63. \boxed{63}", "setup"),
        (r"21*3=73. 73-18=55. \boxed{55}", None),  # right by luck is right
        (r"21 * 3 = 63. 63 - 8 =", "no answer"),
    ],
)
def test_first_error(text, expected):
    assert behaviours.first_error(text, "55") == expected


def test_first_errors_are_those_that_were_put_in():
    """Careless solutions from the pretraining text: products are guessed, sums slip now and then."""
    rng = random.Random(1)
    records = [record(student_turn(rng, p), p.answer, False) for p in generate_problems(1, "train", (3,), 300)]
    counts = behaviours.first_errors(records)
    assert set(counts) <= {"product", "sum", "difference"}
    assert counts["product"] > counts["sum"]


def test_accuracy_by_part():
    records = [record("x", str(i), i % 4 == 0, steps=2 + i % 2, product=i % 2 == 0) for i in range(40)]
    cells = behaviours.accuracy_by(records, lambda doc: doc["steps"])
    assert list(cells) == [2, 3]
    assert (cells[2].n, cells[2].accuracy, cells[3].accuracy) == (20, 0.5, 0.0)
    assert (cells[2].low, cells[2].high) == pytest.approx((0.299, 0.701), abs=1e-3)  # Wilson, 10 of 20
    assert cells[2].length == 1


def test_disagreements():
    a = [record("A0", "0", True), record("A1", "1", True), record("A2", "2", False), record("A3", "3", False)]
    b = [record("B0", "0", True), record("B1", "1", False), record("B2", "2", True), record("B3", "3", False)]
    found = behaviours.disagreements(a, b, ("one", "two"))
    assert [(d.answer, d.right, d.responses) for d in found] == [
        ("1", "one", {"one": "A1", "two": "B1"}),
        ("2", "two", {"one": "A2", "two": "B2"}),
    ]
    with pytest.raises(ValueError, match="not the same questions"):
        behaviours.disagreements(a[:1], b[1:2], ("one", "two"))
