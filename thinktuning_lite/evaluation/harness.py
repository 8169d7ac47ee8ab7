"""Running the benchmarks of tasks/ by lm-evaluation-harness on a model in memory or a folder, and what comes back.

Sampling, batching, prompts and filters are lm-eval's. Added here: a store that lets an interrupted evaluation go on
(lm-eval's own `CachingLM` passes sampled requests by, because it cannot tell the samples of one prompt apart), and
results as plain records, one a question.
"""

from __future__ import annotations

import copy
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval
import lm_eval.api.task
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, hash_args
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from sqlitedict import SqliteDict
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.sampling import eos_ids_of, sample, settings_of, shared_prefix

TASKS = Path(__file__).resolve().parent / "tasks"
TINY_TASKS = ("tt_tiny_test", "tt_tiny_harder", "tt_tiny_distractor")
SAMPLED = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
GREEDY = {"do_sample": False, "temperature": 0.0}
CHUNK = 256  # requests answered between two writes to the store


@dataclass(frozen=True)
class Record:
    """One question of a benchmark: what a method responded (k samples), what those state, and which are right.

    `doc` is the row of the benchmark (question, answer, ...); `answers` holds None for a sample that states none;
    `lengths` are tokens of each response, by the model's tokenizer, without EOS.
    """

    doc: dict[str, Any]
    responses: list[str]
    answers: list[str | None]
    correct: list[bool]
    lengths: list[int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class StoredLM(LM):
    """Another lm-eval model whose responses are kept in an SQLite file, so that none is asked for twice.

    The key is the request *and* how often it came before: the second sample of a prompt has its own place. Requests are
    answered in chunks of `chunk`, each seeded by (seed, its position) and stored as a whole: an evaluation that was
    interrupted and resumed gives the same responses as one that was not.

    A file belongs to one model: what is asked of another needs another file.
    """

    def __init__(self, inner: LM, path: Path, seed: int = 0, chunk: int = CHUNK) -> None:
        super().__init__()
        self.inner, self.seed, self.chunk = inner, seed, chunk
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store = SqliteDict(str(path), tablename="responses", autocommit=False)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        seen: Counter[str] = Counter()
        keys = []
        for request in requests:
            key = hash_args("generate_until", request.args)
            keys.append(f"{self.seed}/{key}/{seen[key]}")
            seen[key] += 1
        for start in range(0, len(requests), self.chunk):
            part = slice(start, start + self.chunk)
            if all(key in self.store for key in keys[part]):
                continue
            torch.manual_seed(self.seed * 1_000_003 + start)
            replies = self.inner.generate_until(requests[part], disable_tqdm=True)
            self.store.update(zip(keys[part], replies, strict=True))
            self.store.commit()
        return [self.store[key] for key in keys]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.inner.apply_chat_template(chat_history, add_generation_prompt=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self.inner.chat_template(chat_template)

    @property
    def tokenizer_name(self) -> str:
        return self.inner.tokenizer_name

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return self.inner.loglikelihood(requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return self.inner.loglikelihood_rolling(requests)


class SampledLM(HFLM):
    """lm-eval's model class, its tokens chosen by `sampling.sample` wherever that knows all that is asked.

    Stop strings other than EOS, penalties, beams and mixed precision are left to lm-eval and `generate`.
    """

    def _model_generate(self, context, max_length, stop, attention_mask=None, **generation):
        how = self._settings(max_length - context.shape[1], stop, generation)
        if how is None or attention_mask is None:
            return super()._model_generate(context, max_length, stop, attention_mask=attention_mask, **generation)
        prompts = [row[mask.bool()].tolist() for row, mask in zip(context, attention_mask, strict=True)]
        completions = sample(self.model, prompts, prefix=shared_prefix(prompts), **how)
        said = [torch.tensor(ids, dtype=context.dtype) for ids in completions]
        said = pad_sequence(said, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        return torch.cat([context, said.to(context.device)], 1)

    def _settings(self, budget: int, stop: list[str], generation: Mapping[str, Any]) -> dict[str, Any] | None:
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        own = copy.deepcopy(self.model.generation_config)
        if set(stop) - {eos} or self.mixed_precision_dtype is not None or not set(generation) <= _SAMPLED_BY:
            return None
        for name in generation:  # asked for as None, it is lifted
            setattr(own, name, None)
        drawn = generation.get("do_sample", generation.get("temperature", 0.0) > 0)
        named = {k: v for k, v in generation.items() if k != "temperature" or drawn} | {"do_sample": drawn}
        how = settings_of(
            own, GenerationConfig(max_new_tokens=budget, pad_token_id=self.tokenizer.pad_token_id, **named)
        )
        return None if how is None else how | {"eos_ids": eos_ids_of(self.model, self.tokenizer)}


_SAMPLED_BY = {"do_sample", "temperature", "top_k", "top_p", "suppress_tokens"}


def hub_model(model: Any, tokenizer: Any = None, batch_size: int | str = 128) -> HFLM:
    """lm-eval's model class over a model in memory (with its tokenizer), a local folder, or a Hub id."""
    with quiet_harness():
        if isinstance(model, (str, Path)):
            device = "cuda" if torch.cuda.is_available() else "cpu"
            return SampledLM(pretrained=str(model), batch_size=batch_size, device=device)
        if tokenizer is None:
            raise ValueError("a model in memory needs its tokenizer: hub_model(model, tokenizer)")
        model.eval()
        return SampledLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


def run_tasks(
    lm: LM,
    tasks: Sequence[str],
    tokenizer: Any,
    *,
    repeats: int | None = None,
    generation: Mapping[str, Any] | None = None,
    limit: int | None = None,
    system: str | None = None,
) -> dict[str, list[Record]]:
    """Records by task, in the order of the benchmark's rows.

    `repeats` and `generation` override the tasks' samples per question and generation arguments; `limit` takes the
    first rows only; `system` is a system prompt. Prompts go through the model's chat template.

    Raises KeyError, naming the known tasks, for an unknown one.
    """
    with quiet_harness():
        manager = TaskManager(include_path=str(TASKS), include_defaults=False)
        unknown = set(tasks) - set(manager.all_tasks)
        if unknown:
            raise KeyError(f"no task {sorted(unknown)} in {TASKS.name}/; there are: {', '.join(manager.all_subtasks)}")
        loaded = manager.load(list(tasks))["tasks"]
        for task in loaded.values():
            if repeats:
                task.set_config("repeats", repeats)
            if generation:
                task.set_config("generation_kwargs", dict(generation), update=True)
        # evaluate, not simple_evaluate: that one also describes the machine, for seconds
        results = lm_eval.evaluate(
            lm,
            manager.load(list(loaded.values())),
            limit=limit,
            bootstrap_iters=0,
            system_instruction=system,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
        )
    return {name: _records(results["samples"][name], tokenizer) for name in loaded}


def _records(samples: list[dict[str, Any]], tokenizer: Any) -> list[Record]:
    out = []
    for said in sorted(samples, key=lambda s: s["doc_id"]):
        (responses,), (answers,) = said["resps"], said["filtered_resps"]
        out.append(
            Record(
                doc=said["doc"],
                responses=responses,
                answers=answers,
                correct=[is_correct(a, said["doc"]["answer"]) for a in answers],
                lengths=[len(ids) for ids in tokenizer(responses, add_special_tokens=False)["input_ids"]],
            )
        )
    return out


@contextmanager
def quiet_harness():
    """Without lm-eval's advice, and without its bar for the building of prompts."""
    logger, bar = logging.getLogger("lm_eval"), lm_eval.api.task.tqdm
    level = logger.level
    logger.setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval.api.task.tqdm = bar


# --- leaks --------------------------------------------------------------------------------------------------


def leaks(training_texts: Iterable[str], questions: Iterable[str]) -> list[str]:
    """The test questions that occur in a training text (few-shot exemplar, worked solution, sampled rationale).

    Case, white space and punctuation do not hide a question, nor does text around it. Numbers count: the tiny
    classroom's stories share their sentences by design, and differ in what they tell.
    """
    everything = f" {' | '.join(_words(text) for text in training_texts)} "
    return [q for q in questions if f" {_words(q)} " in everything]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
