"""prompts.py: behaviours as data, what the tiny and the instruct model are asked, places and braces in templates."""

from __future__ import annotations

import pytest

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


def test_without_a_named_behaviour_the_instruct_prompt_names_none(tokenizer):
    messages = prompts.INSTRUCT_PROMPT.messages("Q", "R")
    text = " ".join(m["content"] for m in messages)
    assert not any(name in text for name in prompts.BEHAVIOURS)  # the authors' way: exemplars, and a free choice
    named = prompts.INSTRUCT_PROMPT.messages("Q", "R", "self-critique")
    assert named[0] == messages[0]  # so all requests begin alike
    lines = [m["content"].rsplit("\n\n", 1)[-1] for m in named if m["role"] == "user"]
    wanted = [f"This time by {b.name}: {b.instruction}." for b in prompts.INSTRUCT_PROMPT.behaviours]
    assert lines == [*wanted, wanted[prompts.BEHAVIOURS.index("self-critique")]]


def test_a_behaviour_of_one_s_own_is_asked_for_and_shown():
    exemplar = (
        "Question: 19 * 5?\n\nResponse: 85. \\boxed{85}",
        "<opinion>incorrect</opinion><reason>About 20 * 5 = 100, so 85 is far off.</reason>"
        "<phrase>20 * 5 - 5 = 95. The final answer is \\boxed{95}.</phrase>",
    )
    own = prompts.Behaviour("self-estimate", "estimate the size of the answer first", exemplar)
    prompt = prompts.INSTRUCT_PROMPT.with_behaviour(own)
    prompt.check_behaviours(["self-estimate", *prompts.BEHAVIOURS])
    messages = prompt.messages("Q", "R", "self-estimate")
    assert messages[-2]["content"] == exemplar[1] and messages[-3]["content"].startswith(exemplar[0])
    assert messages[-1]["content"].endswith("This time by self-estimate: estimate the size of the answer first.")
    assert len(prompts.INSTRUCT_PROMPT.behaviours) == 4  # the shared one is as it was

    again = prompt.with_behaviour(prompts.Behaviour("self-estimate", "guess"))
    assert [b.instruction for b in again.behaviours][4:] == ["guess"]


def test_unknown_behaviours_and_a_choice_that_cannot_be_made_are_refused():
    for prompt in (prompts.TINY_PROMPT, prompts.INSTRUCT_PROMPT):
        for refused in (lambda p: p.check_behaviours(["shouting"]), lambda p: p.messages("Q", "R", "shouting")):
            with pytest.raises(ValueError, match="shouting.*self-conflict, .*with_behaviour"):
                refused(prompt)
    with pytest.raises(ValueError, match="cannot choose"):
        prompts.TINY_PROMPT.messages("Q", "R")
    prompts.INSTRUCT_PROMPT.check_behaviours(None)


def test_any_brace_but_a_known_place_stays_as_it_is():
    prompt = prompts.TeacherPrompt(
        system="Answer in \\boxed{}, as {json: {behaviour}} or {0}.",
        user="{question} {} {response} {x}",
        behaviours=(prompts.Behaviour("doubt", "doubt it"),),
        quote_line=" {quote} {",
    )
    messages = prompt.with_quote("{response}").messages("{response}", "{question}", "doubt")
    assert [m["content"] for m in messages] == [
        "Answer in \\boxed{}, as {json: doubt} or {0}.",
        "{response} {} {question} {x} {response} {",
    ]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"user": "Question: {question}"}, "`user` lacks {response}"),
        ({"user": "{response}"}, "`user` lacks {question}"),
        ({"system": "teacher: {behavior}"}, "`system` holds {behavior}; did you mean {behaviour}"),
        ({"quote_line": "{quotes}"}, "`quote_line` holds {quotes}; did you mean {quote}"),
    ],
)
def test_a_missing_or_misspelt_place_is_refused_when_the_prompt_is_made(changed, match):
    with pytest.raises(ValueError, match=match):
        prompts.TeacherPrompt(**{"system": "s", "user": "{question} {response}"} | changed)
