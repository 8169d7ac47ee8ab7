"""A behaviour of the reader's own, instilled in the tiny student: a name, a sentence, and a count before and after.

    from thinktuning_lite.experiments.own_behaviour import OwnBehaviour, instil
    instil(OwnBehaviour("working it out", "Let me work it out with care."))

The tiny teacher knows the four behaviours of its pretraining and no other, so the reader's sentence takes the place of its
reason, and the solution behind it stays the teacher's. A real teacher is told: `TeacherPrompt.with_behaviour`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.experiments.beyond_teachers import tiny_teacher
from thinktuning_lite.experiments.runs import train_run
from thinktuning_lite.experiments.side_by_side import training_config
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import Behaviour, TeacherPrompt
from thinktuning_lite.method.rewards import behaviour_reward, correctness_reward
from thinktuning_lite.method.teacher import TAGS, GuidanceRequest, NoReply, parse_guidance

STEPS = 24
# As the film line's arms, at four times their learning rate: few steps are to show it.
SETTINGS: dict[str, Any] = dict(
    guided_fraction=2 / 8, guide_after_first_answer=True, loss_type="dapo", learning_rate=2e-4
)
STAND_IN = "self-critique"  # what the teacher shows when it is asked for a behaviour that it does not know


@dataclass(frozen=True)
class OwnBehaviour:
    """A name, and what the teacher says before it solves: `when_wrong` in place of `says` where its opinion is "incorrect".

    Raises ValueError for a sentence that is empty or holds a tag: no guidance with it would be well-formed.
    """

    name: str
    says: str
    when_wrong: str | None = None

    def __post_init__(self) -> None:
        for text in (self.says, self.when_wrong):
            if text is not None and (not text.strip() or any(f"<{s}{t}>" in text for t in TAGS for s in ("", "/"))):
                raise ValueError(f"a behaviour cannot say {text!r}: write a sentence without tags")

    def sentence(self, opinion: str) -> str:
        return self.when_wrong if opinion == "incorrect" and self.when_wrong is not None else self.says

    def count(self, text: str) -> int:
        """How often a text says it."""
        return sum(text.count(s) for s in {self.says, self.when_wrong} - {None})


@dataclass
class OwnBehaviourTeacher:
    """`teacher`, which also shows a behaviour that it was not trained on: the reader's sentence, then its own solution."""

    teacher: PolicyTeacher
    behaviour: OwnBehaviour

    @property
    def prompt(self) -> TeacherPrompt:
        """The teacher's prompt, which knows one behaviour more: the trainer checks the names that it may be asked for."""
        return self.teacher.prompt.with_behaviour(Behaviour(self.behaviour.name, self.behaviour.says))

    @property
    def generated_tokens(self) -> int:
        return self.teacher.generated_tokens

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        own = [r.behaviour == self.behaviour.name for r in requests]
        asked = [replace(r, behaviour=STAND_IN) if o else r for r, o in zip(requests, own, strict=True)]
        return [self._said(reply) if o else reply for reply, o in zip(self.teacher(asked), own, strict=True)]

    def _said(self, reply: str | NoReply) -> str | NoReply:
        said = None if isinstance(reply, NoReply) else parse_guidance(reply)
        if said is None:
            return reply
        parts = (said.opinion, self.behaviour.sentence(said.opinion), said.phrase)
        return "".join(f"<{tag}>{part}</{tag}>" for tag, part in zip(TAGS, parts, strict=True))


def never_taught(text: str, model: Any, tokenizer: Any) -> list[str]:
    """The tokens of `text` that pretraining never had as a target: their embeddings all lie where the padding's does."""
    directions = torch.nn.functional.normalize(model.get_input_embeddings().weight.detach(), dim=-1)
    alike = directions @ directions[tokenizer.pad_token_id] > 0.9
    return [tokenizer.decode([i]) for i in tokenizer.encode(text, add_special_tokens=False) if alike[i]]


def instil(
    behaviour: OwnBehaviour,
    *,
    steps: int = STEPS,
    seed: int = 0,
    questions: int = 60,
    folder: Path | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train the tiny student under released AAS by a teacher that shows `behaviour` alone, and count.

    Half a point is paid for saying it once, beside correctness, as in the paper's run with an unknown behaviour; `settings`
    join SETTINGS. Seen, one seed: "Let me work it out with care." is new to the student, its rarest token has a probability of
    2e-6, and 24 steps make 97 % of sampled answers say it.

    Raises ValueError for a sentence with tokens that the student was never taught (`never_taught`): guided and rewarded as
    the others, they were not taken up, at AAS's weights or at 1 (one seed each), and another token came in their place.

    Returns {"before", "after": share of sampled answers to `questions` validation problems that say it, "accuracy_before",
    "accuracy_after", "examples": three answers after, "trainer"}. Give `folder` to keep the run and go on with it.
    """
    for text in {behaviour.says, behaviour.when_wrong} - {None}:
        if unknown := never_taught(text, *load_classroom()):
            raise ValueError(
                f"the tiny student cannot learn to say {text!r}: its pretraining never had {', '.join(map(repr, unknown))} as "
                'a target. Use words of the four behaviours, such as "Let me work it out with care."'
            )
    rows = sample.load_tiny_set("validation")[:questions]
    teacher = OwnBehaviourTeacher(tiny_teacher(), behaviour)
    with tempfile.TemporaryDirectory() as scratch:
        config = training_config(
            "released",
            seed,
            folder or Path(scratch) / "run",
            steps,
            behaviours=[behaviour.name],
            **(SETTINGS | settings),
        )
        rewards = [correctness_reward, behaviour_reward(behaviour.count)]
        trainer = train_run(behaviour.name, config, teacher=teacher, reward_funcs=rewards)
    found: dict[str, Any] = {"trainer": trainer}
    for when, model in (("before", load_classroom()[0]), ("after", trainer.model)):
        scores, texts = sample.evaluate(model, trainer.processing_class, rows, temperature=1.0, seed=seed)
        found[when] = sum(behaviour.count(t) > 0 for t in texts) / len(texts)
        found[f"accuracy_{when}"] = scores.summary()["accuracy"]
    return found | {"examples": texts[:3]}
