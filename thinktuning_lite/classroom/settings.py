"""What every run of the tiny classroom shares, for TRL's trainers: one CPU, nothing reported, no bar of their own."""

from __future__ import annotations

from typing import Any

COMPLETION_TOKENS = 176  # a student's budget in training: five steps, a second thought and room
TEACHER_TOKENS = 160  # a reply's: opinion, reason and five steps worked out

TINY_RUN: dict[str, Any] = dict(
    report_to="none",
    use_cpu=True,
    bf16=False,
    gradient_checkpointing=False,
    disable_tqdm=True,
    log_level="error",
    dataloader_pin_memory=False,
)
