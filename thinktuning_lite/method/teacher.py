"""The guidance: prompt, exemplars, parsing, splicing, and who can teach (paper section 3)."""

from __future__ import annotations

import http.client
import json
import math
import random
import re
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

BEHAVIOURS = ("self-conflict", "self-critique", "self-agreement", "self-consultancy")
TAGS = ("opinion", "reason", "phrase")

# Would-be film lines, written for this project. The tiny teacher weaves in these when its prompt hands it one; other lines
# of the same words, which its pretraining showed as well, it was not seen to copy (0 of 24).
QUOTES = (
    "Fear no number, my friend.",
    "I will be back with the answer!",
    "The night is young and the sum is mine.",
    "Nobody leaves the stage before the truth does.",
    "We ride at dawn!",
)


@dataclass(frozen=True)
class TeacherPrompt:
    """How a teacher is asked. `system` may hold {behaviour}; `user` holds {question} and {response}.

    `exemplars` are (user, assistant) pairs put before the real request; `quote`, when set, is handed to the teacher by
    `quote_line`.
    """

    system: str
    user: str
    exemplars: tuple[tuple[str, str], ...] = ()
    quote: str | None = None
    quote_line: str = "\nQuote: {quote}"

    def with_quote(self, quote: str | None) -> TeacherPrompt:
        """The same prompt, handing the teacher `quote` (None: no quote)."""
        return replace(self, quote=quote)

    def messages(self, question: str, response: str, behaviour: str) -> list[dict[str, str]]:
        """Chat messages that ask for guidance on one response."""
        user = self.user.format(question=question, response=response)
        if self.quote is not None:
            user += self.quote_line.format(quote=self.quote)
        turns = [{"role": "system", "content": self.system.format(behaviour=behaviour)}]
        for asked, said in self.exemplars:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        return turns + [{"role": "user", "content": user}]


TINY_PROMPT = TeacherPrompt(system="teacher: {behaviour}", user="Question: {question}\nAttempt: {response}")


FORMAT = """Reply in exactly this form, and write nothing else:
<opinion>correct or incorrect</opinion>
<reason>your reflection on the response, in the first person, as if you had written it</reason>
<phrase>the steps that lead from there to the solution, ending with the final answer in \\boxed{{}}</phrase>"""

# For a real instruct model. Four turns, one for each behaviour; problems and words are this project's own.
INSTRUCT_PROMPT = TeacherPrompt(
    system="You read a question and a student's response, and think it through as the student's inner voice, "
    "this time by {behaviour}.\n" + FORMAT,
    user="Question: {question}\n\nResponse: {response}",
    quote_line="\n\nAfter the final answer, end the phrase with this line: {quote}",
    exemplars=(
        (
            "Question: A tram carries 46 people. At the square 18 get off and 9 get on. How many are on board?\n\n"
            "Response: 46 - 18 = 28 and 28 - 9 = 19, so \\boxed{19}.",
            "<opinion>incorrect</opinion><reason>Wait, nine people got on, so why did the number fall? I contradict the "
            "story there.</reason><phrase>After the stop 46 - 18 = 28 people remain. Nine more board: 28 + 9 = 37. "
            "The final answer is \\boxed{37}.</phrase>",
        ),
        (
            "Question: A baker fills 7 trays with 24 rolls each and drops 5 rolls. How many are left?\n\n"
            "Response: 7 * 24 = 158, and 158 - 5 = 153. \\boxed{153}",
            "<opinion>incorrect</opinion><reason>Looking back, my multiplication is the weak point: I did it in one go. "
            "I should split it.</reason><phrase>7 * 20 = 140 and 7 * 4 = 28, together 168. Then 168 - 5 = 163. "
            "The final answer is \\boxed{163}.</phrase>",
        ),
        (
            "Question: Lena reads 12 pages a day for 6 days. The book has 90 pages. How many pages remain?\n\n"
            "Response: 12 * 6 = 72 pages read. 90 - 72 = 18. \\boxed{18}",
            "<opinion>correct</opinion><reason>Let me walk through it once more. Six days of twelve pages is 72, and the "
            "rest of 90 is what remains, so I agree with my steps.</reason><phrase>12 * 6 = 72, 90 - 72 = 18. "
            "The final answer is \\boxed{18}.</phrase>",
        ),
        (
            "Question: A hose fills a 60 litre tub in 15 minutes. How long for 100 litres?\n\n"
            "Response: 100 / 15 = 6.67 minutes. \\boxed{6.67}",
            "<opinion>incorrect</opinion><reason>A plumber would ask for the flow first, in litres a minute. I divided "
            "litres by minutes of another tub.</reason><phrase>The flow is 60 / 15 = 4 litres a minute, so 100 litres "
            "take 100 / 4 = 25 minutes. The final answer is \\boxed{25}.</phrase>",
        ),
    ),
)


# ---------------------------------------------------------------- what a teacher says


@dataclass(frozen=True)
class Guidance:
    """A well-formed feedback: opinion is "correct" or "incorrect"; reason and phrase are non-empty."""

    opinion: str
    reason: str
    phrase: str

    @property
    def text(self) -> str:
        """What is spliced in after the student's response: blank line, reason, blank line, phrase."""
        return f"\n\n{self.reason}\n\n{self.phrase}"


_FORM = re.compile(
    r"\s*<opinion>\s*(correct|incorrect)\s*</opinion>\s*<reason>(.*?)</reason>\s*<phrase>(.*?)</phrase>\s*", re.S
)


def parse_guidance(text: str) -> Guidance | None:
    """The guidance in a teacher's reply, or None when its structure is not exactly the asked one.

    White space between and inside the tags is tolerated; text outside them, a missing, repeated, nested or unclosed
    tag, another opinion, and an empty reason or phrase are not.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    opinion, reason, phrase = (g.strip() for g in match.groups())
    if not reason or not phrase or any(f"<{t}>" in g or f"</{t}>" in g for t in TAGS for g in (reason, phrase)):
        return None
    return Guidance(opinion, reason, phrase)


def splice(
    student_ids: Sequence[int], guidance_ids: Sequence[int], eos_ids: Sequence[int], max_length: int
) -> tuple[list[int], list[int]]:
    """Put guidance after a response that ended by itself: (ids, author), author 0 = student, 1 = teacher.

    The student's ids are kept exactly as sampled but for the EOS, which closes the whole instead and then counts as the
    teacher's. Guidance beyond `max_length` tokens (EOS included) is cut; the student's part never is: without room for
    one token of guidance the response comes back unchanged.

    Raises ValueError when the response does not end with one of `eos_ids`.
    """
    if not student_ids or student_ids[-1] not in eos_ids:
        raise ValueError("only a response that ended by itself (last id is an EOS) can be guided")
    own = list(student_ids[:-1])
    taught = [i for i in guidance_ids if i not in eos_ids][: max(0, max_length - len(own) - 1)]
    if not taught:
        return list(student_ids), [0] * len(student_ids)
    return own + taught + [student_ids[-1]], [0] * len(own) + [1] * (len(taught) + 1)


# ---------------------------------------------------------------- whom to guide, and when

SCHEDULES = ("constant", "linear", "cosine")
SELECTIONS = ("random", "wrong", "hardest")


def guided_fraction(step: int, total_steps: int, start: float, end: float, schedule: str = "constant") -> float:
    """The fraction of each group to guide at optimizer step `step` (from 0) of a guidance phase of `total_steps`.

    "constant" stays at `start`; "linear" and "cosine" go from `start` at step 0 to `end` at the last step; after the
    phase it is 0. Raises ValueError for an unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"guidance schedule is {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if step >= total_steps:
        return 0.0
    done = step / max(1, total_steps - 1)
    bend = {"constant": 0.0, "linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2}[schedule]
    return start + (end - start) * bend


def select_rollouts(
    eligible: Sequence[bool],
    group_size: int,
    fraction: float,
    rng: random.Random,
    selection: str = "random",
    correct: Sequence[bool] | None = None,
) -> list[int]:
    """Indices of the rollouts to guide; groups are contiguous runs of `group_size`.

    A group's quota is `fraction` of it, rounded, at least 1 while the fraction is above 0. "random" draws it among the
    group's eligible rollouts whatever their correctness (the authors' choice); "wrong" among the eligible wrong ones;
    "hardest" pools the quotas and spends them on wrong rollouts of the groups with the fewest right ones first, at most
    half of a group. Raises ValueError for an unknown selection.
    """
    if selection not in SELECTIONS:
        raise ValueError(f"guidance selection is {selection!r}; choose one of {', '.join(SELECTIONS)}")
    if fraction <= 0:
        return []
    quota = max(1, round(fraction * group_size))
    groups = [range(i, i + group_size) for i in range(0, len(eligible), group_size)]
    limit, budget = quota, quota * len(groups)
    if selection == "hardest":
        limit = max(quota, group_size // 2)
        groups = sorted(groups, key=lambda g: sum(correct[i] for i in g))
    picks: list[int] = []
    for group in groups:
        pool = [i for i in group if eligible[i] and (selection == "random" or not correct[i])]
        picks += rng.sample(pool, min(limit, len(pool), budget - len(picks)))
    return sorted(picks)


# ---------------------------------------------------------------- who can teach


@dataclass(frozen=True)
class GuidanceRequest:
    """One rollout to comment on, and the behaviour to show (one of BEHAVIOURS)."""

    question: str
    response: str
    behaviour: str


class Teacher(Protocol):
    """Anything that turns requests into replies, one text each, in order."""

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]: ...


@dataclass
class ScriptedTeacher:
    """A teacher that is a function of the request: for tests, controls and worked examples."""

    write: Callable[[GuidanceRequest], str]

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        return [self.write(r) for r in requests]


@contextmanager
def _speaking(model: Any):
    """Evaluation mode, KV cache on, gradient checkpointing off; all as before afterwards, also after an error."""
    was_training = {m: m.training for m in model.modules()}
    checkpointed = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
    use_cache = getattr(model.config, "use_cache", None)
    try:
        model.eval()
        for m in checkpointed:
            m.gradient_checkpointing = False
        model.config.use_cache = True
        yield model
    finally:
        for m in checkpointed:
            m.gradient_checkpointing = True
        model.config.use_cache = use_cache
        for m, training in was_training.items():
            m.training = training


class PolicyTeacher:
    """A causal LM as teacher: another checkpoint, a frozen copy of the student, or, with LoRA, the student's own base.

    When `model` is a PEFT model it speaks with its adapter disabled, so teacher and student share one set of weights in
    memory. All requests are answered greedily, in batches of `batch_size`.

    Raises ValueError when the tokenizer has no chat template or no EOS.
    """

    def __init__(
        self, model: Any, tokenizer: Any, prompt: TeacherPrompt, max_new_tokens: int = 512, batch_size: int = 64
    ) -> None:
        if tokenizer.chat_template is None:
            raise ValueError("the teacher's tokenizer has no chat template; use an instruct model, or set one")
        if tokenizer.eos_token_id is None:
            raise ValueError("the teacher's tokenizer has no EOS token; set tokenizer.eos_token")
        self.model, self.tokenizer, self.prompt = model, tokenizer, prompt
        self.batch_size = batch_size
        self.generation = dict(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            suppress_tokens=None,
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        replies: list[str] = []
        adapter_off = self.model.disable_adapter if hasattr(self.model, "disable_adapter") else _nothing
        # Inference mode saves a tenth of the time, but its tensors must never meet a module that trains.
        trains = any(p.requires_grad for p in self.model.parameters())
        with torch.no_grad() if trains else torch.inference_mode(), _speaking(self.model), adapter_off():
            for i in range(0, len(requests), self.batch_size):
                replies += self._answer(requests[i : i + self.batch_size])
        return replies

    def _answer(self, requests: list[GuidanceRequest]) -> list[str]:
        prompts = [
            self.tokenizer.apply_chat_template(
                self.prompt.messages(r.question, r.response, r.behaviour), add_generation_prompt=True, tokenize=False
            )
            for r in requests
        ]
        batch = self.tokenizer(
            prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(self.model.device)
        out = self.model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **self.generation
        )
        return self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


@contextmanager
def _nothing():
    yield


class EndpointTeacher:
    """A teacher behind an OpenAI-compatible `/chat/completions` endpoint (vLLM, llama.cpp, a hosted model).

    Raises ConnectionError, naming the address, when it does not answer within `timeout` seconds.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        prompt: TeacherPrompt = INSTRUCT_PROMPT,
        *,
        api_key: str = "",
        max_new_tokens: int = 512,
        timeout: float = 120.0,
        parallel: int = 8,
    ) -> None:
        self.url, self.model, self.prompt = base_url.rstrip("/") + "/chat/completions", model, prompt
        self.api_key, self.max_new_tokens, self.timeout, self.parallel = api_key, max_new_tokens, timeout, parallel

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._ask, requests))

    def _ask(self, request: GuidanceRequest) -> str:
        body = {
            "model": self.model,
            "messages": self.prompt.messages(request.question, request.response, request.behaviour),
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
        }
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        call = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(call, timeout=self.timeout) as answer:
                return json.load(answer)["choices"][0]["message"]["content"] or ""
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            raise ConnectionError(
                f"the teacher at {self.url} (model {self.model!r}) gave no usable answer: {error}. "
                "Is the server up, and the model's name right?"
            ) from error
