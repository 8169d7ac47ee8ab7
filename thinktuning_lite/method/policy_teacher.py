"""A causal LM as teacher: another checkpoint, a frozen copy of the student, or the base under the student's adapter."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch

from thinktuning_lite.method.prompts import TeacherPrompt
from thinktuning_lite.method.teacher import GuidanceRequest


@contextmanager
def _speaking(model: Any):
    """Evaluation mode, KV cache on, gradient checkpointing off; all as before afterwards, also after an error."""
    was_training = {m: m.training for m in model.modules()}
    checkpointed = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
    use_cache = getattr(model.config, "use_cache", None)
    try:
        model.eval()
        for m in checkpointed:
            m.gradient_checkpointing = False
        model.config.use_cache = True
        yield model
    finally:
        for m in checkpointed:
            m.gradient_checkpointing = True
        model.config.use_cache = use_cache
        for m, training in was_training.items():
            m.training = training


class PolicyTeacher:
    """A causal LM as teacher: another checkpoint, a frozen copy of the student, or, with LoRA, the student's own base.

    When `model` is a PEFT model it speaks with its adapter disabled, so teacher and student share one set of weights in
    memory. All requests are answered greedily, in batches of `batch_size`.

    Raises ValueError when the tokenizer has no chat template or no EOS.
    """

    def __init__(
        self, model: Any, tokenizer: Any, prompt: TeacherPrompt, max_new_tokens: int = 512, batch_size: int = 64
    ) -> None:
        if tokenizer.chat_template is None:
            raise ValueError("the teacher's tokenizer has no chat template; use an instruct model, or set one")
        if tokenizer.eos_token_id is None:
            raise ValueError("the teacher's tokenizer has no EOS token; set tokenizer.eos_token")
        self.model, self.tokenizer, self.prompt = model, tokenizer, prompt
        self.batch_size = batch_size
        self.generation = dict(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            suppress_tokens=None,
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        replies: list[str] = []
        adapter_off = self.model.disable_adapter if hasattr(self.model, "disable_adapter") else _nothing
        # Inference mode saves a tenth of the time, but its tensors must never meet a module that trains.
        trains = any(p.requires_grad for p in self.model.parameters())
        with torch.no_grad() if trains else torch.inference_mode(), _speaking(self.model), adapter_off():
            for i in range(0, len(requests), self.batch_size):
                replies += self._answer(requests[i : i + self.batch_size])
        return replies

    def _answer(self, requests: list[GuidanceRequest]) -> list[str]:
        prompts = [
            self.tokenizer.apply_chat_template(
                self.prompt.messages(r.question, r.response, r.behaviour), add_generation_prompt=True, tokenize=False
            )
            for r in requests
        ]
        batch = self.tokenizer(
            prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        ).to(self.model.device)
        out = self.model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **self.generation
        )
        return self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


@contextmanager
def _nothing():
    yield
