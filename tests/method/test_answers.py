"""What completions state: extraction against hand-written expectations, in the manner of real models.

Real solutions, golds and grader cases are in `test_real_graders.py`; hostile and composed texts in `test_grading.py` and
`test_composed.py`.
"""

from __future__ import annotations

import pytest

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
        ("ANSWER: (b)", "B"),
        ("ANSWER: b", None),  # a lower-case key counts in brackets only
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


# --- texts in the manner of real models ---------------------------------------------------------------------

CHOICES = [
    ("Let's think. The fox lives in forests. Therefore, among A through E, the answer is B.", "B", 5),
    ("Therefore, among A through E, the answer is\n\nB. natural habitat", "B", 5),
    ("The man wants to relax. Therefore, the answer is (E) relax.", "E", 5),
    ("We know that x. Therefore, the answer is (D).\n\nQ: What is\nA: The answer is (A).", "D", 5),
    ("A: The answer must be a place. So the answer is (C).", "C", 5),
    ("The best answer is C) bank, because A) library and B) school do not have money.", "C", 5),
    ("**Answer: D) 24**", "D", 5),
    ("### Final Answer\n\n**B**", "B", 5),
    ("### Answer: (C) 10^-4 eV", "C", 4),
    ("The correct answer is:\n\n**(B)** $10^{-4}$ eV", "B", 4),
    ("**Final Answer:** The correct option is **A**.", "A", 4),
    ("Option B is incorrect because it is. Option C is the correct answer.", "C", 4),
    ("Thus, the correct choice is therefore **B) the moon**.", "B", 4),
    ("I would go with option (D).", "D", 4),
    ("My answer is C.", "C", 4),
    ("So answer is D", "D", 5),
    ("ANSWER:C", "C", 5),
    ("ANSWER : D", "D", 5),
    ("Ans: E", "E", 5),
    ("answer is option B", "B", 5),
    ("Hence, option D.", "D", 5),
    ("Hence (A) is the correct answer.", "A", 5),
    ("so the ratio is 3:5\nANSWER IS A", "A", 5),
    ("Answer is A.", "A", 5),
    ("The answer should be (B).", "B", 5),
    ("Therefore, the answer to the question is E.", "E", 5),
    ("The answer is E: 42", "E", 5),
    ("The answer is C because", "C", 5),
    ("The answer choice that best fits is C.", "C", 5),
    ("This matches option (B).", "B", 5),
    ("So it corresponds to choice C.", "C", 5),
    ("That leaves us with option D.", "D", 5),
    ("Based on this, the most likely answer is (E) village.", "E", 5),
    ('The most appropriate answer would be "C. hill".', "C", 5),
    ("The answer is 'B'.", "B", 5),
    ("The answer: B", "B", 5),
    ("Correct answer: B", "B", 5),
    ("Correct Answer - B", None, 5),
    ("Final answer: \\boxed{\\text{B}}", "B", 5),
    ("\\boxed{\\text{Option C}}", "C", 5),
    ("\\boxed{C: 12}", "C", 5),
    ("\\boxed{C, because it is round}", "C", 5),
    ("\\boxed{\\bf C}", "C", 5),
    ("\\boxed{\\mathbf{C}}", "C", 5),
    ("\\boxed{(C)\\ 12}", "C", 5),
    ("\\boxed{C. \\text{The sun}}", "C", 5),
    ("\\boxed{C)}", "C", 5),
    ("\\boxed{\\textbf{(C)}\\ 12}", "C", 5),
    ("\\boxed{A, C}", None, 5),
    ("\\boxed{\\text{A and C}}", None, 5),
    ("\\boxed{\\text{B}} \n\nput your answer within \\boxed{}", "B", 5),
    ("The answer is \\boxed{B}.\n\nFinal Answer: \\boxed{\\text{your answer}}", "B", 5),
    ("<think>maybe the answer is (A)</think>The answer is (B).", "B", 5),
    ("<think>maybe the answer is (A). Or C</think>\n\nHmm.", None, 5),
    ("<think>So the answer is (A).</think>", "A", 5),
    ("C", "C", 5),
    ("C.", "C", 5),
    ("(C)", "C", 5),
    ("**C**", "C", 5),
    ("C) bank", "C", 5),
    ("C. bank", "C", 5),
    ("C\n\nBecause banks hold money.", "C", 5),
    ("(C) bank\n\nExplanation: banks hold money.", "C", 5),
    ("B. Paris is the capital of France.", "B", 5),
    ("The fox lives in the forest.\n\nB", "B", 5),
    ("Looking at options, option A can be eliminated. Therefore, option B is correct.", "B", 5),
    ("Option A is not correct. Option B is not correct either.", None, 5),
    ("If A is true, the answer would be C.", None, 5),
    ("Is the answer (B)? Let's check.", None, 5),
    ("One might think the answer is (A), but that ignores gravity. The answer is (C).", "C", 5),
    ("The answer is not (A) but (C).", None, 5),
    (
        "Let's go through the options:\n(A) x is wrong\n(B) y is right\n(C) z is wrong\n\nThe correct answer is (B).",
        "B",
        5,
    ),
    ("A. x\nB. y\nC. z\n\nAnswer: B", "B", 5),
    ("None of the options is correct.", None, 5),
    ("The answer is none of the above.", None, 5),
    ("The answer is (D) None of the above.", "D", 5),
    ("The answer is (D) both (A) and (B).", "D", 5),
    ("The correct answer is D. All of the above.", "D", 5),
    ("The answer is (B), not (C).", "B", 5),
    ("The answer is (B) rather than (C).", "B", 5),
    ("The answer is B since A is wrong.", "B", 5),
    ("The answer is (B). (A) is wrong because it is too hot. (C) is too cold.", "B", 5),
    ("We have the answer (C).", None, 5),
    ("Answer (C)", "C", 5),
    ("So (C) is the answer.", "C", 5),
    ("So the final answer is B", "B", 5),
    ("The only option that satisfies both conditions is C.", "C", 5),
    ("Only option C satisfies both conditions.", "C", 5),
    ("Out of the given options, D) shade is the best answer.", "D", 5),
    ("E. space shuttle is the correct answer.", "E", 5),
    ("The answer is $\\textbf{(B) } 12$.", "B", 5),
    ("The answer is $\\boxed{\\textbf{(B)}}$", "B", 5),
    ("The answer is \\textbf{(B)}.", "B", 5),
    ("The answer is \\(\\text{B}\\)", "B", 5),
    ("The answer is $B$.", "B", 5),
    ("The answer is $B = 3$.", None, 5),
    ("The answer is $x = 5$, which is option (B).", "B", 5),
    ("The answer is 5, which corresponds to option B.", "B", 5),
    ("Therefore, the answer is 25, i.e. (B).", None, 5),
    ("The answer is (B) 5. However, I am not sure.", "B", 5),
    ("I think the answer is (B).", "B", 5),
    ("I believe that the correct answer is (B).", "B", 5),
    ("I'm not sure, but I think the answer is (B).", "B", 5),
    ("Since the object is not a metal the answer is (B).", "B", 5),
    ("It cannot be A, so the answer is (B).", "B", 5),
    ("The answer is A, B, or C.", None, 5),
    ("Answer: Options B and C", None, 5),
    ("Answer: A and C.", None, 5),
    ("The answers are B and C.", None, 5),
    ("The answer is (A)(C).", None, 5),
    ("Both (A) and (B) are correct.", None, 5),
    ("The answer is yes.", None, 5),
    ("The answer is (1).", "1", "1234"),
    ("The answer is 2.", "2", "1234"),
    ("The answer is 2 because it is.", "2", "1234"),
    ("The answer is 2 cm.", None, "1234"),
    ("\\boxed{3}", "3", "1234"),
    ("Step 1: x\nStep 2: y\n\n#### B", "B", 5),
    ("#### A. Introduction\nHello", None, 5),
    ("The answer is (J).", "J", 10),
    ("**The answer is (I).**", "I", 10),
    ("The best choice is I.", "I", 10),
    ("Let's solve it. E = mc^2. So E is 5. The answer is (F).", "F", 10),
    ("<answer>(C) Paris</answer>", "C", 5),
    ("<answer> B </answer>\nsome text", "B", 5),
    ("The answer is: (C) village\n(D) town is wrong.", "C", 5),
    ("Therefore the correct answer is B) 25%.", "B", 5),
    ("Thus, C is the best answer.", "C", 5),
    ("C is correct.", "C", 5),
    ("So, the correct option is: C) 12 km/hr", "C", 5),
    ("The answer is **(C)** 12 \\text{ km/hr}.", "C", 5),
    ("answer: C\nexplanation: (A) is wrong", "C", 5),
    ("**Solution:** C", "C", 5),
    ("Choice C", "C", 5),
    ("Option C", "C", 5),
    ("Option (C) is correct.", "C", 5),
    ("The right answer is option D: apples", "D", 5),
    ("Answer: $\\mathrm{C}$", "C", 5),
    ("Answer: C. 5. Explanation: ...", "C", 5),
    ("The correct statement is C.", "C", 5),
    ("The correct answer is **C: The sun**", "C", 5),
    ("The correct answer is **C**: The sun", "C", 5),
    ("The answer that would fit is (C), but wait, (D) is better. The answer is (D).", "D", 5),
    ("The answer is (C). Wait, that's wrong. Let me recompute.", None, 5),
    ("The answer is (A). Actually, no. The answer is (B).", "B", 5),
    ("I cannot determine the answer.", None, 5),
    ("The answer cannot be (A).", None, 5),
    ("The answer may be (A).", None, 5),
    ("The answer could be A or B.", None, 5),
    ("Vitamin C is the answer.", None, 5),
    ("We choose point A on the circle.", None, 5),
    ("Select A from the list.", None, 5),
    ("I will pick B.", "B", 5),
    ("Say A is 5 and B is 3.", None, 5),
    ("The answer is A = 3.", None, 5),
    ("What is the right option? (A) red (B) blue", None, 5),
    ("Options:\nA) red\nB) blue", None, 5),
    ("The answer is (B) ice.\n\nExplanation:\n(A) fire is wrong.\n(C) wood is wrong.", "B", 5),
    ("Answer: B\n\nA) is wrong because...\nC) is wrong because...", "B", 5),
    ("B) ice\n\nA) is hot, C) is wood.", None, 5),
]
YES_NO = [
    ("No, it cannot.", "no"),
    ("Yes. It can.", "yes"),
    ("\n\nYes", "yes"),
    ("True", "yes"),
    ("FALSE", "no"),
    ("Therefore, the answer (Yes or No) is no.", "no"),
    ("Therefore, the answer (Yes or No) is: Yes.", "yes"),
    ("Hamsters are prey. Thus, yes. So the answer is yes.", "yes"),
    ("So the answer is no.\n\nQ: Could x?\nA: So the answer is yes.", "no"),
    ("The answer is a definite yes.", "yes"),
    ("The answer is definitely no.", "no"),
    ("Based on this, no, it would not.", "no"),
    ("Thus, a crow could not. So the answer is no", "no"),
    ("So, no, a crow could not.", "no"),
    ("Therefore, no, it isn't.", "no"),
    ("Therefore, yes.", "yes"),
    ("In conclusion, yes, they can.", "yes"),
    ("Yes and no.", None),
    ("The answer is yes and no.", None),
    ("The answer is both yes and no.", None),
    ("The answer is neither yes nor no.", None),
    ("The answer is either yes or no.", None),
    ("The answer is yes or no.", None),
    ("It depends.", None),
    ("The answer depends on x.", None),
    ("No one knows.", None),
    ("No problem is unsolvable.", None),
    ("There is no answer.", None),
    ("\\boxed{\\text{Yes}}", "yes"),
    ("\\boxed{No (too big)}", "no"),
    ("\\boxed{No, it is}", "no"),
    ("\\boxed{Yes/No}", None),
    ("\\boxed{\\text{No}} \\boxed{\\text{Yes/No}}", "no"),
    ("**Answer:** No", "no"),
    ("**No**, it would not.", "no"),
    ("### Answer\nNo", "no"),
    ("**Final Answer: Yes**", "yes"),
    ("Short answer: no.", "no"),
    ("Final answer: False", "no"),
    ("<answer>yes</answer>", "yes"),
    ("<think>yes</think>no", "no"),
    ("I would say no.", "no"),
    ("I'd say yes.", "yes"),
    ("My answer is yes.", "yes"),
    ("Is the answer yes?", None),
    ("Some would say the answer is yes.", None),
    ("Yes, but the answer is no.", "no"),
    ("The answer is yes, if x holds.", None),
    ("The answer is no, because x.", "no"),
    ("The answer would be no.", "no"),
    ("The answer to the question is: No.", "no"),
    ("No it isn't.", "no"),
    ("Yes it is.", "yes"),
    ("No, no one could.", "no"),
    ('The answer is "no".', "no"),
    ("the answer is *yes*.", "yes"),
    ("It is not true. The answer is no.", "no"),
    ("Wait, the answer is yes. No, that's wrong. The answer is no.", "no"),
    ("The final answer is $\\boxed{\\text{no}}$", "no"),
    ("The final answer is: $\\text{No}$", "no"),
    ("Answer: yes\nExplanation: no one would", "yes"),
    ("A: yes", "yes"),
    ("Q: is it?\nA: No. It is not.", "no"),
    ("No\n\nBecause it is.", "no"),
    ("The correct answer is yes", "yes"),
    ("There is no reason. Thus, the answer is yes", "yes"),
    ("Hence the answer is: yes", "yes"),
    ("The statement is false.", None),
    ("Yes - it could.", "yes"),
    ("Yes – it could.", "yes"),
    ("No; it could not.", "no"),
    ("Overall, the answer is most likely no.", "no"),
    ("Probably no.", None),
    ("Not necessarily.", None),
    ("So the answer is yes!", "yes"),
    ("Would it? No.", "no"),
    ("It would be impossible. So the answer is no. Explanation: yes is wrong.", "no"),
    ("the answer is no longer clear", None),
    ("The answer is True.", "yes"),
]


@pytest.mark.parametrize(("text", "expected", "choices"), CHOICES)
def test_choices_as_models_state_them(text, expected, choices):
    assert extract_choice(text, choices) == expected


@pytest.mark.parametrize(("text", "expected"), YES_NO)
def test_yes_and_no_as_models_state_them(text, expected):
    assert extract_yes_no(text) == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r"<think>\boxed{1}</think>So \boxed{2}. More \boxed{3}", r"<think>\boxed{1}</think>So \boxed{2}"),
        (r"in \boxed{}: \boxed{2} more", r"in \boxed{}: \boxed{2}"),
        (r"x = \boxed{1} or x = \boxed{-2}. Wait.", r"x = \boxed{1} or x = \boxed{-2}"),
        ("so\n#### 18\nWait, #### 20", "so\n#### 18"),
    ],
)
def test_the_first_answer_ends_by_the_same_rules(text, kept):
    end = first_answer_end(text)
    assert text[:end] == kept
    assert extract_answer(text[:end]) is not None


def test_a_question_that_follows_is_not_answered_by_what_stood_before():
    assert extract_choice("The answer is (A) or (B).\n\nQuestion: next\nThe answer is (C).") is None
    assert extract_yes_no("Question: is it?\nAnswer: no\n\nQuestion: and this?\nAnswer: yes") == "no"
