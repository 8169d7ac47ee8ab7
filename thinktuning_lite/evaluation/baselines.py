"""The methods that ThinkTuning is compared with: prompted self-improvement, supervised fine-tuning, STaR.

Prompted methods wrap the harness's model class, so that every benchmark runs under them unchanged. Trained methods
start from the same checkpoint and return the model with what its training cost in tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from transformers import PrinterCallback
from trl import SFTConfig

from thinktuning_lite.classroom.problems import Problem, Step
from thinktuning_lite.classroom.sample import respond
from thinktuning_lite.classroom.settings import COMPLETION_TOKENS, TEACHER_TOKENS, TINY_RUN
from thinktuning_lite.classroom.turns import PHRASE_START, careful_steps, checker_messages, solution_text
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.checkpoints import WholeSFTTrainer
from thinktuning_lite.method.files import read_json, write_json
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT
from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance

Messages = list[dict[str, str]]


# --- prompted self-improvement ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One more request to the model: the chat to send, and generation arguments that differ from the task's."""

    messages: Messages
    generation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SelfImprovement:
    """A method of several turns: `ask(chat, replies)` gives the next turn, or None when it is done (never the first).

    `tell(replies)` is the response that is graded, the first attempt included: the last answer stated in it counts, and
    the change between the first and the last can be seen.
    """

    ask: Callable[[Messages, list[str]], Turn | None]
    tell: Callable[[list[str]], str] = "\n\n".join


def follow_ups(*prompts: str, done: Callable[[list[str]], bool] = lambda replies: False) -> SelfImprovement:
    """User turns after the first answer, in order, in the same chat, until `done(replies)` or none is left."""

    def ask(chat: Messages, replies: list[str]) -> Turn | None:
        if len(replies) > len(prompts) or done(replies):
            return None
        turns = list(chat)
        for reply, prompt in zip(replies, prompts, strict=False):
            turns += [{"role": "assistant", "content": reply}, {"role": "user", "content": prompt}]
        return Turn(turns)

    return SelfImprovement(ask)


def _found_correct(replies: list[str]) -> bool:
    return len(replies) == 2 and replies[1].strip().rstrip(".").lower().endswith("verdict: correct")


# For a Hub model, in this project's words. Verify: check, and solve again only if the check fails (after Weng et al.,
# 2023). Refine: answer, criticise, revise (after Madaan et al., 2023). Correct: review and correct in one turn, without
# outside feedback (after Huang et al., 2024).
PROMPTED = {
    "self-verify": follow_ups(
        "Check each step of the solution above. Do not solve the problem anew. "
        "End with one line: 'Verdict: correct' or 'Verdict: incorrect'.",
        "Then solve the problem again from the beginning, and put the final answer in \\boxed{}.",
        done=_found_correct,
    ),
    "self-refine": follow_ups(
        "Criticise the solution above: name its weakest step, and what should be done there. Do not solve it yet.",
        "Revise the solution in the light of that criticism, and put the final answer in \\boxed{}.",
    ),
    "self-correct": follow_ups(
        "Review the solution above, correct what is wrong in it, and put the final answer in \\boxed{}.",
    ),
}


def as_teacher(keep_if_correct: bool) -> SelfImprovement:
    """The tiny checkpoint improving its own answer: a second turn to the same weights in their teacher role.

    Its student role has only ever seen one turn, so a follow-up in the same chat would ask for what it cannot read. The
    reply counts as its reason and phrase; with `keep_if_correct` only when its opinion is "incorrect" (self-verify),
    else always (self-refine). A reply in a bad format changes nothing.
    """

    def ask(chat: Messages, replies: list[str]) -> Turn | None:
        if not replies:
            return Turn(chat)
        if len(replies) == 2:
            return None
        question = chat[-1]["content"]
        behaviour = BEHAVIOURS[len(question) % len(BEHAVIOURS)]  # any: the same for the same question
        # The checkpoint's generation config keeps the tags from the student; its teacher may write them.
        return Turn(TINY_PROMPT.messages(question, replies[0], behaviour), {"suppress_tokens": None})

    def tell(replies: list[str]) -> str:
        said = parse_guidance(replies[1])
        if said is None or (keep_if_correct and said.opinion == "correct"):
            return replies[0]
        return replies[0] + said.text

    return SelfImprovement(ask, tell)


def as_checker() -> SelfImprovement:
    """The tiny checkpoint in its checker role: one response that holds a solution and its revision (self-correct)."""

    def ask(chat: Messages, replies: list[str]) -> Turn | None:
        return None if replies else Turn(checker_messages(chat[-1]["content"]))

    return SelfImprovement(ask)


TINY_PROMPTED = {
    "self-verify": as_teacher(keep_if_correct=True),
    "self-refine": as_teacher(keep_if_correct=False),
    "self-correct": as_checker(),
}


class SelfImprovingLM(LM):
    """An lm-eval model that answers every request by several turns with another one (wrap a `harness.StoredLM`).

    Chats travel to `generate_until` as JSON, as with lm-eval's chat APIs; each turn is templated by the inner model.
    """

    def __init__(self, inner: LM, method: SelfImprovement) -> None:
        super().__init__()
        self.inner, self.method = inner, method

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        return json.dumps(chat_history)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        chats = [json.loads(r.args[0]) for r in requests]
        replies: list[list[str]] = [[] for _ in requests]
        turns: dict[int, Turn] = {i: self.method.ask(chat, []) for i, chat in enumerate(chats)}
        while turns:
            asked = [self._request(requests[i], turn) for i, turn in turns.items()]
            for i, reply in zip(turns, self.inner.generate_until(asked), strict=True):
                replies[i].append(reply)
            following = {i: self.method.ask(chats[i], replies[i]) for i in turns}
            turns = {i: turn for i, turn in following.items() if turn is not None}
        return [self.method.tell(said) for said in replies]

    def _request(self, request: Instance, turn: Turn) -> Instance:
        arguments = (self.inner.apply_chat_template(turn.messages), request.args[1] | turn.generation)
        return Instance("generate_until", request.doc, arguments, 0, (request.task_name, request.doc_id, 1))

    @property
    def tokenizer_name(self) -> str:
        return self.inner.tokenizer_name

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("self-improvement is defined for generated answers only")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("self-improvement is defined for generated answers only")


# --- supervised fine-tuning ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A question and the response to learn."""

    question: str
    response: str


@dataclass(frozen=True)
class Cost:
    """What a trained method used: tokens it sampled (a teacher's included), and target tokens it was trained on."""

    generated_tokens: int
    trained_tokens: int


def sft_config(output_dir: Path, seed: int, **overrides: Any) -> SFTConfig:
    """Settings for the tiny classroom: 2 epochs of batches of 32, loss on the response only."""
    settings: dict[str, Any] = dict(
        output_dir=str(output_dir),
        num_train_epochs=2,
        per_device_train_batch_size=32,
        learning_rate=2e-4,
        lr_scheduler_type="linear",
        completion_only_loss=True,
        max_length=512,
        seed=seed,
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=10,
    )
    return SFTConfig(**(TINY_RUN | settings | overrides))


def fine_tune(model: Any, tokenizer: Any, examples: Sequence[Example], config: SFTConfig) -> Cost:
    """Train `model` in place on the examples' responses by TRL's SFTTrainer, or go on from config.output_dir.

    Raises ValueError when there is nothing to learn.
    """
    if not examples:
        raise ValueError("no example to fine-tune on: no worked solution was given, or no sampled one was right")
    rows = [
        {
            "prompt": [{"role": "user", "content": e.question}],
            "completion": [{"role": "assistant", "content": e.response}],
        }
        for e in examples
    ]
    trainer = WholeSFTTrainer(model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.go_on()
    encoded = tokenizer([e.response for e in examples], add_special_tokens=False)["input_ids"]
    targets = sum(len(ids) + 1 for ids in encoded)  # EOS is learnt too
    return Cost(generated_tokens=0, trained_tokens=round(targets * config.num_train_epochs))


def plain_solutions(rows: Sequence[dict]) -> list[Example]:
    """The tiny set's own worked solutions, one equation a step: what a benchmark's solution column would hold."""
    return [Example(r["question"], solution_text(r["chain"].split())) for r in rows]


def careful_solutions(rows: Sequence[dict]) -> list[Example]:
    """Solutions with every product worked out by tens and units: the route that the student role never shows.

    An oracle wrote them, so SFT on these bounds from above what a teacher of the same weights can teach.
    """
    return [Example(r["question"], solution_text(careful_steps(_problem(r)))) for r in rows]


def _problem(row: dict) -> Problem:
    steps = []
    for equation in row["chain"].split():
        formula = equation.split("=")[0]
        op = next(o for o in "+-*" if o in formula)
        left, right = formula.split(op)
        steps.append(Step(int(left), op, int(right)))
    return Problem(row["question"], tuple(steps), row["distractor"])


# --- STaR ---------------------------------------------------------------------------------------------------

# A reasoning, or None, towards each answer that was missed: (model, tokenizer, rows, wrong texts) -> (texts, tokens).
Rationalise = Callable[[Any, Any, Sequence[dict], Sequence[str]], tuple[list[str | None], int]]


def hinted_prompt(question: str, answer: str) -> str:
    """STaR's hint for an instruct model: the answer is given, the reasoning asked for."""
    return (
        f"{question}\n\nThe right answer is {answer}. Give the reasoning that leads to it, "
        f"and end with \\boxed{{{answer}}}."
    )


def rationalise_by_hint(
    model: Any, tokenizer: Any, rows: Sequence[dict], wrong: Sequence[str]
) -> tuple[list[str | None], int]:
    """Ask the model itself, the answer in its prompt. For instruct models; the tiny student cannot read a hint."""
    ids = respond(model, tokenizer, [hinted_prompt(r["question"], r["answer"]) for r in rows], temperature=0.0)
    return list(tokenizer.batch_decode(ids, skip_special_tokens=True)), sum(map(len, ids))


def hinted_attempt(text: str, answer: str) -> str:
    """A wrong attempt with the right answer in its last box: a hint in a form that the tiny teacher role reads."""
    steps = text[: text.rfind("\\boxed")] if "\\boxed" in text else f"{text} "
    return f"{steps}\\boxed{{{answer}}}"


def rationalise_as_teacher(
    model: Any, tokenizer: Any, rows: Sequence[dict], wrong: Sequence[str]
) -> tuple[list[str | None], int]:
    """The tiny classroom's rationalisation: the same weights in their teacher role read a `hinted_attempt`.

    The tiny student was never shown a hint and cannot use one. Its teacher role reads attempts, solves the problem
    again and does not heed the box (of 53 wrong attempts 47 phrases ended right with the hint and 47 without): what the
    known answer does is to sort out the phrases that end wrong. So this lends STaR the teacher role's knowledge, as
    ThinkTuning has it, and a comparison of the two is one of how it is used; STaR without rationalisation is the
    variant that stays within the student. The phrase counts without its opening word.
    """
    teach = PolicyTeacher(model, tokenizer, TINY_PROMPT, max_new_tokens=TEACHER_TOKENS)
    replies = teach(
        [
            GuidanceRequest(r["question"], hinted_attempt(text, r["answer"]), BEHAVIOURS[i % len(BEHAVIOURS)])
            for i, (r, text) in enumerate(zip(rows, wrong, strict=True))
        ]
    )
    tokens = sum(len(ids) + 1 for ids in tokenizer(replies, add_special_tokens=False)["input_ids"])
    said = [parse_guidance(reply) for reply in replies]
    return [g and g.phrase.removeprefix(PHRASE_START) for g in said], tokens


@dataclass(frozen=True)
class StarPlan:
    """Per iteration, sample until a share of `token_budget` is spent, then fine-tune the *start* anew."""

    token_budget: int
    iterations: int = 2
    rationalise: Rationalise | None = None
    batch: int = 128
    max_new_tokens: int = COMPLETION_TOKENS


def star(
    load: Callable[[], tuple[Any, Any]],
    rows: Sequence[dict],
    plan: StarPlan,
    folder: Path,
    seed: int,
    make_config: Callable[..., SFTConfig] = sft_config,
) -> tuple[Any, Any, Cost]:
    """STaR (Zelikman et al., 2022): sample, keep what ends right, rationalise what does not, fine-tune, repeat.

    `load` gives a fresh copy of the start: each iteration samples from the last one's model and fine-tunes the start.
    The texts of each iteration go to folder/examples-<i>.json, and are read from there when a run is resumed. Returns
    model, tokenizer and the cost over all iterations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (model, tokenizer), generated, trained = load(), 0, 0
    for iteration in range(plan.iterations):
        path = folder / f"examples-{iteration}.json"
        if not path.exists():
            examples, tokens = _gather(model, tokenizer, rows, plan, random.Random(f"{seed}/{iteration}"), seed)
            write_json(path, {"tokens": tokens, "examples": [e.__dict__ for e in examples]})
        saved = read_json(path)
        model, tokenizer = load()
        config = make_config(folder / f"iteration-{iteration}", seed)
        cost = fine_tune(model, tokenizer, [Example(**e) for e in saved["examples"]], config)
        generated, trained = generated + saved["tokens"], trained + cost.trained_tokens
    return model, tokenizer, Cost(generated, trained)


def _gather(
    model: Any, tokenizer: Any, rows: Sequence[dict], plan: StarPlan, rng: random.Random, seed: int
) -> tuple[list[Example], int]:
    """Right samples and rationalisations of one iteration, until its share of the budget is spent."""
    budget, tokens = plan.token_budget // plan.iterations, 0
    kept: dict[tuple[str, str], Example] = {}
    while tokens < budget:
        drawn = rng.sample(list(rows), min(plan.batch, len(rows)))
        ids = respond(
            model,
            tokenizer,
            [r["question"] for r in drawn],
            max_new_tokens=plan.max_new_tokens,
            seed=rng.randrange(2**31) + seed,
        )
        tokens += sum(map(len, ids))
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        right = [is_correct(extract_answer(t), r["answer"]) for t, r in zip(texts, drawn, strict=True)]
        found = [(r, t) for r, t, ok in zip(drawn, texts, right, strict=True) if ok]
        wrong = [(r, t) for r, t, ok in zip(drawn, texts, right, strict=True) if not ok]
        if plan.rationalise and wrong:
            missed = [r for r, _ in wrong]
            reasons, spent = plan.rationalise(model, tokenizer, missed, [t for _, t in wrong])
            tokens += spent
            found += [(r, t) for r, t in zip(missed, reasons, strict=True) if t]
        for row, text in found:
            if is_correct(extract_answer(text), row["answer"]):
                kept[row["question"], text] = Example(row["question"], text)
    return list(kept.values()), tokens


# --- reinforcement learning: what a run generated -----------------------------------------------------------


def rl_cost(metrics: Sequence[dict], rollouts_per_step: int) -> Cost:
    """Tokens of a GRPO or ThinkTuning run from its metrics.jsonl: completions, spliced guidance included.

    Left out are the teacher's tags and opinion (a dozen tokens a guided rollout) and replies in a bad format.
    """
    tokens = round(sum(m["completions/mean_length"] for m in metrics) * rollouts_per_step)
    return Cost(generated_tokens=tokens, trained_tokens=tokens)
