"""Texts composed of real answer shapes, wrapper x markup x unit x distractor, whose truth is known.

Each strategy yields a text with what it states. `make test` takes a sample; more of them by
`COMPOSED_TEXTS=100000 python -m pytest tests/method/test_composed.py`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinktuning_lite.method.answers import extract_answer, extract_choice, extract_yes_no, first_answer_end
from thinktuning_lite.method.grading import is_correct

TEXTS = int(os.environ.get("COMPOSED_TEXTS", "1700"))  # of all kinds together
VALUES = st.integers(-9999, 99999)
FORMS = [
    lambda n: str(n),
    lambda n: f"{n:,}",
    lambda n: f"{n}.0",
    lambda n: f"({n})",
    lambda n: rf"\text{{{n}}}",
    lambda n: rf"\mathbf{{{n}}}",
    lambda n: f"${n}$",
    lambda n: str(n).replace("-", "−"),
    lambda n: rf"\frac{{{2 * n}}}{{2}}",
    lambda n: f"x = {n}",
    lambda n: f"Answer: {n}",
    lambda n: rf"\text{{about }} {n}",
    lambda n: rf"\text{{Total: }} {n}",
    lambda n: rf"{{\bf {n}}}",
    lambda n: rf"\color{{blue}} {n}",
    lambda n: "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in str(n)),
]
UNITS = [
    "",
    " dollars",
    r"\text{ km/h}",
    r" \text{ years old}",
    " apples",
    r"^\circ",
    r"\,\mathrm{cm}^2",
    " L",
    r"\text{ per day}",
    r"^\circ \text{F}",
    r"\ \frac{\text{km}}{\text{h}}",
    " kWh",
    r"^{\text{th}}",
    " apples left",
    r" \text{ times}",
]
BOXES = [
    r"So \boxed{%s}.",
    r"The answer is $\boxed{%s}$",
    r"\[ \boxed{%s} \]",
    r"**Final Answer** \boxed{ %s }",
    r"\fbox{%s}",
]
HASHES = ["so it is.\n#### %s", "#### **%s**", "####%s", "#### The answer is %s", "#### %s\nI hope this helps."]
BEFORE = ["", r"<think>perhaps \boxed{77}</think>", "Step 1: 3*4=12. ", r"First \boxed{5}, no. ", "#### Step 2: Add\n"]
AFTER = ["", "\n\nQuestion: Tom has 3. How many?\n\\boxed{3}", " Put your answer within \\boxed{}.", "<|im_end|>\\boxed{8}",
         '\n```python\nprint(f"\\boxed{{{x}}}")\n```', "\nUser: and?\n#### 9"]  # fmt: skip

# What is credited to no gold n: kinds of answers that a policy could learn.
SPOILED = [
    lambda n, k: f"{n}_{k + 2}",
    lambda n, k: rf"{n - k} + {k}",
    lambda n, k: rf"{n - k} \times 1 + {k}",
    lambda n, k: rf"({n - k}) + {k} \text{{ dollars}}",
    lambda n, k: f"{n} or {n + k}",
    lambda n, k: rf"{n} \text{{ and }} {n + k}",
    lambda n, k: f"${n}$ or ${n + k}$",
    lambda n, k: rf"{n} \text{{ squared}}",
    lambda n, k: rf"{n} \text{{ half}}",
    lambda n, k: f"{n}, {n + k}",
    lambda n, k: f"{n}-{abs(n) + k}",
    lambda n, k: f"{n}:{10 + k} pm",
    lambda n, k: f"{n} million",
    lambda n, k: rf"{n} \pm {k}",
    lambda n, k: f"{n} {k}/{k + 1}",
    lambda n, k: rf"{n} \times 10^{{{k}}}",
    lambda n, k: f"{n}e{k}",
    lambda n, k: f"x > {n}",
    lambda n, k: f"{n}x",
    lambda n, k: rf"{n} \text{{ (base {k + 2})}}",
    lambda n, k: rf"{n}.000000{k}",
    lambda n, k: rf"{n} \text{{ hundredths}}",
    lambda n, k: rf"{n} \text{{ divided by {k + 1}}}",
    lambda n, k: rf"{n} \text{{ or maybe {n + k}}}",
    lambda n, k: rf"\text{{half of }} {n}",
    lambda n, k: rf"{n}\sqrt{{1}}",
    lambda n, k: rf"\frac{{{n} \times {k}}}{{{k}}}",
    lambda n, k: rf"\sum_{{i=1}}^{{{n}}} 1",
    lambda n, k: f"{n} - {k} + {k}",
    lambda n, k: f"{n}!",
]
TINY = [("10^{-%d}", 20, 21), (r"\frac{1}{3^{%d}}", 50, 51), (r"\sqrt{2} \times 10^{-%d}", 18, 19), ("e^{-%d}", 50, 51)]
PRIMES = [("f'(x)", "f(x)"), ("f''(x)", "f'(x)"), ("y'", "y"), (r"g^{\prime}(2)", "g(2)")]
CODE = [
    '```python\nprint("\\boxed{%d}")\n```',
    'print(f"\\boxed{%d}")',
    'answer = r"\boxed{%d}"',
    '```\ndef f():\n    return "\\boxed{%d}"\n```',
]
RUN_ONS = [
    "\\boxed{%d}\n\nQuestion: next?\n\\boxed{%d}",
    "#### %d\n\nProblem: next\n#### %d",
    "\\boxed{%d}\n\n## Problem 2\nnext\n\\boxed{%d}",
    "\\boxed{%d}\nuser\nnext\nassistant\n\\boxed{%d}",
    "\\boxed{%d}<|user|>next \\boxed{%d}",
    "#### %d\n\nQ: next\nA: #### %d",
]
CONTRADICTIONS = [
    ("cents", "dollars"),
    ("hours", "minutes"),
    ("am", "pm"),
    ("feet", "inches"),
    ("km", "miles"),
    ("kg", "grams"),
    ("celsius", "fahrenheit"),
    ("radians", "degrees"),
    ("mph", "km/h"),
]


@st.composite
def right_texts(draw):
    """A text that states the number, and the number."""
    n, form, unit = draw(VALUES), draw(st.sampled_from(FORMS)), draw(st.sampled_from(UNITS))
    wrapper = draw(st.sampled_from(BOXES + HASHES))
    content = form(n) + ("" if form(n).startswith(("$", "(")) else unit)
    if "answer is" in wrapper and content.startswith("Answer"):
        content = str(n)
    after = draw(st.sampled_from(AFTER))
    if wrapper in HASHES and not after.startswith("\n"):
        after = ""
    before = draw(st.sampled_from(BEFORE))
    if wrapper in HASHES and before.startswith("First"):
        before = ""  # a box beats hashes
    return before + wrapper % content + after, n


@st.composite
def wrong_texts(draw):
    """A text that does not state the gold, and the gold."""
    n, k = abs(draw(VALUES)) + 1, draw(st.integers(1, 7))
    kind = draw(st.sampled_from(["spoiled", "spoiled", "run-on", "units", "word", "tiny", "prime", "code"]))
    if kind == "tiny":
        form, *exponents = draw(st.sampled_from(TINY))
        stated, wanted = draw(st.permutations([form % exponent for exponent in exponents]))
        return rf"\boxed{{{stated}}}", wanted
    if kind == "prime":
        stated, wanted = draw(st.permutations(draw(st.sampled_from(PRIMES))))
        return rf"\boxed{{{stated}}}", wanted
    if kind == "code":
        before = draw(st.sampled_from(["", f"So \\boxed{{{n + k}}}.\n"]))
        return before + draw(st.sampled_from(CODE)) % n, str(n)
    if kind == "run-on":
        return draw(st.sampled_from(RUN_ONS)) % (n + k, n), str(n)
    if kind == "units":
        stated, wanted = draw(st.permutations(draw(st.sampled_from(CONTRADICTIONS))))
        return rf"\boxed{{{n % 12 + 1} \text{{ {stated}}}}}", rf"{n % 12 + 1} \text{{ {wanted}}}"
    if kind == "word":
        word = draw(st.text("ABDENOS", min_size=3, max_size=5).filter(lambda w: w != w[::-1]))
        return rf"\boxed{{{word}}}", word[::-1]
    return draw(st.sampled_from(BOXES + HASHES)) % draw(st.sampled_from(SPOILED))(n, k), str(n)


KEYS = st.sampled_from("ABCDE")
OPTIONS = ["", " a pond", " 12 km/h", r" $\frac{1}{2}$", " the sun, not the moon"]
VERDICTS = [
    "The answer is (%s)%s.", "**Answer: (%s)%s**", "So the correct option is **%s)%s**.", "\\boxed{%s}%s", "<answer>(%s)%s</answer>",
    "Therefore, among A through E, the answer is %s.%s", "The answer is most likely to be (%s)%s.", "(%s)%s is the correct answer.",
    "The answer would probably be (%s)%s.", "I'm going with (%s)%s.", "✅ **Answer:** (%s)%s", "There is no doubt that the answer is (%s)%s.",
    "A: (%s)%s", "Final answer:\n\n(%s)%s", "\\boxed{\\text{(%s)%s}}", "Answer: %s.%s", "I would choose (%s)%s.", "#### (%s)%s",
]  # fmt: skip
NO_VERDICTS = ["I don't think the answer is (%s).", "If so, the answer is (%s).", "Is the answer (%s)?", "We look at option (%s) now.",
               "The answer might be (%s).", "Some say the answer is (%s).", "The answer is $%s(5,2)$.", "Let $%s \\cap X$ be empty.",
               "The answer is (%s), but it is not the correct answer.", "The answer is (%s). That is incorrect.", "None of (%s) is correct.",
               "Let's check whether the answer is (%s).", "The textbook says the answer is (%s)."]  # fmt: skip


@st.composite
def choice_texts(draw):
    """A text and the key it states, or None."""
    key, other = draw(KEYS), draw(KEYS)
    distractor = draw(st.sampled_from(["", *NO_VERDICTS]))
    before = distractor.replace("%s", other) + "\n" if distractor else ""
    kind = draw(st.sampled_from(["stated", "nothing", "several"]))
    if kind == "nothing":
        return before + draw(st.sampled_from(NO_VERDICTS)).replace("%s", key), None
    if kind == "several":
        two = draw(
            st.sampled_from(
                [
                    "(%s) or (%s)",
                    "%s and/or %s",
                    "(%s) ice (%s) snow",
                    "%s, %s",
                    "(%s) for one and (%s) for two",
                    "(%s) or maybe (%s)",
                    "%s; %s",
                    "(%s) & (%s)",
                ]
            )
        )
        return before + "The answer is " + two % tuple(draw(st.permutations("ABCDE"))[:2]) + ".", None
    verdict = draw(st.sampled_from(VERDICTS))
    option = "" if verdict.startswith(("####", "\\boxed{%s}")) else draw(st.sampled_from(OPTIONS))
    after = draw(st.sampled_from(["", f"\n\nQuestion: next\nThe answer is ({other}).", "\n\nThe others are too hot."]))
    return before + verdict % (key, option) + after, key


@st.composite
def yes_no_texts(draw):
    """A text and whether it says yes or no, or None."""
    word, other = draw(st.permutations(["yes", "no"]))
    shown = draw(st.sampled_from([word, word.title(), word.upper(), {"yes": "True", "no": "False"}[word]]))
    stated = ["So the answer is %s.", "%s, it is so.", "\n\n%s. Because it is.", "A: %s", "**Answer:** %s", "\\boxed{%s}", "The answer is technically %s, but",
              "<answer>%s</answer>", "Conclusion: %s.", "\\boxed{%s}. \\boxed{}", "\\boxed{%s – it is}", "The answer is likely to be \"%s.\"", "It is cold. So, %s."]  # fmt: skip
    nothing = [
        "If it rains, the answer is %s.",
        "I do not think the answer is %s.",
        "Is the answer %s?",
        "The answer is yes and no.",
        "So it depends.",
        "No one knows.",
    ]
    thought = draw(st.sampled_from(["", f"<think>The answer is {other}.</think>", f"<think>{other}</think>\n\n"]))
    if draw(st.booleans()):
        return thought + draw(st.sampled_from(stated)).replace("%s", shown), word
    return thought + draw(st.sampled_from(nothing)).replace("%s", shown), None


def check_right(case: tuple[str, int]) -> None:
    text, n = case
    assert is_correct(extract_answer(text), str(n)), (text, n, extract_answer(text))
    assert not is_correct(extract_answer(text), str(n + 1)), (text, n + 1)
    assert first_answer_end(text) is not None


def check_wrong(case: tuple[str, str]) -> None:
    text, gold = case
    assert not is_correct(extract_answer(text), gold), (text, gold, extract_answer(text))


def check_choice(case: tuple[str, str | None]) -> None:
    assert extract_choice(case[0], 5) == case[1], case


def check_yes_no(case: tuple[str, str | None]) -> None:
    assert extract_yes_no(case[0]) == case[1], case


CHECKS = {"right": (right_texts(), check_right), "wrong": (wrong_texts(), check_wrong), "choice": (choice_texts(), check_choice), "yes_no": (yes_no_texts(), check_yes_no)}  # fmt: skip


def run(name: str, share: float) -> None:
    """A share of the composed texts, the same ones in every run."""
    strategy, check = CHECKS[name]
    texts = round(share * TEXTS)
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings(max_examples=texts, deadline=None, derandomize=True, database=None, suppress_health_check=slow)(
        given(strategy)(check)
    )()


def test_numbers_are_read_in_every_clothing():
    run("right", 0.3)


def test_what_is_no_answer_is_never_credited():
    run("wrong", 0.25)


def test_choices_are_read_or_not_as_stated():
    run("choice", 0.3)


def test_yes_and_no_are_read_or_not_as_stated():
    run("yes_no", 0.15)
