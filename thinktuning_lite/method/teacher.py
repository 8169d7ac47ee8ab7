"""Guidance: what a teacher says, as data and as tokens; whom to guide and when; who can teach (paper section 3)."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

TAGS = ("opinion", "reason", "phrase")


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
_FENCED = re.compile(r"\s*```[\w-]*[ \t]*\n(.*?)```\s*", re.S)


def parse_guidance(text: str) -> Guidance | None:
    """The guidance in a teacher's reply, or None when its structure is not exactly the asked one.

    White space between and inside the tags is tolerated, and so are thoughts that were closed before them (`</think>`)
    and one code fence around the whole; other text outside them, a missing, repeated, nested or unclosed tag, another
    opinion, and an empty reason or phrase are not.
    """
    said = re.split(r"</think>|\[/THINK\]", text)[-1]
    fenced = _FENCED.fullmatch(said)
    match = _FORM.fullmatch(fenced[1] if fenced else said)
    if match is None:
        return None
    opinion, reason, phrase = (g.strip() for g in match.groups())
    if not reason or not phrase or any(f"<{t}>" in g or f"</{t}>" in g for t in TAGS for g in (reason, phrase)):
        return None
    return Guidance(opinion, reason, phrase)


def encode_guidance(tokenizer: Any, text: str) -> list[int]:
    """Token ids of guidance that follows a response: `text` is data, whatever it holds.

    The text of a control token (`<|im_start|>`, an EOS) is spelt out, never read as that token. A tokenizer that begins
    every text with a space of its own (metaspace, `add_prefix_space`) puts none here, in the middle of a response.
    """
    return [i for piece in split_control_tokens(tokenizer, text) for i in encode_inside(tokenizer, piece)]


def split_control_tokens(tokenizer: Any, text: str) -> list[str]:
    """The text in pieces, none of which spells a control token whole: special tokens and those of the chat template."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    added = [t for t in tokenizer.added_tokens_decoder.values() if len(t.content) > 1 and not t.content.isspace()]
    control = [re.escape(t.content) for t in added if t.special or t.content in template]
    starts = [m.start() + 1 for m in re.finditer(f"(?={'|'.join(control)})", text)] if control else []
    cuts = [0, *starts, len(text)]
    return [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False) if a < b]


def encode_inside(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that stands behind another."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    if not tokenizer.convert_ids_to_tokens(encode("a"))[0].startswith(("\u2581", "\u0120")):
        return encode(text)  # a tokenizer that begins no text with a space of its own
    for before in ("\n", "a", ".", "0", ")"):  # behind one of these that does not melt into the text
        head, whole = encode(before), encode(before + text)
        if whole[: len(head)] == head:
            return whole[len(head) :]
    return encode(text)


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
SELECTIONS = ("random", "wrong", "hardest", "failed")
# The log so far (`state.log_history`, a dict a logged step) is all that a policy may remember, so that a resumed run, which
# has that log back, goes on as one that was never stopped. With logging_steps above 1 it sees the log that much later.
FractionPolicy = Callable[[int, Sequence[dict]], float]  # (step from 0, log) -> fraction of each group to guide
BehaviourPolicy = Callable[[Sequence[dict], random.Random], str]  # (log, random numbers) -> behaviour to ask for


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
    half of a group; "failed" among groups without a right rollout only, as GHPO and Guide give their hints. Raises
    ValueError for an unknown selection.

    The authors' code takes floor(fraction x eligible rollouts), at least 1. The two agree as long as fraction x group
    size is below 1.5: in their own run (0.1 of 5) and in the main job (1/8 of 8). Above it ours guides as many of a group
    with a cut-off rollout as of one without.
    """
    if selection not in SELECTIONS:
        raise ValueError(f"guidance selection is {selection!r}; choose one of {', '.join(SELECTIONS)}")
    if fraction <= 0:
        return []
    quota = max(1, round(fraction * group_size))
    right = correct or [False] * len(eligible)  # "random" does not ask
    groups = [range(i, i + group_size) for i in range(0, len(eligible), group_size)]
    limit, budget = quota, quota * len(groups)
    if selection == "hardest":
        limit = max(quota, group_size // 2)
        groups = sorted(groups, key=lambda g: sum(right[i] for i in g))
    elif selection == "failed":
        groups = [g for g in groups if not any(right[i] for i in g)]
    picks: list[int] = []
    for group in groups:
        pool = [i for i in group if eligible[i] and (selection == "random" or not right[i])]
        picks += rng.sample(pool, min(limit, len(pool), budget - len(picks)))
    return sorted(picks)


# ---------------------------------------------------------------- who can teach


@dataclass(frozen=True)
class GuidanceRequest:
    """One rollout to comment on, and the name of the behaviour to show (None: as the teacher likes)."""

    question: str
    response: str
    behaviour: str | None = None


@dataclass(frozen=True)
class NoReply:
    """In place of a reply: this one request failed, and why. Its rollout stays unguided; the others are not touched."""

    reason: str


class Teacher(Protocol):
    """Anything that turns requests into replies, one each, in order: the text, or NoReply for a request that failed."""

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]: ...


@dataclass
class ScriptedTeacher:
    """A teacher that is a function of the request: for tests, controls and worked examples."""

    write: Callable[[GuidanceRequest], str | NoReply]

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        return [self.write(r) for r in requests]


@dataclass
class ShuffledTeacher:
    """A control: each request gets the reply to another question's, well-formed and about something else.

    `teacher` answers all requests, and each gets the answer of the next one that asks another question (NoReply when
    all ask the same). What is learnt from it is form, length and the order of words, not the solution.
    """

    teacher: Teacher

    @property
    def generated_tokens(self) -> int:
        return getattr(self.teacher, "generated_tokens", 0)

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        replies, n = self.teacher(requests), len(requests)

        def other(i: int) -> str | NoReply:
            following = (j % n for j in range(i + 1, i + n))
            found = next((j for j in following if requests[j].question != requests[i].question), None)
            return NoReply("no other question was asked with this one") if found is None else replies[found]

        return [other(i) for i in range(n)]
