"""The form of guidance as a constraint on decoding, for teachers too weak to keep it by themselves.

Decoding is constrained by llguidance (the extra `form`). Why not another: xgrammar asks for triton; outlines-core and
lm-format-enforcer bound lengths in characters. llguidance has no dependencies and bounds a part in tokens: a reply
always ends within its budget. Their speeds were not compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

KEEPS_FORM = ("json", "regex")  # how a server is asked
# No tag, no control token and no end of a thought begins with these, so that none can stand inside: "3 < 5" and "[1, 2]"
# may, "<b>" and "[x]" may not.
_PIECE = r"(?:[^<\[]|[<\[][ \d=.\-])"
_FIRST = r"(?:[^<\[\s]|[<\[][ \d=.\-])"
_GRAMMAR = r"""
start: "<opinion>" OPINION "</opinion><reason>" reason "</reason><phrase>" phrase "</phrase>"
OPINION: "correct" | "incorrect"
reason[max_tokens=%d]: TEXT
phrase[max_tokens=%d]: TEXT
TEXT: /%s%s*/
"""
_FIXED = ("<opinion>incorrect</opinion><reason>", "</reason><phrase>", "</phrase>")
# Where reason or phrase is cut inside a character that is spelt in bytes, the rest of it still comes: 3 tokens for each.
_UNFINISHED = 6
_SHORTEST = 16  # tokens of reason and phrase together
_CHARACTERS = 2  # a token, at least, of text with numbers: for servers, which bound characters


class Form:
    """The form for one tokenizer and budget: `Form(...)(n)` constrains `n` replies, each of at most `max_new_tokens`, EOS
    included. Of what the tags leave of the budget, the reason gets two fifths.

    Raises ImportError without llguidance; ValueError for a tokenizer that it cannot read, and for too small a budget.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, eos_ids: Sequence[int], max_new_tokens: int) -> None:
        if importlib.util.find_spec("llguidance") is None:
            raise ImportError(
                'a teacher that keeps the form needs the package llguidance: pip install "thinktuning_lite[form]"'
            )
        from llguidance.hf import from_tokenizer

        tags = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in _FIXED) + 1
        free = max_new_tokens - tags - _UNFINISHED
        if free < _SHORTEST:
            raise ValueError(
                f"a reply of {max_new_tokens} tokens cannot keep the form: its tags take {tags + _UNFINISHED}, and reason and phrase at "
                f"least {_SHORTEST}; raise teacher_max_new_tokens"
            )
        try:
            self.tokens = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(eos_ids))
        except Exception as error:  # whatever it raises, it is the tokenizer that does not fit
            raise ValueError(
                f"llguidance cannot read this tokenizer ({error}): its teacher cannot keep the form; set "
                "teacher_keeps_form=False"
            ) from error
        self.eos_id = eos_ids[0]
        self.grammar = _GRAMMAR % (free * 2 // 5, free - free * 2 // 5, _FIRST, _PIECE)

    def __call__(self, n: int) -> FormConstraint:
        from llguidance import LLMatcher

        return FormConstraint([LLMatcher(self.tokens, self.grammar) for _ in range(n)], self.eos_id)


class FormConstraint:
    """A `sampling.Constraint`: what each reply of one batch may say next. The tags are said in the tokenizer's own tokens."""

    def __init__(self, matchers: list[Any], eos_id: int) -> None:
        self.matchers, self.eos_id = matchers, eos_id

    def restrict(self, rows: list[int], said: list[int] | None, logits: torch.Tensor) -> None:
        matchers = [self.matchers[row] for row in rows]
        for matcher, token in zip(matchers, said or [], strict=False):
            if not matcher.is_stopped():
                matcher.consume_token(token)
        allowed = np.stack([self._allowed(matcher, logits.shape[-1]) for matcher in matchers])
        logits.masked_fill_(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

    def _allowed(self, matcher: Any, vocabulary: int) -> np.ndarray:
        """(vocabulary,) of bool: what the form allows, and only the EOS once it is complete."""
        allowed = np.zeros(vocabulary, dtype=bool)
        if matcher.is_stopped():
            allowed[self.eos_id] = True
        elif forced := matcher.compute_ff_tokens():
            allowed[forced[0]] = True
        else:
            bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
            found = np.unpackbits(bits, bitorder="little")[:vocabulary]
            allowed[: len(found)] = found
        return allowed


def request_fields(keeps_form: str, max_new_tokens: int, bounded: bool) -> dict[str, Any]:
    """What asks a server for the form: "json", `response_format` with a schema (OpenAI's; vLLM, SGLang, llama.cpp, ...),
    or "regex", vLLM's `structured_outputs`. Without `bounded` no length is named: not every server takes one.
    """
    characters = max_new_tokens * _CHARACTERS
    reason, phrase = characters * 2 // 5, characters - characters * 2 // 5
    if keeps_form == "regex":
        texts = [f"{_FIRST}{_PIECE}{{0,{n}}}" if bounded else f"{_FIRST}{_PIECE}*" for n in (reason, phrase)]
        form = "<opinion>(correct|incorrect)</opinion><reason>{}</reason><phrase>{}</phrase>".format(*texts)
        return {"structured_outputs": {"regex": form}}
    limits = [{"maxLength": n} if bounded else {} for n in (reason, phrase)]
    schema = {
        "type": "object",
        "properties": {
            "opinion": {"type": "string", "enum": ["correct", "incorrect"]},
            "reason": {"type": "string", **limits[0]},
            "phrase": {"type": "string", **limits[1]},
        },
        "required": ["opinion", "reason", "phrase"],
        "additionalProperties": False,
    }
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "guidance", "strict": True, "schema": schema},
        }
    }
