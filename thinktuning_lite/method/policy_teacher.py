"""A causal LM as teacher: another checkpoint, a frozen copy of the student, or the base under the student's adapter."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from jinja2 import TemplateError

from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt, fold_system
from thinktuning_lite.method.sampling import eos_ids_of, sample, shared_prefix
from thinktuning_lite.method.teacher import GuidanceRequest, encode_inside, split_control_tokens

_CUT = "\U000f1234"  # of the private use area: where a control token's text is encoded in two pieces


class PolicyTeacher:
    """A causal LM as teacher. All requests are answered greedily, in batches of `batch_size`.

    Of a PEFT model `use_adapter` says who speaks: False, the base alone (so a student in training and its teacher share
    one set of weights in memory), or True, the model with its adapter. `chat_template_kwargs` go to the chat template,
    as in TRL (`{"enable_thinking": False}`). What all prompts of a batch begin with (system prompt, exemplars) is read
    once. Control tokens that a question or a response spells are encoded as text.

    A template that refuses or drops the system role gets it folded into the first user turn. Raises ValueError when it
    cannot carry the prompt even so, when there is no chat template or no EOS, and when a PEFT model comes without
    `use_adapter`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompt: TeacherPrompt = INSTRUCT_PROMPT,
        max_new_tokens: int = 512,
        batch_size: int = 64,
        *,
        use_adapter: bool | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if tokenizer.chat_template is None:
            raise ValueError("the teacher's tokenizer has no chat template; use an instruct model, or set one")
        if tokenizer.eos_token_id is None:
            raise ValueError("the teacher's tokenizer has no EOS token; set tokenizer.eos_token")
        if use_adapter is None and hasattr(model, "disable_adapter"):
            raise ValueError(
                "the teacher's model has an adapter: say use_adapter=True (it speaks as trained) or use_adapter=False "
                "(its base speaks, as the teacher of the student whose adapter that is)"
            )
        self.model, self.tokenizer, self.prompt = model, tokenizer, prompt
        self.max_new_tokens, self.batch_size, self.use_adapter = max_new_tokens, batch_size, use_adapter
        self.chat_template_kwargs = chat_template_kwargs or {}
        self._fold = self._must_fold()

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        """The replies, one text each, in order."""
        replies: list[str] = []
        speaking_base = hasattr(self.model, "disable_adapter") and not self.use_adapter
        with self.model.disable_adapter() if speaking_base else nullcontext():
            for i in range(0, len(requests), self.batch_size):
                replies += self._answer(requests[i : i + self.batch_size])
        return replies

    def _answer(self, requests: list[GuidanceRequest]) -> list[str]:
        prompts = [self._prompt_ids(r) for r in requests]
        ids = sample(
            self.model,
            prompts,
            max_new_tokens=self.max_new_tokens,
            temperature=0,
            eos_ids=eos_ids_of(self.model, self.tokenizer),
            pad_id=self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id,
            prefix=shared_prefix(prompts),
        )
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    def _prompt_ids(self, request: GuidanceRequest) -> list[int]:
        messages = self.prompt.messages(request.question, request.response, request.behaviour)
        for message in messages:
            message["content"] = _CUT.join(split_control_tokens(self.tokenizer, message["content"]))
        first, *rest = self._render(messages, self._fold).split(_CUT)
        ids = self.tokenizer.encode(first, add_special_tokens=False)
        return ids + [i for piece in rest for i in encode_inside(self.tokenizer, piece)]

    def _render(self, messages: list[dict[str, str]], fold: bool) -> str:
        return self.tokenizer.apply_chat_template(
            fold_system(messages) if fold else messages,
            add_generation_prompt=True,
            tokenize=False,
            **self.chat_template_kwargs,
        )

    def _must_fold(self) -> bool:
        """Whether the template needs the system prompt in the user turn; ValueError when it cannot carry it at all."""
        behaviour = self.prompt.behaviours[0].name if self.prompt.behaviours else None
        messages = self.prompt.messages("Is this the question?", "This is the response.", behaviour)
        trouble: list[str] = []
        for fold in (False, True):
            try:
                text = self._render(messages, fold)
            except (TemplateError, TypeError, ValueError) as error:
                trouble.append(f"it refuses the turns ({error})")
                continue
            dropped = [m["role"] for m in messages if m["content"].strip() not in text]
            if not dropped:
                return fold
            trouble.append(f"it drops or changes the {dropped[0]} turn")
        raise ValueError(
            f"the chat template of the teacher's tokenizer cannot carry the teacher prompt: {trouble[0]}, and with the "
            f"system prompt folded into the user turn {trouble[1]}. Set another template, or another teacher_prompt"
        )
