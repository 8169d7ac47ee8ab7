"""Extraction, correctness and rewards against hand-written expectations, and against hostile texts.

The real solutions, golds and grader cases are in `test_real_graders.py`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinktuning_lite.method import grading, grading_client
from thinktuning_lite.method.answers import (
    extract_answer,
    extract_boxed,
    extract_choice,
    extract_hashes,
    extract_last_number,
    extract_yes_no,
    first_answer_end,
    gsm8k_gold,
)
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.rewards import behaviour_reward, correctness_reward

# --- extraction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r"1+2=3. \boxed{3} Wait. \boxed{4}", r"1+2=3. \boxed{3}"),
        (r"{ } \boxed{\frac{1}{2}} more", r"{ } \boxed{\frac{1}{2}}"),
        (r"\boxed{3", None),
        ("3", None),
        ("", None),
    ],
)
def test_first_answer_end(text, kept):
    end = first_answer_end(text)
    assert (end and text[:end]) == kept


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{a{b{c}}d} tail }", "a{b{c}}d"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{1 \\ {2}}", r"1 \\ {2}"),
        (r"\fbox{7} and \framebox{8}", "7"),
        (r"\boxed { 3 }", "3"),
        (r"\boxed 5", "5"),
        (r"\boxed{4} or \boxed 5.", "5"),
        (r"\boxed{5} then \boxed{6", "5"),
        (r"\boxed{6 and \boxed{5}", "5"),
        (r"\boxed{\boxed{5} m}", "5"),
        (r"\\boxed{9}", "9"),
        (r"\\\boxed{9}", "9"),
        (r"{ stray \boxed{5}", "5"),
        (r"\boxed{}", ""),
        (r"\boxed five", None),
        (r"\boxed{5", None),
        (r"boxed{5}", None),
        (r"\unboxed{5}", None),
        ("", None),
    ],
)
def test_boxed(text, expected):
    assert extract_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n#### 18", "18"),
        ("#### 1\n#### 2", "2"),
        ("####-3", "-3"),
        ("#### $1,234.50 in all", "$1,234.50"),
        ("#### 3/4", "3/4"),
        ("#### 18.", "18"),
        ("#### 2. Solve for x\nno answer", None),
        ("#### 2) Solve", None),
        ("#### Step 3", None),
        ("### 18", None),
    ],
)
def test_hashes(text, expected):
    assert extract_hashes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it costs $1,234.50.", "$1,234.50"),
        ("from 3 to -4", "-4"),
        ("5-3", "3"),
        ("about 14/3", "14/3"),
        ("a gain of 12 %", "12 %"),
        ("is .5", ".5"),
        ("H2O and x2", None),
        ("none", None),
    ],
)
def test_last_number(text, expected):
    assert extract_last_number(text) == expected


def test_answer_prefers_the_box_then_the_hashes_and_guesses_only_when_asked():
    assert extract_answer("\\boxed{1}\n#### 2\n3") == "1"
    assert extract_answer("#### 2\n3") == "2"
    assert extract_answer("so 3") is None
    assert extract_answer("so 3", allow_last_number=True) == "3"
    assert extract_answer("\\boxed{} #### 2") == "2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is (C).", "C"),
        ("The answer is C because it is", "C"),
        ("the correct answer is: **D**", "D"),
        ("**Answer:** B", "B"),
        ("Answer: $B$", "B"),
        ("ANSWER: (b)", None),  # a lower-case key counts in a box only
        ("Final Answer: E. mitochondria", "E"),
        ("The answer is therefore option F.", "F"),
        ("The best choice would be (G)", "G"),
        ("The correct option is \\textbf{(H)} 12", "H"),
        ("the answer is \\(J\\).", "J"),
        ("The answer to this question is (B).", "B"),
        ("#### C", "C"),
        ("(C) 5 metres is the correct answer.", "C"),
        ("D is the correct option", "D"),
        ("(A) is wrong and (B) is the correct answer", "B"),
        ("option A is worse, option B is the best answer", "B"),
        ("Therefore, option B is correct.", "B"),
        ("So I would choose (A).", "A"),
        ("\\boxed{C}", "C"),
        ("\\boxed{\\text{(c) } 12}", "C"),
        ("\\boxed{\\textbf{D}}", "D"),
        ("\\boxed{E. the sun}", "E"),
        ("\\boxed{42}. The answer is (A).", "A"),
        ("The answer is (A). Wait, the answer is (B).", "B"),
        ("The answer is (A).\n\nQuestion: next\nThe answer is (B).", "A"),
        ("C", "C"),
        ("(D)", "D"),
        ("B. Paris", "B"),
        # nothing is stated
        ("The answer is not among the choices, but the closest is (A).", None),
        ("The answer is not (B).", None),
        ("(A) is the wrong answer", None),
        ("A wrong answer is (B).", None),
        ("The answer is A good idea", None),
        ("The answer is I think unclear", None),
        ("The answer is Because", None),
        ("The answer is D-dimer", None),
        ("The answer is A = 3", None),
        ("The answer is (A) or (B).", None),
        ("The answer is 42.", None),
        ("Answer choices: A. one B. two", None),
        ("Options: (A) one (B) two", None),
        ("(A) is wrong, (B) is too long", None),
        ("A. one\nB. two", None),
        ("A. one B. two", None),
        ("A: 18", None),
        ("vitamin C", None),
        ("\\boxed{AB}", None),
        ("", None),
    ],
)
def test_choice(text, expected):
    assert extract_choice(text) == expected


def test_choice_keeps_to_the_choices_that_exist():
    assert extract_choice("The answer is (D).", 4) == "D"
    assert extract_choice("The answer is (D).", 3) is None
    assert extract_choice("\\boxed{J}", 9) is None
    assert extract_choice("The answer is (3).", "1234") == "3"
    assert extract_choice("The answer is 3.", ["1", "2", "3", "4"]) == "3"
    assert extract_choice("The answer is 3.5.", "1234") is None
    assert extract_choice("The answer is 3 metres.", "1234") is None
    assert extract_choice("The answer is C.", "1234") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So the answer is yes.", "yes"),
        ("the answer is **No**", "no"),
        ("Answer: True", "yes"),
        ("\\boxed{\\text{No}}", "no"),
        ("\\boxed{false}", "no"),
        ("Yes, because it is.", "yes"),
        ("no", "no"),
        ("It is too cold. So no.", "no"),
        ("The answer is yes. Wait. The answer is no.", "no"),
        ("The answer is no because it rains", "no"),
        ("The answer is no one knows", None),
        ("No one knows", None),
        ("The answer is yesterday", None),
        ("There is no way to say whether yes", None),
        ("\\boxed{maybe}", None),
        ("", None),
    ],
)
def test_yes_no(text, expected):
    assert extract_yes_no(text) == expected


def test_gsm8k_gold():
    assert gsm8k_gold("a #### b\n#### 1,234") == "1234"
    assert gsm8k_gold("x\n#### -5 ") == "-5"
    with pytest.raises(ValueError, match="####"):
        gsm8k_gold("no marker")


# --- correctness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("18", "18"),
        ("18.0", "18"),
        ("18.", "18"),
        ("018", "18"),
        ("+18", "18"),
        ("$18", "18"),
        (r"\$18.00", "18"),
        ("$18$", "18"),
        (r"\(18\)", "18"),
        ("18 dollars", "18"),
        (r"18\text{ eggs per day}", "18"),
        (r"864 \mbox{ inches}^2", "864"),
        ("1,234", "1234"),
        ("1{,}234", "1234"),
        (r"1,\!234", "1234"),
        ("1234", "1,234"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("-$5", "-5"),
        ("0.5", "1/2"),
        (".5", "0.50"),
        ("2/4", "1/2"),
        (r"\frac{1}{2}", "0.5"),
        (r"-\dfrac12", "-0.5"),
        (r"\frac{-1}{2}", "-0.5"),
        (r"1\frac{4}{5}", "1.8"),
        ("137 1/2", "137.5"),
        (r"-1\frac{1}{2}", "-1.5"),
        ("18%", "18"),
        (r"18\%", "18"),
        ("50%", "0.5"),
        (r"90^\circ", "90"),
        ("20*4 = 80", "80"),
        (r"\text{2/3}", "2/3"),
    ],
)
def test_equal_numbers_never_reach_math_verify(answer, gold, monkeypatch):
    monkeypatch.setattr(grading, "_math_verify", None)
    assert is_correct(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (None, "18"),
        ("", "18"),
        ("18", "-18"),
        ("18.001", "18"),
        ("0.3333333333", "1/3"),
        ("1,234", "1.234"),
        ("1,23", "123"),
        ("18%", "18.5"),
        ("18%", "19%"),
        ("50%", "0.5%"),
        ("20*4", "80"),
        ("8 0", "80"),
        ("3 4", "7"),
        ("1/0", "1"),
        ("11 7/6", "11"),
        ("2 1/2", "1"),
    ],
)
def test_unequal_numbers_never_reach_math_verify(answer, gold, monkeypatch):
    monkeypatch.setattr(grading, "_math_verify", None)
    assert is_correct(answer, gold) is False


def test_a_million_is_no_unit():
    assert is_correct("1.8 million", "1,800,000")
    assert is_correct(r"\$3 \text{ million dollars}", "3000000")
    assert not is_correct("1.8 million", "1.8")
    assert not is_correct(r"3 \text{ dozen}", "3")
    assert not is_correct("3 squared", "3")


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"\sqrt{8}", r"2\sqrt{3}", False),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"\left(3, \frac{\pi}{2}\right)", r"(3,\dfrac{\pi}{2})", True),
        ("[1,2]", "(1,2)", False),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}", True),
        ("x = 5", "5", True),
        ("5", "x=5", True),
        ("2^{10}", "1024", True),
        ("2 yz", "2 xy", False),
        (r"\text{Monday}", "monday", True),
        ("Tuesday", "Monday", False),
        ("C", r"\text{(C)}", True),
        ("B", r"\text{(C)}", False),
        ("East", r"\text{east}", True),
        ("abc def", "5", False),
        ("The answer is 4 and not 5", "5", False),
    ],
)
def test_latex(answer, gold, expected):
    assert is_correct(answer, gold) is expected


def test_a_hundred_thousand_numeric_comparisons_take_under_a_second_of_processor_time():
    golds = [str(i) for i in range(100)]
    start = time.process_time()
    right = sum(is_correct(golds[i % 100], golds[i * i % 100]) for i in range(100_000))
    assert time.process_time() - start < 1.0
    assert right == sum(i % 100 == i * i % 100 for i in range(100_000))


def test_plain_numbers_import_neither_sympy_nor_math_verify():
    code = (
        "import sys; from thinktuning_lite.method.rewards import correctness_reward as r\n"
        r"assert r([r'\boxed{1,000}', r'\boxed{20*4}'], ['1000', '80']) == [1.0, 0.0]"
        "\nassert not {'sympy', 'math_verify'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- hostile texts ------------------------------------------------------------------------------------------

HOSTILE = [
    "9^9^9^9",
    "9^{9^{9^9}}",
    "99999^{9999}",
    "(99!)^{99!}",
    "(10^{10})^{10^{10}}",
    "1e999999999",
    "100000!",
    r"\binom{99999999}{49999999}",
    r"\sum_{i=1}^{1000000000} i^i",
    r"\lim_{x\to 0} x^{x^{x^x}}",
    r"\int_0^1 e^{-x^2}\sin(x^x)dx",
    "(a+b+c+d+e+f)^{60}",
    r"\frac{d}{dx}" * 20 + "x^{x^x}",
    r"\sqrt{" * 24 + "2" + "}" * 24,
    r"\frac{" * 300,
    "{" * 500 + "}" * 500,
    "(" * 400,
    "|" * 200,
    "1+" * 400 + "1",
    "a" * 900,
    r"\begin{pmatrix}" + "1&" * 200 + r"1\end{pmatrix}",
    "\x00\ud800\u202e$",
]


@pytest.fixture(scope="module")
def grader():
    """The helper process, started: starting it is no part of a comparison."""
    assert is_correct("y+x", "x+y")
    return grading_client.grader()


def processor_seconds() -> float:
    """Processor time so far of this process, of the helper and of its forks, living and ended."""
    helper = psutil.Process(grading_client.grader()._process.pid)
    ended = helper.cpu_times().children_user + helper.cpu_times().children_system
    living = [process.cpu_times() for process in (helper, *helper.children())]
    return time.process_time() + ended + sum(times.user + times.system for times in living)


def seconds(function, *arguments):
    """Wall time of a call, or, where other programs may have made it long, processor time of a second one."""
    for clock in (time.perf_counter, processor_seconds):
        grading._math_verify.cache_clear()
        start = clock()
        function(*arguments)
        elapsed = clock() - start
        if elapsed < 0.9:
            break
    return elapsed


@pytest.mark.parametrize("latex", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_latex_ends_within_a_second(latex, grader):
    for answer, gold in ((latex, "5"), ("x", latex), (latex, latex + "+1")):
        assert seconds(is_correct, answer, gold) < 1.0, (answer, gold)
    assert is_correct("z+x", "x+z")  # and the next comparison works


def test_hopeless_latex_that_is_sent_all_the_same_is_ended_by_the_kernel(grader):
    process = grader._process
    for _ in range(3):
        assert seconds(grader.equal, "9^{9^{9^9}}", "5") < 1.0
        assert grader.equal("a+x", "x+a")
    assert grader._process is process  # the loaded parser survived


def test_a_dead_helper_is_replaced(grader):
    grader._process.kill()
    assert not grader.equal("b", "c")
    assert grader.equal("b+x", "x+b")


def test_latex_is_graded_in_any_thread(grader):
    results: list[bool] = []
    threads = [threading.Thread(target=lambda i=i: results.append(is_correct(f"{i}x+q", f"q+{i}x"))) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_of_the_caller_does_not_share_the_helper(grader):
    child = os.fork()
    if child == 0:
        os._exit(0 if is_correct("c+x+1", "x+c+1") and grading_client.grader() is not grader else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert grader.equal("d+x", "x+d")


def test_a_missing_math_verify_is_said_clearly(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false" if os.path.exists("/bin/false") else "/usr/bin/false")
    with pytest.raises(RuntimeError, match="pip install math-verify"):
        grading_client.LatexGrader().equal("x", "y")


LONG = [
    *[
        r"\boxed ",
        r"\boxed{",
        r"answer ",
        r"answer is ",
        r"answer is (",
        r"answer:",
        r"answer:\text{",
        r"I choose ",
        r"so, (A) is ",
    ],
    *[
        "1,",
        "1,234",
        "1/",
        "1 ",
        "1",
        "+1",
        "-",
        "$",
        "*",
        ". ",
        "yes. ",
        "(A) ",
        "A ",
        "a",
        "so ",
        "}",
        "#### ",
        "the answer is (A)\nQ",
        "\n",
        "\nQ",
    ],
    *(r"\left", "answer" + " " * 99, "option (A) "),
]


@pytest.mark.parametrize("unit", LONG)
def test_extraction_is_fast_on_long_texts(unit, grader):
    text = unit * (50_000 // len(unit))
    for function in (extract_answer, extract_last_number, extract_choice, extract_yes_no):
        assert seconds(function, text) < 1.0, function.__name__
    assert seconds(is_correct, text, "5") < 1.0


# --- fuzz: 10,000 texts -------------------------------------------------------------------------------------

LATEX = st.recursive(
    st.one_of(
        st.integers(-(10**6), 10**6).map(str),
        st.sampled_from(["x", "y", r"\pi", "e", "i", "0", "1", r"\infty", "9^{9^9}", "10^{99999}", "999!", "?"]),
        st.text(max_size=3),
    ),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from([r"\sqrt", r"\boxed", r"\text", r"\sin", r"\left(", "{"]), inner).map(
            lambda t: f"{t[0]}{{{t[1]}}}"
        ),
        st.tuples(st.sampled_from([r"\frac", r"\binom", "^", "_"]), inner, inner).map(
            lambda t: f"{t[0]}{{{t[1]}}}{{{t[2]}}}"
        ),
        st.tuples(inner, st.sampled_from(["+", "^", "*", "=", ",", "/", r"\cdot ", "<", r"\cup "]), inner).map("".join),
        st.tuples(
            st.sampled_from(["(", "[", r"\{", "|", "$"]), inner, st.sampled_from([")", "]", r"\}", "|", "$"])
        ).map("".join),
        st.tuples(st.sampled_from([r"\sum_{i=1}^{9}", r"\int_0^1", r"\lim_{x\to 0}", r"\frac{d}{dx}"]), inner).map(
            "".join
        ),
    ),
    max_leaves=8,
)
PIECES = [
    *[
        r"The answer is ",
        r"Answer: ",
        r"#### ",
        r"\boxed{",
        r"}",
        r"(",
        r")",
        r"**",
        r" or ",
        r" is ",
        r"option ",
        r"A",
        r"C",
        r"J",
        r"K",
        r"yes",
        r"No",
        r"true",
    ],
    *("1", "-3.5", "1,234", "%", "$", "\n", "\\", r"\text{", "\nQuestion:"),
]
FRAGMENTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=25).map("".join)
NESTED = st.tuples(
    st.sampled_from(["{", "(", r"\boxed{", r"\frac{", r"\sqrt{", "^{", r"\left(", "[", "9^", "1/", "-", "1e9"]),
    st.integers(1, 3000),
    st.sampled_from(["", "1", "x", "}", ")"]),
    st.integers(0, 3000),
).map(lambda t: t[0] * t[1] + "5" + t[2] * t[3])


def fuzz(texts: int):
    """This many texts, the same ones in every run."""
    slow_to_make = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=texts, deadline=None, derandomize=True, database=None, suppress_health_check=slow_to_make
    )


def exercise(text: str, gold: str) -> None:
    """Every function on one text; what they return must have the promised type."""
    for function in (extract_boxed, extract_hashes, extract_last_number, extract_answer):
        assert isinstance(function(text), str | None)
    assert extract_choice(text) in {None, *"ABCDEFGHIJ"}
    assert extract_choice(text, "1234") in {None, *"1234"}
    assert extract_yes_no(text) in {None, "yes", "no"}
    assert correctness_reward([text], [gold])[0] in {0.0, 1.0}
    assert behaviour_reward("is")([text])[0] in {0.0, 0.5}


@fuzz(4200)
@given(st.text(max_size=150))
def test_fuzz_any_text(grader, text):
    assert seconds(exercise, text, "5") < 1.0
    assert seconds(is_correct, text, "5") < 1.0


@fuzz(4000)
@given(FRAGMENTS)
def test_fuzz_statements(grader, text):
    assert seconds(exercise, text, "18") < 1.0


@fuzz(800)
@given(NESTED)
def test_fuzz_deep_nesting(grader, text):
    assert seconds(exercise, text, "5") < 1.0
    assert seconds(is_correct, text, "x+1") < 1.0


@fuzz(1000)
@given(LATEX)
def test_fuzz_latex(grader, latex):
    assert seconds(exercise, rf"so \boxed{{{latex}}}", "x+1") < 1.0
    assert seconds(is_correct, "x+1", latex) < 1.0


# --- rewards ------------------------------------------------------------------------------------------------


def test_correctness_reward_reads_strings_and_messages():
    completions = [
        r"so \boxed{18}",
        [{"role": "assistant", "content": "#### 18"}],
        [{"role": "assistant", "content": [{"type": "text", "text": r"\boxed{18}"}]}],
        [{"role": "assistant", "content": None}, {"role": "tool", "content": r"\boxed{18}"}],
        "18",
        [],
    ]
    assert correctness_reward(completions, ["18"] * 6, prompts=None, step=[1]) == [
        1.0,
        1.0,
        1.0,
        0.0,
        0.0,
        0.0,
    ]
    assert correctness_reward([r"\boxed{18}"], [18]) == [1.0]


def test_correctness_reward_wants_one_gold_per_completion():
    with pytest.raises(ValueError, match="shorter|longer"):
        correctness_reward(["a", "b"], ["1"])


def count_waits(text: str) -> int:
    return text.lower().count("wait")


@pytest.mark.parametrize("behaviour", ["Wait", count_waits])
def test_behaviour_reward_pays_for_exactly_one(behaviour):
    reward = behaviour_reward(behaviour, 0.25)
    completions = ["none", "Wait.", "Wait. Wait.", [{"role": "assistant", "content": "Wait"}]]
    assert reward(completions, answer=["1"] * 4) == [0.0, 0.25, 0.0, 0.25]
    assert pickle.loads(pickle.dumps(reward))(completions) == reward(completions)


def test_behaviour_reward_has_a_name_and_a_default_value():
    assert behaviour_reward("May the force be!").__name__ == "behaviour_may_the_force_be"
    assert behaviour_reward(count_waits).__name__ == "behaviour_count_waits"
    assert behaviour_reward("x")(["x"]) == [0.5]
    with pytest.raises(ValueError, match="behaviour"):
        behaviour_reward("")
