"""Extraction and correctness against real labels: public files in `../shared/data` (skipped if absent)."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from thinktuning_lite.method import grading, grading_process, plain_numbers
from thinktuning_lite.method.answers import (
    extract_answer,
    extract_boxed,
    extract_choice,
    extract_hashes,
    extract_yes_no,
    gsm8k_gold,
)
from thinktuning_lite.method.grading import is_correct

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the public files of ../shared/data are not here")


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


# --- GSM8K --------------------------------------------------------------------------------------------------


def test_all_5276_labels_of_real_gsm8k_solutions_are_reproduced():
    """The solutions end in "A: n", this file's own format; what follows the last "A:" is graded."""

    def stated(solution: str) -> str | None:
        _, marker, answer = solution.rpartition("A:")
        return answer if marker else None

    counts: Counter[str] = Counter()
    for row in rows("rollouts/gsm8k_openai_6b_175b.jsonl"):
        gold = stated(row["ground_truth"])
        for solution in (value for value in row.values() if isinstance(value, dict)):
            answer, label = stated(solution["solution"]), solution["is_correct"]
            counts["no answer"] += answer is None
            counts["right"] += label
            counts["agree"] += is_correct(answer, gold) == label
            # as a training completion would say it
            completion = solution["solution"] + ("" if answer is None else rf" \boxed{{{answer}}}")
            counts["agree in a box"] += is_correct(extract_answer(completion), gold) == label
    assert counts == {"no answer": 11, "right": 2001, "agree": 5276, "agree in a box": 5276}


@pytest.mark.parametrize(("split", "size"), [("train", 7473), ("test", 1319)])
def test_every_gsm8k_gold_is_a_number_and_right_by_itself(split, size):
    fields = [row["answer"] for row in rows(f"gsm8k/{split}.jsonl")]
    assert len(fields) == size
    for field in fields:
        gold = gsm8k_gold(field)
        assert Fraction(gold) == Fraction(extract_hashes(field).replace(",", ""))
        assert is_correct(extract_answer(field), gold)
        assert not is_correct(extract_answer(field), str(int(gold) + 1))


# --- MATH-500 -----------------------------------------------------------------------------------------------


def test_all_500_golds_of_math_are_found_in_their_solutions():
    assert [row["answer"] for row in MATH if not is_correct(extract_boxed(row["solution"]), row["answer"])] == []
    assert len(MATH) == 500


def test_math_verify_alone_agrees_on_every_gold_that_is_no_plain_number():
    """Without the comparison of texts, which decides most of them."""
    golds = [(row["solution"], row["answer"]) for row in MATH if plain_numbers.parse_number(row["answer"]) is None]
    assert len(golds) == 94
    assert [gold for solution, gold in golds if not grading._math_verify(extract_boxed(solution), gold)] == []


def test_the_gold_of_another_problem_is_wrong():
    pairs = [(a["answer"], b["answer"]) for a, b in zip(MATH, MATH[1:], strict=False)]
    assert [pair for pair in pairs if is_correct(*pair)] == [("5", "x=5"), ("7", "7"), ("3", "3")]


MATH = rows("math500/test.jsonl") if DATA.is_dir() else []


# --- MMLU-Pro -----------------------------------------------------------------------------------------------


def test_mmlu_pro_outputs_state_the_letter_or_nothing():
    """37 outputs never state a letter, though `pred` is filled (by chance) for them too."""
    outputs = rows("mmlu_pro/llama31_8b_outputs_400.jsonl")
    found = [extract_choice(row["generated_text"], len(row["options"])) for row in outputs]
    assert found.count(None) == 37
    stated = [(letter, row["pred"]) for letter, row in zip(found, outputs, strict=True) if letter is not None]
    assert len(stated) == 363
    assert [pair for pair in stated if pair[0] != pair[1]] == []


# --- grader_cases: facts from other libraries' tests --------------------------------------------------------

PROSE = "prose without a box: an answer is never searched for in running text"
BOXES = "several boxes: the last one is the answer, theirs is their union"
PERCENT = "a percent sign on one side only: both readings count here"
PRECISION = "agreement to 2 decimals asked for: here always 6"
WORK = "a sum that is not worked out is no number"
NEWLINE = "white space around or inside an answer has no meaning here"
DISAGREEMENTS = {
    **dict.fromkeys(["0013", "0016", "0061", "0141", "0156", "0285", "0286", "0287", "0288", "0290", "0293"], PROSE),
    **dict.fromkeys(["0296", "0297", "0298", "0302", "0320", "0357", "0440"], PROSE),
    **dict.fromkeys(["0182", "0250", "0455"], BOXES),
    **dict.fromkeys(["0536", "0538", "0540", "0542", "0548", "0550", "0613"], PERCENT),
    **dict.fromkeys(["0133", "0139", "0424"], PRECISION),
    **dict.fromkeys(["0031", "0336", "0337", "0532", "0534"], NEWLINE),
    **dict.fromkeys("0030 0605".split(), WORK),
    "0313": "prose around an amount in dollars",
    "0006": "decimal comma: 1,22 is a list of two numbers here",
    "0553": "math-verify compares lists without braces as sets, whatever their order",
    "0601": "(14/3, 2/3) is (14/3, 4/6), which that source denies",
    "0683": "the gold holds no answer: wrong here, skipped there",
    "0275": "a key and a word without punctuation: 'C Cecile' might be a phrase",
    "0279": "French: statements are read in English only",
    "0282": "Chinese: statements are read in English only",
}
TIMED = {"0259"}  # a sum of sums: whether sympy simplifies it within the time limit depends on the machine
# Not graders of a final answer: free text and its overlap, a tolerance of 1 %, the format of reasoning tags.
NOT_APPLICABLE = {"text_match", "f1_score", "numeric_match_1pct", "reasoning_completion_reward"}


def agrees(case: dict) -> bool:
    prediction, gold = (None if case[side] is None else str(case[side]) for side in ("prediction", "gold"))
    if case["kind"] == "mcq_letter":
        return extract_choice(prediction) == extract_choice(gold) is not None
    if case["kind"] == "completion_reward":
        answer = extract_answer(prediction)
    elif case["kind"] == "gsm8k_last_number":
        answer = extract_answer(prediction, allow_last_number=True)
    else:  # bare answers, or texts with an answer inside: without a box the text is taken whole
        answer = prediction and (extract_answer(prediction) or prediction)
    return is_correct(answer, extract_answer(gold) or gold) == case["expected"]


def test_pairs_of_other_graders():
    cases = [case for case in rows("grader_cases/pairs.jsonl") if case["kind"] not in NOT_APPLICABLE]
    outcomes = {case["id"].removeprefix("grader_pairs-"): (case["kind"], agrees(case)) for case in cases}
    outcomes = {name: outcome for name, outcome in outcomes.items() if name not in TIMED}
    for case in (c for c in cases if c["id"].removeprefix("grader_pairs-") in TIMED):  # given time, it agrees
        assert grading_process._verify(case["prediction"], case["gold"]) is case["expected"]
    assert {name for name, (_, agreed) in outcomes.items() if not agreed} == set(DISAGREEMENTS)
    assert Counter(outcomes.values()) == {
        ("parse_and_verify", True): 228,
        ("parse_and_verify", False): 38,
        ("answer_equiv", True): 33,
        ("answer_equiv", False): 4,
        ("completion_reward", True): 6,
        ("completion_reward", False): 1,
        ("gsm8k_last_number", True): 2,
        ("mcq_letter", True): 4,
        ("mcq_letter", False): 3,
    }


EXTRACTION_DISAGREEMENTS = {
    "0002": "white space around the content of a box is dropped",
    "0025": "'c. 3': a list label is not taken off a number",
    "0026": "'b: 2': likewise",
}


def extraction_agrees(case: dict) -> bool:
    if case["kind"] == "get_last_boxed":
        return extract_boxed(case["text"]) == case["expected"]
    if case["kind"] == "extract_final_candidate":
        return extract_answer(case["text"], allow_last_number=True) == case["expected"]
    return is_correct(case["text"], case["expected"])  # a normalised form must be an equal answer


def test_extraction_cases_of_other_graders():
    """All but the Japanese finance task's (jfinqa) forms: words for units, triangles for minus."""
    cases = [case for case in rows("grader_cases/extraction.jsonl") if not case["kind"].startswith("jfinqa")]
    failed = {case["id"].removeprefix("extraction_cases-") for case in cases if not extraction_agrees(case)}
    assert (len(cases), failed) == (39, set(EXTRACTION_DISAGREEMENTS))


# --- this project's own smallest inputs ---------------------------------------------------------------------

# Rows whose verdict is "ambiguous", as `grading`'s head decides them: a clock time is no number, a base left out is the
# gold's, order counts only when the gold says so, decimals equal no fraction but do equal a root to six digits, and
# sin 30 degrees is work.
DECIDED = {"2:00": False, "{52}": True, "(3,2,1)": True, "(5,3,7)": True, "0.3333": False, "1.732": True, "sin": False}


def outcome(case: dict) -> object:
    if case["task"] == "choice":
        return extract_choice(case["text"], case["choices"])
    if case["task"] == "yesno":
        return extract_yes_no(case["text"])
    return is_correct(extract_answer(case["text"]), case["gold"])


def test_all_94_minimal_cases_are_as_their_verdict_says():
    cases = rows("grader_cases/minimal_2026-11.jsonl")
    assert len(cases) == 94
    clear = [case for case in cases if case["verdict"] != "ambiguous"]
    assert [case for case in clear if outcome(case) != case["expected"]] == []
    decided = {case["text"]: outcome(case) for case in cases if case["verdict"] == "ambiguous"}
    assert len(decided) == len(DECIDED) == 7
    assert all(decided[text] is right for part, right in DECIDED.items() for text in decided if part in text)
