"""A teacher behind an OpenAI-compatible endpoint, on the `openai` client: a failed request is a NoReply, never an end."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

import anyio.from_thread
import openai

from thinktuning_lite.method.form import KEEPS_FORM, request_fields
from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt, fold_system
from thinktuning_lite.method.teacher import TAGS, GuidanceRequest, NoReply

_SHOWN = 500  # characters of a server's error text


@dataclass(frozen=True)
class _Way:
    """How this server wants to be asked; found out from what it refuses."""

    limit: str = "max_tokens"
    fold: bool = False
    bounded: bool = True


class EndpointTeacher:
    """A teacher behind `/chat/completions` (vLLM, llama.cpp, transformers serve, a hosted model).

    Requests go out together, at most `parallel` at a time. Connection troubles, 408, 409, 429 and 5xx are tried again
    up to `retries` times with growing pauses (the client's own). `timeout` is a hard limit, in seconds, on one request
    with its retries. `extra_body` is added to what is sent: {"chat_template_kwargs": {"enable_thinking": False}} for
    vLLM, say. A server that asks for `max_completion_tokens`, or refuses the system role, gets its way. `keeps_form` asks
    it to constrain its decoding to the form: "json" or "regex", see `form.request_fields`.

    A request without a usable answer becomes a NoReply that says what the server said. The key is shown nowhere.
    Raises ValueError for an address that is none, or holds a password, and for a key that no header can carry.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        prompt: TeacherPrompt = INSTRUCT_PROMPT,
        *,
        api_key: str = "",
        max_new_tokens: int = 512,
        timeout: float = 120.0,
        parallel: int = 8,
        retries: int = 4,
        extra_body: dict[str, Any] | None = None,
        keeps_form: str | None = None,
    ) -> None:
        self.base_url, self.api_key = _checked_address(base_url), _checked_key(api_key)
        if timeout <= 0 or parallel < 1 or retries < 0:
            raise ValueError(
                f"timeout={timeout}, parallel={parallel}, retries={retries}: above 0, at least 1, at least 0"
            )
        self.model, self.prompt, self.max_new_tokens = model, prompt, max_new_tokens
        self.timeout, self.parallel, self.retries, self.extra_body = timeout, parallel, retries, extra_body
        if keeps_form not in (None, *KEEPS_FORM):
            raise ValueError(f"keeps_form={keeps_form!r}: choose one of {', '.join(KEEPS_FORM)}, or None")
        self.keeps_form, self._way = keeps_form, _Way()

    def __call__(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        """One text or NoReply for each request, in order."""
        with anyio.from_thread.start_blocking_portal() as portal:  # a notebook's own event loop runs in this thread
            return portal.call(self._ask_all, requests)

    async def _ask_all(self, requests: list[GuidanceRequest]) -> list[str | NoReply]:
        free = asyncio.Semaphore(self.parallel)
        # Without a key the client would look for one in the environment, and send it to whoever serves here.
        async with openai.AsyncOpenAI(
            base_url=self.base_url, api_key=self.api_key or "none", timeout=self.timeout, max_retries=self.retries
        ) as client:
            return await asyncio.gather(*(self._ask(client, free, r) for r in requests))

    async def _ask(
        self, client: openai.AsyncOpenAI, free: asyncio.Semaphore, request: GuidanceRequest
    ) -> str | NoReply:
        messages = self.prompt.messages(request.question, request.response, request.behaviour)
        async with free:
            try:
                async with asyncio.timeout(self.timeout):
                    answer = await self._create(client, messages)
                text = _text(answer)
                return _as_tags(text) if self.keeps_form == "json" else text
            except TimeoutError:
                return self._no_reply(f"gave no whole answer within {self.timeout:g} seconds")
            except openai.APIStatusError as error:
                return self._no_reply(f"answered {error.status_code}: {error.response.text}")
            except openai.APIConnectionError as error:
                return self._no_reply(f"could not be reached ({error.__cause__ or error}); is the server up?")
            except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
                return self._no_reply(f"answered what is no chat completion ({error})")

    async def _create(self, client: openai.AsyncOpenAI, messages: list[dict[str, str]]) -> Any:
        while True:
            way = self._way
            form = request_fields(self.keeps_form, self.max_new_tokens, way.bounded) if self.keeps_form else {}
            try:
                return await client.chat.completions.create(
                    model=self.model,
                    messages=cast(Any, fold_system(messages) if way.fold else messages),
                    temperature=0,
                    extra_body=form | (self.extra_body or {}),
                    **cast(dict[str, Any], {way.limit: self.max_new_tokens}),
                )
            except openai.APIStatusError as error:
                other = _other_way(way, error.response.text)
                if other == way:
                    raise
                self._way = other

    def _no_reply(self, what: str) -> NoReply:
        reason = f"the teacher at {self.base_url} (model {self.model!r}) {' '.join(what.split())}"
        if self.api_key:
            reason = reason.replace(self.api_key, "[key]")
        return NoReply(reason if len(reason) <= _SHOWN else reason[:_SHOWN] + " ...")


def _other_way(way: _Way, refusal: str) -> _Way:
    """Another way to ask, when the refusal names one."""
    if "max_completion_tokens" in refusal:
        return replace(way, limit="max_completion_tokens")
    if re.search(r"maxLength|regex|repetition", refusal):
        return replace(way, bounded=False)
    if re.search(r"system.{0,20}role|role.{0,20}system", refusal, re.I | re.S):
        return replace(way, fold=True)
    return way


def _text(answer: Any) -> str:
    """The reply's text; TypeError or the like when there is none."""
    choice = answer.choices[0]
    content = choice.message.content
    if isinstance(content, list):  # in parts
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(content, str):
        raise TypeError(f"its message holds no text; finish_reason {choice.finish_reason!r}")
    return content


def _as_tags(text: str) -> str:
    """The tagged form of a JSON reply; a text that is none (cut, say) stays as it is, and is counted as malformed."""
    try:
        said = json.loads(text)
        return "".join(f"<{tag}>{said[tag]}</{tag}>" for tag in TAGS)
    except (ValueError, LookupError, TypeError):
        return text


def _checked_address(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the teacher's base_url must look like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError("the teacher's base_url holds a user, a password or a query: pass the key as api_key")
    return base_url.rstrip("/")


def _checked_key(api_key: str) -> str:
    key = api_key.strip()  # a key read from a file ends with a line end
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("the teacher's api_key holds a space or a character that no header can carry: copy it anew")
    return key
