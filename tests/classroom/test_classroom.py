"""The tiny classroom: tokenizer, generator, splits, shipped files, and that the student role stays a student."""

from __future__ import annotations

import json
import random
import re
from itertools import accumulate
from operator import and_
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktuning_lite.classroom import make, sample, turns, vocabulary
from thinktuning_lite.classroom import problems as problems_module
from thinktuning_lite.classroom.load import TINY_CLASSROOM, load_classroom
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, QUOTES, TINY_PROMPT
from thinktuning_lite.method.teacher import TAGS, GuidanceRequest, parse_guidance

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)


@pytest.fixture(scope="module")
def shipped():
    return load_classroom()


@given(PRINTABLE)
@settings(max_examples=500, deadline=None)
def test_tokenizer_round_trips_printable_ascii(text):
    tokenizer = _tokenizer()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def _tokenizer(cache: list = []):  # noqa: B006 - hypothesis calls the test hundreds of times
    if not cache:
        cache.append(vocabulary.build_tokenizer())
    return cache[0]


def test_shipped_tokenizer_is_the_scripts(shipped):
    assert shipped[1].get_vocab() == vocabulary.build_tokenizer().get_vocab()


def test_generated_text_has_no_unknown_token_and_round_trips(shipped):
    tokenizer, rng = shipped[1], random.Random(0)
    for _ in range(300):
        problem = turns.draw_problem(rng)
        messages, target = turns.teacher_turn(rng, problem)
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + target
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_numbers_are_single_digits(shipped):
    tokens = shipped[1].convert_ids_to_tokens(shipped[1].encode("23*41=943", add_special_tokens=False))
    assert tokens == list("23*41=943")


def test_checkpoint_is_small_and_a_llama(shipped):
    model, _ = shipped
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 0.5e6 < model.num_parameters() < 1.5e6
    files = [
        f
        for folder in (TINY_CLASSROOM, problems_module.DATA / "problems")
        for f in folder.iterdir()
        if f.suffix != ".pt"
    ]
    assert sum(f.stat().st_size for f in files) <= 5 * 2**20


def test_splits_share_no_chain_and_no_question():
    seen: dict[str, str] = {}
    for name, (split, *_rest) in problems_module.TINY_SETS.items():
        for row in sample.load_tiny_set(name):
            for key in (row["chain"], row["question"]):
                assert seen.setdefault(key, split) == split, f"{key} is in two splits"


def test_pretraining_draws_only_from_train():
    rng = random.Random(1)
    assert all(turns.draw_problem(rng).split == "train" for _ in range(200))


def test_chains_are_right():
    for name in problems_module.TINY_SETS:
        for row in sample.load_tiny_set(name):
            value = None
            for equation in row["chain"].split():
                left, op, right, result = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", equation).groups()
                assert value is None or int(left) == value
                value = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[op](int(left), int(right))
                assert value == int(result) <= problems_module.LARGEST
            assert str(value) == row["answer"]


def test_shipped_sets_are_what_the_generator_makes(tmp_path):
    problems_module.write_tiny_sets(tmp_path)
    for made in tmp_path.iterdir():
        assert made.read_text() == (problems_module.DATA / "problems" / made.name).read_text()


def test_student_turns_never_reflect_and_never_quote():
    rng = random.Random(2)
    for _ in range(5000):
        text = turns.student_turn(rng, turns.draw_problem(rng))
        assert re.fullmatch(r"(\d+[-+*]\d+=\d+\. )+\\boxed\{\d+\}", text), text
        assert not sample.REFLECTION.search(text) and not sample.WORKED_ROUTE.search(text)
        assert not any(q in text for q in QUOTES)
    shipped = "".join(f.read_text() for f in (problems_module.DATA / "problems").iterdir())
    assert not any(q in shipped for q in QUOTES) and not sample.REFLECTION.search(shipped)


def test_student_skill_is_what_the_readme_says():
    rng, products, sums = random.Random(3), [], []
    for _ in range(4000):
        for equation, right in turns.careless_steps(rng, turns.draw_problem(rng), **turns.STUDENT_SKILL):
            (products if "*" in equation else sums).append(right)
    assert 0.11 < sum(products) / len(products) < 0.19
    assert 0.94 < sum(sums) / len(sums) < 0.97


def test_teacher_turns_are_well_formed_and_right():
    rng = random.Random(4)
    for _ in range(1000):
        problem = turns.draw_problem(rng)
        _, text = turns.teacher_turn(rng, problem)
        guidance = parse_guidance(text)
        assert guidance is not None
        assert extract_answer(guidance.phrase) == problem.answer


def test_every_equation_that_the_teacher_reads_is_labelled_and_nothing_that_the_student_reads_is(shipped):
    _, tokenizer = shipped
    rng = random.Random(4)
    verdicts = {i: w for w in ("correct", "incorrect") for i in tokenizer.convert_tokens_to_ids([w])}
    for _ in range(50):
        ids, labels = make.drill_row(tokenizer, rng)
        found = [(tokenizer.decode(ids[:k]), verdicts[label]) for k, label in enumerate(labels) if label != -100]
        assert len(found) == make.DRILL_EQUATIONS
        for text, verdict in found:  # what is read up to the label ends with the equation and its full stop
            left, op, right, said = re.search(r"(\d+)([-+*])(\d+)=(\d+)\. $", text).groups()
            assert verdict == (
                "correct" if problems_module.Step(int(left), op, int(right)).result == int(said) else "incorrect"
            )
        ids, labels = vocabulary.encode(tokenizer, *turns.student_messages_and_turn(rng, turns.draw_problem(rng)))
        assert (
            labels.index(next(x for x in labels if x != -100))
            == ids.index(tokenizer.convert_tokens_to_ids("<|assistant|>")) + 1
        )


def test_labels_of_an_attempt_turn_at_its_first_wrong_equation(shipped):
    _, tokenizer = shipped
    rng = random.Random(5)
    word = dict(zip(tokenizer.convert_tokens_to_ids(["correct", "incorrect"]), (True, False), strict=True))
    for problem in [turns.draw_problem(rng) for _ in range(50)]:
        steps = turns.careless_steps(rng, problem, **turns.ATTEMPT_SKILL)
        attempt = turns.solution_text([e for e, _ in steps])
        expected = list(accumulate((right for _, right in steps), and_))
        prompt = tokenizer.apply_chat_template(
            TINY_PROMPT.messages(problem.question, attempt, "self-critique"), tokenize=False
        )
        assert [word[i] for i in vocabulary.check_labels(tokenizer, prompt)[1] if i != -100] == expected
        again = prompt.replace(
            attempt, attempt + "\n\nI doubt 2+2=5. Again: " + turns.solution_text(turns.careful_steps(problem))
        )
        labels = [word[i] for i in vocabulary.check_labels(tokenizer, again)[1] if i != -100]
        assert labels == [*expected, False, *[True] * len(turns.careful_steps(problem))]


def test_judge_turns_end_with_the_opinion(shipped):
    _, tokenizer = shipped
    rng = random.Random(4)
    for problem in [turns.draw_problem(rng) for _ in range(20)]:
        attempt = turns.student_turn(rng, problem)
        ids, labels = make.judge_row(tokenizer, rng, problem, attempt)
        right = extract_answer(attempt) == problem.answer
        assert tokenizer.decode(ids).endswith(f"<|assistant|><opinion>{'' if right else 'in'}correct")
        assert attempt in tokenizer.decode(ids) and labels[-1] == ids[-1]


@torch.no_grad()
def test_the_shipped_teacher_checks_sums(shipped):
    """Attempts at the same sort of problem: a prior cannot tell them apart, whichever way it leans.

    Two slips that cancel give a right answer by luck. The opinion's target is the answer, so a teacher that checks the
    steps is wrong on those, and it should be: one that read only the question and the last number would not be.
    """
    model, tokenizer = shipped
    rng = random.Random(6)
    said = {"sound": [], "lucky": [], "wrong": []}
    correct = tokenizer.convert_tokens_to_ids("correct")
    for problem in [problems_module.generate_problem(rng, 3, "validation", product=False) for _ in range(200)]:
        attempt = turns.solution_text([e for e, _ in turns.careless_steps(rng, problem, product_right=1, slip=0.25)])
        sort = (
            "sound"
            if turns.first_wrong(problem, attempt) is None
            else "lucky"
            if extract_answer(attempt) == problem.answer
            else "wrong"
        )
        ids, _ = make.judge_row(tokenizer, rng, problem, attempt)
        said[sort].append(int(model(input_ids=torch.tensor([ids])).logits[0, -2].argmax()) == correct)
    share = {sort: sum(x) / len(x) for sort, x in said.items()}
    assert len(said["lucky"]) > 10 and min(len(said["sound"]), len(said["wrong"])) > 50, said
    assert share["sound"] > 0.7 and share["wrong"] < 0.3 and share["lucky"] < 0.3, share


def test_the_shipped_teacher_reads_attempts_that_reflect(shipped):
    rng = random.Random(7)
    problems = [problems_module.generate_problem(rng, 3, "validation") for _ in range(24)]
    attempts = [turns.reflected(rng, p, turns.student_turn(rng, p)) for p in problems]
    assert all(sample.REFLECTION.search(a) and extract_answer(a) for a in attempts)
    teach = PolicyTeacher(*shipped, TINY_PROMPT, max_new_tokens=160)
    replies = teach(
        [
            GuidanceRequest(p.question, a, BEHAVIOURS[i % 4])
            for i, (p, a) in enumerate(zip(problems, attempts, strict=True))
        ]
    )
    said = [parse_guidance(r) for r in replies]
    assert sum(g is not None for g in said) >= 22
    assert (
        sum(g is not None and extract_answer(g.phrase) == p.answer for g, p in zip(said, problems, strict=True)) >= 18
    )


def test_detectors_on_labelled_text():
    assert sample.REFLECTION.search("3+4=7. \\boxed{7}\n\nWait, could 7 be wrong?")
    assert sample.WORKED_ROUTE.search("20*4=80. 3*4=12. 80+12=92")
    assert not sample.WORKED_ROUTE.search("23*4=92. 92-20=72")
    assert not sample.WORKED_ROUTE.search("20*4=80. 3*5=15")


def test_generation_is_seeded(shipped):
    questions = [r["question"] for r in sample.load_tiny_set("validation")[:8]]
    assert sample.respond(*shipped, questions, seed=5) == sample.respond(*shipped, questions, seed=5)


@torch.no_grad()
def test_responses_end_at_every_eos_and_padding_is_no_token(tiny_model, tokenizer):
    """Both EOS end a response, and `length` counts what was said, whatever stands behind it in the batch."""
    eos, other = tokenizer.eos_token_id, tokenizer.encode("7", add_special_tokens=False)[0]
    tiny_model.generation_config.eos_token_id = [eos, other]
    rows = [p.row() for p in problems_module.generate_problems(0, "train", (1, 2), 32)]
    scores, _ = sample.evaluate(tiny_model, tokenizer, rows, max_new_tokens=60)
    responses = sample.respond(tiny_model, tokenizer, [r["question"] for r in rows], max_new_tokens=60)
    assert scores.length == [len(ids) for ids in responses]
    assert {ids[-1] for ids in responses if len(ids) < 60} == {eos, other}
    assert not any({eos, other} & set(ids[:-1]) for ids in responses)


def test_student_role_cannot_write_the_teachers_tags(shipped):
    """Even a student whose every bias points to the tags writes none: the generation config suppresses them."""
    model, tokenizer = shipped
    tags = vocabulary.tag_ids(tokenizer)
    assert sorted(model.generation_config.suppress_tokens) == sorted(tags)
    push = model.lm_head.register_forward_hook(
        lambda m, i, out: out.index_add(-1, torch.tensor(tags), torch.full((*out.shape[:-1], 6), 50.0))
    )
    try:
        ids = sample.respond(
            model, tokenizer, ["Ana has 12 apples. Ana buys 7 more. How many apples does Ana have now?"] * 4
        )
    finally:
        push.remove()
    assert not {i for row in ids for i in row} & set(tags)


def test_unknown_split_and_length_are_refused():
    with pytest.raises(ValueError, match="train, validation, test"):
        problems_module.generate_problem(random.Random(0), 2, "dev")
    with pytest.raises(ValueError, match="at least 1 step"):
        problems_module.generate_problem(random.Random(0), 0, "train")
    with pytest.raises(FileNotFoundError, match="validation"):
        sample.load_tiny_set("tests")
    with pytest.raises(FileNotFoundError, match="make-classroom"):
        load_classroom(Path("nowhere"))


def test_quotes_are_of_the_tokenizers_words(shipped):
    for quote in QUOTES:
        ids = shipped[1].encode(" " + quote, add_special_tokens=False)
        assert len(ids) <= 2 * len(quote.split()), f"{quote!r} falls apart into characters"


def test_shipped_log_and_figures_are_there():
    log = json.loads((TINY_CLASSROOM / "training_log.json").read_text())
    assert log[-1]["loss"] < log[0]["loss"] / 10
    readme = (TINY_CLASSROOM / "README.md").read_text()
    assert "made so that checking helps" in readme and "| 2 steps |" in readme
    assert len(BEHAVIOURS) == 4 and len(TAGS) == 3
