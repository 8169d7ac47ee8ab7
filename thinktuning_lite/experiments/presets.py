"""A training run as data: presets, config files, and what is refused in them."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.models import datasets
from thinktuning_lite.models.machine import Machine
from thinktuning_lite.models.planner import Plan, plan

TINY = "tiny"  # as model: the shipped classroom; as data: its word problems


@dataclass(frozen=True)
class Run:
    """One training run. `lora_rank` None trains all weights; `teacher` None is the frozen start itself.

    `teacher` else: {base_url, model} of an OpenAI-compatible endpoint, and `api_key_env`, the environment variable that
    holds its key. `training` holds fields of ThinkTuningConfig.
    """

    model: str
    data: str = datasets.GSM8K
    quantization: str | None = None
    dtype: str | None = None
    lora_rank: int | None = 16
    lora_alpha: int = 32
    teacher: dict[str, str] | None = None
    validation: int = 200
    max_prompt_tokens: int = 512
    resume: bool = False
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def is_tiny(self) -> bool:
        return self.model == TINY or Path(self.model) == TINY_CLASSROOM

    def memory_plan(self, machine: Machine) -> Plan:
        """What the planner predicts for this run in one process (the shape must be known: a local or cached model)."""
        c = self.config(machine)
        rows = c.per_device_train_batch_size * c.steps_per_generation
        alone = "second model" if self.lora_rank is None else "adapter off"
        return plan(
            TINY_CLASSROOM if self.model == TINY else self.model,
            group_size=c.num_generations, prompts=max(1, rows // c.num_generations),
            micro_batch=c.per_device_train_batch_size,
            prompt_tokens=self.max_prompt_tokens, completion_tokens=c.max_completion_length,
            quantization=self.quantization or machine.quantization, rank=self.lora_rank, dtype=machine.dtype,
            optimizer=c.optim.value, checkpointing=c.gradient_checkpointing,
            teacher="elsewhere" if self.teacher or not c.guided_fraction else alone,
            teacher_tokens=c.teacher_max_new_tokens, teacher_prompt_tokens=100 if self.is_tiny else 1024,
            guided=max(1, round(c.guided_fraction * c.num_generations)), device=machine.device,
        )  # fmt: skip

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
    "paper": dict(  # the authors' run; their maximal lengths are not known to us
        model="meta-llama/Llama-3.2-3B-Instruct", quantization="none", dtype="float32", lora_rank=None,
        training=_ALWAYS | dict(
            output_dir="runs/train-paper", learning_rate=1e-6, num_generations=5, per_device_train_batch_size=5,
            gradient_accumulation_steps=128, num_train_epochs=1, max_completion_length=1024, teacher_max_new_tokens=512,
            steps_per_generation=32,  # 160 rollouts at a time: the KV cache of all 640 takes over 100 GB
            shaping="released", shaping_mask="guided", guided_fraction=0.1, guided_fraction_end=0.01,
            guidance_schedule="linear", guidance_steps=8, guidance_selection="random", gradient_checkpointing=True,
            rollout_log_steps=5,
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

    Raises ValueError for unknown names (with the nearest known one), and for a number that is none.
    """
    config = dict(config)
    name = config.pop("preset", None)
    if name is not None and name not in PRESETS:
        raise ValueError(f"preset is {name!r}; there are: {', '.join(PRESETS)}")
    base = PRESETS.get(name, {})
    _known(config, Run, "the config")
    overrides = config.pop("training", None) or {}
    _known(overrides, ThinkTuningConfig, "training")
    training = base.get("training", {}) | {k: _number(k, v) for k, v in overrides.items()}
    merged = base | config | {"training": training}
    if "model" not in merged:
        raise ValueError(f"the config names no model: set `model`, or `preset` to one of {', '.join(PRESETS)}")
    if "output_dir" not in training:
        raise ValueError("the config does not say where to write: set output_dir under `training`")
    if merged.get("teacher") is not None and {"base_url", "model"} - set(merged["teacher"]):
        raise ValueError("teacher: an endpoint needs base_url and model; leave it out for the frozen start as teacher")
    return Run(**merged)


def _known(given: dict[str, Any], kind: type, where: str) -> None:
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a table of names and values, not {given!r}")
    names = [f.name for f in dataclasses.fields(kind)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise ValueError(f"{where} has no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _number(name: str, value: Any) -> Any:
    """YAML 1.1 reads 1e-5, without a point, as text."""
    kind = next(f for f in dataclasses.fields(ThinkTuningConfig) if f.name == name)
    if isinstance(value, str) and ("float" in str(kind.type) or isinstance(kind.default, float)):
        try:
            return float(value)
        except ValueError:
            if "str" not in str(kind.type):
                raise ValueError(f"training.{name} is {value!r}, which is no number") from None
    return value


def read_config(path: str | Path) -> dict[str, Any]:
    """A YAML or JSON file as a dict. Raises FileNotFoundError, or ValueError with the place of the mistake."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no config file {path}")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML too
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold names and values, not {type(config).__name__}")
    return config


def with_seed(run: Run, seed: int) -> Run:
    """The same run with another seed and folder."""
    folder = f"{run.training['output_dir']}-seed{seed}"
    return dataclasses.replace(run, training=run.training | {"seed": seed, "output_dir": folder})
