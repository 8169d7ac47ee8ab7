"""ThinkTuningTrainer: TRL's GRPOTrainer, with a teacher in the rollout and advantage-aware shaping in the loss.

Two seams, and everything else stays TRL's own:

- generation: `_generate_single_turn` splices guidance into some rollouts before TRL decodes and rewards them;
- loss: by the identity of `shaping.per_token_advantages`, shaping is a (B, T) advantage at an importance ratio of
  exactly 1, so `_compute_loss` only hands TRL other advantages and old log-probs on the guided tokens.

An accumulation window without guided tokens goes through TRL's code untouched: same loss and gradients to the last bit.
"""

from __future__ import annotations

import copy
import random
import time
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from thinktuning_lite.method import teacher as teacher_module
from thinktuning_lite.method.answers import extract_answer, first_answer_end
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.rollouts import Rollout, RolloutLog
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.shaping import per_token_advantages, shape

_PROMPT_SIDE = ("prompt_ids", "prompt_mask")
_MEAN_OVER_ROWS = ("grpo", "sapo", "dr_grpo", "luspo")  # TRL divides these losses by the micro-batch's rows


class ThinkTuningTrainer(GRPOTrainer):
    """GRPOTrainer whose rollouts a teacher comments on and whose loss shapes the guided tokens (AAS).

    Args beyond GRPOTrainer's:
        teacher: who comments; default the frozen initial policy (the adapter's base with PEFT, a frozen copy
            otherwise) asked with `teacher_prompt`. See `teacher.py` for the others.
        teacher_prompt: how that default teacher is asked; default the instruct prompt.

    The dataset needs a `prompt` column, and an `answer` column for the selections "wrong" and "hardest". The question
    shown to the teacher is the column `question` when there is one, else the last user message.

    Raises ValueError before any training for a dataset without rows, a tokenizer without EOS, or a teacher's tokenizer
    without chat template.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: ThinkTuningConfig,
        train_dataset: Any = None,
        *,
        teacher: teacher_module.Teacher | None = None,
        teacher_prompt: teacher_module.TeacherPrompt = teacher_module.INSTRUCT_PROMPT,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ) -> None:
        _check_inputs(model, train_dataset, args, processing_class, kwargs)
        self._inside_loss: dict | None = None
        try:
            super().__init__(model, reward_funcs, args, train_dataset, processing_class=processing_class, **kwargs)
        except OSError as error:  # offline, transformers' own message does not say which model
            if not isinstance(model, str) or Path(model).exists():
                raise
            raise FileNotFoundError(
                f"model {model!r} is neither a folder here nor to be had from the Hub: check the name and the connection"
            ) from error
        if self._tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer has no EOS token, so no response can end by itself: set tokenizer.eos_token"
            )
        _adapter_to_float32(self.accelerator.unwrap_model(self.model), sharded=self._is_sharded())
        self.teacher = teacher
        if teacher is None and args.guided_fraction:
            if self._is_sharded():
                raise ValueError(
                    "with FSDP or DeepSpeed ZeRO-3 no process holds a whole model that could teach: pass "
                    "teacher=EndpointTeacher(...), or use DDP"
                )
            policy = self.accelerator.unwrap_model(self.model)
            if not hasattr(policy, "disable_adapter"):
                policy = _frozen_copy(policy)
            self.teacher = teacher_module.PolicyTeacher(
                policy, self._tokenizer, teacher_prompt, args.teacher_max_new_tokens
            )
        self.rollout_log: RolloutLog | None = None
        if args.rollout_log_steps and self.accelerator.is_main_process:
            self.rollout_log = RolloutLog(Path(args.output_dir) / "rollouts.jsonl")
        self._rows: list[dict] = []
        self._author_sums: dict[str, float] = defaultdict(float)
        self._teacher_mask: list[list[int]] | None = None
        self._spans: dict[str, float] = defaultdict(float)

    def _is_sharded(self) -> bool:
        return self.is_fsdp_enabled or is_deepspeed_zero3_enabled()

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's. With LoRA, raises RuntimeError when no adapter weight has moved: nothing was trained then."""
        before = _lora_b_sums(self.model)
        result = super().train(*args, **kwargs)
        moved = [float(abs(a - b)) for a, b in zip(_lora_b_sums(self.model), before, strict=True)]
        total = self.accelerator.reduce(torch.tensor(sum(moved), device=self.accelerator.device), "sum").item()
        if moved and self.args.learning_rate > 0 and not total > 0:
            raise RuntimeError(
                "after training every LoRA B is what it was before: no gradient reached the adapter, or every advantage "
                "was 0. See frac_reward_zero_std in the log (1 means that no group had two different rewards); with "
                "gradient checkpointing the inputs need gradients (model.enable_input_require_grads())"
            )
        return result

    # ------------------------------------------------------------ generation

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs):
        began = time.perf_counter()
        completion_ids, logprobs = super()._generate_single_turn(
            prompt_ids, images, multimodal_fields, num_generations, *args, **kwargs
        )
        self._spans["generate"] += time.perf_counter() - began
        self._teacher_mask = [[0] * len(ids) for ids in completion_ids]
        fraction = self.guided_fraction_now()
        if self.model.training and fraction > 0:
            began = time.perf_counter()
            completion_ids, logprobs = self._guide(completion_ids, logprobs, fraction)
            self._spans["teach"] += time.perf_counter() - began
        return completion_ids, logprobs

    def guided_fraction_now(self) -> float:
        """The fraction of each group that is guided at the present step (0 when guidance is off)."""
        a = self.args
        total = self.state.max_steps if a.guidance_steps is None else a.guidance_steps
        end = a.guided_fraction if a.guided_fraction_end is None else a.guided_fraction_end
        return teacher_module.guided_fraction(
            self.state.global_step, total, a.guided_fraction, end, a.guidance_schedule
        )

    def _guide(self, completion_ids: list[list[int]], logprobs: list | None, fraction: float):
        """Splice guidance into the picked rollouts; malformed feedback leaves its rollout as it was."""
        a = self.args
        # Stateless: a resumed run, whose `_step` starts at 0 again, draws the same picks.
        turn = self._step % a.gradient_accumulation_steps
        rng = random.Random(f"{a.seed}/{self.state.global_step}/{turn}/{self.accelerator.process_index}")
        responses = self._tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        eligible = [bool(ids) and ids[-1] in self.eos_token_ids for ids in completion_ids]
        correct = None if a.guidance_selection == "random" else self._correct(responses)
        picks = teacher_module.select_rollouts(
            eligible, self.num_generations, fraction, rng, a.guidance_selection, correct
        )
        kept = {i: self._until_first_answer(completion_ids[i], responses[i]) for i in picks}
        requests = [
            teacher_module.GuidanceRequest(_question(self._inputs[i]), text, rng.choice(a.behaviours))
            for i, (_, text) in kept.items()
        ]
        replies = self.teacher(requests) if requests else []
        limit = a.max_guided_length or a.max_completion_length + a.teacher_max_new_tokens
        completion_ids, failures, lengths = list(completion_ids), 0, []
        for i, reply in zip(picks, replies, strict=True):
            guidance = teacher_module.parse_guidance(reply)
            if guidance is None:
                failures += 1
                continue
            taught = self._tokenizer.encode(guidance.text, add_special_tokens=False)
            ids, author = teacher_module.splice(kept[i][0], taught, self.eos_token_ids, limit)
            if not any(author):  # no room for guidance
                continue
            completion_ids[i], self._teacher_mask[i] = ids, author
            lengths.append(sum(author))
            if logprobs is not None:  # the sampler has none for taught tokens; NaN means a correction of 1 to TRL
                logprobs[i] = logprobs[i][: len(ids) - sum(author)] + [None] * sum(author)
        self._log_guidance(len(completion_ids), len(picks), failures, lengths)
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

    def _log_guidance(self, rollouts: int, asked: int, failures: int, lengths: list[int]) -> None:
        counts = torch.tensor([rollouts, asked, failures, len(lengths), sum(lengths)], device=self.accelerator.device)
        rollouts, asked, failures, guided, tokens = self.accelerator.reduce(counts.float(), "sum").tolist()
        metrics = self._metrics["train"]
        metrics["guidance/fraction"].append(guided / rollouts)
        metrics["guidance/format_failures"].append(failures / asked if asked else 0.0)
        metrics["guidance/teacher_tokens"].append(tokens / guided if guided else 0.0)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        began = time.perf_counter()
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._spans["score"] += time.perf_counter() - began
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
        guided = output["teacher_mask"].any(1)
        for who, rows in (("guided", guided), ("own", ~guided)):
            for name, values in (("reward", rewards), ("advantage", output["advantages"])):
                self._add(f"{name}/{who}", values[rows].sum().item(), int(rows.sum()))
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in self._completions]
        # Several generations may serve one optimizer step: their groups are numbered through.
        earlier = self._step % self.args.gradient_accumulation_steps // self.args.steps_per_generation * len(inputs)
        self._rows = [
            {"question": _question(x), "text": text, "reward": r, "group": (earlier + i) // self.num_generations}
            for i, (x, text, r) in enumerate(zip(inputs, texts, rewards.tolist(), strict=True))
        ]

    def _prepare_inputs(self, generation_batch):
        buffered = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not buffered and self.model.training:
            self._buffered_inputs = self._sort_windows(self._buffered_inputs)
            inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return inputs

    def _sort_windows(self, batches: list[dict]) -> list[dict]:
        """Rows sorted by length within each accumulation window that holds guided rows: less padding, same gradient.

        Every loss type but bnpo weighs rows alike whichever micro-batch of the window they are in; bnpo is left alone,
        and so is whatever else is averaged within a micro-batch, and a generation that straddles windows.
        """
        size = self.args.gradient_accumulation_steps
        if size == 1 or self.loss_type == "bnpo" or self._entropy_bonus_enabled or self.aux_loss_enabled:
            return batches
        straddles = len(batches) % size and size % len(batches)
        if straddles or any(len(b["row"]) != len(batches[0]["row"]) for b in batches):
            return batches
        out = []
        for start in range(0, len(batches), size):
            window = batches[start : start + size]
            if any(b["teacher_mask"].any() for b in window):
                window = [b | {"trim": True} for b in _sorted_by_length(window)]
            out += window
        return out

    # ------------------------------------------------------------ loss

    def _compute_loss(self, model, inputs):
        logged = self._should_log_rollouts()
        guided = bool(inputs["teacher_mask"].any())
        measured = self.model.training and self.args.guided_fraction > 0  # the shares need the unguided rows too
        if not guided and not logged and not measured:
            return super()._compute_loss(model, inputs)
        inputs, share = self._rows_that_train(inputs) if inputs.get("trim") and not logged else (inputs, 1.0)
        # A copy: TRL's buffer is reused when num_iterations > 1.
        inputs = _trimmed(inputs) if guided or inputs.get("trim") else dict(inputs)
        self._inside_loss = inputs
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            fired, self._inside_loss = "current_logps" in inputs, None
        if not fired:
            raise RuntimeError(
                "TRL computed the loss without asking for log-probs, so AAS was not applied: "
                "this trl version does not fit (tested with 1.16.0)"
            )
        if logged:
            self._log_rollouts(inputs)
        return loss * share

    def _rows_that_train(self, inputs: dict) -> tuple[dict, float]:
        """The rows whose advantage is not 0, as new inputs, and the factor that makes their loss that of all rows.

        The others have no gradient unless a KL term needs them. TRL's and the guidance metrics of tokens then speak of the
        rows that are left. One process only: TRL gathers per-row metrics, which need as many rows everywhere.
        """
        trains = inputs["advantages"] != 0
        if self.beta != 0 or self.accelerator.num_processes > 1 or trains.all():
            return inputs, 1.0
        trains[0] |= not trains.any()  # TRL wants a row to work on
        share = trains.float().mean().item() if self.loss_type in _MEAN_OVER_ROWS else 1.0
        return {k: v[trains] if isinstance(v, torch.Tensor) and v.dim() > 0 else v for k, v in inputs.items()}, share

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self._inside_loss is not None:
            self._shape(self._inside_loss, result[0].detach())
        return result

    def _shape(self, inputs: dict, logps: torch.Tensor) -> None:
        """Write per-token advantages and old log-probs for the guided tokens into TRL's inputs (the copy)."""
        if "current_logps" in inputs:
            raise RuntimeError("TRL asked for log-probs twice within one loss: this trl version does not fit")
        inputs["current_logps"] = logps
        inputs["row_advantages"] = inputs["advantages"]
        rows = inputs["teacher_mask"].any(1, keepdim=True)
        mask = inputs["completion_mask"].bool()
        shaped = inputs["teacher_mask"].bool() if self.args.shaping_mask == "teacher" else rows & mask
        if not rows.any():
            if self.args.guided_fraction > 0:
                self._sum_by_author(inputs, inputs["advantages"].unsqueeze(1).expand_as(logps), shaped)
            return
        advantages, ratio_one = per_token_advantages(
            self.args.shaping, logps, inputs["advantages"], shaped, self.args.constants
        )
        old = inputs.get("old_per_token_logps", logps)
        inputs["advantages"] = advantages
        inputs["old_per_token_logps"] = torch.where(ratio_one, logps, old)
        if "importance_sampling_ratio" in inputs:  # vLLM's correction knows nothing of tokens it did not sample
            inputs["importance_sampling_ratio"] = torch.where(
                ratio_one, torch.ones_like(logps), inputs["importance_sampling_ratio"]
            )
        self._sum_by_author(inputs, advantages, shaped)

    def _sum_by_author(self, inputs: dict, advantages: torch.Tensor, shaped: torch.Tensor) -> None:
        """Sums for the metrics: probability, weight and share of the loss by who wrote the token."""
        p = inputs["current_logps"].exp()
        taught = inputs["teacher_mask"].bool()
        own = inputs["completion_mask"].bool() & ~taught
        row_advantages = inputs["row_advantages"].unsqueeze(1).expand_as(p)
        weight = torch.where(shaped, shape(self.args.shaping, p, row_advantages, self.args.constants).weight, 1.0)
        inputs["weights"] = weight
        for who, where in (("teacher", taught), ("own", own)):
            n = int(where.sum())
            self._add(f"probability/{who}", p[where].sum().item(), n)
            self._add(f"weight/{who}", weight[where].sum().item(), n)
        share = advantages.abs() * inputs["completion_mask"]
        self._add("loss_share/teacher", (share * taught).sum().item(), share.sum().item())

    # ------------------------------------------------------------ logs

    def _add(self, name: str, total: float, count: float) -> None:
        self._author_sums[f"{name}|sum"] += total
        self._author_sums[f"{name}|n"] += count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            self._flush_author_sums()
            for name, seconds in self._spans.items():
                self._metrics["train"][f"seconds/{name}"].append(seconds)
            self._spans.clear()
        super().log(logs, start_time)

    def _flush_author_sums(self) -> None:
        # Gathered here, where all processes meet: inside the loss only some may hold guided rows.
        names = [f"{q}/{who}" for q in ("reward", "advantage") for who in ("guided", "own")]
        names += [f"{q}/{who}" for q in ("probability", "weight") for who in ("teacher", "own")]
        names += ["loss_share/teacher"]
        flat = [self._author_sums[f"{n}|{part}"] for n in names for part in ("sum", "n")]
        totals = self.accelerator.reduce(torch.tensor(flat, device=self.accelerator.device), "sum").view(-1, 2)
        for name, (total, n) in zip(names, totals.tolist(), strict=True):
            if n > 0:
                self._metrics["train"][f"guidance/{name}"].append(total / n)
        self._author_sums.clear()

    def _should_log_rollouts(self) -> bool:
        every = self.args.rollout_log_steps
        first_iteration = self._step % (self.args.steps_per_generation * self.num_iterations) < (
            self.args.steps_per_generation
        )
        return bool(every) and self.model.training and first_iteration and self.state.global_step % every == 0

    def _log_rollouts(self, inputs: dict) -> None:
        if self.rollout_log is None:
            return
        lengths = inputs["completion_mask"].sum(1).tolist()
        weights = inputs.get("weights", torch.ones_like(inputs["current_logps"]))
        advantages = inputs.get("row_advantages", inputs["advantages"])
        for b, row in enumerate(inputs["row"].tolist()):
            n, known = lengths[b], self._rows[row]
            self.rollout_log.write(
                Rollout(
                    step=self.state.global_step,
                    group=known["group"],
                    question=known["question"],
                    text=known["text"],
                    token_ids=inputs["completion_ids"][b, :n].tolist(),
                    author=inputs["teacher_mask"][b, :n].tolist(),
                    logps=inputs["current_logps"][b, :n].tolist(),
                    weights=weights[b, :n].tolist(),
                    reward=known["reward"],
                    advantage=advantages[b].item(),
                )
            )


def _check_inputs(model: Any, train_dataset: Any, args: Any, tokenizer: Any, others: dict[str, Any]) -> None:
    """What can be refused before a model is loaded."""
    if not isinstance(args, ThinkTuningConfig):
        raise TypeError(f"args is a {type(args).__name__}; ThinkTuningTrainer needs a ThinkTuningConfig")
    for name in ("rollout_func", "tools", "environment_factory"):
        if others.get(name):
            raise ValueError(f"{name}: guidance is spliced into TRL's own single-turn generation only; leave it out")
    if train_dataset is not None and hasattr(train_dataset, "__len__") and len(train_dataset) == 0:
        raise ValueError("the training dataset has no rows: check its path, split and filters")
    if tokenizer is not None and tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token, so no response can end by itself: set tokenizer.eos_token")
    looks_local = isinstance(model, str) and (model.startswith((".", "/", "~")) or model.count("/") > 1)
    if looks_local and not Path(model).expanduser().exists():
        raise FileNotFoundError(f"there is no model folder at {model!r}: check the path, or give a Hub id (owner/name)")


def _frozen_copy(policy: Any) -> Any:
    """The policy as it is now, never to change.

    TRL replaces `forward` on the instance by a function that calls the original's; copied along, the copy would answer
    with the weights in training. Its class's own `forward` is the right one.
    """
    if any(hasattr(m, "_hf_hook") for m in policy.modules()):
        raise ValueError(
            "the policy is spread over devices (device_map), so it cannot be copied as its own teacher: pass "
            "teacher=PolicyTeacher(another model, ...), or use LoRA, whose base needs no copy"
        )
    frozen = copy.deepcopy(policy).requires_grad_(False)
    for module in frozen.modules():
        vars(module).pop("forward", None)
    return frozen


def _adapter_to_float32(model: Any, sharded: bool) -> None:
    """TRL casts the adapter of a quantized model to bf16, where a step at a usual learning rate is lost in rounding.

    Left as TRL has it when parameters are sharded, since shards must not mix dtypes.
    """
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        for parameter in model.parameters():
            if parameter.requires_grad and not sharded:
                parameter.data = parameter.data.float()


def _lora_b_sums(model: Any) -> list[torch.Tensor]:
    """The absolute sum of each trainable LoRA B (zero before training); empty without LoRA."""
    named = model.named_parameters()
    return [p.detach().abs().sum().double().cpu() for name, p in named if "lora_B" in name and p.requires_grad]


def _question(row: dict) -> str:
    if "question" in row:
        return row["question"]
    prompt = row["prompt"]
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def _sorted_by_length(window: list[dict]) -> list[dict]:
    """The rows of several micro-batches, dealt anew by completion length, shortest first."""
    lengths = torch.cat([b["completion_mask"].sum(1) for b in window])
    order = torch.argsort(lengths, stable=True)
    merged = {}
    for key, first in window[0].items():
        per_row = isinstance(first, torch.Tensor) and first.dim() > 0
        merged[key] = torch.cat([b[key] for b in window])[order] if per_row else first
    return split_tensor_dict(merged, len(window))


def _trimmed(inputs: dict) -> dict:
    """A shallow copy without the columns that are padding in every row (left of prompts, right of completions)."""
    width = int(inputs["completion_mask"].sum(1).max())
    skip = int((inputs["prompt_mask"].sum(0) == 0).sum())
    full = inputs["completion_ids"].shape[1]
    out = dict(inputs)
    for key, value in inputs.items():
        if not isinstance(value, torch.Tensor) or value.dim() != 2:
            continue
        if key in _PROMPT_SIDE:
            out[key] = value[:, skip:]
        elif value.shape[1] == full:
            out[key] = value[:, :width]
    return out
