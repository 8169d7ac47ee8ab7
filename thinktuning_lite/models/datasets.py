"""GSM8K, or other questions in its shape, by Hub name or from a local file: boxed prompt, validation held out, over-long
prompts dropped.

The prompt asks for what the authors' asks for (the question, then to think step by step and to give the final answer
inside `\\boxed{}`), in this project's words.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from thinktuning_lite.method.answers import gsm8k_gold
from thinktuning_lite.models.load import explain_hub_error

GSM8K = "openai/gsm8k"
BOXED = "{question}\n\nReason step by step, and put your final answer within \\boxed{{}}."
COLUMNS = ("question", "answer")
_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}  # by what `datasets` calls them


@dataclass(frozen=True)
class TrainingData:
    """Rows for a TRL trainer (`prompt` as chat messages, `question`, `answer`), and how many were too long."""

    train: Dataset
    validation: Dataset
    dropped: int


def gsm8k_rows(source: str | Path = GSM8K, split: str = "train") -> list[dict[str, str]]:
    """GSM8K's rows as they are: `question`, and `answer` with the reasoning and `#### n` at the end.

    `source`: a Hub id in GSM8K's shape, a .jsonl, .json or .parquet file, or a folder in the Hub's layout.

    Raises FileNotFoundError, PermissionError or ConnectionError with the way out, ValueError for other columns.
    """
    path = Path(source).expanduser()
    rows = _local_rows(path, split) if path.exists() else _hub_rows(str(source), split)
    missing = set(COLUMNS) - set(rows[0] if rows else ())
    if missing:
        found = ", ".join(rows[0]) if rows else "no rows"
        raise ValueError(f"{source} is not in GSM8K's shape: it lacks {', '.join(sorted(missing))} (found: {found})")
    return [{name: row[name] for name in COLUMNS} for row in rows]


def _local_rows(path: Path, split: str) -> list[dict[str, Any]]:
    files = [path]
    if path.is_dir():
        patterns = (f"{split}.jsonl", f"**/{split}-*.parquet", f"**/{split}.parquet", f"**/{split}.jsonl")
        files = next((found for pattern in patterns if (found := sorted(path.glob(pattern)))), [])
        if not files:
            raise FileNotFoundError(f"the folder {path} holds no {split}.jsonl and no {split}-*.parquet")
    kind = _READERS.get(files[0].suffix)
    if kind is None:
        raise ValueError(f"{path}: give a .jsonl or .parquet file")
    try:
        return load_dataset(kind, data_files=[str(f) for f in files], split="train").to_list()
    except (DatasetGenerationError, ValueError, StopIteration) as error:  # the last is an empty file's
        raise ValueError(_what_is_wrong(files, kind) or f"{path} cannot be read: {error.__cause__ or error}") from error


def _what_is_wrong(files: list[Path], kind: str) -> str | None:
    """The first file and line that are not JSON objects; None when all are, or for another kind of file."""
    for file in files if kind == "json" else ():
        with file.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            number = 0
            for number, line in enumerate(lines, 1):
                try:
                    if not isinstance(json.loads(line), dict):
                        return f"{file}, line {number} holds no names and values: {line.strip()[:60]}"
                except json.JSONDecodeError as error:
                    return f"{file}, line {number} is not JSON: {error}"
        if number == 0:
            return f"{file} is empty"
    return None


def _hub_rows(name: str, split: str) -> list[dict[str, Any]]:
    if name.startswith((".", "/", "~")) or name.endswith((".jsonl", ".parquet")) or name.count("/") != 1:
        raise FileNotFoundError(f"there is no file or folder {name!r}: check the path, or give a Hub id ({GSM8K})")
    try:
        return load_dataset(name, "main", split=split).to_list()
    except (OSError, DatasetNotFoundError) as error:
        better = explain_hub_error(error, name, "dataset")
        if better is None and isinstance(error, DatasetNotFoundError):
            better = FileNotFoundError(
                f"there is no dataset {name!r} on the Hub, or it is gated or private: check the "
                "spelling, log in with `hf auth login`, or give a local file"
            )
        raise better or error from error


def boxed_prompts(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows for a TRL trainer: `prompt` (one user message that asks for `\\boxed{}`), `question`, and gold `answer`.

    The gold is what stands behind `####`, as in GSM8K; in a data set without any `####` it is the answer as it is.
    Raises ValueError, naming the row, where only some have it, and for an answer that is empty.
    """
    hashed = any("####" in str(row["answer"]) for row in rows)
    out = []
    for number, row in enumerate(rows):
        answer = "" if row["answer"] is None else str(row["answer"])
        try:
            gold = gsm8k_gold(answer) if hashed else answer.strip()
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from error
        if not gold:
            raise ValueError(f"row {number}: the answer is empty, so no response could be right")
        content = BOXED.format(question=row["question"])
        out.append({"prompt": [{"role": "user", "content": content}], "question": row["question"], "answer": gold})
    return out


def hold_out(rows: list[dict[str, Any]], size: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(train, validation): the `size` questions with the smallest SHA-256, and copies of them, are held out.

    So the split hangs on the questions alone, not on their order, and no question is in both parts.
    Raises ValueError when nothing would be left to train on.
    """
    if size >= len(rows) > 0:
        raise ValueError(f"validation={size} would take all {len(rows)} rows: ask for fewer")
    digest = [hashlib.sha256(row["question"].encode()).digest() for row in rows]
    limit = sorted(digest)[size - 1] if size else b""
    held = [d <= limit for d in digest]
    return [r for r, h in zip(rows, held, strict=True) if not h], [r for r, h in zip(rows, held, strict=True) if h]


def drop_long(rows: list[dict[str, Any]], tokenizer: Any, max_tokens: int) -> tuple[list[dict[str, Any]], int]:
    """(rows whose prompt, as the model reads it, has at most `max_tokens` tokens; how many were dropped)."""
    texts = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, tokenize=False) for r in rows]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
    kept = [r for r, n in zip(rows, lengths, strict=True) if n <= max_tokens]
    return kept, len(rows) - len(kept)


def training_data(
    source: str | Path, tokenizer: Any, *, validation: int = 200, max_prompt_tokens: int = 512
) -> TrainingData:
    """GSM8K's training split, ready for the trainer.

    Raises ValueError when no prompt fits `max_prompt_tokens`, and what `gsm8k_rows` raises.
    """
    rows, held = hold_out(boxed_prompts(gsm8k_rows(source, "train")), validation)
    kept, dropped = drop_long(rows, tokenizer, max_prompt_tokens)
    kept_held, dropped_held = drop_long(held, tokenizer, max_prompt_tokens)
    if not kept:
        raise ValueError(f"no prompt of {source} has at most {max_prompt_tokens} tokens: raise max_prompt_tokens")
    return TrainingData(Dataset.from_list(kept), Dataset.from_list(kept_held), dropped + dropped_held)
