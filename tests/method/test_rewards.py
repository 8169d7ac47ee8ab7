"""Reward functions in TRL's signature."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.rewards import (
    CoinReward,
    behaviour_reward,
    correctness_reward,
    counted_steps_reward,
    process_reward,
)


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


def test_a_raw_solution_as_gold_is_read():
    raw = "Tom has 2 + 2 = <<2+2=4>>4 apples.\n#### 1,004"
    assert correctness_reward([r"\boxed{1004}", "#### 1,004", r"\boxed{4}"], [raw] * 3) == [1.0, 1.0, 0.0]
    assert correctness_reward([r"\boxed{\frac12}"], [r"So it is $\boxed{0.5}$."]) == [1.0]


# The rules that matter in training, as notebook 05's table shows them: text, gold, what is read, reward.
RULES = [
    (r"So she makes \boxed{\$18} a day.", "18", r"\$18", 1.0),
    ("#### **18 dollars**", "18", "18", 1.0),
    (r"\boxed{2 \times 9 = 18}", "18", r"2 \times 9 = 18", 1.0),
    (r"\boxed{2 \times 9}", "18", r"2 \times 9", 0.0),
    (r"\boxed{18 \text{ or } 20}", "18", r"18 \text{ or } 20", 0.0),
    (r"\boxed{18 \text{ cents}}", r"18 \text{ dollars}", r"18 \text{ cents}", 0.0),
    (r"\boxed{20} Wait, \boxed{18}", "18", "18", 1.0),
    ("\\boxed{20}\n\nQuestion: and now?\n\\boxed{18}", "18", "20", 0.0),
    ("So the answer is 18.", "18", None, 0.0),
]


@pytest.mark.parametrize(("text", "gold", "read", "reward"), RULES)
def test_the_rules_of_the_reward(text, gold, read, reward):
    assert extract_answer(text) == read
    assert correctness_reward([text], [gold]) == [reward]


SOUND, SLIP = r"23*4=92. 92+5=97. \boxed{97}", r"23*4=82. 82+5=87. \boxed{87}"
GAMED = "1+0=1. " * 12 + r"\boxed{0}"


def test_process_reward_pays_for_the_share_of_true_steps_and_counted_steps_for_their_number():
    completions = [SOUND, SLIP, [{"role": "assistant", "content": SOUND}], r"\boxed{97}", GAMED]
    assert process_reward(completions) == [1.0, 0.5, 1.0, 0.0, 1.0]
    assert counted_steps_reward(completions) == [0.2, 0.1, 0.2, 0.0, 1.0]


def test_step_rewards_log_what_tells_a_gamed_solution_from_a_sound_one():
    for reward in (process_reward, counted_steps_reward):
        for text, expected in ((SOUND, (2, 0, 1, 1)), (SLIP, (2, 0, 0.5, 0)), (GAMED, (12, 12, 1, 1))):
            logged = {}
            reward([text, text], log_metric=logged.__setitem__)
            names = ("steps/equations", "steps/padding", "steps/hold", "steps/before_error")
            assert logged == dict(zip(names, expected, strict=True))


def test_coin_reward_knows_seed_step_and_row_only():
    coin = CoinReward(3)

    def thrown(reward, step, texts):
        return reward(texts, answer=["1"] * len(texts), trainer_state=SimpleNamespace(global_step=step))

    first = thrown(coin, 5, ["right"] * 400)
    assert first == thrown(coin, 5, ["wrong"] * 400) == thrown(pickle.loads(pickle.dumps(coin)), 5, ["x"] * 400)
    assert first != thrown(coin, 6, ["right"] * 400) and first != thrown(CoinReward(4), 5, ["right"] * 400)
    assert set(first) == {0.0, 1.0} and 140 < sum(first) < 260  # 6 standard deviations
    assert coin.__name__ == "coin_reward"
