"""Whether answers are right, against hand-written expectations and hostile texts; the helper process of math-verify."""

from __future__ import annotations

import os
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
)
from thinktuning_lite.method.grading import canonical_form, is_correct
from thinktuning_lite.method.rewards import behaviour_reward, correctness_reward

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
    helper = psutil.Process(grading_client.grader()._started().pid)
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


# --- answers in the manner of real models -------------------------------------------------------------------

STATED = [
    ("#### **42**", "42", 1),
    ("#### \\$42", "42", 1),
    ("#### x = 42", "42", 1),
    ("#### Answer: 42", "42", 1),
    ("#### −42", "-42", 1),
    ("#### \\(42\\)", "42", 1),
    ("#### $42$", "42", 1),
    ("#### 3 1/2", "3", 0),
    ("#### 3 1/2", "3.5", 1),
    ("#### 20*4=80", "20", 0),
    ("#### 20*4=80", "80", 1),
    ("#### 1.5e3", "1.5", 0),
    ("#### 1.5e3", "1500", 1),
    ("#### 10-12", "10", 0),
    ("#### 2 million", "2", 0),
    ("#### 2 million", "2000000", 1),
    ("#### 18 or 20", "18", 0),
    ("#### 42 apples", "42", 1),
    ("#### The answer is 42", "42", 1),
    ("#### 42.", "42", 1),
    ("#### 5 (five)", "5", 1),
    ("#### 1,234", "1234", 1),
    ("#### 10%", "10", 1),
    ("#### Final Answer\n42", "42", 1),
    ("#### Answer:\n**42**", "42", 1),
    ("\\boxed{42}\nQuestion: x\n\\boxed{6}", "42", 1),
    ("#### 42\n\nQuestion: Tom has\n#### 6", "42", 1),
    ("\\boxed{42}\n\nProblem: Tom\nSolution: \\boxed{7}", "42", 1),
    ('```python\nprint(f"\\boxed{{{x}}}")\n```\nSo \\boxed{42}', "42", 1),
    ('So \\boxed{42}\n```python\nprint(f"\\boxed{{{x}}}")\n```', "42", 1),
    ('\\boxed{42}. print("\\\\boxed{" + str(7) + "}")', "42", 1),
    ("```\n\\boxed{42}\n```", "42", 1),
    ("\\boxed{42}\nPlease put your answer within \\boxed{}.", "42", 1),
    ("\\boxed{42} \\boxed{...}", "42", 1),
    ("\\boxed{42} \\boxed{\\text{answer}}", "42", 1),
    ("-\\boxed{256}", "-256", 1),
    ("$x = -\\boxed{5}$", "-5", 1),
    ("10 - \\boxed{3} = 7", "3", 1),
    ("- \\boxed{3}", "3", 1),
    ("**Answer** - \\boxed{3}", "3", 1),
    ("The answer is -\\boxed{3}", "-3", 1),
    ("= -\\boxed{\\frac{1}{2}}", "-1/2", 1),
    ("\\boxed{1}, \\boxed{-2}", "1,-2", 1),
    ("x = \\boxed{1} or x = \\boxed{-2}", "1,-2", 1),
    ("$\\boxed{18}$ or $\\boxed{20}$", "18", 0),
    ("\\boxed{5} and \\boxed{5}", "5", 1),
    ("\\boxed{2}\n\nSo the final answer is \\boxed{2}", "2", 1),
    ("\\boxed{½}", "1/2", 1),
    ("\\boxed{3½}", "3.5", 1),
    ("\\boxed{√3}", "\\sqrt{3}", 1),
    ("\\boxed{2√3}", "2\\sqrt{3}", 1),
    ("\\boxed{x²+1}", "x^2+1", 1),
    ("\\boxed{∞}", "\\infty", 1),
    ("\\boxed{４２}", "42", 1),
    ("\\boxed{42。}", "42", 1),
    ("\\boxed{12\u2009345}", "12345", 1),
    ("\\boxed{3e8}", "3 \\times 10^8", 1),
    ("\\boxed{3\\times 10^8}", "300000000", 1),
    ("\\boxed{0.\\overline{3}}", "1/3", 1),
    ("\\boxed{\\text{about } 42}", "42", 1),
    ("\\boxed{\\approx 42}", "42", 1),
    ("\\boxed{Answer: 42}", "42", 1),
    ("\\boxed{\\text{Answer: } 42}", "42", 1),
    ("\\boxed{(-7)/2}", "-7/2", 1),
    ("\\boxed{(-7)/2}", "-3.5", 1),
    ("\\boxed{42 km/h}", "42", 1),
    ("\\boxed{42\\text{ years old}}", "42", 1),
    ("\\boxed{42 \\text{ cm}^2}", "42", 1),
    ("\\boxed{42\\,\\text{cm}^3}", "42", 1),
    ("\\boxed{42 \\, \\mathrm{m/s}}", "42", 1),
    ("\\boxed{\\$42.00}", "42", 1),
    ("\\boxed{£42}", "42", 1),
    ("\\boxed{42\\%}", "42", 1),
    ("\\boxed{42 percent}", "42", 1),
    ("\\boxed{1st}", "1", 1),
    ("\\boxed{21^{st}}", "21", 1),
    ("\\boxed{42 units}", "42", 1),
    ("\\boxed{42 square units}", "42", 1),
    ("\\boxed{42\\text{ dollars and 50 cents}}", "42", 0),
    ("\\boxed{5x}", "5", 0),
    ("\\boxed{5 xy}", "5", 0),
    ("\\boxed{x = 5}", "5", 1),
    ("\\boxed{x=5, y=6}", "5", 0),
    ("\\boxed{5!}", "5", 0),
    ("\\boxed{5^2}", "5", 0),
    ("\\boxed{2 \\times 9}", "18", 0),
    ("\\boxed{\\frac{36}{2}}", "18", 1),
    ("\\boxed{18+0}", "18", 0),
    ("\\boxed{36/2}", "18", 1),
    ("\\boxed{\\binom{5}{2}}", "10", 0),
    ("\\boxed{9 \\cdot 2}", "18", 0),
    ("\\boxed{\\text{18 or 20}}", "18", 0),
    ("\\boxed{18, 20}", "18", 0),
    ("\\boxed{18 \\text{ and } 20}", "18", 0),
    ("\\boxed{\\$18 \\text{ or } \\$20}", "18", 0),
    ("\\boxed{$18$ or $20$}", "18", 0),
    ("\\boxed{17-19}", "18", 0),
    ("\\boxed{18 to 20}", "18", 0),
    ("\\boxed{18 plus 2}", "18", 0),
    ("\\boxed{18 or so}", "18", 0),
    ("\\boxed{not 18}", "18", 0),
    ("\\boxed{between 17 and 18}", "18", 0),
    ("\\boxed{18 \\text{ doubled}}", "18", 0),
    ("\\boxed{18 \\pm 2}", "18", 0),
    ("\\boxed{18 \\times}", "18", 0),
    ("\\boxed{> 18}", "18", 0),
    ("\\boxed{x > 18}", "18", 0),
    ("\\boxed{\\geq 18}", "18", 0),
    ("\\boxed{\\neq 18}", "18", 0),
    ("\\boxed{x \\neq 18}", "18", 0),
    ("\\boxed{11_2}", "3", 0),
    ("\\boxed{101_2}", "101_2", 1),
    ("\\boxed{101}", "101_2", 1),
    ("\\boxed{101_3}", "101_2", 0),
    ("\\boxed{4210_5}", "4210_{5}", 1),
    ("\\boxed{4:30 \\text{ p.m.}}", "4:30 pm", 1),
    ("\\boxed{4:30}", "4:30", 1),
    ("\\boxed{16:30}", "4:30 pm", 0),
    ("\\boxed{5\\text{ feet}}", "5\\text{ inches}", 0),
    ("\\boxed{5\\text{ ft}}", "5\\text{ feet}", 1),
    ("\\boxed{\\$5}", "5 \\text{ dollars}", 1),
    ("\\boxed{5\\text{ apples}}", "5\\text{ dollars}", 1),
    ("\\boxed{BAD}", "\\text{BAD}", 1),
    ("\\boxed{yx}", "xy", 1),
    ("\\boxed{ab}", "ba", 0),
    ("\\boxed{\\text{no}}", "no", 1),
    ("\\boxed{Evelyn}", "\\text{Evelyn}", 1),
    ("\\boxed{1.41421356}", "\\sqrt{2}", 1),
    ("\\boxed{1.41}", "\\sqrt{2}", 0),
    ("\\boxed{(3, 5)}", "(3,5)", 1),
    ("\\boxed{(5, 3)}", "(3,5)", 0),
    ("\\boxed{(1+2, 5)}", "(3,5)", 0),
    ("\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", "\\left( 3, \\frac{\\pi}{2} \\right)", 1),
    ("\\boxed{3 \\pm \\sqrt{5}}", "3+\\sqrt{5},3-\\sqrt{5}", 1),
    ("\\boxed{[0, 1)}", "[0,1)", 1),
    ("\\boxed{(0,1)}", "[0,1)", 0),
    ("\\boxed{2x+3}", "3+2x", 1),
    ("\\boxed{y = 2x + 3}", "y=2x+3", 1),
    ("\\boxed{2x + 3}", "y=2x+3", 1),
    ("\\boxed{p - q}", "p - q", 1),
    ("\\boxed{q-p}", "p - q", 0),
    ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", 1),
    ("\\boxed{\\begin{pmatrix} 1 \\\\ 3 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", 0),
    ("\\boxed{x \\in [-2,7]}", "x \\in [-2,7]", 1),
    ("\\boxed{[-2,7]}", "x \\in [-2,7]", 1),
    ("\\boxed{1,2,3}", "3,2,1", 1),
    ("\\boxed{\\{1,2,3\\}}", "1,2,3", 1),
    ("\\boxed{1 \\text{ and } 2}", "1,2", 1),
    ("\\boxed{1, 2}", "1,2,3", 0),
    ("\\boxed{10,\\!000}", "10000", 1),
    ("\\boxed{10{,}000}", "10000", 1),
    ("\\boxed{10 000}", "10000", 1),
    ("the total is 5. #### 5 apples\nHope it helps!", "5", 1),
    ("\\boxed{5}</s>\\boxed{6}", "5", 1),
    ("<think>\\boxed{1}</think> \\boxed{2}", "2", 1),
    ("<think>\\boxed{1}</think>The answer is 2.", "1", 0),
    ("<think>\\boxed{1}", "1", 1),
    ("\\boxed{5}", "Tom has 5 <<2+3=5>>5 apples.\n#### 5", 1),
    ("\\boxed{5 \\text{ or } 5}", "5", 0),
    ("\\boxed{12 \\text{ inches}}", "12", 1),
    ("\\boxed{12''}", "12", 0),
    ("\\boxed{12 \\text{ hours and } 30 \\text{ minutes}}", "12", 0),
    ("\\boxed{\\text{twelve}}", "12", 0),
    ("\\boxed{1.0}", "1", 1),
    ("\\boxed{1.}", "1", 1),
    ("\\boxed{001}", "1", 1),
    ("\\boxed{\\frac{5}{0}}", "5", 0),
    ("\\boxed{+5}", "5", 1),
    ("\\boxed{}", "5", 0),
    ("\\boxed{5\\\\}", "5", 1),
    ("\\boxed{5\\text{ }}", "5", 1),
    ("\\boxed{ \\mathbf{5} }", "5", 1),
    ("\\boxed{\\textbf{5}}", "5", 1),
    ("\\boxed{\\color{red}5}", "5", 1),
    ("\\boxed{5 \\quad \\text{(approximately)}}", "5", 1),
    ("\\boxed{\\$5{,}000}", "5000", 1),
    ("\\boxed{5\\text{k}}", "5000", 0),
    ("\\boxed{5 million dollars}", "5000000", 1),
    ("\\boxed{\\text{\\$5}}", "5", 1),
    ("\\boxed{\\text{5 dollars}}", "5", 1),
    ("\\boxed{5\\ \\text{apples}}", "5", 1),
    ("\\boxed{5~\\text{cm}}", "5", 1),
    ("\\boxed{\\frac{3}{4}\\text{ cup}}", "3/4", 1),
    ("\\boxed{1\\frac{1}{2}}", "3/2", 1),
    ("\\boxed{\\dfrac{3}{4}}", "0.75", 1),
    ("\\boxed{\\tfrac34}", "0.75", 1),
    ("\\boxed{90^\\circ}", "90", 1),
    ("\\boxed{90 degrees}", "90", 1),
    ("\\boxed{90°}", "90^\\circ", 1),
    ("\\boxed{\\angle A = 90^\\circ}", "90", 1),
    ("\\boxed{m = 5}", "5", 1),
    ("\\boxed{f(2) = 5}", "5", 1),
    ("\\boxed{5 = 6}", "5", 0),
    ("\\boxed{\\text{Total cost} = \\$5}", "5", 1),
    ("\\boxed{2 + 3 = 5}", "5", 1),
    ("\\boxed{2 \\times 3 = 6}", "6", 1),
    ("\\boxed{\\text{The answer is } 5}", "5", 1),
]


@pytest.mark.parametrize(("text", "gold", "right"), STATED)
def test_answers_as_models_state_them(text, gold, right):
    assert is_correct(extract_answer(text), gold) == bool(right)


def test_equal_answers_have_one_canonical_form_and_others_differ():
    groups = [
        ["1/2", "0.5", r"\frac12", ".50"],
        ["5", "x = 5", r"5\text{ apples}"],
        ["x+1", "1 + x"],
        [r"\sqrt{8}", r"2\sqrt2"],
        [r"\{1,2\}", r"\{2,1\}"],
        ["(1,2)"],
        ["(2,1)"],
        [r"\text{Monday}", "monday"],
        ["DAB"],
        ["BAD"],
        ["9^{9^{9^9}}"],
    ]
    forms = [{canonical_form(answer) for answer in group} for group in groups]
    assert [len(form) for form in forms] == [1] * len(groups)
    assert len(set.union(*forms)) == len(groups)


def test_thirty_two_formulas_are_compared_with_no_other_than_the_gold(monkeypatch):
    """maj@k keys each sample once; comparing all pairs took 496 calls of math-verify."""
    from thinktuning_lite.evaluation.tasks import graders

    compared = []
    monkeypatch.setattr(grading, "_math_verify", lambda answer, gold: compared.append(answer) or False)
    samples = [rf"{i}x^2+\sqrt{{{i + 5}}}x-1" for i in range(32)]
    assert graders.grade({"answer": "x-1"}, [samples])["maj@k"] == 0.0
    assert len(compared) <= 33
