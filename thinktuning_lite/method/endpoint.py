"""A teacher behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import http.client
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from thinktuning_lite.method.prompts import INSTRUCT_PROMPT, TeacherPrompt
from thinktuning_lite.method.teacher import GuidanceRequest


class EndpointTeacher:
    """A teacher behind an OpenAI-compatible `/chat/completions` endpoint (vLLM, llama.cpp, a hosted model).

    Raises ConnectionError, naming the address, when it does not answer within `timeout` seconds.
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
    ) -> None:
        self.url, self.model, self.prompt = base_url.rstrip("/") + "/chat/completions", model, prompt
        self.api_key, self.max_new_tokens, self.timeout, self.parallel = api_key, max_new_tokens, timeout, parallel

    def __call__(self, requests: list[GuidanceRequest]) -> list[str]:
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._ask, requests))

    def _ask(self, request: GuidanceRequest) -> str:
        body = {
            "model": self.model,
            "messages": self.prompt.messages(request.question, request.response, request.behaviour),
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
        }
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        call = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(call, timeout=self.timeout) as answer:
                return json.load(answer)["choices"][0]["message"]["content"] or ""
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            raise ConnectionError(
                f"the teacher at {self.url} (model {self.model!r}) gave no usable answer: {error}. "
                "Is the server up, and the model's name right?"
            ) from error
