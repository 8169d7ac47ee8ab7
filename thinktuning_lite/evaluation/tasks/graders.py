"""What the task files call: rows of a benchmark in one shape, and the answers of a model in `rewards.py`'s hands.

A row is `question`, `answer` (text) and, for multiple choice, `choices`: a list of {key, text}. The files are found
under the folder that the environment variable THINKTUNING_DATA names (`gsm8k/test.jsonl`, ...: the
original file of each benchmark, see `local` in its YAML), else the Hub dataset is loaded.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from thinktuning_lite.classroom.sample import load_tiny_set
from thinktuning_lite.evaluation.statistics import majority
from thinktuning_lite.method.answers import extract_answer, extract_choice, extract_yes_no, gsm8k_gold
from thinktuning_lite.method.grading import canonical_form, is_correct

FOLDER = "THINKTUNING_DATA"
LETTERS = "ABCDEFGHIJ"

Row = dict[str, Any]


# --- loading ------------------------------------------------------------------------------------------------


def load(
    *, hub: str, split: str, local: str, shape: Callable[[Row], Row], subset: str | None = None, **_: Any
) -> dict[str, Dataset]:
    """A benchmark as {"test": rows in the common shape}, from a file below THINKTUNING_DATA or from the Hub.

    Raises ValueError, naming the row, when a row does not have the columns that `shape` reads, and FileNotFoundError
    when THINKTUNING_DATA is set to what is no folder.
    """
    path = local_file(local)
    rows = read_rows(path) if path else load_dataset(hub, subset, split=split)
    source = str(path or hub)
    return {"test": Dataset.from_list([_shaped(shape, row, f"{source}, row {i}") for i, row in enumerate(rows)])}


def load_tiny(*, name: str, **_: Any) -> dict[str, Dataset]:
    """A shipped problem set of the tiny classroom as {"test": rows}."""
    return {"test": Dataset.from_list(load_tiny_set(name))}


def local_file(relative: str) -> Path | None:
    """`relative` below the folder of THINKTUNING_DATA; None when the variable is unset or the file is not there."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{FOLDER}={folder!r} is no folder; unset it to load benchmarks from the Hub")
    path = Path(folder) / relative
    return path if path.exists() else None


def read_rows(path: Path) -> list[Row]:
    """The rows of a .jsonl, .json (one array), .csv or .parquet file."""
    if path.suffix == ".jsonl":
        # split("\n"), not splitlines(): a question may hold other line ends, U+2028 say
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".parquet":
        return list(Dataset.from_parquet(str(path)))
    raise ValueError(f"{path}: rows are read from .jsonl, .json, .csv and .parquet files")


def _shaped(shape: Callable[[Row], Row], row: Row, where: str) -> Row:
    try:
        return shape(row)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{where} is not in the benchmark's original shape ({error!r}); columns: {list(row)}"
        raise ValueError(message) from error


# --- shapes -------------------------------------------------------------------------------------------------


def gsm8k(row: Row) -> Row:
    return {"question": row["question"], "answer": gsm8k_gold(row["answer"])}


def problem_and_answer(row: Row) -> Row:
    """MATH-500, AIME, and any other set with the columns `problem` and `answer`."""
    return {"question": row["problem"], "answer": str(row["answer"])}


def strategyqa(row: Row) -> Row:
    if not isinstance(row["answer"], bool):
        raise TypeError(f"answer is {row['answer']!r}, not true or false")
    return {"question": row["question"], "answer": "yes" if row["answer"] else "no"}


def mmlu_pro(row: Row) -> Row:
    return _choice(row["question"], zip(LETTERS, row["options"], strict=False), row["answer"])


def official_choices(row: Row) -> Row:
    """ARC and CommonsenseQA, in the official files' nested shape or the Hub's flat one. Keys stay as they are."""
    nested = isinstance(row["question"], dict)
    choices = row["question"]["choices"] if nested else row["choices"]
    if isinstance(choices, dict):
        pairs = zip(choices["label"], choices["text"], strict=True)
    else:
        pairs = ((c["label"], c["text"]) for c in choices)
    return _choice(row["question"]["stem"] if nested else row["question"], pairs, row["answerKey"])


def gpqa(row: Row) -> Row:
    """Right and wrong answers in an order drawn from the question itself, so that it is the same in every run."""
    right = row["Correct Answer"].strip()
    texts = [right] + [row[f"Incorrect Answer {i}"].strip() for i in (1, 2, 3)]
    order = random.Random(row["Question"]).sample(range(4), 4)
    pairs = zip(LETTERS, [texts[i] for i in order], strict=False)
    return _choice(row["Question"].strip(), pairs, LETTERS[order.index(0)])


def _choice(question: str, pairs: Iterable[tuple[str, str]], answer: str) -> Row:
    choices = [{"key": key, "text": text} for key, text in pairs]
    if answer not in [c["key"] for c in choices]:
        raise ValueError(f"the answer {answer!r} is none of the keys {[c['key'] for c in choices]}")
    return {"question": question, "answer": answer, "choices": choices}


# --- answers (lm-eval filters: the samples of each document -> what each states, None for nothing) ----------


def answers(responses: list[list[str]], docs: list[Row]) -> list[list[str | None]]:
    """Numbers and LaTeX."""
    return [[extract_answer(text) for text in texts] for texts in responses]


def choices(responses: list[list[str]], docs: list[Row]) -> list[list[str | None]]:
    keys = [[c["key"] for c in doc["choices"]] for doc in docs]
    return [[extract_choice(text, k) for text in texts] for texts, k in zip(responses, keys, strict=True)]


def yes_no(responses: list[list[str]], docs: list[Row]) -> list[list[str | None]]:
    return [[extract_yes_no(text) for text in texts] for texts in responses]


# --- grading ------------------------------------------------------------------------------------------------


def grade(doc: Row, results: list[list[str | None]]) -> dict[str, float]:
    """Metrics of one document from what its samples state; a sample that states nothing is wrong, and counted.

    `pass@1` is the share of right samples, `maj@k` whether the most frequent stated answer is right, `pass@k` whether
    any sample is right (k = the task's `repeats`), `no_answer` the share that states none.
    """
    (stated,) = results
    right = [is_correct(answer, doc["answer"]) for answer in stated]
    return {
        "pass@1": sum(right) / len(right),
        "maj@k": float(is_correct(majority(stated, canonical_form), doc["answer"])),
        "pass@k": float(any(right)),
        "no_answer": stated.count(None) / len(stated),
    }
