"""The form of guidance as a constraint on decoding, for teachers too weak to keep it by themselves.

Decoding is constrained by llguidance (the extra `form`). Why not another: xgrammar asks for triton; outlines-core and
lm-format-enforcer bound lengths in characters. with llguidance, which has no dependencies, a part is bounded in tokens here: a
reply ends within its budget. Their speeds were not compared.

The form is one regular expression, and what closes a part that is too long is forced here. (llguidance's own
`max_tokens` on a part lets no part end earlier: SmolLM2, which keeps the form by itself, then repeated its last
sentence up to the limit.)
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
_FIXED = ("<opinion>incorrect</opinion><reason>", "</reason><phrase>", "</phrase>")
# Where reason or phrase must end behind "<" or inside a character that is spelt in bytes, the rest still comes first.
_UNFINISHED = 6
_SHORTEST = 16  # tokens of reason and phrase together
_CHARACTERS = 2  # a token, at least, of text with numbers: for servers, which bound characters


def _form(reason: str = "*", phrase: str = "*") -> str:
    """The form as a regular expression; `reason` and `phrase` say how long each may be."""
    parts = [f"{_FIRST}{_PIECE}{length}" for length in (reason, phrase)]
    return r"<opinion>(correct|incorrect)</opinion>\n?<reason>{}</reason>\n?<phrase>{}</phrase>".format(*parts)


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
        from llguidance import grammar_from
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
        self.tokenizer, self.eos_id, self.grammar = tokenizer, eos_ids[0], grammar_from("regex", _form())
        opened, _, closed = (len(tokenizer.encode(text, add_special_tokens=False)) for text in _FIXED)
        limits = (opened + free * 2 // 5, max_new_tokens - closed - _UNFINISHED // 2 - 1)
        # What closes reason and phrase, and at which length of the reply it must.
        self.closings = [
            (limit, tag, tokenizer.encode(tag, add_special_tokens=False))
            for limit, tag in zip(limits, ("</reason>", "</phrase>"), strict=True)
        ]

    def __call__(self, n: int) -> FormConstraint:
        from llguidance import LLMatcher

        return FormConstraint(self, [LLMatcher(self.tokens, self.grammar) for _ in range(n)])


class FormConstraint:
    """A `sampling.Constraint`: what each reply of one batch may say next. The tags are said in the tokenizer's own tokens."""

    def __init__(self, form: Form, matchers: list[Any]) -> None:
        self.form, self.matchers = form, matchers
        self.said: list[list[int]] = [[] for _ in matchers]

    def restrict(self, rows: list[int], said: list[int] | None, logits: torch.Tensor) -> None:
        for row, token in zip(rows, said or [], strict=False):
            if not self.matchers[row].is_stopped():
                self.matchers[row].consume_token(token)
                self.said[row].append(token)
        allowed = np.stack([self._allowed(row, logits.shape[-1]) for row in rows])
        logits.masked_fill_(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

    def _allowed(self, row: int, vocabulary: int) -> np.ndarray:
        """(vocabulary,) of bool: what the form allows; only the EOS once it is complete, and only what closes a part that
        has reached its limit, as soon as that may come.
        """
        matcher, allowed = self.matchers[row], np.zeros(vocabulary, dtype=bool)
        if matcher.is_stopped():
            allowed[self.form.eos_id] = True
        elif forced := matcher.compute_ff_tokens():
            allowed[forced[0]] = True
        else:
            bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
            found = np.unpackbits(bits, bitorder="little")[:vocabulary].astype(bool)
            closing = self._closing(self.said[row])
            if closing is not None and found[closing]:
                allowed[closing] = True
            else:
                allowed[: len(found)] = found
        return allowed

    def _closing(self, said: list[int]) -> int | None:
        """The next token of the tag that must close a part now, if one is at its limit."""
        for limit, tag, ids in self.form.closings:
            if len(said) >= limit and tag not in self.form.tokenizer.decode(said):
                begun = max(k for k in range(len(ids)) if said[len(said) - k :] == ids[:k])
                return ids[begun]
        return None


def request_fields(keeps_form: str, max_new_tokens: int, bounded: bool) -> dict[str, Any]:
    """What asks a server for the form: "json", `response_format` with a schema (OpenAI's; vLLM, SGLang, llama.cpp, ...),
    or "regex", vLLM's `structured_outputs`. Without `bounded` no length is named: not every server takes one.
    """
    characters = max_new_tokens * _CHARACTERS
    reason, phrase = characters * 2 // 5, characters - characters * 2 // 5
    if keeps_form == "regex":
        lengths = [f"{{0,{n}}}" for n in (reason, phrase)] if bounded else []
        return {"structured_outputs": {"regex": _form(*lengths)}}
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
