"""One rollout, one guided rollout, one reward and one loss on the real model and data, as text, before hours are spent."""

from __future__ import annotations

import contextlib
import copy
import math
import random
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from thinktuning_lite.method.movement import Movement
from thinktuning_lite.method.teacher import GuidanceRequest, NoReply, parse_guidance
from thinktuning_lite.method.training_log import TrainingLog
from thinktuning_lite.method.watch import Watch

_SHOWN = 1500  # characters of one text


@dataclass
class Preflight:
    """What was asked, said, rewarded and learnt from. `print` it; `problems` is empty when nothing speaks against a run."""

    sections: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, title: str, text: str) -> None:
        self.sections.append((title, text))

    def __str__(self) -> str:
        blocks = [f"{title}\n{textwrap.indent(text, '    ')}" for title, text in self.sections]
        found = "\n".join(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))
        return "\n\n".join([*blocks, f"Problems\n{found}" if found else "No problem was found."])


def run_preflight(trainer: Any) -> Preflight:
    """One group of the first row goes through TRL's own generation, the teacher, the rewards and the loss.

    Nothing is trained, and the trainer (its random numbers, metrics and counters too) is left as it was.
    Raises ValueError for a sharded model.
    """
    if trainer._is_sharded():
        raise ValueError("check() needs the whole model on one process: call it without FSDP or DeepSpeed ZeRO-3")
    report, row = Preflight(), next(iter(trainer.train_dataset))
    group = trainer.num_generations
    heard: list[tuple[GuidanceRequest, str | NoReply]] = []
    with _left_as_it_was(trainer):
        teacher, trainer.teacher = trainer.teacher, _recording(trainer.teacher, heard)
        trainer.guided_fraction_now = lambda: 1 / group if trainer.args.guides else 0.0
        batch = trainer._generate_and_score_completions([dict(row) for _ in range(group)])
        texts, rewards = trainer._texts, trainer._rewards
        _show_student(report, trainer, batch)
        if trainer.args.guides:
            _show_teacher(report, trainer, teacher, heard)
            _show_splice(report, trainer, batch)
        _show_rewards(report, row, texts, rewards, batch)
        _show_loss(report, trainer, batch)
    return report


def _recording(teacher: Any, heard: list) -> Any:
    def ask(requests: list[GuidanceRequest]) -> list[str | NoReply]:
        replies = teacher(requests)
        heard.extend(zip(requests, replies or [], strict=False))
        return replies

    return ask


@contextlib.contextmanager
def _left_as_it_was(trainer: Any) -> Iterator[None]:
    """Swaps in what a step would change, in training mode with checkpointing as in training, and swaps it out."""
    names = ("training_log", "watch", "movement", "rollout_log", "teacher", "_metrics", "_logs")
    kept = {name: getattr(trainer, name) for name in names}
    tokens_seen, was_training = trainer.state.num_input_tokens_seen, trainer.model.training
    checkpoint = trainer.args.gradient_checkpointing and not trainer.model.is_gradient_checkpointing
    states = random.getstate(), np.random.get_state()
    try:
        trainer.training_log, trainer.watch, trainer.movement = TrainingLog(), Watch(), Movement()
        trainer.rollout_log = None
        trainer._metrics, trainer._logs = copy.deepcopy(trainer._metrics), copy.deepcopy(trainer._logs)
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        trainer.model.train()
        if checkpoint:
            trainer.model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        for name, value in kept.items():
            setattr(trainer, name, value)
        vars(trainer).pop("guided_fraction_now", None)
        trainer.state.num_input_tokens_seen = tokens_seen
        random.setstate(states[0])
        np.random.set_state(states[1])
        trainer.model.zero_grad(set_to_none=True)
        if checkpoint:
            trainer.model.gradient_checkpointing_disable()
        trainer.model.train(was_training)


# ---------------------------------------------------------------- the parts of the report


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... ({len(text)} characters)"


def _own(batch: dict, i: int, mask: str) -> list[int]:
    ids, kept = batch[mask.replace("mask", "ids")][i], batch[mask][i].bool()
    return ids[kept].tolist()


def _show_student(report: Preflight, trainer: Any, batch: dict) -> None:
    tokenizer, a = trainer._tokenizer, trainer.args
    asked = _own(batch, 0, "prompt_mask")
    report.add(f"The student was asked ({len(asked)} tokens)", _cut(tokenizer.decode(asked)))
    i = int(batch["teacher_mask"].any(1).long().argmin())  # an own rollout
    rows = [_own(batch, j, "completion_mask") for j in range(len(batch["completion_ids"]))]
    ended = [bool(row) and row[-1] in trainer.eos_token_ids for row in rows]  # a guided row ends as the own one did
    report.add(
        f"A rollout ({len(rows[i])} tokens, at most {a.max_completion_length}); {sum(ended)} of {len(ended)} in the group "
        "ended by themselves",
        _cut(tokenizer.decode(rows[i])),
    )
    if not any(ended):
        report.problems.append(
            f"no rollout ended by itself within max_completion_length={a.max_completion_length} tokens"
            + (", so none can be guided" if a.guides else "")
            + ": raise it, or see whether the chat template asks for another end than "
            + ", ".join(repr(tokenizer.decode([i])) for i in trainer.eos_token_ids)
        )


def _show_teacher(
    report: Preflight, trainer: Any, teacher: Any, heard: list[tuple[GuidanceRequest, str | NoReply]]
) -> None:
    if not heard:
        report.add("The teacher was not asked", "no rollout was eligible")
        if trainer.args.guidance_selection == "random" and not report.problems:
            report.problems.append("no rollout was picked for guidance")
        return
    request, reply = heard[0]
    prompt = getattr(teacher, "prompt", None)
    if prompt is None:
        report.add(f"The teacher was asked for {request.behaviour}", _cut(f"{request.question}\n\n{request.response}"))
    else:
        turns = prompt.messages(request.question, request.response, request.behaviour)
        text = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in (turns[0], turns[-1]))
        between = f"\n({len(turns) - 2} turns of worked examples between the two)" if len(turns) > 2 else ""
        report.add("The teacher was asked", _cut(text) + between)
    if isinstance(reply, NoReply):
        report.add("The teacher did not reply", reply.reason)
        report.problems.append(f"the teacher did not reply: {reply.reason}")
        return
    n, limit = len(trainer._tokenizer.encode(reply, add_special_tokens=False)), trainer.args.teacher_max_new_tokens
    report.add(f"The teacher replied (about {n} tokens, at most {limit})", _cut(reply))
    if parse_guidance(reply) is None:
        hint = f"; it may be cut short (teacher_max_new_tokens={limit})" if n >= limit - 1 else ""
        report.problems.append(
            f"the teacher's reply has not the asked form (opinion, reason, phrase, and nothing else), so its rollout would "
            f"stay unguided{hint}"
        )


def _show_splice(report: Preflight, trainer: Any, batch: dict) -> None:
    guided = batch["teacher_mask"].any(1).nonzero().flatten().tolist()
    if not guided:
        return
    i = guided[0]
    ids = _own(batch, i, "completion_mask")
    author = batch["teacher_mask"][i][batch["completion_mask"][i].bool()].tolist()
    parts = [[t for t, who in zip(ids, author, strict=True) if who == code] for code in (0, 1)]
    room = trainer._room(_own(batch, i, "prompt_mask"))
    shown = "\n".join(
        f"[{who}, {len(part)} tokens] {_cut(trainer._tokenizer.decode(part))}"
        for who, part in zip(("student", "teacher"), parts, strict=True)
    )
    report.add(f"The guided rollout ({len(ids)} tokens, at most {room})", shown)
    if len(ids) >= room:
        report.problems.append(
            f"guidance was cut at {room} tokens, and may have lost its answer: raise max_guided_length, or shorten the "
            "teacher's reply"
        )


def _show_rewards(report: Preflight, row: dict, texts: list[str], rewards: torch.Tensor, batch: dict) -> None:
    guided = batch["teacher_mask"].any(1).tolist()
    lines = [
        f"{'guided' if g else 'own   '}  reward {r:g}  advantage {a:+.3f}  ...{text.strip()[-60:]!r}"
        for g, r, a, text in zip(guided, rewards.tolist(), batch["advantages"].tolist(), texts, strict=True)
    ]
    gold = f"answer in the dataset: {row['answer']!r}\n" if "answer" in row else ""
    report.add("Rewards of the group", gold + "\n".join(lines))
    if rewards.isnan().all():
        report.problems.append("every reward was None: no reward function judged this row")
    elif not rewards.nan_to_num().any():
        report.problems.append(
            "every reward was 0: does the response state its answer where the reward looks for it, and does the dataset "
            "hold the bare answer? (Or the question is hard.)"
        )


def _show_loss(report: Preflight, trainer: Any, batch: dict) -> None:
    size = trainer.args.per_device_train_batch_size
    order = torch.argsort(batch["teacher_mask"].any(1).long(), descending=True, stable=True)[:size]
    some = {k: v[order] if isinstance(v, torch.Tensor) and v.dim() > 0 else v for k, v in batch.items()}
    note = ""
    if not some["advantages"].any():
        some["advantages"] = 1.0 - 2.0 * (torch.arange(len(order), device=order.device) % 2)
        note = "all rewards were equal, so advantages of +1 and -1 stood in\n"
    with trainer.compute_loss_context_manager():
        loss = trainer._compute_loss(trainer.model, some)
    loss.backward()
    grads = [p.grad for p in trainer.model.parameters() if p.requires_grad]
    norms = [0.0 if g is None else g.float().norm().item() for g in grads]
    norm, reached = math.hypot(*norms), sum(n > 0 for n in norms)
    report.add(
        f"Loss of {len(order)} rows",
        f"{note}loss {loss.item():.4g}, gradient norm {norm:.4g}, in {reached} of {len(norms)} trained tensors",
    )
    if not math.isfinite(loss.item()) or not math.isfinite(norm):
        report.problems.append("the loss or its gradient is not finite: try float32 or bfloat16 in place of float16")
    elif reached == 0:
        report.problems.append("no gradient reached a trained tensor: is anything trained (requires_grad)?")
