"""The tiny student's tokenizer, and turns as token ids with labels."""

from __future__ import annotations

import re

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from thinktuning_lite.classroom import problems
from thinktuning_lite.classroom.problems import Step
from thinktuning_lite.classroom.turns import CHECKER_SYSTEM, PHRASE_START, QUOTE_WORDS, REASONS
from thinktuning_lite.method.prompts import BEHAVIOURS, QUOTES, TINY_PROMPT
from thinktuning_lite.method.teacher import TAGS

SPECIAL = ("<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PIECES = ("\n\n", "\n", ". ", ", ", "? ", ": ", "\\boxed{", "}")


def _words() -> list[str]:
    """Every word the generator or the prompts can write."""
    reasons = [t for by_opinion in REASONS.values() for ts in by_opinion.values() for t in ts]
    stories = [
        problems.START,
        problems.START_PRODUCT,
        *problems.ADD,
        *problems.SUBTRACT,
        *problems.MULTIPLY,
        *problems.DISTRACTOR,
        problems.QUESTION,
    ]
    asked = TINY_PROMPT.with_quote("")
    prompt = [m["content"] for b in BEHAVIOURS for m in asked.messages("", "", b)]
    texts = [
        *problems.NAMES,
        *problems.ITEMS,
        *reasons,
        *stories,
        *QUOTES,
        *prompt,
        PHRASE_START,
        CHECKER_SYSTEM,
        "correct incorrect",
    ]
    text = re.sub(r"\{\w+\}", " ", " ".join(texts))
    words = set(re.findall(r"[A-Za-z][A-Za-z'-]*[a-z]", text))
    return sorted(
        words | {w.capitalize() for w in QUOTE_WORDS if len(w) > 1} | {w.lower() for w in QUOTE_WORDS if len(w) > 1}
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words (with and without a leading space), single digits, and every printable ASCII character.

    A unigram model whose word pieces all cost the same picks the fewest pieces, so that any ASCII text round-trips and
    the domain's words stay whole. The teacher's tags are single tokens, so that the student role can be kept from them.
    """
    chars = [chr(c) for c in range(32, 127)] + ["\n"]
    pieces = [*PIECES, *_words(), *(f" {w}" for w in _words()), " I", " A"]
    vocab = [(s, 0.0) for s in SPECIAL]
    vocab += [(c, -10.0) for c in chars]
    vocab += [(p, -9.0) for p in pieces if p not in chars]
    core = Tokenizer(models.Unigram(vocab, unk_id=1, byte_fallback=False))
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        padding_side="left",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )
    tags = [f"<{slash}{t}>" for t in TAGS for slash in ("", "/")]
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in tags])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tag_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The ids of the six tag tokens."""
    return tokenizer.convert_tokens_to_ids([f"<{slash}{t}>" for t in TAGS for slash in ("", "/")])


def encode(tokenizer, messages: list[dict], target: str) -> tuple[list[int], list[int]]:
    """Ids of prompt + target + EOS, and labels: the target, and what `check_labels` puts into a prompt with an attempt."""
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    prompt_ids, labels = check_labels(tokenizer, prompt)
    target_ids = tokenizer.encode(target, add_special_tokens=False) + [tokenizer.eos_token_id]
    return prompt_ids + target_ids, labels + target_ids


def check_labels(tokenizer, prompt: str, *, singly: bool = False) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and labels after each of its equations: "correct" while all of that solution so far are right in
    themselves (`singly`: if this one is), "incorrect" from the first wrong one on.

    Only the attempts in a teacher's prompt hold equations. Nothing is ever sampled there: the labels make the teacher role
    check what it reads, step by step, before it has to give its opinion on the whole.
    """
    verdict = tokenizer.convert_tokens_to_ids(["incorrect", "correct"])
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    at = {start: i for i, (start, _) in enumerate(encoded["offset_mapping"])}
    labels = [-100] * len(encoded["input_ids"])
    right = True
    for m in re.finditer(rf"\\boxed|{PHRASE_START}|(\d+)([-+*])(\d+)=(\d+)(?=\. )", prompt):
        if not m[1]:  # another solution begins, or words about this one
            right = True
            continue
        right = (right or singly) and Step(int(m[1]), m[2], int(m[3])).result == int(m[4])
        labels[at[m.end()] + 1] = verdict[right]  # predicted from the full stop
    return encoded["input_ids"], labels
