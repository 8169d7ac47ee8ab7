"""Making a tokenizer fit its model: padding, end of turn."""

from __future__ import annotations

from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

NO_CHAT_TEMPLATE = (
    "the tokenizer of {name!r} has no chat template, so it is probably a base model: take its instruct version, or put "
    "a chat_template.jinja into a local copy of it"
)


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[str]:
    """Make tokenizer and model agree on how a turn ends and what pads, in place; returns what was changed.

    - The token that closes the assistant's turn in the chat template becomes the tokenizer's EOS (base tokenizers end
      documents with another one), and all EOS that either knows stop the generation.
    - A missing pad token becomes a reserved one where there is one, else EOS (padding is masked either way).
    - Prompts are padded on the left.

    Raises ValueError without chat template, without any EOS, or when the tokenizer has tokens that the model lacks.
    """
    notes = []
    if tokenizer.chat_template is None:
        raise ValueError(NO_CHAT_TEMPLATE.format(name=tokenizer.name_or_path))
    known = model.generation_config.eos_token_id
    known = [] if known is None else [known] if isinstance(known, int) else list(known)
    turn_end = _turn_end(tokenizer)
    if turn_end is not None and turn_end != tokenizer.eos_token_id:
        before, tokenizer.eos_token = tokenizer.eos_token, tokenizer.convert_ids_to_tokens(turn_end)
        notes.append(f"EOS is {tokenizer.eos_token!r}, which ends a turn, not {before!r}")
    if tokenizer.eos_token_id is None:
        if not known:
            raise ValueError("neither tokenizer nor model knows an EOS token: set tokenizer.eos_token")
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(known[0])
        notes.append(f"EOS is {tokenizer.eos_token!r}, the model's")
    stops = list(dict.fromkeys([tokenizer.eos_token_id, *known]))
    if stops != known:
        notes.append(f"generation stops at {tokenizer.convert_ids_to_tokens(stops)}")
    model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = _reserved_pad(tokenizer) or tokenizer.eos_token
        notes.append(f"padding with {tokenizer.pad_token!r}")
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "left"
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}: they do not belong together, or the "
            "model's embeddings were not resized after tokens were added"
        )
    return notes


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Id of the special token right after the assistant's words in the chat template; None when there is none."""
    mark = "x7q7x"
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": mark}]
    tail = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(mark)[2]
    ids = tokenizer.encode(tail.strip(), add_special_tokens=False)
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def _reserved_pad(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A token that its makers left for padding, as Llama 3.2's <|finetune_right_pad_id|>."""
    names = (str(token) for token in tokenizer.added_tokens_decoder.values())
    return next((name for name in names if "pad" in name.lower()), None)
