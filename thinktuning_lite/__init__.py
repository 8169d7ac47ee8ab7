"""ThinkTuning as a trainer, notebooks that teach it, and a world small enough for a laptop.

These are the public names; each is loaded on first use, so that `import thinktuning_lite` imports neither torch nor
matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "ThinkTuningTrainer": "method.trainer",
    "ThinkTuningConfig": "method.settings",
    "PolicyTeacher": "method.policy_teacher",
    "EndpointTeacher": "method.endpoint",
    "TeacherPrompt": "method.prompts",
    "correctness_reward": "method.rewards",
    "behaviour_reward": "method.rewards",
    "read_rollouts": "method.rollouts",
    "load_classroom": "classroom.load",
    "load_policy": "models.load",
    "probe": "models.machine",
    "RolloutRecorder": "method.recorder",
    "Inspector": "views.inspector",
    "LiveView": "views.live",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # looked up once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
