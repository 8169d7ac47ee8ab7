"""prompts.py: behaviours as data, what the tiny and the instruct model are asked, places and braces in templates."""

from __future__ import annotations

from thinktuning_lite.method import prompts, teacher
from thinktuning_lite.method.answers import extract_answer


def test_tiny_prompt_as_the_checkpoint_reads_it(tokenizer):
    messages = prompts.TINY_PROMPT.with_quote("We ride at dawn!").messages(
        "Q? {x}", "1+1=2. \\boxed{2}", "self-conflict"
    )
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|system|>teacher: self-conflict<|end|><|user|>Question: Q? {x}\nAttempt: 1+1=2. \\boxed{2}\n"
        "Quote: We ride at dawn!<|end|><|assistant|>"
    )
    assert "Quote" not in prompts.TINY_PROMPT.messages("Q", "R", "self-conflict")[-1]["content"]


def test_instruct_prompt_has_four_good_turns_and_hands_over_everything_verbatim():
    question, response, quote = "What is {x} + \\frac{1}{2}?", "{} \\boxed{7} {question}", "No {one} leaves."
    messages = prompts.INSTRUCT_PROMPT.with_quote(quote).messages(question, response, "self-critique")
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 4, "user"]
    assert "\\boxed{}" in messages[0]["content"] and "{{" not in messages[0]["content"]
    assert messages[-1]["content"].startswith(f"Question: {question}\n\nResponse: {response}")
    assert messages[-1]["content"].endswith(quote)

    # The exemplars: worked out by hand here, so that no wrong sum is taught.
    answers = [46 - 18 + 9, 7 * 24 - 5, 90 - 12 * 6, 100 * 15 // 60]
    opinions = []
    for (asked, said), answer in zip(prompts.INSTRUCT_PROMPT.exemplars, answers, strict=True):
        guidance = teacher.parse_guidance(said)
        assert guidance is not None
        assert extract_answer(guidance.phrase) == str(answer)
        assert guidance.opinion == ("correct" if extract_answer(asked) == str(answer) else "incorrect")
        opinions.append(guidance.opinion)
    assert sorted(opinions) == ["correct"] * 2 + ["incorrect"] * 2  # as the authors have it
