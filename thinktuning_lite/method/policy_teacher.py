"""A causal LM as teacher: another checkpoint, a frozen copy of the student, or the base under the student's adapter."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from jinja2 import TemplateError

from thinktuning_lite.method.calculator import Calculator
from thinktuning_lite.method.form import Form
from thinktuning_lite.method.inputs import position_limit
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt, fold_system
from thinktuning_lite.method.sampling import eos_ids_of, sample, shared_prefix
from thinktuning_lite.method.teacher import GuidanceRequest, NoReply, encode_inside, split_control_tokens

_CUT = "\U000f1234"  # of the private use area: where a control token's text is encoded in two pieces


class PolicyTeacher:
    """A causal LM as teacher. All requests are answered greedily, in batches of `batch_size`.

    Of a PEFT model `use_adapter` says who speaks: False, the base alone (so a student in training and its teacher share
    one set of weights in memory), or True, the model with its adapter. `chat_template_kwargs` go to the chat template,
    as in TRL (`{"enable_thinking": False}`). What all prompts of a batch begin with (system prompt, exemplars) is read
    once. Control tokens that a question or a response spells are encoded as text. A request whose prompt has more than
    `max_prompt_length` tokens is not answered (NoReply). With `keeps_form` no reply leaves the form, and each is closed
    within `max_new_tokens` (`form.Form`, which also says what it needs and raises). With `calculator` it calls one while it
    writes: its equations are worked out for it (`calculator.Calculator`). `generated_tokens` counts all that it ever wrote.

    A template that refuses or drops the system role gets it folded into the first user turn. Raises ValueError when it
    cannot carry the prompt even so, when there is no chat template or no EOS, when a PEFT model comes without
    `use_adapter`, and when an empty request is already longer than `max_prompt_length`, or than the learned positions of
    a model that has them.
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
        max_prompt_length: int | None = None,
        keeps_form: bool = False,
        calculator: bool = False,
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
        self.max_prompt_length = max_prompt_length
        self.generated_tokens = 0
        self.form: Form | None = None
        self.calculator = Calculator(tokenizer) if calculator else None
        if keeps_form and calculator:
            raise ValueError("keeps_form and calculator both say what may come next, and only one can: choose one")
        if keeps_form:
            vocabulary = model.config.get_text_config().vocab_size
            self.form = Form(tokenizer, vocabulary, eos_ids_of(model, tokenizer), max_new_tokens)
        self._fold = self._must_fold()
        self.positions = position_limit(model)
        trouble = self._too_long(len(self._prompt_ids(GuidanceRequest("", "", self._any_behaviour()))))
        if trouble:
            raise ValueError(
                f"{trouble.reason}, before any question: ask by a shorter prompt, or change teacher_max_prompt_length or "
                "teacher_max_new_tokens"
            )

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        """One text for each request, in order; NoReply for one that is too long."""
        prompts = [self._prompt_ids(r) for r in requests]
        replies: list[str | NoReply] = [self._too_long(len(p)) for p in prompts]
        fitting = [i for i, trouble in enumerate(replies) if trouble is None]
        speaking_base = hasattr(self.model, "disable_adapter") and not self.use_adapter
        with self.model.disable_adapter() if speaking_base else nullcontext():
            for start in range(0, len(fitting), self.batch_size):
                batch = fitting[start : start + self.batch_size]
                for i, reply in zip(batch, self._answer([prompts[i] for i in batch]), strict=True):
                    replies[i] = reply
        return replies

    def _answer(self, prompts: list[list[int]]) -> list[str]:
        constrain = self.form or self.calculator
        ids = sample(
            self.model,
            prompts,
            max_new_tokens=self.max_new_tokens,
            temperature=0,
            eos_ids=eos_ids_of(self.model, self.tokenizer),
            pad_id=self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id,
            prefix=shared_prefix(prompts),
            constraint=constrain(len(prompts)) if constrain else None,
        )
        self.generated_tokens += sum(map(len, ids))
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    def _too_long(self, tokens: int) -> NoReply | None:
        if self.max_prompt_length is not None and tokens > self.max_prompt_length:
            return NoReply(
                f"the teacher's prompt has {tokens} tokens, and teacher_max_prompt_length is {self.max_prompt_length}"
            )
        needed = tokens + self.max_new_tokens
        if self.positions is None or needed <= self.positions:
            return None
        return NoReply(
            f"the teacher's model has {self.positions} learned positions, and a prompt of {tokens} tokens with a reply of "
            f"{self.max_new_tokens} needs {needed}"
        )

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

    def _any_behaviour(self) -> str | None:
        return self.prompt.behaviours[0].name if self.prompt.behaviours else None

    def _must_fold(self) -> bool:
        """Whether the template needs the system prompt in the user turn; ValueError when it cannot carry it at all."""
        messages = self.prompt.messages("Is this the question?", "This is the response.", self._any_behaviour())
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
