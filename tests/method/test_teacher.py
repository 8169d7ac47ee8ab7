"""teacher.py: parsing against an independent parser, splicing at random, whom to guide and when, and who can teach."""

from __future__ import annotations

import itertools
import math
import random
import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from thinktuning_lite.method import teacher
from thinktuning_lite.method.teacher import Guidance, GuidanceRequest

REQUEST = GuidanceRequest("Ana has 5 coins. How many?", "5+2=7. \\boxed{7}", "self-critique")

# --- parse --------------------------------------------------------------------------------------------------

GOOD = "<opinion>correct</opinion><reason>I agree.</reason><phrase>1+1=2. \\boxed{2}</phrase>"


def parse_by_splitting(text: str) -> Guidance | None:
    """The contract, written another way: exactly the six tags in order, nothing but white space between pairs."""
    text = text.split("</think>")[-1].split("[/THINK]")[-1].strip()
    first, *rest = text.split("\n")
    if text.startswith("```") and text.endswith("```") and rest and re.fullmatch(r"```[\w-]*[ \t]*", first):
        text = "\n".join(rest)[:-3]
    pieces = re.split(r"(</?(?:opinion|reason|phrase)>)", text)
    tags, texts = pieces[1::2], [p.strip() for p in pieces[0::2]]
    if tags != ["<opinion>", "</opinion>", "<reason>", "</reason>", "<phrase>", "</phrase>"]:
        return None
    before, opinion, gap1, reason, gap2, phrase, after = texts
    if before or gap1 or gap2 or after or opinion not in ("correct", "incorrect") or not reason or not phrase:
        return None
    return Guidance(opinion, reason, phrase)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n  {GOOD}\n\n",
        GOOD.replace("><", ">\n\t <"),
        GOOD.replace(">correct<", "> correct\n<"),
        GOOD.replace("I agree.", "\n I agree. \n"),
        f"<think>\nIs it? <opinion>incorrect</opinion>\n</think>\n\n{GOOD}",
        f"so the template opened the thought</think>{GOOD}",
        f"[THINK]hm[/THINK]{GOOD}",
        f"```xml\n{GOOD}\n```",
        f"<think></think>\n```\n{GOOD}```\n",
    ],
)
def test_white_space_is_tolerated(text):
    assert teacher.parse_guidance(text) == Guidance("correct", "I agree.", "1+1=2. \\boxed{2}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I think it is right.",
        f"Sure! {GOOD}",
        f"{GOOD} Done.",
        f"<think>{GOOD}",
        f"{GOOD}</think>",
        f"<think>x</think>Sure! {GOOD}",
        f"```{GOOD}",
        f"Sure!\n```xml\n{GOOD}\n```",
        f"```xml\n{GOOD}\n```\nDone.",
        GOOD + GOOD,
        GOOD.replace("correct", "Correct"),
        GOOD.replace("correct", "unsure"),
        GOOD.replace("correct", ""),
        GOOD.replace("I agree.", " \n"),
        GOOD.replace("1+1=2. \\boxed{2}", ""),
        GOOD.replace("<reason>I agree.</reason>", ""),
        GOOD.replace("</phrase>", ""),
        GOOD.replace("</reason>", ""),
        GOOD.replace("<reason>", "<Reason>"),
        GOOD.replace("I agree.", "I <phrase>agree</phrase>."),
        GOOD.replace("I agree.", "I agree.</reason><reason>Twice."),
        GOOD.replace("I agree.", "<reason>I agree."),
        GOOD.replace("1+1=2.", "1+1=2.</opinion>"),
        "<reason>I agree.</reason><opinion>correct</opinion><phrase>2</phrase>",
        GOOD.replace("</opinion>", "</opinion>,"),
    ],
)
def test_structure_is_strict(text):
    assert parse_by_splitting(text) is None
    assert teacher.parse_guidance(text) is None


def test_spliced_text_is_reason_and_phrase_without_the_opinion():
    assert teacher.parse_guidance(GOOD).text == "\n\nI agree.\n\n1+1=2. \\boxed{2}"


PIECES = [f"<{slash}{t}>" for t in teacher.TAGS for slash in ("", "/")]
PIECES += [
    "correct",
    "incorrect",
    "I agree.",
    "\\boxed{2}",
    " ",
    "\n",
    "",
    "<",
    ">",
    "</",
    "<opinion",
    "\u2028",
    "é",
    "</think>",
    "```xml\n",
    "```",
]


def test_10_000_random_mixtures_of_tags_and_words_parse_as_by_splitting():
    rng = random.Random(0)
    parsed = 0
    for _ in range(10_000):
        inside = [
            rng.choice(("correct", "incorrect", " correct\n")),
            rng.choice(PIECES[6:]),
            rng.choice(PIECES[6:]),
        ]
        parts = [part for t, said in zip(teacher.TAGS, inside, strict=True) for part in (f"<{t}>", said, f"</{t}>")]
        for _ in range(rng.choice((0, 0, 1, 2, 5))):  # damage
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(PIECES))
            if rng.random() < 0.3:
                del parts[rng.randrange(len(parts))]
        text = "".join(parts)
        got = teacher.parse_guidance(text)
        assert got == parse_by_splitting(text), text
        parsed += got is not None
    assert 500 < parsed < 9_500, parsed  # both sides of the contract were met


@hypothesis_settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES) | st.text(max_size=8)).map("".join)))
def test_any_text_parses_or_is_refused_but_never_raises(text):
    assert teacher.parse_guidance(text) == parse_by_splitting(text)


@pytest.mark.parametrize(
    "text",
    [
        "<opinion>correct</opinion><reason>" + "</reason> <phrase>" * 400 + "</phrase>" * 400 + "x",
        "<opinion>" + " " * 20_000 + "x",
        GOOD + " " * 20_000 + "x",
        "<opinion>correct</opinion><reason>" + "a" * 50_000,
        "```\n" + "``` " * 15_000 + "x",
        "```\n" + " " * 20_000 + "x",
        "</think>" * 6_000 + "x",
    ],
)
def test_hostile_replies_of_a_reply_s_size_take_less_than_a_second(text):
    began = time.process_time()
    assert teacher.parse_guidance(text) is None
    assert time.process_time() - began < 1


# --- splice -------------------------------------------------------------------------------------------------


def test_splice_10_000_random_responses_and_feedbacks():
    rng = random.Random(1)
    eos_ids = [5, 9]
    words = [i for i in range(40) if i not in eos_ids]
    cut = unchanged = 0
    for _ in range(10_000):
        own = rng.choices(words, k=rng.randint(0, 30))
        student = own + [rng.choice(eos_ids)]
        feedback = rng.choices(range(40), k=rng.randint(0, 30))  # may hold EOS anywhere
        budget = rng.randint(1, 60)
        given = list(student), list(feedback)
        ids, author = teacher.splice(student, feedback, eos_ids, budget)

        assert (student, feedback) == given  # arguments are left alone
        assert ids[: len(own)] == own  # exact prefix, whatever the budget
        assert [i for i in ids if i in eos_ids] == [student[-1]] and ids[-1] == student[-1]
        assert len(ids) == len(author)
        taught = [i for i in feedback if i not in eos_ids]
        room = budget - len(student)
        if taught and room > 0:
            assert ids[len(own) : -1] == taught[:room]
            assert author == [0] * len(own) + [1] * (len(ids) - len(own))
            assert len(ids) <= budget
            cut += room < len(taught)
        else:
            assert ids == student and author == [0] * len(student)
            unchanged += 1
    assert cut > 1_000 and unchanged > 1_000


def test_spliced_text_of_the_real_tokenizer_is_response_and_guidance(tokenizer):
    """Student ids that are not what the tokenizer would write for their text are kept all the same."""
    rng = random.Random(2)
    eos = tokenizer.eos_token_id
    letters = [tokenizer.convert_tokens_to_ids(c) for c in string.ascii_letters + string.digits + " "]
    retokenized = 0
    for _ in range(300):
        student = rng.choices(letters, k=rng.randint(1, 25)) + [eos]
        response = tokenizer.decode(student, skip_special_tokens=True)
        retokenized += tokenizer.encode(response, add_special_tokens=False) != student[:-1]
        guidance = Guidance(
            "correct", "Wait, I doubt 5.", "Again: " + "".join(rng.choices(string.printable[:95], k=9)) + "."
        )
        taught = tokenizer.encode(guidance.text, add_special_tokens=False)
        ids, author = teacher.splice(student, taught, [eos], 200)
        assert ids[: len(student) - 1] == student[:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True) == response + guidance.text
        own = [i for i, a in zip(ids, author, strict=True) if not a]
        assert tokenizer.decode(own) == response
    assert retokenized > 10


@pytest.mark.parametrize("ids", [[], [1, 2, 3]])
def test_a_response_that_did_not_end_by_itself_is_refused(ids):
    with pytest.raises(ValueError, match="ended by itself"):
        teacher.splice(ids, [4], [5], 10)


# --- whom, and when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4, 0.4, 0.0, 0.0]),
        ("linear", [0.4, 0.325, 0.25, 0.175, 0.1, 0.0, 0.0]),
        ("cosine", [0.4, 0.3560660171779821, 0.25, 0.14393398282201787, 0.1, 0.0, 0.0]),
    ],
)
def test_schedules_by_hand(schedule, wanted):
    got = [teacher.guided_fraction(step, 5, 0.4, 0.1, schedule) for step in range(7)]
    assert got == pytest.approx(wanted, abs=1e-12)


def test_schedule_of_one_or_no_step_and_of_an_unknown_name():
    assert teacher.guided_fraction(0, 1, 0.3, 0.1, "linear") == pytest.approx(0.3)
    assert teacher.guided_fraction(0, 0, 0.3, 0.1, "linear") == 0.0
    with pytest.raises(ValueError, match="'step'.*constant, linear, cosine"):
        teacher.guided_fraction(0, 5, 0.3, 0.1, "step")


def test_random_selection_is_even_within_groups_and_blind_to_correctness():
    eligible = [True] * 8 + [False, True, False, False]
    counts = [0] * 12
    for seed in range(4000):
        picks = teacher.select_rollouts(eligible, 4, 0.1, random.Random(seed))  # 0.1 of 4: at least one
        assert [sum(g <= p < g + 4 for p in picks) for g in (0, 4, 8)] == [1, 1, 1]
        for p in picks:
            counts[p] += 1
    assert counts[8:] == [0, 4000, 0, 0]
    assert all(900 < c < 1100 for c in counts[:8])  # 1000 +- 3.6 standard deviations


@pytest.mark.parametrize(("fraction", "quota"), [(0.0, 0), (0.01, 1), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_quota_of_a_group_of_eight(fraction, quota):
    picks = teacher.select_rollouts([True] * 16, 8, fraction, random.Random(0))
    assert [sum(p < 8 for p in picks), sum(p >= 8 for p in picks)] == [quota, quota]
    assert len(set(picks)) == len(picks) and picks == sorted(picks)


def test_wrong_selection_picks_eligible_wrong_ones_only():
    eligible = [True, True, True, False] + [True] * 4
    correct = [True, False, True, False] + [True] * 4
    for seed in range(50):
        assert teacher.select_rollouts(eligible, 4, 0.5, random.Random(seed), "wrong", correct) == [1]


def test_hardest_selection_spends_the_pooled_quota_where_least_is_right():
    # right ones per group of 4: 3, 0, 2, 4; quota 1 each, so 4 in all, at most 2 a group, wrong ones only
    correct = [True] * 3 + [False] + [False] * 4 + [True, False, True, False] + [True] * 4
    for seed in range(50):
        picks = teacher.select_rollouts([True] * 16, 4, 0.25, random.Random(seed), "hardest", correct)
        assert len([p for p in picks if 4 <= p < 8]) == 2
        assert [p for p in picks if not 4 <= p < 8] == [9, 11]


@pytest.mark.parametrize(("size", "fractions"), [(5, (0.1, 0.06, 0.01)), (8, (1 / 8,))])
def test_the_quota_is_the_authors_in_their_run_and_in_the_main_job(size, fractions):
    """Theirs: floor(fraction x eligible rollouts), at least 1, of a group in which any is eligible."""
    for fraction in fractions:
        for eligible in itertools.product([True, False], repeat=size):
            theirs = min(sum(eligible), max(1, math.floor(fraction * sum(eligible))))
            assert len(teacher.select_rollouts(eligible, size, fraction, random.Random(0))) == theirs


def test_unknown_selection_is_refused():
    with pytest.raises(ValueError, match="'best'.*random, wrong, hardest, failed"):
        teacher.select_rollouts([True] * 4, 4, 0.5, random.Random(0), "best")


def test_failed_selection_guides_only_groups_without_a_right_rollout():
    correct = [False] * 4 + [True] + [False] * 3 + [False] * 4
    for seed in range(20):
        picks = teacher.select_rollouts([True] * 12, 4, 0.25, random.Random(seed), "failed", correct)
        assert [i // 4 for i in picks] == [0, 2]


def test_shuffled_teacher_gives_each_request_the_reply_to_another_question():
    requests = [GuidanceRequest(q, f"attempt {i}", "self-critique") for i, q in enumerate("aabc")]
    echo = teacher.ScriptedTeacher(lambda r: f"{r.question}: {r.response}")
    replies = teacher.ShuffledTeacher(echo)(requests)
    assert replies == ["b: attempt 2", "b: attempt 2", "c: attempt 3", "a: attempt 0"]
    assert all(isinstance(r, teacher.NoReply) for r in teacher.ShuffledTeacher(echo)(requests[:2]))
    assert teacher.ShuffledTeacher(echo)([]) == []
