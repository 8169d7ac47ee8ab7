"""ThinkTuning's relatives on the tiny classroom, each on the seams that are there: who is new in it, and how it differs.

- Dynamic sampling (DAPO): `UnequalGroupsTrainer`.
- Critique-GRPO: `RefinementTrainer`, under LUFFY's shaping.
- SDPO and SDFT: TRL's own experimental trainers, `train_self_distilled`.

SCoRe is not among them: its second turn is a prompt ("there may be an error, try again") that the tiny student, whose role
has seen one turn only, cannot read, and every arm is asked the bare question when it is examined.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.experimental.sdpo import SDPOConfig, SDPOTrainer

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.settings import COMPLETION_TOKENS, TINY_RUN
from thinktuning_lite.classroom.turns import PHRASE_START, REASONS, checker_messages, solution_text
from thinktuning_lite.experiments.folders import held
from thinktuning_lite.experiments.runs import MetricsLog
from thinktuning_lite.experiments.side_by_side import GROUP_SIZE, MICRO_BATCH, PROMPTS_PER_STEP
from thinktuning_lite.method.checkpoints import WholeCheckpoints
from thinktuning_lite.method.rewards import correctness_reward
from thinktuning_lite.method.sampling import sample as sample_tokens
from thinktuning_lite.method.sampling import settings_of
from thinktuning_lite.method.teacher import Guidance, encode_guidance, splice
from thinktuning_lite.method.trainer import ThinkTuningTrainer

EXTRA_GROUPS = PROMPTS_PER_STEP // 2


class UnequalGroupsTrainer(ThinkTuningTrainer):
    """Samples EXTRA_GROUPS groups more than a step trains on, and trains on those whose rewards differ first.

    DAPO samples until the batch is full of such groups; here the number is fixed, so a budget of tokens is a number of
    steps (`equal_token_steps`), and groups of equal rewards fill up what is missing. Merely leaving those groups out
    changes nothing but the loss's divisor: their advantages are 0.
    """

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        rows, size = self.train_dataset, self.num_generations
        more = random.Random(f"more/{self.args.seed}/{self.state.global_step}").sample(range(len(rows)), EXTRA_GROUPS)
        output = super()._generate_and_score_completions(inputs + [rows[i] for i in more for _ in range(size)])
        unequal = output["advantages"].view(-1, size).any(1)
        groups = torch.argsort(~unequal, stable=True)[: len(inputs) // size].sort().values
        kept = (groups[:, None] * size + torch.arange(size)).flatten()
        self._metrics["train"]["unequal_groups"].append(unequal[groups].float().mean().item())
        return {k: v[kept] if isinstance(v, torch.Tensor) and v.dim() > 0 else v for k, v in output.items()}


def equal_token_steps(steps: int) -> int:
    """Steps of UnequalGroupsTrainer that sample as many groups as `steps` of the others do."""
    return max(1, steps * PROMPTS_PER_STEP // (PROMPTS_PER_STEP + EXTRA_GROUPS))


class RefinementTrainer(ThinkTuningTrainer):
    """A guided rollout is the refined solution alone, in the attempt's place: what the question should have been answered.

    After Critique-GRPO (Zhang et al., 2025), with LUFFY's shaping, as there. It differs: critique and refinement are one
    reply of the frozen teacher, not two of the policy in training, and a refinement takes a rollout's place in the group
    instead of joining it.
    """

    def _spliced(self, ids: list[int], guidance: Guidance, room: int) -> tuple[list[int], list[int]]:
        refined = encode_guidance(self._tokenizer, guidance.phrase.removeprefix(PHRASE_START))
        return splice(ids[-1:], refined[: self.args.guidance_max_tokens], self.eos_token_ids, room)


# ---------------------------------------------------------------- self-distillation, by TRL

# The checkpoint's checker role solves, reflects, solves again and ends. As its own teacher it has read a right solution
# and the reflection on it, and judges the student's response token by token as that second solution. The other roles
# cannot read a hint, and the teacher role does not end where a response does.
_REFLECTION = REASONS["self-critique"]["correct"][0]


class _Sampling(WholeCheckpoints):
    """Checkpoints that are whole, and rollouts by the project's own sampler, which keeps the student from the tags."""

    def _generate(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
        model = self.accelerator.unwrap_model(self.model)
        how = settings_of(model.generation_config, self.generation_config)
        assert how is not None  # TINY_RUN asks for nothing that `sample` does not know
        return prompt_ids, sample_tokens(model, prompt_ids, **how)


class _SDPO(_Sampling, SDPOTrainer):
    pass


class _SDFT(_Sampling, SDFTTrainer):
    pass


def teacher_template(tokenizer: Any) -> str:
    """The checker's prompt up to its second solution, with places for the student's {prompt} and the {solution} it read."""
    rendered = tokenizer.apply_chat_template(checker_messages("{prompt}"), tokenize=False, add_generation_prompt=True)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
    )
    return rendered.replace(asked, "{prompt}") + f"{{solution}}\n\n{_REFLECTION}\n\n{PHRASE_START}"


def prompts_as_text(tokenizer: Any, rows: list[dict]) -> list[dict]:
    """The rows with their chat rendered (TRL would wrap a teacher's context in a user turn), `privileged_context` added:
    the problem's own plain solution, one equation a step, as SFT is given it."""
    return [
        {
            "prompt": tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True),
            "answer": row["answer"],
            "privileged_context": solution_text(raw["chain"].split()),
        }
        for row, raw in zip(sample.as_prompts(rows), rows, strict=True)
    ]


def train_self_distilled(method: str, steps: int, seed: int, folder: Path, bar: int | None = None) -> Any:
    """Train the tiny student by TRL's "sdpo" or "sdft", as many rollouts a step as the other arms; returns the trainer.

    SDPO's teacher reads a right rollout of the same group (a group without one teaches nothing); SDFT's reads the
    problem's own solution, and no reward is asked. In both it is the frozen checkpoint in its checker role; divergence
    and its mode are TRL's defaults.
    """
    model, tokenizer = load_classroom()
    shared: dict[str, Any] = dict(
        TINY_RUN,
        output_dir=str(folder),
        max_prompt_length=None,
        max_completion_length=COMPLETION_TOKENS,
        num_generations=GROUP_SIZE,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=PROMPTS_PER_STEP * GROUP_SIZE // MICRO_BATCH,
        teacher_model_kind="base",
        learning_rate=5e-5,
        lr_scheduler_type="constant",
        max_steps=steps,
        seed=seed,
        logging_steps=1,
        save_steps=max(1, min(20, steps // 4)),
        save_total_limit=1,
    )
    template = teacher_template(tokenizer)
    rows = Dataset.from_list(prompts_as_text(tokenizer, sample.load_tiny_set("train")))
    given: dict[str, Any] = dict(
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[MetricsLog(folder / "metrics.jsonl", folder.name, bar)],
    )
    if method == "sdpo":
        config = SDPOConfig(**shared, reprompt_template=template, solution_template="{successful_previous_attempt}")
        trainer: Any = _SDPO(model, correctness_reward, config, **given)
    else:
        text = template.replace("{solution}", "{privileged_context}")
        trainer = _SDFT(model, SDFTConfig(**shared, teacher_prompt_template=text), **given)
    trainer.remove_callback(PrinterCallback)
    with held(folder):
        trainer.go_on()
    return trainer
