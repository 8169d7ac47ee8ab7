"""Guidance where TRL samples: some rollouts get a teacher's comment before they are decoded and rewarded."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from trl import GRPOTrainer

from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.decoding import can_decode
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.inputs import prefill_of, question_of
from thinktuning_lite.method.movement import Movement
from thinktuning_lite.method.sampling import sample, settings_of
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import (
    BehaviourPolicy,
    FractionPolicy,
    Guidance,
    GuidanceRequest,
    NoReply,
    Teacher,
    encode_guidance,
    guided_fraction,
    parse_guidance,
    select_rollouts,
    splice,
)
from thinktuning_lite.method.training_log import TrainingLog
from thinktuning_lite.method.watch import Watch


class GenerationSeam(GRPOTrainer):
    """`_generate_single_turn` splices guidance in, whatever sampled the rollouts (our sampler, generate, vLLM, ...).

    Who wrote each token goes along with the batch as `teacher_mask` (rows, completion tokens), and `row` says which row
    of the generation a row of a micro-batch was.
    """

    args: ThinkTuningConfig
    teacher: Teacher | None
    training_log: TrainingLog
    watch: Watch
    movement: Movement
    positions: int | None
    _should_log_rollouts: Callable[[], bool]  # the loss seam's
    fraction_policy: FractionPolicy | None
    behaviour_policy: BehaviourPolicy | None
    answer_end: Callable[[str], int | None]
    _inputs: list[dict]
    _teacher_mask: list[list[int]]
    _calling: frozenset[int] | set[int] = frozenset()  # rollouts that ended with a tool's answer still due

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs):
        training = self.model.training
        with self.training_log.timed("generate", training):
            completion_ids, logprobs = self._sampled(
                prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs
            )
        if self.tools:  # a turn among several: guidance waits for the last
            return completion_ids, logprobs
        return self._with_guidance(prompt_ids, completion_ids, logprobs)

    def _tool_call_loop(self, prompts, prompt_ids, *args, **kwargs):
        """With tools, guidance follows the last turn of the whole, calls and results included, and is in the loss."""
        mask, turns, ids, logprobs, *rest = super()._tool_call_loop(prompts, prompt_ids, *args, **kwargs)
        self._calling = {i for i, said in enumerate(turns) if said[-1].get("tool_calls")}
        ids, logprobs = self._with_guidance(prompt_ids, ids, logprobs)
        for i in self._replaced:
            n = sum(self._teacher_mask[i])
            mask[i] = mask[i][: len(ids[i]) - n] + [1] * n
            taught = self._tokenizer.decode(ids[i][-n:], skip_special_tokens=True)
            turns[i][-1] = turns[i][-1] | {"content": (turns[i][-1].get("content") or "") + taught}
        return mask, turns, ids, logprobs, *rest

    def _with_guidance(self, prompt_ids, completion_ids, logprobs):
        """The rollouts, some of them guided while guidance is on, and `_teacher_mask` for all of them."""
        self._teacher_mask = [[0] * len(ids) for ids in completion_ids]
        self._replaced, self._shown = {}, {}
        training, fraction = self.model.training, self.guided_fraction_now()
        if training and fraction > 0:
            with self.training_log.timed("teach", training):
                completion_ids, logprobs = self._guide(prompt_ids, completion_ids, logprobs, fraction)
        return completion_ids, logprobs

    def _sampled(self, prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs):
        """Completions of all prompts, of at most `rollouts_at_a_time` together (their KV cache is what takes memory)."""
        if images or multimodal_fields:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs
            )
        how, size = self._own_sampling(), self.args.rollouts_at_a_time or len(prompt_ids)
        ids, logprobs = [], []
        for start in range(0, len(prompt_ids), size):
            some = prompt_ids[start : start + size]
            if how is not None:
                ids += sample(self.accelerator.unwrap_model(self.model), some, **how)
                continue
            more, theirs = super()._generate_single_turn(
                some, images, multimodal_fields, num_generations, *args, **kwargs
            )
            ids += more
            logprobs += theirs or []
        return ids, logprobs or None

    def _own_sampling(self) -> dict[str, Any] | None:
        """How to sample by `sampling.sample`: on the CPU of one process, what its fast engine can; None: by TRL."""
        policy = self.accelerator.unwrap_model(self.model)
        alone = self.accelerator.num_processes == 1 and self.accelerator.device.type == "cpu"
        by_generate = not (self.use_vllm or self.use_transformers_continuous_batching)
        if self.args.sampling_engine != "auto" or not (alone and by_generate and can_decode(policy)):
            return None
        return settings_of(policy.generation_config, self.generation_config)

    def guided_fraction_now(self) -> float:
        """The fraction of each group that is guided at the present step (0 when guidance is off)."""
        if self.fraction_policy is not None:
            return self.fraction_policy(self.state.global_step, self.state.log_history)
        a = self.args
        total = self.state.max_steps if a.guidance_steps is None else a.guidance_steps
        end = a.guided_fraction if a.guided_fraction_end is None else a.guided_fraction_end
        return guided_fraction(self.state.global_step, total, a.guided_fraction, end, a.guidance_schedule)

    def _guide(
        self, prompt_ids: list[list[int]], completion_ids: list[list[int]], logprobs: list | None, fraction: float
    ):
        """Splice guidance into the picked rollouts; a reply that is malformed or missing leaves its rollout as it was."""
        self._replaced, self._shown = {}, {}
        responses = self._tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        picks, rng = self._pick(completion_ids, responses, fraction)
        kept = {i: self._until_first_answer(completion_ids[i], responses[i]) for i in picks}
        requests = [self._request(self._inputs[i], text, rng) for i, (_, text) in kept.items()]
        written = getattr(self.teacher, "generated_tokens", 0)
        replies = self._replies(requests)
        written = getattr(self.teacher, "generated_tokens", 0) - written
        completion_ids, counts = list(completion_ids), Counter(asked=len(picks), written=written)
        examples: dict[str, str] = {}
        for i, request, reply in zip(picks, requests, replies, strict=True):
            if isinstance(reply, NoReply):
                counts["unanswered"] += 1
                examples.setdefault("unanswered", reply.reason)
                continue
            guidance = parse_guidance(reply)
            if guidance is None:
                counts["malformed"] += 1
                examples.setdefault("malformed", reply)
                continue
            ids, author = self._spliced(kept[i][0], guidance, self._room(prompt_ids[i]))
            if not any(author):  # no room for guidance
                continue
            self._replaced[i] = {"text": responses[i], "token_ids": list(completion_ids[i])}
            completion_ids[i], self._teacher_mask[i] = ids, author
            if request.behaviour is not None:
                self._shown[i] = request.behaviour
            counts.update(guided=1, tokens=sum(author))
            if logprobs is not None:  # the sampler has none for taught tokens; NaN means a correction of 1 to TRL
                logprobs[i] = logprobs[i][: len(ids) - sum(author)] + [None] * sum(author)
        self._count_guidance(len(completion_ids), counts, examples)
        return completion_ids, logprobs

    def _pick(self, completion_ids, responses: list[str], fraction: float) -> tuple[list[int], random.Random]:
        """The rollouts to guide, and the random numbers from which to go on drawing."""
        a = self.args
        # Stateless: a resumed run, whose `_step` starts at 0 again, draws the same picks.
        turn = self._step % a.gradient_accumulation_steps
        rng = random.Random(f"{a.seed}/{self.state.global_step}/{turn}/{self.accelerator.process_index}")
        places = zip(completion_ids, responses, self._inputs, strict=True)
        eligible = [
            i not in self._calling and self._may_be_followed(ids, text) and bool(question_of(row))
            for i, (ids, text, row) in enumerate(places)
        ]
        correct = None if a.guidance_selection == "random" else self._correct(responses)
        return select_rollouts(eligible, self.num_generations, fraction, rng, a.guidance_selection, correct), rng

    def _request(self, row: dict, response: str, rng: random.Random) -> GuidanceRequest:
        behaviours = self.args.behaviours
        if self.behaviour_policy is not None:
            behaviour = self.behaviour_policy(self.state.log_history, rng)
        else:
            behaviour = None if behaviours is None else rng.choice(behaviours)
        return GuidanceRequest(question_of(row), prefill_of(row) + response, behaviour)

    def _replies(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        """One reply a request; what is no text counts as none. Raises ValueError for another number of replies."""
        if not requests:
            return []
        replies = self.teacher(requests)
        if not isinstance(replies, (list, tuple)) or len(replies) != len(requests):
            got = f"{len(replies)} replies" if isinstance(replies, (list, tuple)) else f"a {type(replies).__name__}"
            raise ValueError(
                f"the teacher ({type(self.teacher).__name__}) gave {got} to {len(requests)} requests: it must return a "
                "list with one reply each, in order (a text, or NoReply for a request that failed)"
            )
        return [
            r if isinstance(r, (str, NoReply)) else NoReply(f"a {type(r).__name__} in place of text") for r in replies
        ]

    def _spliced(self, ids: list[int], guidance: Guidance, room: int) -> tuple[list[int], list[int]]:
        """A rollout with the guidance behind it, at most `room` tokens: ids, and who wrote each (0 student, 1 teacher)."""
        taught = encode_guidance(self._tokenizer, guidance.text)[: self.args.guidance_max_tokens]
        return splice(ids, taught, self.eos_token_ids, room)

    def _room(self, prompt_ids: list[int]) -> int:
        """The longest that a guided completion may become, in tokens."""
        a = self.args
        limit = a.max_guided_length or a.max_completion_length + a.teacher_max_new_tokens
        return limit if self.positions is None else min(limit, self.positions - len(prompt_ids))

    def _ended(self, ids: list[int]) -> bool:
        return bool(ids) and ids[-1] in self.eos_token_ids

    def _cut_at(self, text: str) -> int | None:
        return self.answer_end(text) if self.args.guide_after_first_answer else None

    def _may_be_followed(self, ids: list[int], text: str) -> bool:
        """A rollout that ended by itself, or one that is cut behind its first answer anyway."""
        return self._ended(ids) or self._cut_at(text) is not None

    def _until_first_answer(self, ids: list[int], text: str) -> tuple[list[int], str]:
        """Ids and text that guidance follows: with `guide_after_first_answer` no more than the first answer, and EOS."""
        end = self._cut_at(text)
        if end is None:
            return ids, text

        def decoded(n: int) -> str:
            return self._tokenizer.decode(ids[:n], skip_special_tokens=True)

        n = bisect_left(range(len(ids)), end, key=lambda n: len(decoded(n)))
        return ids[:n] + (ids[-1:] if self._ended(ids) else [self._tokenizer.eos_token_id]), decoded(n)

    def _correct(self, responses: list[str]) -> list[bool]:
        return [is_correct(extract_answer(r), str(x["answer"])) for r, x in zip(responses, self._inputs, strict=True)]

    def _count_guidance(self, rollouts: int, counts: Counter, examples: dict[str, str]) -> None:
        names = ("asked", "malformed", "unanswered", "guided", "tokens", "written")
        local = torch.tensor([rollouts, *(counts[n] for n in names)], device=self.accelerator.device)
        rollouts, asked, malformed, unanswered, guided, tokens, written = self.accelerator.reduce(
            local.float(), "sum"
        ).tolist()
        metrics = self._metrics["train"]
        metrics["guidance/fraction"].append(guided / rollouts)
        metrics["guidance/format_failures"].append(malformed / asked if asked else 0.0)
        metrics["guidance/failures"].append(unanswered / asked if asked else 0.0)
        metrics["guidance/teacher_tokens"].append(tokens / guided if guided else 0.0)
        if hasattr(self.teacher, "generated_tokens"):  # tags and malformed replies included, of a whole generation
            metrics["guidance/generated_tokens"].append(written)
        self.watch.saw_replies(int(asked), int(malformed), int(unanswered), examples)

    # ------------------------------------------------------------ rewards, and what goes along with the batch

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self.training_log.timed("score", self.model.training):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.args.reward_needs_eos:
            ended = [bool(ids) and ids[-1] in self.eos_token_ids for ids in completion_ids_list]
            ended = self.accelerator.gather(torch.tensor(ended, device=rewards.device))
            rewards = rewards.masked_fill(~ended.unsqueeze(1) & ~rewards.isnan(), 0.0)
        start = self.accelerator.process_index * len(prompts)
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(1)
        total = total.masked_fill(rewards.isnan().all(1), torch.nan)
        self._rewards = total[start : start + len(prompts)]
        self._rewards_each = rewards[start : start + len(prompts)].tolist()
        self._scored = prompts, completions, completion_ids_list
        self._texts = [c if isinstance(c, str) else c[-1].get("content") or "" for c in completions]
        if self.model.training:
            self.watch.saw_rewards(total, inputs[0], self._texts[0])
        return rewards

    def _generate_and_score_completions(self, inputs):
        self._inputs = inputs
        output = super()._generate_and_score_completions(inputs)
        mask = torch.zeros_like(output["completion_ids"])
        for i, row in enumerate(self._teacher_mask):
            mask[i, : len(row)] = torch.tensor(row)
        output["teacher_mask"] = mask * output["completion_mask"]
        output["row"] = torch.arange(len(inputs), device=mask.device)
        if self.model.training:
            self._remember_rows(inputs, output)
        return output

    def _remember_rows(self, inputs: list[dict], output: dict) -> None:
        """Keep what the rollout log needs, and log reward and advantage by who finished the response."""
        self.movement.signal |= bool(output["advantages"].any())
        self.training_log.add_rewards(self._rewards, output)
        if self.args.guides:
            self.training_log.add_groups(self._rewards, output["teacher_mask"].any(1), self.num_generations)
            self.training_log.add_behaviours(self._shown, output["advantages"], self.accelerator.is_main_process)
        # Several generations may serve one optimizer step: their groups are numbered through.
        earlier = self._step % self.args.gradient_accumulation_steps // self.args.steps_per_generation * len(inputs)
        ids = self._scored[2]
        before = self._before_guidance(inputs) if self._should_log_rollouts() else {}
        self.training_log.rows = [
            {
                "question": question_of(x),
                "text": self._texts[i],
                "reward": self._rewards[i].item(),
                "rewards": dict(zip(self.reward_func_names, map(_or_none, self._rewards_each[i]), strict=True)),
                "finish": "stop" if ids[i] and ids[i][-1] in self.eos_token_ids else "length",
                "replaced": before.get(i),
                "group": (earlier + i) // self.num_generations,
            }
            for i, x in enumerate(inputs)
        ]

    def _before_guidance(self, inputs: list[dict]) -> dict[int, dict]:
        """The rollouts in whose place guidance came, by row, with the reward that each would have had (one process)."""
        rows = list(self._replaced)
        if not rows or self.accelerator.num_processes > 1:  # TRL gathers rewards, and processes replace unequally many
            return self._replaced
        prompts, completions, _ = self._scored
        texts = [self._replaced[i]["text"] for i in rows]
        said = texts if isinstance(completions[0], str) else [[{"role": "assistant", "content": t}] for t in texts]
        ids = [self._replaced[i]["token_ids"] for i in rows]
        rewards = super()._calculate_rewards([inputs[i] for i in rows], [prompts[i] for i in rows], said, ids)
        self._pending_metrics.clear()  # what the reward functions logged of these belongs to no rollout in training
        self._pending_extra_logs.clear()
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(1).tolist()
        return {i: self._replaced[i] | {"reward": r} for i, r in zip(rows, total, strict=True)}


def _or_none(x: float) -> float | None:
    return None if math.isnan(x) else x
