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
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from thinktuning_lite.method.checkpoints import WholeCheckpoints
from thinktuning_lite.method.generation_seam import GenerationSeam
from thinktuning_lite.method.loss_seam import LossSeam
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt
from thinktuning_lite.method.rollouts import RolloutLog
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import Teacher
from thinktuning_lite.method.training_log import TrainingLog

logger = logging.getLogger(__name__)


class ThinkTuningTrainer(WholeCheckpoints, GenerationSeam, LossSeam):
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
        teacher: Teacher | None = None,
        teacher_prompt: TeacherPrompt = INSTRUCT_PROMPT,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ) -> None:
        _check_inputs(model, train_dataset, args, processing_class, kwargs)
        self.training_log = TrainingLog()
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
            elif any(float(b) > 0 for b in _lora_b_sums(policy)):
                logger.warning(
                    "the policy comes with a trained adapter; its teacher is the base without it. To be taught by the "
                    "policy as it is now, merge first (merge_and_unload) and train a new adapter"
                )
            self.teacher = PolicyTeacher(
                policy, self._tokenizer, teacher_prompt, args.teacher_max_new_tokens,
                use_adapter=False, chat_template_kwargs=args.chat_template_kwargs,
            )  # fmt: skip
        if args.guided_fraction and hasattr(self.teacher, "prompt"):
            self.teacher.prompt.check_behaviours(args.behaviours)
        self.rollout_log: RolloutLog | None = None
        if args.rollout_log_steps and self.accelerator.is_main_process:
            self.rollout_log = RolloutLog(Path(args.output_dir) / "rollouts.jsonl")
            self.add_callback(_LogFromHere(self.rollout_log))

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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            for name, value in self.training_log.flush(self.accelerator).items():
                self._metrics["train"][name].append(value)
        super().log(logs, start_time)


class _LogFromHere(TrainerCallback):
    """When training begins, or goes on from a checkpoint, the log holds the steps before and none that come again."""

    def __init__(self, log: RolloutLog) -> None:
        self.log = log

    def on_train_begin(self, args, state, control, **kwargs):
        self.log.go_on_at(state.global_step)


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
