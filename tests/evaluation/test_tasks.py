"""The benchmark files: rows of the real files, prompts, filters and graders, as lm-eval itself loads them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from datasets import Dataset
from lm_eval.tasks import TaskManager

from thinktuning_lite.evaluation.harness import TASKS, TINY_TASKS
from thinktuning_lite.evaluation.tasks import graders
from thinktuning_lite.method.grading import is_correct

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_files = pytest.mark.skipif(not DATA.is_dir(), reason="the public files of ../shared/data are not here")

PUBLIC = {
    "tt_gsm8k",
    "tt_math500",
    "tt_aime2024",
    "tt_aime2025",
    "tt_gpqa_diamond",
    "tt_mmlu_pro",
    "tt_strategyqa",
    "tt_arc_challenge",
    "tt_commonsenseqa",
}


@pytest.fixture(scope="module")
def manager():
    return TaskManager(include_path=str(TASKS), include_defaults=False)


@pytest.fixture
def public_files(tmp_path, monkeypatch):
    """A THINKTUNING_DATA folder: the real files, the MMLU-Pro outputs standing in for its test split."""
    for source in DATA.iterdir():
        if source.is_dir() and source.name != "mmlu_pro":
            (tmp_path / source.name).symlink_to(source)
    (tmp_path / "mmlu_pro").mkdir()
    (tmp_path / "mmlu_pro" / "test.jsonl").symlink_to(DATA / "mmlu_pro" / "llama31_8b_outputs_400.jsonl")
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))


def task(manager, name):
    return manager.load([name])["tasks"][name]


def test_all_benchmarks_are_there_under_names_that_lm_eval_does_not_use(manager):
    assert set(manager.all_subtasks) == PUBLIC | set(TINY_TASKS)
    assert set(manager.all_tags) == {"tt_public", "tt_tiny"}
    assert all(name.startswith("tt_") for name in manager.all_tasks)  # no task of lm-eval's own begins so


def test_every_file_says_where_its_rows_are_how_many_samples_and_whether_it_is_gated(manager):
    for name in PUBLIC:
        config = manager.task_index[name].cfg
        assert {"hub", "split", "local", "shape"} <= set(config["dataset_kwargs"])
        assert config["metadata"]["gated"] is (name == "tt_gpqa_diamond")
        assert config["generation_kwargs"]["until"] == []
        sampled = name in ("tt_aime2024", "tt_aime2025")
        assert config["repeats"] == (32 if sampled else 1)
        assert config["generation_kwargs"]["do_sample"] is sampled
        assert (config["generation_kwargs"]["temperature"] > 0) is sampled


REAL = {
    "tt_gsm8k": (1319, lambda answers: all(int(a) is not None for a in answers)),
    "tt_math500": (500, lambda answers: sum(a.lstrip("-").isdigit() for a in answers) == 311),
    "tt_strategyqa": (229, lambda answers: Counter(answers) == {"yes": 107, "no": 122}),
    "tt_arc_challenge": (1172, lambda answers: sum(a in "1234" for a in answers) == 22),
    "tt_commonsenseqa": (1221, lambda answers: set(answers) == set("ABCDE")),
    "tt_mmlu_pro": (400, lambda answers: set(answers) == set("ABCDEFGHIJ")),
}


@needs_files
@pytest.mark.parametrize("name", REAL)
def test_every_row_of_the_real_files(manager, public_files, name):
    """Loaded, rendered, and graded: a response that states the gold is right, one without is "no answer"."""
    loaded = task(manager, name)
    docs = list(loaded.eval_docs)
    size, answers_are_as_expected = REAL[name]
    assert len(docs) == size and answers_are_as_expected([d["answer"] for d in docs])
    (ensemble,) = loaded._filters
    for doc in docs:
        prompt = loaded.doc_to_text(doc)
        assert doc["question"] in prompt and prompt.endswith("\\boxed{}.") and "{{question" not in prompt
        for choice in doc.get("choices", ()):
            assert f"\n({choice['key']}) {choice['text']}\n" in prompt
    said = [[f"So it is \\boxed{{{d['answer']}}}.", "I cannot say."] for d in docs]
    for part in ensemble.filters:
        said = list(part().apply(said, docs))
    for doc, stated in zip(docs, said, strict=True):
        assert stated[1] is None
        graded = loaded.process_results(doc, [stated])
        assert (graded["pass@1"], graded["maj@k"], graded["no_answer"]) == (0.5, 1.0, 0.5), doc


def test_the_tiny_benchmarks_ask_the_bare_question(manager):
    for name in TINY_TASKS:
        docs = task(manager, name).eval_docs
        assert len(docs) == 300
        assert task(manager, name).doc_to_text(docs[0]) == docs[0]["question"]


def test_gpqa_choices_come_in_an_order_of_their_own_that_never_changes(manager, tmp_path, monkeypatch):
    """An invented file in the original CSV's shape: the real one is gated."""
    columns = ["Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"]
    (tmp_path / "gpqa").mkdir()
    with (tmp_path / "gpqa" / "gpqa_diamond.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[f"Which, of four,\nis {i}?", f"right {i}\n", "one", "two", "three"] for i in range(60)])
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))
    first, second = (list(task(manager, "tt_gpqa_diamond").eval_docs) for _ in range(2))
    assert first == second
    assert set(Counter(d["answer"] for d in first)) == set("ABCD")
    for i, doc in enumerate(first):
        assert {c["key"]: c["text"] for c in doc["choices"]}[doc["answer"]] == f"right {i}"


@pytest.mark.parametrize("name", ["aime2024", "aime2025"])
def test_aime_in_its_original_shape(manager, tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    rows = [{"id": 1, "problem": "How many?", "answer": 33}, {"id": 2, "problem": "And now?", "answer": "073"}]
    (tmp_path / name / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))
    docs = list(task(manager, f"tt_{name}").eval_docs)
    assert [d["answer"] for d in docs] == ["33", "073"]
    assert graders.grade(docs[1], [["73", "74", None, "73"]]) == {
        "pass@1": 0.5,
        "maj@k": 1.0,
        "pass@k": 1.0,
        "no_answer": 0.25,
    }


def test_the_hubs_flat_shape_of_choices_gives_the_same_rows_as_the_official_nested_one():
    nested = {"question": {"stem": "Why?", "choices": [{"text": "so", "label": "1"}, {"text": "no", "label": "2"}]}}
    flat = {"question": "Why?", "choices": {"text": ["so", "no"], "label": ["1", "2"]}}
    assert graders.official_choices(nested | {"answerKey": "2"}) == graders.official_choices(flat | {"answerKey": "2"})


def test_choices_filter_respects_the_keys_of_each_question():
    docs = [{"choices": [{"key": k} for k in keys]} for keys in ("ABC", "1234", "ABCDEFGHIJ")]
    said = [[r"\boxed{D}", r"\boxed{c}"], ["The answer is (3).", r"\boxed{5}"], ["The answer is (J).", "J."]]
    assert graders.choices(said, docs) == [[None, "C"], ["3", None], ["J", "J"]]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("## Step 3\nThe final answer is: $\\boxed{C}$", "C"),
        ("\\boxed{\\textbf{(C)}\\ 12}", "C"),
        ("The best answer is C.", "C"),
        ("**Answer: C**", "C"),
        ("The correct answer is:\n\n(C) nine", "C"),
        ("The answer is **C. 3.5 kg**", "C"),
        ("The answer is C\n\nExplanation: A is too small.", "C"),
        ("Option C is correct.", "C"),
        ("(C) is correct because it is the largest.", "C"),
        ("Thus, C is the answer.", "C"),
        ("That gives 3.5, which corresponds to option C.", "C"),
        ("Option A is correct in part. The answer is (C).", "C"),
        ("If option C is correct, the rest is wrong.", None),
        ("Option C is correct in that it names the gas.", None),
        ("Option C is not correct.", None),
        ("The correct answer is not listed.", None),
        ("Among the choices, the closest is C.", None),
    ],
)
def test_forms_in_which_models_state_a_choice(text, expected):
    assert graders.choices([[text]], [{"choices": [{"key": k} for k in "ABCDE"]}]) == [[expected]]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\\boxed{\\text{Yes}}", "yes"),
        ("\\boxed{No, he would not.}", "no"),
        ("\\boxed{\\text{yes, it was}}", "yes"),
        ("\\boxed{No one}", None),
        ("**Final Answer: Yes**", "yes"),
        ("So, the answer would be no.", "no"),
        ("The answer is not known.", None),
    ],
)
def test_forms_in_which_models_state_yes_or_no(text, expected):
    assert graders.yes_no([[text]], [{}]) == [[expected]]


def test_a_new_benchmark_is_one_file(tmp_path, monkeypatch):
    """Columns `problem` and `answer`, a local parquet file, twenty lines of YAML less: nothing else is touched."""
    Dataset.from_list([{"problem": "1+1?", "answer": "2"}]).to_parquet(tmp_path / "new.parquet")
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))
    (tmp_path / "tasks").mkdir()
    text = (TASKS / "math500.yaml").read_text()
    text = text.replace("tt_math500", "tt_new").replace("math500/test.jsonl", "new.parquet")
    text = text.replace("include: base.yaml", f"include: {TASKS / 'base.yaml'}")
    text = text.replace("!function graders.", "!function thinktuning_lite.evaluation.tasks.graders.")
    (tmp_path / "tasks" / "new.yaml").write_text(text)
    new = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False).load(["tt_new"])["tasks"]["tt_new"]
    assert new.doc_to_text(new.eval_docs[0]).startswith("1+1?")


def test_what_is_wrong_with_the_data_is_said(manager, tmp_path, monkeypatch):
    monkeypatch.setenv(graders.FOLDER, str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="is no folder"):
        task(manager, "tt_gsm8k")
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "q", "answer": "no marker"}\n')
    with pytest.raises(ValueError, match="test.jsonl, row 0 is not in the benchmark's original shape"):
        task(manager, "tt_gsm8k")
    with pytest.raises(ValueError, match="none of the keys"):
        graders._choice("q", [("A", "x")], "B")


def test_benchmarks_are_asked_as_training_asks(manager, tmp_path, monkeypatch):
    from thinktuning_lite.models.datasets import BOXED

    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": "2+2?", "answer": "#### 4"}))
    monkeypatch.setenv(graders.FOLDER, str(tmp_path))
    loaded = task(manager, "tt_gsm8k")
    assert loaded.doc_to_text(loaded.eval_docs[0]) == BOXED.format(question="2+2?")


def test_yaml_files_hold_no_second_copy_of_the_prompt():
    own = [p.name for p in TASKS.glob("*.yaml") if "doc_to_text" in yaml.compose(p.read_text()).value.__repr__()]
    assert sorted(own) == ["base.yaml", "choices.yaml", "strategyqa.yaml", "tiny_test.yaml"]


def test_majority_of_equal_answers_in_different_clothes():
    doc = {"answer": "\\frac{1}{2}"}
    assert graders.grade(doc, [["3", "3", "0.5", "1/2", "\\frac12"]])["maj@k"] == 1.0
    assert is_correct("0.5", doc["answer"])
