"""What a trainer is given, looked at before any step: refusals that name the place, and the question of a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from torch import nn
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from thinktuning_lite.method.settings import ThinkTuningConfig

_PICTURES = ("image", "images", "video", "videos", "audio")
_GIVEN_TO_REWARDS = {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}


def check_inputs(model: Any, train_dataset: Any, args: Any, processing_class: Any, others: Mapping[str, Any]) -> None:
    """What can be refused before a model is loaded."""
    if not isinstance(args, ThinkTuningConfig):
        raise TypeError(f"args is a {type(args).__name__}; ThinkTuningTrainer needs a ThinkTuningConfig")
    for name in ("rollout_func", "environment_factory"):
        if others.get(name):
            raise ValueError(f"{name}: guidance is spliced into what TRL itself samples; leave it out")
    if others.get("tools") and args.guide_after_first_answer:
        raise ValueError(
            "tools with guide_after_first_answer=True: a cut after an answer in the middle of several turns would part a "
            "call from its result; with tools guidance follows the last turn, so leave it False"
        )
    if others.get("teacher") is not None and args.teacher_max_prompt_length is not None:
        raise ValueError(
            f"teacher_max_prompt_length={args.teacher_max_prompt_length} limits the default teacher, and another was "
            "passed: set it to None, and limit that one (PolicyTeacher takes max_prompt_length)"
        )
    if train_dataset is not None and hasattr(train_dataset, "__len__") and len(train_dataset) == 0:
        raise ValueError("the training dataset has no rows: check its path, split and filters")
    if processing_class is not None:
        check_tokenizer(processing_class)
    looks_local = isinstance(model, str) and (model.startswith((".", "/", "~")) or model.count("/") > 1)
    if looks_local and not Path(model).expanduser().exists():
        raise FileNotFoundError(f"there is no model folder at {model!r}: check the path, or give a Hub id (owner/name)")


def check_tokenizer(tokenizer: Any) -> None:
    """Raises TypeError for a processor, ValueError for a tokenizer without EOS."""
    if isinstance(tokenizer, ProcessorMixin):
        raise TypeError(
            f"processing_class is a processor ({type(tokenizer).__name__}), and guidance is text only: "
            "pass processing_class=processor.tokenizer"
        )
    if getattr(tokenizer, "eos_token_id", None) is None:
        raise ValueError("the tokenizer has no EOS token, so no response can end by itself: set tokenizer.eos_token")


def check_data(
    train_dataset: Any, reward_funcs: Any, args: ThinkTuningConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse data that training could not use, judged by the first row (and the number of rows).

    Raises ValueError that names the column.
    """
    if not isinstance(train_dataset, (Dataset, IterableDataset)):
        return
    first = next(iter(train_dataset), None)
    if first is None:
        raise ValueError("the training dataset has no rows: check its path, split and filters")
    columns = ", ".join(first)
    if "prompt" not in first:
        raise ValueError(f"the training dataset has no column 'prompt'; its columns are: {columns}")
    for function in reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]:
        for name in _asked_columns(function):
            if name not in first:
                raise ValueError(
                    f"the reward function {getattr(function, '__name__', function)!r} needs a column {name!r}; "
                    f"the training dataset's columns are: {columns}"
                )
    if args.guides:
        _check_guidable(first, args, tokenizer)
    prompts = args.generation_batch_size // args.num_generations
    if isinstance(train_dataset, Dataset) and len(train_dataset) < prompts:
        raise ValueError(
            f"the training dataset has {len(train_dataset)} rows, and one generation asks {prompts} different ones "
            f"(generation_batch_size {args.generation_batch_size} / num_generations {args.num_generations}): training "
            "would end before its first step. Add rows, or lower per_device_train_batch_size or steps_per_generation"
        )


def _asked_columns(function: Any) -> list[str]:
    """The parameters of a reward function that a dataset column must fill."""
    if not callable(function) or isinstance(function, nn.Module):
        return []
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # no signature to be had, of a builtin say
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named and p.default is p.empty and p.name not in _GIVEN_TO_REWARDS]


def _check_guidable(row: dict[str, Any], args: ThinkTuningConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    if args.guidance_selection != "random" and "answer" not in row:
        raise ValueError(
            f"guidance_selection={args.guidance_selection!r} needs a column 'answer'; "
            f"the training dataset's columns are: {', '.join(row)}"
        )
    shown = _beside_text(row)
    if shown:
        raise ValueError(
            f"the first row shows {shown}, and guidance is text only: the teacher would comment on a question of which it "
            "cannot see that part. Leave such rows out, put into words what they show, or train without guidance "
            "(guided_fraction=0)"
        )
    question = question_of(row)
    if not question:
        raise ValueError(
            "the first row has no question for the teacher: neither a text in a column 'question' nor a user message "
            "with text in 'prompt'"
        )
    templated = [t for t in tokenizer.all_special_tokens if t in question]
    if templated:
        raise ValueError(
            f"the teacher would be shown {templated[0]!r} in the question: a chat template was already applied to "
            "'prompt'. Give message lists as prompts, or the bare question in a column 'question'"
        )


# ---------------------------------------------------------------- rows


def question_of(row: Mapping[str, Any]) -> str:
    """The question as the teacher reads it: the column `question`, else the last user message; "" without either."""
    if isinstance(row.get("question"), str) and row["question"].strip():
        return row["question"]
    prompt = row["prompt"]
    if isinstance(prompt, str):
        return prompt
    asked = (_text_of(m.get("content")) for m in reversed(prompt) if m.get("role") == "user")
    return next((text for text in asked if text.strip()), "")


def prefill_of(row: Mapping[str, Any]) -> str:
    """What the prompt already put into the assistant's mouth: the response that the teacher reads begins with it."""
    prompt = row["prompt"]
    if isinstance(prompt, str) or not prompt or prompt[-1].get("role") != "assistant":
        return ""
    return _text_of(prompt[-1].get("content"))


def _beside_text(row: Mapping[str, Any]) -> str | None:
    """What a row shows besides text (a picture, say), in a few words; None when it is text alone."""
    column = next((name for name in _PICTURES if row.get(name)), None)
    if column is not None:
        return f"something in its column {column!r}"
    turns = row["prompt"] if isinstance(row["prompt"], list) else []
    parts = [part for turn in turns if isinstance(turn.get("content"), list) for part in turn["content"]]
    kind = next((p["type"] for p in parts if isinstance(p, dict) and p.get("type", "text") != "text"), None)
    return None if kind is None else f"a part of type {kind!r} in its prompt"


def _text_of(content: Any) -> str:
    """A message's text; of a list of parts, the text parts."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and part.get("text"))
    return content if isinstance(content, str) else ""


# ---------------------------------------------------------------- positions


def check_positions(
    model: Any, train_dataset: Any, max_completion_length: int, tokenize: Callable[[list], tuple]
) -> int | None:
    """The model's `position_limit`. Raises ValueError when a prompt and a full rollout would not fit into it.

    `tokenize` is TRL's, whose first result are the ids of each prompt; of a streaming dataset only the first is looked at.
    """
    limit = position_limit(model)
    if limit is None or not isinstance(train_dataset, (Dataset, IterableDataset)):
        return limit
    prompts = (
        list(train_dataset["prompt"]) if isinstance(train_dataset, Dataset) else [next(iter(train_dataset))["prompt"]]
    )
    longest = max(map(len, tokenize(prompts)[0]))
    if longest + max_completion_length > limit:
        raise ValueError(
            f"the model has {limit} learned positions, and a prompt of {longest} tokens with max_completion_length="
            f"{max_completion_length} needs {longest + max_completion_length}: lower max_completion_length, or drop long "
            "prompts"
        )
    return limit


def position_limit(model: Any) -> int | None:
    """How many tokens a model with learned positions (GPT-2, OPT) can hold; None where positions are computed."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return None
    words = model.get_input_embeddings()
    tables = (m for m in model.modules() if isinstance(m, nn.Embedding) and m is not words)
    return limit if any(limit <= table.num_embeddings <= limit + 2 for table in tables) else None  # OPT has 2 more
