"""A training run as data: presets, config files, and what is refused in them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.experiments.values import check_names, checked
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.models import datasets
from thinktuning_lite.models.load import QUANTIZATIONS
from thinktuning_lite.models.machine import Machine
from thinktuning_lite.models.planner import Plan, plan
from thinktuning_lite.models.smol import SMOL, fetched_folder
from thinktuning_lite.models.sums import SUMS, TOP_P

TINY = "tiny"  # as model: the shipped classroom; as data: its word problems
DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16,
}  # fmt: skip


@dataclass(frozen=True)
class Endpoint:
    """What a run's `teacher` may name: of EndpointTeacher, which see, and the environment variable that holds its key.

    What is left out is EndpointTeacher's own; the length of a reply is the training's `teacher_max_new_tokens`.
    """

    base_url: str
    model: str
    api_key_env: str = ""
    timeout: float | None = None
    parallel: int | None = None
    retries: int | None = None
    extra_body: dict[str, Any] | None = None
    keeps_form: str | None = None


@dataclass(frozen=True)
class Run:
    """One training run. `lora_rank` None trains all weights; `teacher` None is the frozen start itself.

    `teacher` else: an OpenAI-compatible endpoint, by the fields of `Endpoint`. `resume` goes on from the newest
    checkpoint in output_dir (True) or from one checkpoint's folder.
    `dtype` is that of the weights; by default the machine's, and float32 when all weights are trained, because a step of
    1e-6 is lost in half precision's rounding. `training` holds fields of ThinkTuningConfig.
    """

    model: str
    data: str = datasets.GSM8K
    quantization: str | None = None
    dtype: str | None = None
    lora_rank: int | None = 16
    lora_alpha: int = 32
    teacher: dict[str, Any] | None = None
    validation: int = 200
    max_prompt_tokens: int = 512
    resume: bool | str = False
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def is_tiny(self) -> bool:
        return self.model == TINY or Path(self.model).expanduser().resolve() == TINY_CLASSROOM.resolve()

    @property
    def source(self) -> str:
        """What `load_policy` is to load. Raises FileNotFoundError for a smol that was not fetched."""
        known = {TINY: lambda: TINY_CLASSROOM, SMOL: fetched_folder}
        return str(known[self.model]()) if self.model in known else self.model

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """None: what the machine decides."""
        if self.dtype is None:
            return torch.float32 if self.lora_rank is None else None
        return DTYPES[self.dtype]

    def quantization_on(self, machine: Machine) -> str:
        """ "nf4" or "none": as asked, else none for full fine-tuning, else what the machine can do."""
        return self.quantization or ("none" if self.lora_rank is None else machine.quantization)

    def memory_plan(self, machine: Machine) -> Plan:
        """What the planner predicts for this run in one process (the shape must be known: a local or cached model)."""
        c = self._config_anywhere(machine)
        rows = c.per_device_train_batch_size * c.steps_per_generation
        computes = machine.dtype if self.lora_rank is None else self.torch_dtype or machine.dtype
        alone = "second model" if self.lora_rank is None else "adapter off"
        return plan(
            self.source,
            group_size=c.num_generations, prompts=max(1, rows // c.num_generations),
            micro_batch=c.per_device_train_batch_size,
            prompt_tokens=self.max_prompt_tokens, completion_tokens=c.max_completion_length,
            quantization=self.quantization_on(machine), rank=self.lora_rank, dtype=computes,
            optimizer=c.optim.value, checkpointing=c.gradient_checkpointing,
            teacher="none" if not c.guides else "elsewhere" if self.teacher else alone,
            teacher_tokens=c.teacher_max_new_tokens, guided_tokens=self._guided_tokens(c), at_a_time=c.rollouts_at_a_time,
            teacher_prompt_tokens=100 if self.is_tiny else 1024,
            guided=max(1, round(max(c.guided_fraction, c.guided_fraction_end or 0.0) * c.num_generations)), device=machine.device,
        )  # fmt: skip

    @staticmethod
    def _guided_tokens(c: ThinkTuningConfig) -> int:
        """By how much guidance makes a row longer than a completion, at most."""
        added = min(c.teacher_max_new_tokens, c.guidance_max_tokens or c.teacher_max_new_tokens)
        return (
            added if c.max_guided_length is None else max(0, min(added, c.max_guided_length - c.max_completion_length))
        )

    def _config_anywhere(self, machine: Machine) -> ThinkTuningConfig:
        """The config but for precision, which TrainingArguments refuses on a host that lacks the planned GPU."""
        asked = {k: v for k, v in self.training.items() if k not in ("bf16", "fp16", "tf32")}
        return ThinkTuningConfig(**{"optim": machine.optimizer, "use_cpu": True, "bf16": False} | asked)

    def config(self, machine: Machine) -> ThinkTuningConfig:
        """ThinkTuningConfig with what the machine decides (precision, optimizer, device) where `training` is silent."""
        decided: dict[str, Any] = {"optim": machine.optimizer, "bf16": False}
        if machine.device == "cpu":
            decided |= {"use_cpu": True, "dataloader_pin_memory": False}
        else:
            decided |= {"bf16": machine.trials["bf16"].works, "fp16": not machine.trials["bf16"].works}
        return ThinkTuningConfig(**decided | self.training)


_ALWAYS: dict[str, Any] = dict(
    loss_type="grpo", beta=0.0, epsilon=0.2, temperature=1.0, lr_scheduler_type="constant", logging_steps=1,
    save_steps=20, save_total_limit=2, report_to="none", disable_tqdm=True, log_level="error", seed=0,
)  # fmt: skip
# The authors' optimizer settings with ten times their learning rate: LoRA's best one is about ten times that of full
# fine-tuning, and in policy gradients a low rank loses nothing (Schulman et al., "LoRA Without Regret", 2025).
_LORA_LR = 1e-5
_ONE_GPU: dict[str, Any] = _ALWAYS | dict(
    learning_rate=_LORA_LR, num_generations=8, max_completion_length=512, teacher_max_new_tokens=512,
    guided_fraction=0.125, guidance_steps=100, max_steps=200, gradient_checkpointing=True, rollout_log_steps=20,
)  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": dict(  # the shipped classroom, on a CPU
        model=TINY, data=TINY, quantization="nf4", max_prompt_tokens=96, validation=0,
        training=_ALWAYS | dict(
            # Found on training reward and validation, seed 0: 1e-3 ends lower, 3e-3 soars, then falls apart.
            output_dir="runs/train-tiny", learning_rate=5e-4, num_generations=8, per_device_train_batch_size=16,
            gradient_accumulation_steps=2, max_completion_length=176, teacher_max_new_tokens=160, shaping="released",
            guided_fraction=0.125, guidance_steps=18, max_steps=24, gradient_checkpointing=False, rollout_log_steps=6,
        ),
    ),
    "smol": dict(  # a small real model: float32 on a CPU, bf16 or fp16 on any GPU; nothing but the model is downloaded
        model=SMOL, data=SUMS, quantization="none", max_prompt_tokens=128, validation=64,
        training=_ALWAYS | dict(
            # Seen in a run that was given up: at 1e-3, with 32 tokens, three steps teach the policy to go on after its answer; then all
            # rollouts are cut off, and none can be guided. 64 hold an answer and what guidance puts behind it.
            output_dir="runs/train-smol", learning_rate=5e-4, num_generations=8, per_device_train_batch_size=8,
            gradient_accumulation_steps=2, max_completion_length=64, teacher_max_new_tokens=80, teacher_keeps_form=True,
            top_p=TOP_P, shaping="released", guided_fraction=0.125, guidance_steps=16, max_steps=24,
            behaviours=["self-critique", "self-agreement"], gradient_checkpointing=False, rollout_log_steps=4,
        ),
    ),
    "t4": dict(  # 16 GB: 1.5B in 4-bit
        model="Qwen/Qwen2.5-1.5B-Instruct", quantization="nf4",
        training=_ONE_GPU | dict(
            output_dir="runs/train-t4", per_device_train_batch_size=2, gradient_accumulation_steps=32,
        ),
    ),
    "24gb": dict(  # 3B in 4-bit
        model="Qwen/Qwen2.5-3B-Instruct", quantization="nf4",
        training=_ONE_GPU | dict(
            output_dir="runs/train-24gb", per_device_train_batch_size=4, gradient_accumulation_steps=32,
            max_completion_length=768,
        ),
    ),
    "80gb": dict(  # 3B, LoRA on bf16
        model="Qwen/Qwen2.5-3B-Instruct", quantization="none",
        training=_ONE_GPU | dict(
            output_dir="runs/train-80gb", per_device_train_batch_size=16, gradient_accumulation_steps=16,
            max_completion_length=1024,
        ),
    ),
    "80gb-full": dict(  # 3B, all weights: in float32, or steps of 1e-6 would be lost in rounding
        model="Qwen/Qwen2.5-3B-Instruct", quantization="none", dtype="float32", lora_rank=None,
        training=_ONE_GPU | dict(
            output_dir="runs/train-80gb-full", learning_rate=1e-6, per_device_train_batch_size=4,
            gradient_accumulation_steps=64, max_completion_length=1024,
        ),
    ),
    "paper": dict(  # the authors' run; docs/faithfulness.md compares it line by line
        model="meta-llama/Llama-3.2-3B-Instruct", quantization="none", dtype="float32", lora_rank=None, validation=0,
        max_prompt_tokens=512,
        training=_ALWAYS | dict(
            output_dir="runs/train-paper", num_train_epochs=1,
            # 128 prompts x 5 rollouts a generation, 32 prompts an update, hence 4 updates of each: about 232 in all.
            num_generations=5, per_device_train_batch_size=5, gradient_accumulation_steps=32, steps_per_generation=128,
            rollouts_at_a_time=160,  # the KV cache of all 640 takes over 100 GB
            learning_rate=1e-6, weight_decay=0.01, max_grad_norm=1.0, loss_type="dapo",  # TRL's name for the token mean
            max_completion_length=1024, teacher_max_new_tokens=1024, guidance_max_tokens=512, max_guided_length=1024,
            teacher_max_prompt_length=3072,
            shaping="released", shaping_mask="guided", behaviours=None, reward_needs_eos=True,
            # The fraction falls from 0.1 to 0.01 over 16 generations (64 updates), and is off at 0.06 and below: after 8.
            guided_fraction=0.1, guided_fraction_end=0.1 - 0.09 * 31 / 64, guidance_schedule="linear", guidance_steps=32,
            guidance_selection="random", gradient_checkpointing=True, rollout_log_steps=20,
        ),
    ),
}  # fmt: skip


def preset_for(machine: Machine) -> str:
    """The preset of the largest memory that this machine has; "tiny" without a CUDA GPU."""
    if machine.device != "cuda":
        return "tiny"
    gigabytes = machine.memory / 2**30
    return "80gb" if gigabytes > 70 else "24gb" if gigabytes > 20 else "t4"


def resolve(config: dict[str, Any]) -> Run:
    """A Run from a config: its preset (if any), overridden field by field, `training` too.

    Raises ValueError for unknown names (with the nearest known one), for values that a field cannot hold, and for
    combinations that cannot be trained.
    """
    check_names(config, ["preset", *(f.name for f in dataclasses.fields(Run))], "the config")
    config = dict(config)
    name = config.pop("preset", None)
    if name is not None and name not in PRESETS:
        raise ValueError(f"preset is {name!r}; there are: {', '.join(PRESETS)}")
    base = PRESETS.get(name, {})
    overrides = checked(config.pop("training", None) or {}, ThinkTuningConfig, "training")
    training = base.get("training", {}) | overrides
    merged = base | checked(config, Run, "the config") | {"training": training}
    if "model" not in merged:
        raise ValueError(f"the config names no model: set `model`, or `preset` to one of {', '.join(PRESETS)}")
    if "output_dir" not in training:
        raise ValueError("the config does not say where to write: set output_dir under `training`")
    asked = training.pop("resume_from_checkpoint", None)  # TRL's own name for the same
    if asked and not merged.get("resume"):
        merged["resume"] = {"true": True}.get(str(asked).lower(), asked)
    if merged.get("teacher") is not None:
        merged["teacher"] = checked(merged["teacher"], Endpoint, "teacher")
    if str(merged.get("dtype")).lower() in ("none", "auto"):
        merged["dtype"] = None
    _check_run(Run(**merged))
    return Run(**merged)


def _check_run(run: Run) -> None:
    """Refuse (ValueError) what no field's kind shows."""
    for name, choices in (("quantization", QUANTIZATIONS), ("dtype", tuple(DTYPES))):
        value = getattr(run, name)
        if value is not None and value not in choices:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
    for name, least in (("validation", 0), ("max_prompt_tokens", 1), ("lora_rank", 1), ("lora_alpha", 1)):
        value = getattr(run, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
    if run.lora_rank is None and run.quantization == "nf4":
        raise ValueError("4-bit weights are not trained themselves: give a lora_rank, or quantization: none")
    if run.lora_rank is None and run.torch_dtype == torch.float16:
        raise ValueError(
            "all weights in float16 cannot be trained (gradients underflow): dtype: float32, or a lora_rank"
        )
    if run.teacher is not None:
        if {"base_url", "model"} - set(run.teacher):
            raise ValueError(
                "teacher: an endpoint needs base_url and model; leave it out for the frozen start as teacher"
            )
        if run.training.get("teacher_max_prompt_length") is not None:
            raise ValueError(
                "teacher_max_prompt_length limits the frozen start as teacher; a server has a limit of its own, and what "
                "it refuses stays unguided: set it to none under `training`"
            )


def with_seed(run: Run, seed: int) -> Run:
    """The same run with another seed and folder."""
    folder = f"{run.training['output_dir']}-seed{seed}"
    return dataclasses.replace(run, training=run.training | {"seed": seed, "output_dir": folder})
