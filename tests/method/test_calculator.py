"""calculator.py: whoever writes an equation's left side finds the right result behind it, and nothing else is touched."""

from __future__ import annotations

import random

import pytest
import torch

from thinktuning_lite.classroom import turns
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.sample import evaluate, load_tiny_set
from thinktuning_lite.classroom.settings import TEACHER_TOKENS
from thinktuning_lite.method.calculator import Calculator
from thinktuning_lite.method.equations import equations, next_result
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.sampling import sample
from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("so 23*4=", "92"),
        ("so 23 * 4 =", " 92"),
        ("5-8=", "-3"),
        ("4*3=12. 12+9=", "21"),
        ("4*3=1", None),
        ("1+2+3=", None),
        ("1.5+2=", None),
        ("x=", None),
        ("", None),
    ],
)
def test_what_comes_next(text, result):
    assert next_result(text) == result


@pytest.mark.parametrize("engine", ["fast", "hf"])
def test_every_equation_of_a_careless_student_holds_and_the_tool_says_which_tokens_are_its_own(engine):
    model, tokenizer = load_classroom()
    rows = load_tiny_set("validation")[:12]
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": r["question"]}], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        for r in rows
    ]
    how = dict(max_new_tokens=60, eos_ids=[tokenizer.eos_token_id], pad_id=tokenizer.pad_token_id, engine=engine)
    torch.manual_seed(0)
    plain = tokenizer.batch_decode(sample(model, prompts, **how), skip_special_tokens=True)
    tool = Calculator(tokenizer)(len(prompts))
    torch.manual_seed(0)
    ids = sample(model, prompts, constraint=tool, **how)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert not all(e.holds for text in plain for e in equations(text))
    assert all(equations(text) and all(e.holds for e in equations(text)) for text in texts)
    for i, (row, text) in enumerate(zip(ids, texts, strict=True)):
        written = tool.written(i, len(row))
        said = tokenizer.decode([t for t, w in zip(row, written, strict=True) if w])
        assert len(written) == len(row) and said == "".join(str(e.said) for e in equations(text))


def test_a_tool_that_is_never_called_changes_nothing(tiny_model, tokenizer):
    prompts = [tokenizer.encode("Ana has 7 apples.")] * 3
    free = [i for i in range(len(tokenizer)) if "=" in tokenizer.decode([i])]
    how = dict(max_new_tokens=20, eos_ids=[tokenizer.eos_token_id], pad_id=tokenizer.pad_token_id, suppress_ids=free)
    torch.manual_seed(0)
    plain = sample(tiny_model, prompts, **how)
    torch.manual_seed(0)
    assert sample(tiny_model, prompts, constraint=Calculator(tokenizer)(3), **how) == plain


def test_a_teacher_with_a_calculator_ends_right_more_often(tokenizer):
    model, _ = load_classroom()
    draw = random.Random(0)
    problems = [p for p in (turns.draw_problem(draw, "validation") for _ in range(150)) if p.has_product]
    requests = [GuidanceRequest(p.question, turns.student_turn(draw, p), "self-critique") for p in problems]
    right = {}
    for calculator in (False, True):
        teacher = PolicyTeacher(model, tokenizer, TINY_PROMPT, TEACHER_TOKENS, calculator=calculator)
        said = [parse_guidance(r) for r in teacher(requests)]
        assert all(not calculator or all(e.holds for e in equations(g.phrase)) for g in said if g)
        right[calculator] = sum(
            bool(g) and g.phrase.endswith(f"{{{p.answer}}}") for g, p in zip(said, problems, strict=True)
        )
    assert right[True] > right[False]


def test_a_teacher_has_one_constraint(tiny_model, tokenizer):
    pytest.importorskip("llguidance")
    with pytest.raises(ValueError, match="choose one"):
        PolicyTeacher(tiny_model, tokenizer, TINY_PROMPT, keeps_form=True, calculator=True)


def test_the_shipped_student_is_right_more_often_with_the_tool():
    model, tokenizer = load_classroom()
    rows = [r for r in load_tiny_set("validation") if r["product"]][:40]
    without, with_tool = (
        evaluate(model, tokenizer, rows, temperature=0.0, tool=tool)[0].summary()["accuracy"]
        for tool in (None, Calculator(tokenizer))
    )
    assert with_tool > without + 0.2
