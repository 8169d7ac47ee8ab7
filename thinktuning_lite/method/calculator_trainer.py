"""A student that may call a calculator while it writes, and is trained on its own tokens only."""

from __future__ import annotations

from typing import Any

import torch

from thinktuning_lite.method.calculator import Calculator
from thinktuning_lite.method.sampling import sample
from thinktuning_lite.method.trainer import ThinkTuningTrainer


class CalculatorTrainer(ThinkTuningTrainer):
    """ThinkTuningTrainer whose student writes with a calculator (`calculator.Calculator`).

    What the calculator wrote goes along as TRL's `tool_mask` (rows, completion tokens; 0 there), which TRL keeps out of
    the loss; lengths count it. Guidance is spliced in as ever; the teacher has its own calculator or none.

    Raises ValueError where the project's own sampler cannot run (GPU, vLLM, several processes): no other asks a tool at
    each token.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._own_sampling() is None:
            raise ValueError(
                "CalculatorTrainer needs the project's own sampler (one process on the CPU, sampling_engine='auto', "
                "neither vLLM nor a penalty): no other sampler asks the calculator at each token"
            )

    def _sampled(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple[list[list[int]], None]:
        policy, how = self.accelerator.unwrap_model(self.model), self._own_sampling()
        assert how is not None
        size, ids, self._written = self.args.rollouts_at_a_time or len(prompt_ids), [], []
        for start in range(0, len(prompt_ids), size):
            some = prompt_ids[start : start + size]
            tool = Calculator(self._tokenizer)(len(some))
            rows = sample(policy, some, constraint=tool, **how)
            self._written += [tool.written(i, len(row)) for i, row in enumerate(rows)]
            ids += rows
        return ids, None

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        output = super()._generate_and_score_completions(inputs)
        mask = torch.ones_like(output["completion_ids"])
        for i, written in enumerate(self._written):
            own = int(output["completion_mask"][i].sum() - output["teacher_mask"][i].sum())
            mask[i, :own] -= torch.tensor(written[:own], dtype=mask.dtype, device=mask.device)
        return output | {"tool_mask": mask}
