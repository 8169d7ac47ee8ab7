"""Teachers of the grid's arms: made wrong at a known rate, made weak, two of them together, one that hints first."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

import torch

from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.problems import LARGEST
from thinktuning_lite.classroom.settings import TEACHER_TOKENS
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.equations import calculate
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.sampling import eos_ids_of, sample, suppressed_ids
from thinktuning_lite.method.teacher import (
    TAGS,
    Guidance,
    GuidanceRequest,
    NoReply,
    Teacher,
    encode_guidance,
    parse_guidance,
)

NOISE = 0.22  # of each weight matrix's standard deviation
_EQUATION = re.compile(r"(\d+)([-+*])(\d+)=(\d+)")


def tiny_teacher(calculator: bool = False) -> PolicyTeacher:
    """The trainer's default teacher of the tiny classroom, the frozen start, to be wrapped."""
    model, tokenizer = load_classroom()
    return PolicyTeacher(model.requires_grad_(False), tokenizer, TINY_PROMPT, TEACHER_TOKENS, calculator=calculator)


def weak_teacher(seed: int, noise: float = NOISE) -> PolicyTeacher:
    """The tiny teacher with Gaussian noise on its weights, drawn from `seed`: it errs by itself, and keeps the form."""
    teacher = tiny_teacher()
    generator = torch.Generator().manual_seed(seed)
    for weights in teacher.model.parameters():
        weights.add_(noise * weights.std() * torch.randn(weights.shape, generator=generator))
    return teacher


def written(said: Guidance) -> str:
    """The reply that `parse_guidance` reads as `said`."""
    return "".join(f"<{t}>{getattr(said, t)}</{t}>" for t in TAGS)


class _Around:
    """What teachers made of others share: all that those ever wrote counts."""

    @property
    def generated_tokens(self) -> int:
        return sum(getattr(part, "generated_tokens", 0) for part in vars(self).values())


# --- wrong at a known rate ----------------------------------------------------------------------------------


def with_an_error(phrase: str, rng: random.Random) -> str:
    """The phrase with one result made wrong and carried on, so that it ends with another answer; its form is kept.

    A phrase that has no such equation comes back as it is.
    """
    steps = list(_EQUATION.finditer(phrase))
    slips = [(at, off) for at in range(len(steps)) for off in range(-10, 11) if off]
    for at, off in rng.sample(slips, len(slips)):
        changed = _carried_on(phrase, steps, at, off)
        if changed is not None and extract_answer(changed) != extract_answer(phrase):
            return changed
    return phrase


def _carried_on(phrase: str, steps: list[re.Match], at: int, off: int) -> str | None:
    """The phrase with equation `at` wrong by `off`, and every later one that uses a changed number worked out anew.

    None when a number would leave those that the tiny classroom has.
    """
    now: dict[str, str] = {}  # what each changed number has become
    out, end = [], 0
    for i, step in enumerate(steps):
        left, op, right, said = step.groups()
        if i == at:
            now[said] = str(int(said) + off)
        elif left in now or right in now:
            left, right = now.get(left, left), now.get(right, right)
            now[said] = str(calculate(int(left), op, int(right)))
        if i >= at and not 0 <= int(now.get(said, said)) <= LARGEST:
            return None
        out += [phrase[end : step.start()], f"{left}{op}{right}={now.get(said, said)}"]
        end = step.end()
    rest = re.sub(r"\\boxed\{(\d+)\}", lambda box: f"\\boxed{{{now.get(box[1], box[1])}}}", phrase[end:])
    return "".join(out) + rest


@dataclass
class WrongTeacher(_Around):
    """A teacher whose phrases are made wrong at `rate` (see `with_an_error`): of known accuracy, and as well-formed.

    Which replies are hit is drawn from `seed` and the request, so a resumed run hits the same ones.
    """

    teacher: Teacher
    rate: float
    seed: int

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        return [self._spoilt(*pair) for pair in zip(requests, self.teacher(requests), strict=True)]

    def _spoilt(self, request: GuidanceRequest, reply: str | NoReply) -> str | NoReply:
        rng = random.Random(f"{self.seed}/{request.question}/{request.response}")
        said = parse_guidance(reply) if isinstance(reply, str) else None
        if said is None or rng.random() >= self.rate:
            return reply
        return written(Guidance(said.opinion, said.reason, with_an_error(said.phrase, rng)))


# --- two together -------------------------------------------------------------------------------------------


@dataclass
class SecondReader(_Around):
    """Two teachers in a row: the second reads the response with the first's guidance behind it, and is what is heard.

    A request to which the first gave no guidance is the second's as it came.
    """

    first: Teacher
    second: Teacher

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        said = [parse_guidance(r) if isinstance(r, str) else None for r in self.first(requests)]
        return self.second(
            [
                GuidanceRequest(r.question, r.response + (g.text if g else ""), r.behaviour)
                for r, g in zip(requests, said, strict=True)
            ]
        )


@dataclass
class Agreement(_Around):
    """Two teachers read the same; the first's guidance is given only where both end with the same answer."""

    first: Teacher
    second: Teacher

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        return [
            one if _answer(one) is not None and _answer(one) == _answer(other) else NoReply("the two do not agree")
            for one, other in zip(self.first(requests), self.second(requests), strict=True)
        ]


def _answer(reply: str | NoReply) -> str | None:
    said = parse_guidance(reply) if isinstance(reply, str) else None
    return extract_answer(said.phrase) if said else None


# --- hint first ---------------------------------------------------------------------------------------------


@dataclass
class HintFirst(_Around):
    """Gives the teacher's reason only, when the student, going on from there, finds the answer itself; else the phrase too.

    The hint has failed when the student's greedy second solution ends with another answer than the teacher's phrase. So
    the feedback is as long as the student is wrong. What the student wrote after the hint counts as the teacher's in the
    loss. `policy` is the student in training.
    """

    teacher: Teacher
    policy: Any
    tokenizer: Any

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        replies = list(self.teacher(requests))
        said = {i: g for i, r in enumerate(replies) if isinstance(r, str) and (g := parse_guidance(r))}
        solutions = self._going_on([(requests[i], g.reason) for i, g in said.items()])
        for (i, g), own in zip(said.items(), solutions, strict=True):
            found = extract_answer(own)
            if found is not None and found == extract_answer(g.phrase):
                replies[i] = written(Guidance(g.opinion, g.reason, own))
        return replies

    def _going_on(self, hints: list[tuple[GuidanceRequest, str]]) -> list[str]:
        """The student's greedy second solution behind each response and reason."""
        chats = [[{"role": "user", "content": request.question}] for request, _ in hints]
        prompts = [
            self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
            + encode_guidance(self.tokenizer, f"{request.response}\n\n{reason}")
            for chat, (request, reason) in zip(chats, hints, strict=True)
        ]
        ids = sample(
            self.policy, prompts, max_new_tokens=TEACHER_TOKENS, temperature=0.0,
            eos_ids=eos_ids_of(self.policy, self.tokenizer), pad_id=self.tokenizer.pad_token_id,
            suppress_ids=suppressed_ids(self.policy),
        )  # fmt: skip
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]
