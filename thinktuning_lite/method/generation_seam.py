"""Guidance where TRL samples: some rollouts get a teacher's comment before they are decoded and rewarded."""

from __future__ import annotations

import random
from bisect import bisect_left
from typing import Any

import torch
from trl import GRPOTrainer

from thinktuning_lite.method.answers import extract_answer, first_answer_end
from thinktuning_lite.method.decoding import can_decode
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.sampling import sample, settings_of
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import (
    GuidanceRequest,
    Teacher,
    guided_fraction,
    parse_guidance,
    select_rollouts,
    splice,
)
from thinktuning_lite.method.training_log import TrainingLog


class GenerationSeam(GRPOTrainer):
    """`_generate_single_turn` splices guidance in, whatever sampled the rollouts (our sampler, generate, vLLM, ...).

    Who wrote each token goes along with the batch as `teacher_mask` (rows, completion tokens), and `row` says which row
    of the generation a row of a micro-batch was.
    """

    args: ThinkTuningConfig
    teacher: Teacher | None
    training_log: TrainingLog
    _inputs: list[dict]
    _teacher_mask: list[list[int]]

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs):
        with self.training_log.timed("generate"):
            how = None if images or multimodal_fields else self._own_sampling()
            if how is not None:
                completion_ids, logprobs = sample(self.accelerator.unwrap_model(self.model), prompt_ids, **how), None
            else:
                completion_ids, logprobs = super()._generate_single_turn(
                    prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs
                )
        self._teacher_mask = [[0] * len(ids) for ids in completion_ids]
        fraction = self.guided_fraction_now()
        if self.model.training and fraction > 0:
            with self.training_log.timed("teach"):
                completion_ids, logprobs = self._guide(completion_ids, logprobs, fraction)
        return completion_ids, logprobs

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
        a = self.args
        total = self.state.max_steps if a.guidance_steps is None else a.guidance_steps
        end = a.guided_fraction if a.guided_fraction_end is None else a.guided_fraction_end
        return guided_fraction(self.state.global_step, total, a.guided_fraction, end, a.guidance_schedule)

    def _guide(self, completion_ids: list[list[int]], logprobs: list | None, fraction: float):
        """Splice guidance into the picked rollouts; malformed feedback leaves its rollout as it was."""
        a = self.args
        # Stateless: a resumed run, whose `_step` starts at 0 again, draws the same picks.
        turn = self._step % a.gradient_accumulation_steps
        rng = random.Random(f"{a.seed}/{self.state.global_step}/{turn}/{self.accelerator.process_index}")
        responses = self._tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        eligible = [bool(ids) and ids[-1] in self.eos_token_ids for ids in completion_ids]
        correct = None if a.guidance_selection == "random" else self._correct(responses)
        picks = select_rollouts(eligible, self.num_generations, fraction, rng, a.guidance_selection, correct)
        kept = {i: self._until_first_answer(completion_ids[i], responses[i]) for i in picks}
        requests = [
            GuidanceRequest(
                question_of(self._inputs[i]), text, None if a.behaviours is None else rng.choice(a.behaviours)
            )
            for i, (_, text) in kept.items()
        ]
        replies = self.teacher(requests) if requests else []
        limit = a.max_guided_length or a.max_completion_length + a.teacher_max_new_tokens
        completion_ids, failures, lengths = list(completion_ids), 0, []
        for i, reply in zip(picks, replies, strict=True):
            guidance = parse_guidance(reply)
            if guidance is None:
                failures += 1
                continue
            taught = self._tokenizer.encode(guidance.text, add_special_tokens=False)
            ids, author = splice(kept[i][0], taught, self.eos_token_ids, limit)
            if not any(author):  # no room for guidance
                continue
            completion_ids[i], self._teacher_mask[i] = ids, author
            lengths.append(sum(author))
            if logprobs is not None:  # the sampler has none for taught tokens; NaN means a correction of 1 to TRL
                logprobs[i] = logprobs[i][: len(ids) - sum(author)] + [None] * sum(author)
        self._count_guidance(len(completion_ids), len(picks), failures, lengths)
        return completion_ids, logprobs

    def _until_first_answer(self, ids: list[int], text: str) -> tuple[list[int], str]:
        """Ids and text that guidance follows: with `guide_after_first_answer` no more than the first answer, and EOS."""
        end = first_answer_end(text) if self.args.guide_after_first_answer else None
        if end is None:
            return ids, text

        def decoded(n: int) -> str:
            return self._tokenizer.decode(ids[:n], skip_special_tokens=True)

        n = bisect_left(range(len(ids)), end, key=lambda n: len(decoded(n)))
        return ids[:n] + ids[-1:], decoded(n)

    def _correct(self, responses: list[str]) -> list[bool]:
        if "answer" not in self._inputs[0]:
            raise ValueError(f"guidance_selection={self.args.guidance_selection!r} needs an 'answer' column")
        return [is_correct(extract_answer(r), str(x["answer"])) for r, x in zip(responses, self._inputs, strict=True)]

    def _count_guidance(self, rollouts: int, asked: int, failures: int, lengths: list[int]) -> None:
        counts = torch.tensor([rollouts, asked, failures, len(lengths), sum(lengths)], device=self.accelerator.device)
        rollouts, asked, failures, guided, tokens = self.accelerator.reduce(counts.float(), "sum").tolist()
        metrics = self._metrics["train"]
        metrics["guidance/fraction"].append(guided / rollouts)
        metrics["guidance/format_failures"].append(failures / asked if asked else 0.0)
        metrics["guidance/teacher_tokens"].append(tokens / guided if guided else 0.0)

    # ------------------------------------------------------------ rewards, and what goes along with the batch

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self.training_log.timed("score"):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        start = self.accelerator.process_index * len(prompts)
        self._rewards = rewards[start : start + len(prompts)]
        self._completions = completions
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
        weights = self.reward_weights.to(self._rewards.device)
        rewards = (self._rewards * weights).nansum(1)
        self.training_log.add_rewards(rewards, output)
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in self._completions]
        # Several generations may serve one optimizer step: their groups are numbered through.
        earlier = self._step % self.args.gradient_accumulation_steps // self.args.steps_per_generation * len(inputs)
        self.training_log.rows = [
            {"question": question_of(x), "text": text, "reward": r, "group": (earlier + i) // self.num_generations}
            for i, (x, text, r) in enumerate(zip(inputs, texts, rewards.tolist(), strict=True))
        ]


def question_of(row: dict[str, Any]) -> str:
    """The question of a dataset row, as shown to the teacher."""
    if "question" in row:
        return row["question"]
    prompt = row["prompt"]
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]
