"""GSM8K by its Hub name or from a local file: boxed prompt, validation held out of train, over-long prompts dropped.

The words of the authors' prompt are not known to us; what is known is that answers stand in `\\boxed{}`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetNotFoundError

from thinktuning_lite.method.answers import gsm8k_gold
from thinktuning_lite.models.load import explain_hub_error

GSM8K = "openai/gsm8k"
BOXED = "{question}\n\nReason step by step, and put your final answer within \\boxed{{}}."
COLUMNS = ("question", "answer")


@dataclass(frozen=True)
class TrainingData:
    """Rows for a TRL trainer (`prompt` as chat messages, `question`, `answer`), and how many were too long."""

    train: Dataset
    validation: Dataset
    dropped: int


def gsm8k_rows(source: str | Path = GSM8K, split: str = "train") -> list[dict[str, str]]:
    """GSM8K's rows as they are: `question`, and `answer` with the reasoning and `#### n` at the end.

    `source`: a Hub id in GSM8K's shape, a .jsonl or .parquet file, or a folder in the Hub's layout.

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
    if path.is_dir():
        patterns = (f"{split}.jsonl", f"**/{split}-*.parquet", f"**/{split}.parquet", f"**/{split}.jsonl")
        files = next((found for pattern in patterns if (found := sorted(path.glob(pattern)))), [])
        if not files:
            raise FileNotFoundError(f"the folder {path} holds no {split}.jsonl and no {split}-*.parquet")
    else:
        files = [path]
    return [row for file in files for row in _file_rows(file)]


def _file_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    if path.suffix != ".jsonl":
        raise ValueError(f"{path}: give a .jsonl or .parquet file")
    rows = []
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
    return rows


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

    Raises ValueError, naming the row, for an answer without `#### n`.
    """
    out = []
    for number, row in enumerate(rows):
        try:
            gold = gsm8k_gold(row["answer"])
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from error
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
