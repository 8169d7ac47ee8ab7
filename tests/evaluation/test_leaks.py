"""No question of a test split in what is trained on or shown: exemplars, SFT and STaR texts. Plants are caught."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

from thinktuning_lite.classroom.problems import TINY_SETS
from thinktuning_lite.classroom.sample import load_tiny_set
from thinktuning_lite.evaluation.baselines import careful_solutions, hinted_prompt, plain_solutions
from thinktuning_lite.evaluation.harness import leaks
from thinktuning_lite.evaluation.tasks import graders
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TINY_PROMPT

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TESTS = [name for name in TINY_SETS if name.startswith("test")]
PUBLIC = {
    "gsm8k/test.jsonl": graders.gsm8k,
    "math500/test.jsonl": graders.problem_and_answer,
    "strategyqa/dev.json": graders.strategyqa,
    "arc_challenge/test.jsonl": graders.official_choices,
    "commonsenseqa/dev.jsonl": graders.official_choices,
    "mmlu_pro/llama31_8b_outputs_400.jsonl": graders.mmlu_pro,
}


def tiny_questions() -> list[str]:
    return [row["question"] for name in TESTS for row in load_tiny_set(name)]


def exemplars() -> list[str]:
    return [text for prompt in (INSTRUCT_PROMPT, TINY_PROMPT) for pair in prompt.exemplars for text in pair]


def trained_on() -> list[str]:
    """What SFT and STaR see of the tiny classroom: STaR samples on, and is hinted with, the training questions only."""
    rows = load_tiny_set("train")
    examples = plain_solutions(rows) + careful_solutions(rows)
    hinted = [hinted_prompt(r["question"], r["answer"]) for r in rows]
    return [f"{e.question} {e.response}" for e in examples] + hinted


def test_no_tiny_test_question_is_trained_on_or_shown():
    assert leaks(trained_on() + exemplars(), tiny_questions()) == []


def test_no_chain_of_a_tiny_test_problem_is_trained_on():
    """Stronger than the text: the same arithmetic under other names would be a leak too."""
    trained = {row["chain"] for row in load_tiny_set("train")}
    assert not trained & {row["chain"] for name in TESTS for row in load_tiny_set(name)}


@pytest.mark.skipif(not DATA.is_dir(), reason="the public files of ../shared/data are not here")
@pytest.mark.parametrize("name", PUBLIC)
def test_no_exemplar_or_training_text_holds_a_public_test_question(name):
    questions = [PUBLIC[name](row)["question"] for row in graders.read_rows(DATA / name)]
    assert leaks(exemplars() + trained_on(), questions) == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the public files of ../shared/data are not here")
def test_gsm8k_trains_on_no_question_of_its_test_split():
    train, test = (graders.read_rows(DATA / "gsm8k" / f"{split}.jsonl") for split in ("train", "test"))
    assert leaks((f"{r['question']} {r['answer']}" for r in train), (r["question"] for r in test)) == []


@pytest.mark.parametrize(
    "disguise",
    [
        lambda q: q,
        lambda q: f"Solve this.\nQ: {q}\nA: 12",
        lambda q: q.upper().replace(" ", "\n  "),
        lambda q: q.replace(".", " ;").replace("?", ""),
        lambda q: json.dumps({"question": q, "answer": "5"}),
    ],
    ids=["itself", "in a prompt", "case and lines", "punctuation", "json"],
)
def test_a_planted_leak_is_caught(disguise):
    questions = tiny_questions()
    for planted in (questions[0], questions[437], questions[-1]):
        texts = chain(trained_on()[:500], [disguise(planted)], exemplars())
        assert leaks(texts, questions) == [planted]


def test_a_question_cut_in_two_or_with_other_numbers_is_no_leak():
    question = "Ana has 3 nuts. Ana buys 4 more. How many nuts does Ana have now?"
    assert leaks([question[:30], question[30:]], [question]) == []
    assert leaks([question.replace("3", "13")], [question]) == []
    assert leaks([], [question]) == []
