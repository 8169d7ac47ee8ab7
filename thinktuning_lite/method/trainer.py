"""ThinkTuningTrainer: TRL's GRPOTrainer, with a teacher in the rollout and advantage-aware shaping in the loss.

Two seams, and everything else stays TRL's own:

- generation (`generation_seam.py`): guidance is spliced into some rollouts before TRL decodes and rewards them;
- loss (`loss_seam.py`): shaping is a (B, T) advantage at an importance ratio of exactly 1, so TRL is only handed other
  advantages and old log-probs on the guided tokens.

An accumulation window without guided tokens goes through TRL's code untouched: same loss and gradients to the last bit.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.trainer_utils import TrainOutput

from thinktuning_lite.method.answers import first_answer_end
from thinktuning_lite.method.checkpoints import WholeCheckpoints
from thinktuning_lite.method.generation_seam import GenerationSeam
from thinktuning_lite.method.inputs import check_data, check_inputs, check_positions, check_tokenizer
from thinktuning_lite.method.loss_seam import LossSeam
from thinktuning_lite.method.movement import Movement, lora_b
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.preflight import Preflight, run_preflight
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt
from thinktuning_lite.method.rollouts import RolloutLog
from thinktuning_lite.method.sampling import without_habits
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import BehaviourPolicy, FractionPolicy, Teacher
from thinktuning_lite.method.training_log import TrainingLog
from thinktuning_lite.method.watch import RunComplete, Watch

logger = logging.getLogger(__name__)


class ThinkTuningTrainer(WholeCheckpoints, GenerationSeam, LossSeam):
    """GRPOTrainer whose rollouts a teacher comments on and whose loss shapes the guided tokens (AAS).

    Args beyond GRPOTrainer's:
        teacher: who comments; default the frozen initial policy (the adapter's base with PEFT, a frozen copy
            otherwise) asked with `teacher_prompt`. See `teacher.py` for the others.
        teacher_prompt: how that default teacher is asked; default the instruct prompt.
        fraction_policy: the guided fraction from the log so far, in place of the config's schedule (whose `guided_fraction`
            must be above 0, or nothing is guided at all). See `teacher.py` for both policies.
        behaviour_policy: which of the config's `behaviours` to ask for, in place of even draws.
        answer_end: where the first answer of a text ends (None: nowhere), for `guide_after_first_answer`; default behind
            its first box or `####`.

    The dataset needs a `prompt` column, the columns that the reward functions name, and `answer` for the selections
    other than "random". The question shown to the teacher is the column `question` when there is one, else the last
    user message; what a prompt put into the assistant's mouth is shown as the beginning of the response.

    Rollouts are sampled as `args` says (temperature, top_p, top_k, min_p, repetition_penalty); the checkpoint's own
    generation config adds its EOS tokens and the tokens it suppresses, and none of its penalties.

    Raises ValueError or TypeError before any training, naming the place, for data, a tokenizer or a model that would fail
    or do nothing later. `check()` shows one step on the real model and data before hours are spent.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: ThinkTuningConfig,
        train_dataset: Any = None,
        *,
        teacher: Teacher | None = None,
        teacher_prompt: TeacherPrompt = INSTRUCT_PROMPT,
        fraction_policy: FractionPolicy | None = None,
        behaviour_policy: BehaviourPolicy | None = None,
        answer_end: Callable[[str], int | None] = first_answer_end,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ) -> None:
        check_inputs(model, train_dataset, args, processing_class, kwargs | {"teacher": teacher})
        self.training_log, self.watch, self.movement = TrainingLog(args.behaviours), Watch(), Movement()
        self.fraction_policy, self.behaviour_policy, self.answer_end = fraction_policy, behaviour_policy, answer_end
        try:
            super().__init__(model, reward_funcs, args, train_dataset, processing_class=processing_class, **kwargs)
        except OSError as error:  # offline, transformers' own message does not say which model
            if not isinstance(model, str) or Path(model).exists():
                raise
            raise FileNotFoundError(
                f"model {model!r} is neither a folder here nor to be had from the Hub: check the name and the connection"
            ) from error
        check_tokenizer(self.processing_class)
        check_data(train_dataset, reward_funcs, args, self._tokenizer)
        policy = self.accelerator.unwrap_model(self.model)
        self.positions = check_positions(policy, train_dataset, args.max_completion_length, self._tokenize_prompts)
        _adapter_to_float32(policy, sharded=self._is_sharded())
        if hasattr(self, "generation_config"):  # with vLLM there is none
            without_habits(self.generation_config, policy.generation_config)
        self.teacher = teacher
        if teacher is None and args.guides:
            self.teacher = self._default_teacher(policy, teacher_prompt)
        if args.guides and hasattr(self.teacher, "prompt"):
            self.teacher.prompt.check_behaviours(args.behaviours)
        self.rollout_log: RolloutLog | None = None
        if args.rollout_log_steps and self.accelerator.is_main_process:
            self.rollout_log = RolloutLog(Path(args.output_dir) / "rollouts.jsonl")
            self.add_callback(_LogFromHere(self.rollout_log))
        self.add_callback(self.watch)
        self.add_callback(self.movement)

    def _default_teacher(self, policy: Any, prompt: TeacherPrompt) -> PolicyTeacher:
        """The initial policy, frozen: the base of a PEFT model, or a copy."""
        if self._is_sharded():
            raise ValueError(
                "with FSDP or DeepSpeed ZeRO-3 no process holds a whole model that could teach: pass "
                "teacher=EndpointTeacher(...), or use DDP"
            )
        if not hasattr(policy, "disable_adapter"):
            policy = _frozen_copy(policy, self.args.cast_lm_head_to_fp32)
        elif any(bool(b.any()) for b in lora_b(policy)):
            logger.warning(
                "the policy comes with a trained adapter; its teacher is the base without it. To be taught by the "
                "policy as it is now, merge first (merge_and_unload) and train a new adapter"
            )
        return PolicyTeacher(
            policy, self._tokenizer, prompt, self.args.teacher_max_new_tokens,
            use_adapter=False, chat_template_kwargs=cast(dict[str, Any], self.args.chat_template_kwargs),
            max_prompt_length=self.args.teacher_max_prompt_length, keeps_form=self.args.teacher_keeps_form,
        )  # fmt: skip

    def _is_sharded(self) -> bool:
        return self.is_fsdp_enabled or is_deepspeed_zero3_enabled()

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's, and looks afterwards whether anything was trained.

        Resuming gives the weights of an uninterrupted run when the checkpoint lies where a generation ends (a multiple of
        steps_per_generation * num_iterations micro-batches); elsewhere TRL samples anew, and a warning says so. A run
        that is complete makes no step.

        Raises RuntimeError when no weight moved although the learning rate was above 0, and when the teacher answered
        nothing for several steps running; trainer_state.json, with the log so far, is saved before.
        """
        try:
            result = super().train(*args, **kwargs)
        except RunComplete:
            self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
            warnings.warn(f"the run was complete at step {self.state.global_step}: no step was made", stacklevel=2)
            return TrainOutput(self.state.global_step, 0.0, {})
        trouble = self.watch.stopped
        if trouble is None and not self._is_sharded():
            trouble = self.movement.judge(self.model, self.accelerator)
        if trouble:
            self.save_state()
            raise RuntimeError(f"{trouble}. The log is in {Path(self.args.output_dir) / 'trainer_state.json'}")
        return result

    def check(self) -> Preflight:
        """One rollout, one guided rollout, one reward and one loss on the real model and data: `print(trainer.check())`.

        Trains nothing and leaves everything as it was. `problems` of the result lists what speaks against a run.
        """
        return run_preflight(self)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        metrics = self.training_log.flush_seconds(mode)
        if mode == "train":
            metrics |= self.training_log.flush_sums(self.accelerator)
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)
        super().log(logs, start_time)


class _LogFromHere(TrainerCallback):
    """When training begins, or goes on from a checkpoint, the log holds the steps before and none that come again."""

    def __init__(self, log: RolloutLog) -> None:
        self.log = log

    def on_train_begin(self, args, state, control, **kwargs):
        self.log.go_on_at(state.global_step)


def _frozen_copy(policy: Any, float32_head: bool) -> Any:
    """The policy as it is now, never to change.

    TRL replaces `forward` on the instance by a function that calls the original's; copied along, the copy would answer
    with the weights in training. Its class's own `forward` is the right one, with `cast_lm_head_to_fp32` for inputs in
    the head's dtype.
    """
    if any(hasattr(m, "_hf_hook") for m in policy.modules()):
        raise ValueError(
            "the policy is spread over devices (device_map), so it cannot be copied as its own teacher: pass "
            "teacher=PolicyTeacher(another model, ...), or use LoRA, whose base needs no copy"
        )
    frozen = copy.deepcopy(policy).requires_grad_(False)
    for module in frozen.modules():
        vars(module).pop("forward", None)
    if float32_head:
        frozen.lm_head.register_forward_pre_hook(lambda head, inputs: (inputs[0].to(head.weight.dtype), *inputs[1:]))
    return frozen


def _adapter_to_float32(model: Any, sharded: bool) -> None:
    """TRL casts the adapter of a quantized model to bf16, where a step at a usual learning rate is lost in rounding.

    Left as TRL has it when parameters are sharded, since shards must not mix dtypes.
    """
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        for parameter in model.parameters():
            if parameter.requires_grad and not sharded:
                parameter.data = parameter.data.float()
