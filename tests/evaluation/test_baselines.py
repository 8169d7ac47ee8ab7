"""Self-improvement turn by turn, fine-tuning and STaR by what they learn and spend, and the table that holds them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.sample import load_tiny_set, respond
from thinktuning_lite.evaluation import baselines
from thinktuning_lite.evaluation.harness import SAMPLED, StoredLM, run_tasks
from thinktuning_lite.experiments import methods, table
from thinktuning_lite.method.answers import extract_answer


class ScriptedLM(LM):
    """Replies by the number of assistant turns that it sees; keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        super().__init__()
        self.replies, self.asked = replies, []

    def generate_until(self, requests, disable_tqdm=False):
        self.asked += [(json.loads(r.args[0]), r.args[1]) for r in requests]
        turns = [sum(m["role"] == "assistant" for m in json.loads(r.args[0])) for r in requests]
        return [self.replies[t] for t in turns]

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return json.dumps(chat_history)

    tokenizer_name = "scripted"

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def ask(method: baselines.SelfImprovement, inner: LM, question: str = "2+2?") -> str:
    lm = baselines.SelfImprovingLM(inner, method)
    prompt = lm.apply_chat_template([{"role": "user", "content": question}])
    return lm.generate_until([Instance("generate_until", {}, (prompt, {"until": []}), 0, ("t", 0, 1))])[0]


# --- prompted self-improvement ------------------------------------------------------------------------------


def test_refine_is_answer_criticism_revision_in_one_chat():
    inner = ScriptedLM(r"\boxed{5}", "The sum is weak.", r"\boxed{4}")
    text = ask(baselines.PROMPTED["self-refine"], inner)
    assert [len(chat) for chat, _ in inner.asked] == [1, 3, 5]
    assert [m["role"] for m in inner.asked[2][0]] == ["user", "assistant", "user", "assistant", "user"]
    assert inner.asked[2][0][3]["content"] == "The sum is weak."
    assert text == "\\boxed{5}\n\nThe sum is weak.\n\n\\boxed{4}"
    assert extract_answer(text) == "4"


def test_verify_solves_again_only_when_its_check_fails():
    kept = ScriptedLM(r"\boxed{4}", "2+2 is 4.\nVerdict: correct.", r"\boxed{9}")
    assert extract_answer(ask(baselines.PROMPTED["self-verify"], kept)) == "4"
    assert len(kept.asked) == 2
    redone = ScriptedLM(r"\boxed{5}", "2+2 is not 5.\nVerdict: incorrect", r"\boxed{4}")
    assert extract_answer(ask(baselines.PROMPTED["self-verify"], redone)) == "4"
    assert len(redone.asked) == 3


def test_correct_is_one_more_turn_and_an_answer_it_does_not_repeat_still_stands():
    inner = ScriptedLM(r"\boxed{4}", "All is well.")
    assert extract_answer(ask(baselines.PROMPTED["self-correct"], inner)) == "4"
    assert len(inner.asked) == 2


FOUND_WRONG = "<opinion>incorrect</opinion><reason>Wait.</reason><phrase>Again: 2+2=4. \\boxed{4}</phrase>"
FOUND_RIGHT = "<opinion>correct</opinion><reason>Yes.</reason><phrase>Again: 2+2=4. \\boxed{4}</phrase>"


class TeacherLM(ScriptedLM):
    """The tiny checkpoint's roles: the system prompt says which reply is due."""

    def generate_until(self, requests, disable_tqdm=False):
        self.asked += [(json.loads(r.args[0]), r.args[1]) for r in requests]
        return [self.replies[json.loads(r.args[0])[0]["role"] == "system"] for r in requests]


@pytest.mark.parametrize(
    "name, reply, expected",
    [
        ("self-verify", FOUND_WRONG, "\\boxed{5}\n\nWait.\n\nAgain: 2+2=4. \\boxed{4}"),
        ("self-verify", FOUND_RIGHT, r"\boxed{5}"),
        ("self-refine", FOUND_RIGHT, "\\boxed{5}\n\nYes.\n\nAgain: 2+2=4. \\boxed{4}"),
        ("self-refine", "no tags", r"\boxed{5}"),
        ("self-correct", "5. Wait. 4.", "5. Wait. 4."),
    ],
)
def test_the_tiny_checkpoints_own_forms(name, reply, expected):
    inner = TeacherLM(r"\boxed{5}", reply)
    assert ask(baselines.TINY_PROMPTED[name], inner) == expected
    chat, generation = inner.asked[-1]
    assert len(inner.asked) == (1 if name == "self-correct" else 2)
    assert chat[-1]["content"].endswith("2+2?" if name == "self-correct" else "Attempt: \\boxed{5}")
    assert ("suppress_tokens" in generation) is (name != "self-correct")


def test_self_improvement_runs_under_the_harness_and_resumes(tmp_path):
    """Two turns for each of 5 questions x 2 samples; the second time none is asked."""
    _, tokenizer = load_classroom()
    inner = TeacherLM(r"\boxed{5}", FOUND_WRONG)

    def evaluate():
        lm = baselines.SelfImprovingLM(StoredLM(inner, tmp_path / "r.db"), baselines.TINY_PROMPTED["self-verify"])
        return run_tasks(lm, ["tt_tiny_test"], tokenizer, repeats=2, generation=SAMPLED, limit=5)["tt_tiny_test"]

    first = evaluate()
    assert len(inner.asked) == 20
    assert all(r.answers == ["4", "4"] for r in first)
    assert evaluate() == first and len(inner.asked) == 20


def test_the_tiny_checkpoint_corrects_itself_in_its_teacher_role(tmp_path):
    """A direction only: the revised answers are right more often than the first ones, which are the student's own."""
    from thinktuning_lite.evaluation.behaviours import transitions
    from thinktuning_lite.evaluation.harness import GREEDY, hub_model

    model, tokenizer = load_classroom()
    lm = baselines.SelfImprovingLM(hub_model(model, tokenizer), baselines.TINY_PROMPTED["self-refine"])
    records = run_tasks(lm, ["tt_tiny_test"], tokenizer, generation=GREEDY, limit=40)["tt_tiny_test"]
    counts = transitions(records)
    assert counts["wrong to right"] > counts["right to wrong"]
    assert counts["one answer"] + counts["no answer"] <= 4


# --- fine-tuning --------------------------------------------------------------------------------------------


def test_worked_solutions_end_in_the_gold_answer_and_state_only_true_equations():
    rows = load_tiny_set("train")[:300]
    for make in (baselines.plain_solutions, baselines.careful_solutions):
        for row, example in zip(rows, make(rows), strict=True):
            assert extract_answer(example.response) == row["answer"]
            for equation in example.response.split(". ")[:-1]:
                left, right = equation.split("=")
                assert eval(left) == int(right)  # digits and + - * only
    assert any(a != b for a, b in zip(baselines.plain_solutions(rows), baselines.careful_solutions(rows), strict=True))


def test_fine_tuning_learns_the_response_and_nothing_of_the_prompt(tmp_path):
    """TRL's loss at the first step is the mean cross-entropy of response and EOS alone; training lowers it."""
    model, tokenizer = load_classroom()
    examples = baselines.careful_solutions(load_tiny_set("train")[:64])

    def loss() -> float:
        total, count = 0.0, 0
        for e in examples:
            chat = [{"role": "user", "content": e.question}]
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            start = tokenizer.encode(prompt, add_special_tokens=False)
            ids = tokenizer.encode(e.response, add_special_tokens=False) + [tokenizer.eos_token_id]
            with torch.no_grad():
                logits = model.eval()(torch.tensor([start + ids])).logits[0, len(start) - 1 : -1]
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum").item()
            count += len(ids)
        return total / count

    before = loss()
    config = baselines.sft_config(
        tmp_path,
        0,
        num_train_epochs=4,
        per_device_train_batch_size=64,
        logging_steps=1,
        learning_rate=5e-4,
        save_strategy="no",
    )
    logged = []
    from transformers import TrainerCallback

    class Keep(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logged.append(logs)

    original, baselines.WholeSFTTrainer = (
        baselines.WholeSFTTrainer,
        lambda *a, **k: original(*a, **(k | {"callbacks": [Keep()]})),
    )
    try:
        cost = baselines.fine_tune(model, tokenizer, examples, config)
    finally:
        baselines.WholeSFTTrainer = original
    assert logged[0]["loss"] == pytest.approx(before, rel=1e-3)
    assert loss() < 0.7 * before
    targets = sum(len(tokenizer.encode(e.response, add_special_tokens=False)) + 1 for e in examples)
    assert cost == baselines.Cost(generated_tokens=0, trained_tokens=4 * targets)


def test_fine_tuning_on_nothing_says_so(tmp_path):
    model, tokenizer = load_classroom()
    with pytest.raises(ValueError, match="no example to fine-tune on"):
        baselines.fine_tune(model, tokenizer, [], baselines.sft_config(tmp_path, 0))


# --- STaR ---------------------------------------------------------------------------------------------------


def test_star_keeps_right_answers_only_within_its_budget(tmp_path, monkeypatch):
    rows = load_tiny_set("train")[:60]
    learnt = []
    monkeypatch.setattr(
        baselines, "fine_tune", lambda m, t, examples, c: learnt.append(examples) or baselines.Cost(0, 7)
    )
    plan = baselines.StarPlan(token_budget=3000, iterations=2, batch=32)
    *_, cost = baselines.star(load_classroom, rows, plan, tmp_path, seed=0)
    gold = {r["question"]: r["answer"] for r in rows}
    assert len(learnt) == 2 and cost.trained_tokens == 14
    assert all(extract_answer(e.response) == gold[e.question] for part in learnt for e in part)
    assert 3000 <= cost.generated_tokens < 3000 + 2 * 32 * plan.max_new_tokens
    # resumed: what was sampled is read, not sampled again
    monkeypatch.setattr(baselines, "respond", None)
    *_, again = baselines.star(load_classroom, rows, plan, tmp_path, seed=0)
    assert again == cost and learnt[2:] == learnt[:2]


def test_a_rationalisation_that_misses_the_answer_is_dropped(tmp_path, monkeypatch):
    rows = load_tiny_set("train")[:16]
    monkeypatch.setattr(baselines, "respond", lambda m, t, questions, **k: [t.encode("no idea")] * len(questions))

    def rationalise(model, tokenizer, missed, wrong):
        assert wrong == ["no idea"] * 16
        texts = [rf"hinted. \boxed{{{r['answer']}}}" if i % 2 else r"\boxed{-1}" for i, r in enumerate(missed)]
        return texts[:-1] + [None], 500

    learnt = []
    monkeypatch.setattr(
        baselines, "fine_tune", lambda m, t, examples, c: learnt.extend(examples) or baselines.Cost(0, 0)
    )
    plan = baselines.StarPlan(token_budget=400, iterations=1, rationalise=rationalise, batch=16)
    *_, cost = baselines.star(load_classroom, rows, plan, tmp_path, seed=0)
    assert len(learnt) == 7 and all(e.response.startswith("hinted") for e in learnt)
    assert cost.generated_tokens > 500  # the rationalisations are counted


def test_a_hint_stands_in_the_box_of_the_wrong_attempt():
    assert baselines.hinted_attempt(r"21*3=73. 73-8=65. \boxed{65}", "55") == r"21*3=73. 73-8=65. \boxed{55}"
    assert baselines.hinted_attempt("21*3=73.", "55") == r"21*3=73. \boxed{55}"


def test_the_teacher_role_rationalises_known_answers():
    """On the shipped checkpoint: phrases end in the answer more often than not, and none keeps its opening word."""
    model, tokenizer = load_classroom()
    rows = load_tiny_set("train")[:32]
    wrong = tokenizer.batch_decode(
        respond(model, tokenizer, [r["question"] for r in rows], max_new_tokens=120), skip_special_tokens=True
    )
    texts, tokens = baselines.rationalise_as_teacher(model, tokenizer, rows, wrong)
    right = [t is not None and extract_answer(t) == r["answer"] for t, r in zip(texts, rows, strict=True)]
    assert sum(right) >= 16
    assert not any(t and t.startswith("Again") for t in texts)
    assert tokens >= sum(len(tokenizer.encode(t)) for t in texts if t)


def test_the_tiny_student_cannot_use_a_hint():
    """Why STaR's own form of hint is not used here: told the answer, the student does no better than without."""
    model, tokenizer = load_classroom()
    rows = load_tiny_set("train")[:64]

    def accuracy(questions):
        ids = respond(model, tokenizer, questions, temperature=0.0, max_new_tokens=120)
        said = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return np.mean([extract_answer(t) == r["answer"] for t, r in zip(said, rows, strict=True)])

    plain = accuracy([r["question"] for r in rows])
    assert accuracy([baselines.hinted_prompt(r["question"], r["answer"]) for r in rows]) <= plain + 0.05


# --- the table ----------------------------------------------------------------------------------------------


def fake_results(rates: dict[str, float], seeds: int = 3, questions: int = 200) -> list[dict]:
    rng = np.random.default_rng(0)
    difficulty = rng.random(questions)

    def part(rate: float, k: int) -> dict:
        p = np.clip(rate + 0.4 * (difficulty - 0.5), 0, 1)
        right = [int(x) for x in rng.binomial(k, p)]
        return {
            "samples": k,
            "right": right,
            "majority": [int(x * 2 > k) for x in right],
            "length": [30.0] * questions,
            "no_answer": 0.0,
            "reflection": 0.0,
            "responses": ["text"] * questions if k == 1 else [],
        }

    return [
        {
            "method": m,
            "seed": s,
            "cost": {"generated_tokens": 1000, "trained_tokens": 10},
            "tasks": {t: {"main": part(rate, 1), "sampled": part(rate, 4)} for t in table.TINY_TASKS},
        }
        for m, rate in rates.items()
        for s in range(seeds)
    ]


def test_the_table_calls_a_difference_what_it_is_and_noise_noise():
    results = fake_results({"GRPO": 0.6, "zero-shot CoT": 0.6, "ThinkTuning, released": 0.85})
    rows = {(r.task, r.method): r for r in table.lines(results)}
    assert len(rows) == 9
    for task in table.TINY_TASKS:
        assert rows[task, "GRPO"].verdict == "reference"
        assert rows[task, "zero-shot CoT"].verdict == "no difference shown"
        assert rows[task, "ThinkTuning, released"].verdict == "better"
        line = rows[task, "ThinkTuning, released"]
        assert line.difference.low < 0.25 < line.difference.high and line.adjusted_p >= line.difference.p_value
        assert line.pass_1 < line.pass_k
    assert rows["tt_tiny_test", "GRPO"].accuracy == pytest.approx(0.6, abs=0.05)
    text = table.markdown(list(rows.values()), table.Plan())
    assert text.count("\n| ") == 9 and "no difference shown" in text and "| reference |" in text


def test_compact_results_keep_the_responses_of_one_seed():
    results = fake_results({"GRPO": 0.6})
    kept = [bool(r["tasks"]["tt_tiny_test"]["main"]["responses"]) for r in table.compact(results)]
    assert kept == [True, False, False]
    assert all(r["tasks"]["tt_tiny_test"]["main"]["responses"] for r in results)  # untouched


def test_default_methods_suffice_and_each_has_a_folder_of_its_own():
    assert len(table.DEFAULT) >= 8 and set(table.DEFAULT) <= set(table.METHODS)
    assert table.REFERENCE in table.DEFAULT
    assert len({table.slug(m) for m in table.METHODS}) == len(table.METHODS)


def test_cost_of_a_run_from_its_metrics():
    metrics = [{"completions/mean_length": 30.5}, {"completions/mean_length": 40.0}]
    assert baselines.rl_cost(metrics, 64).generated_tokens == round(70.5 * 64)


def test_an_interrupted_run_of_the_table_does_not_train_or_ask_again(tmp_path, monkeypatch):
    """SFT on a few rows, 4 questions a benchmark: broken off during the evaluation, then done, then asked for again."""
    monkeypatch.chdir(tmp_path)
    rows = load_tiny_set("train")[:32]
    monkeypatch.setattr(methods.sample, "load_tiny_set", lambda name: rows)
    trained, asked = [], []
    original_train, original_ask = baselines.fine_tune, table.hub_model

    def counting_train(*args):
        trained.append(1)
        return original_train(*args)

    def counting_model(*args, break_after=math.inf):
        lm = original_ask(*args)
        generate = lm.generate_until

        def counted(requests, disable_tqdm=False):
            if len(asked) >= break_after:
                raise KeyboardInterrupt
            asked.extend(requests)
            return generate(requests, disable_tqdm=True)

        lm.generate_until = counted
        return lm

    monkeypatch.setattr(baselines, "fine_tune", counting_train)
    monkeypatch.setattr(table, "hub_model", lambda *a: counting_model(*a, break_after=1))
    plan = table.Plan(name="t", methods=("SFT",), seeds=(0,), limit=4)
    with pytest.raises(KeyboardInterrupt):
        table.run_one(plan, "SFT", 0)
    assert len(trained) == 1 and len(asked) == 3 * 4 * table.SAMPLES  # the samples were answered, the greedy ones not
    monkeypatch.setattr(table, "hub_model", counting_model)
    table.run_one(plan, "SFT", 0)
    assert len(trained) == 1 and len(asked) == 3 * 4 * table.SAMPLES + 3 * 4
    result = json.loads(table.result_path(plan, "SFT", 0).read_text())
    assert result["cost"]["trained_tokens"] > 0
    assert len(result["tasks"]["tt_tiny_harder"]["main"]["right"]) == 4
