"""Log-probabilities of logged tokens under another policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from thinktuning_lite.method.rollouts import Rollout


@torch.no_grad()
def score_tokens(
    model: Any, tokenizer: Any, rollouts: list[Rollout], messages: Callable[[str], list[dict]], temperature: float = 1.0
) -> list[list[float]]:
    """Log-probabilities of the rollouts' tokens under `model`, one list a rollout, each scored by itself."""
    was_training = model.training
    model.eval()
    try:
        out = []
        for r in rollouts:
            prompt = tokenizer.apply_chat_template(messages(r.question), add_generation_prompt=True, tokenize=False)
            prefix = tokenizer.encode(prompt, add_special_tokens=False)
            tokens = torch.tensor([prefix + r.token_ids], device=model.device)
            logits = model(tokens, logits_to_keep=len(r.token_ids) + 1).logits[0, :-1].float() / temperature
            out.append(logits.log_softmax(-1).gather(1, tokens[0, len(prefix) :, None])[:, 0].tolist())
        return out
    finally:
        model.train(was_training)
