"""What a run says aloud, once, when it goes on but cannot be meant: no reward, no usable reply, a silent teacher."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import torch
from transformers import TrainerCallback

from thinktuning_lite.method.inputs import question_of

PATIENCE = 3  # steps running in which the teacher answered nothing, until training stops
_SHOWN = 600  # characters


class RunComplete(Exception):
    """Training was asked to go on from a checkpoint with no step left; transformers would make one more."""


class Watch(TrainerCallback):
    """Judges each optimizer step when it ends. The counts it is given are those of all processes, alike on each.

    `stopped` says why training was stopped, if it was.
    """

    def __init__(self) -> None:
        self.stopped: str | None = None
        self._replies: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._rewards: list[torch.Tensor] = []
        self._rewarded_row = ""
        self._silent_steps = 0
        self._said: set[str] = set()

    def on_train_begin(self, args, state, control, **kwargs):
        self.stopped, self._silent_steps = None, 0
        if state.global_step >= state.max_steps > 0:
            raise RunComplete
        window = args.steps_per_generation * args.num_iterations
        if state.global_step * args.gradient_accumulation_steps % window and state.is_world_process_zero:
            _say(
                f"resuming at step {state.global_step}, inside the {window} micro-batches of one generation: TRL samples "
                "anew, so the weights will differ from those of a run without interruption. Save where a generation "
                "ends"
            )

    def saw_replies(self, asked: int, malformed: int, unanswered: int, examples: dict[str, str]) -> None:
        """Counts of one generation; `examples` has a text of this process under "malformed" and "unanswered"."""
        self._replies.update(asked=asked, malformed=malformed, unanswered=unanswered)
        self._examples = examples | self._examples

    def saw_rewards(self, rewards: torch.Tensor, row: dict[str, Any], response: str) -> None:
        """Rewards of one generation, (rows,), NaN where no function judged; a row of the dataset and its response."""
        if "rewards" not in self._said:
            self._rewards.append(rewards.detach().float().cpu())
            self._rewarded_row = _shown(row, response)

    def on_step_end(self, args, state, control, **kwargs):
        if "rewards" not in self._said:
            self._said.add("rewards")  # the first step only
            rewards = torch.cat(self._rewards) if self._rewards else torch.ones(1)
            if state.is_world_process_zero and not rewards.nan_to_num().any():
                self._warn_of_rewards(rewards)
            self._rewards.clear()
        if self._replies["asked"]:
            self._judge_replies(state, control)
        self._replies.clear()
        self._examples.clear()

    def _warn_of_rewards(self, rewards: torch.Tensor) -> None:
        kind = "None" if rewards.isnan().all() else "0"
        _say(
            f"every reward of the first step was {kind}, so nothing was learnt from it. One of its responses:\n"
            f"{self._rewarded_row}\n"
            "Was it cut short (max_completion_length)? Does it state its answer where the reward looks for it? Does the "
            "dataset hold the bare answer?"
        )

    def _judge_replies(self, state, control) -> None:
        asked, malformed, unanswered = (self._replies[k] for k in ("asked", "malformed", "unanswered"))
        first = "replies" not in self._said
        self._said.add("replies")
        if first and malformed and malformed + unanswered == asked and state.is_world_process_zero:
            shown = self._examples.get("malformed", "(on another process)")
            _say(
                f"none of the teacher's {malformed} replies of the first guided step had the asked form, so no rollout "
                f"was guided. One of them:\n{shown[:_SHOWN]}"
            )
        if unanswered and "unanswered" not in self._said and state.is_world_process_zero:
            self._said.add("unanswered")
            _say(
                f"the teacher did not answer {unanswered} of {asked} requests in step {state.global_step}, whose "
                f"rollouts stay unguided ({self._reason()}). From here on, see guidance/failures in the log"
            )
        self._silent_steps = self._silent_steps + 1 if unanswered == asked else 0
        if self._silent_steps >= PATIENCE:
            self.stopped = (
                f"the teacher answered none of its requests in {PATIENCE} steps running ({self._reason()}), so training "
                f"stopped at step {state.global_step}, after a checkpoint"
            )
            control.should_save = control.should_training_stop = True

    def _reason(self) -> str:
        return self._examples.get("unanswered", "on another process")[:_SHOWN]


def _shown(row: dict[str, Any], response: str) -> str:
    gold = f"\n  answer in the dataset: {row['answer']!r}" if "answer" in row else ""
    return f"  question: {question_of(row)[:_SHOWN]!r}\n  response: {response[:_SHOWN]!r}{gold}"


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=2)
