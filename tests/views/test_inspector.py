"""The inspector without a browser: index, numbers against hand and brute force, hostile text, twins, live view."""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import length_reward
from nbformat.v4 import new_code_cell, new_notebook, new_output

from thinktuning_lite.lessons.stamp import WIDGET_VIEW, clean
from thinktuning_lite.method.grpo import group_advantages
from thinktuning_lite.method.rollouts import UNKNOWN_TOKEN, Rollout, RolloutLog
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.shaping import SHAPINGS, AASConstants, shape, shaped_loss
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.views import live
from thinktuning_lite.views.beside import beside
from thinktuning_lite.views.index import FILTERS, SORTS, RolloutIndex, Row
from thinktuning_lite.views.inspection import Settings, detect, recompute
from thinktuning_lite.views.inspector import Inspector
from thinktuning_lite.views.losses import Loss
from thinktuning_lite.views.scoring import score_tokens
from thinktuning_lite.views.text import visible

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror=alert(1)>",
    "a\x00b\x1b[31mc\x7f\x9b",
    "\u202eright to left\u202c שלום مرحبا",
    "$\\frac{1}{0}$ {{7*7}} &amp; \\u003c",
    "\ud800 lone",
    "e" + "\u0301" * 60,
]


def rollout(reward, ps, author=None, *, step=0, group=0, advantage=0.0, weights=None, **more) -> Rollout:
    author = author or [0] * len(ps)
    fields = dict(
        step=step,
        group=group,
        question="2+2?",
        text="4",
        token_ids=list(range(10, 10 + len(ps))),
        author=author,
        logps=[math.log(p) for p in ps],
        weights=weights or [1.0] * len(ps),
        reward=reward,
        advantage=advantage,
    )
    return Rollout(**(fields | more))


@pytest.fixture
def four() -> list[Rollout]:
    """One right, guided rollout among four; its entry token (index 2) is rare, and so is a token of a wrong one."""
    guided = rollout(1.0, [0.9, 0.8, 1e-6, 0.5, 0.99], [0, 0, 1, 1, 1])
    return [guided, rollout(0.0, [0.9, 0.3]), rollout(0.0, [0.001, 0.9, 0.9]), rollout(0.0, [0.5])]


def with_log(group: list[Rollout], shaping: str, mask: str) -> list[Rollout]:
    """The group as a trainer would have logged it."""
    advantages = group_advantages(torch.tensor([r.reward for r in group]), len(group)).tolist()
    out = []
    for r, a in zip(group, advantages, strict=True):
        w = shape(shaping, torch.tensor(r.logps).exp(), torch.tensor(a)).weight.tolist()
        masked = [r.guided if mask == "guided" else bool(who) for who in r.author]
        out.append(replace(r, advantage=a, weights=[x if m else 1.0 for x, m in zip(w, masked, strict=True)]))
    return out


# ---------------------------------------------------------------- index


def write(path, rollouts):
    log = RolloutLog(path)
    for r in rollouts:
        log.write(r)


def test_index_groups_interleaved_rows_and_reads_them_back(tmp_path):
    rows = [
        rollout(float(g == i), [0.5, 0.1 * (g + 1)], step=s, group=g) for s in (0, 6) for i in range(3) for g in (0, 1)
    ]
    write(tmp_path / "log.jsonl", rows)
    index = RolloutIndex(tmp_path / "log.jsonl")
    assert [g.key for g in index.groups] == ["0/0", "0/1", "6/0", "6/1"]
    got = index.rollouts(index.groups[3])
    assert [r.reward for r in got] == [0.0, 1.0, 0.0] and all((r.step, r.group) == (6, 1) for r in got)
    assert got[0].logps[0] == pytest.approx(math.log(0.5), rel=1e-4)
    assert index.groups[3].spread == pytest.approx(np.std([0, 1, 0], ddof=1))
    assert math.exp(index.groups[3].least_logp) == pytest.approx(0.2, rel=1e-4)


def test_of_a_step_done_again_the_later_rows_count(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, [rollout(0.0, [0.5], step=s) for s in (0, 1, 2) for _ in range(2)])
    write(path, [rollout(1.0, [0.5], step=s) for s in (1, 2) for _ in range(2)])  # resumed at step 1
    index = RolloutIndex(path)
    assert [(g.step, g.rewards) for g in index.groups] == [(0, [0.0] * 2), (1, [1.0] * 2), (2, [1.0] * 2)]
    write(path, [rollout(0.5, [0.5], step=2) for _ in range(2)])  # killed within step 2, resumed at it
    index.refresh()
    assert [(g.step, g.rewards) for g in index.groups][-1] == (2, [0.5] * 2)


def test_a_running_log_is_read_on_and_its_unfinished_group_waits(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, [rollout(1.0, [0.5], step=0) for _ in range(4)] + [rollout(1.0, [0.5], step=1) for _ in range(2)])
    with path.open("a") as file:
        file.write('{"step": 1, "gro')  # a row half written
    index = RolloutIndex(path)
    assert [g.key for g in index.groups] == ["0/0"] and index.incomplete == 1
    write(path, [rollout(1.0, [0.5], step=1) for _ in range(2)])  # RolloutLog cuts the half row off first
    index.refresh()
    assert [g.key for g in index.groups] == ["0/0", "1/0"] and index.incomplete == 0
    path.unlink()
    write(path, [rollout(1.0, [0.5], step=5) for _ in range(2)])  # another, shorter run in its place
    index.refresh()
    assert [g.key for g in index.groups] == ["5/0"]


def test_errors_say_what_and_where(tmp_path):
    path = tmp_path / "log.jsonl"
    with pytest.raises(FileNotFoundError, match="rollout_log_steps"):
        RolloutIndex(path)
    write(path, [rollout(1.0, [0.5])])
    with path.open("a") as file:
        file.write('{"step": 0}\n')
    with pytest.raises(ValueError, match="line 2"):
        RolloutIndex(path)
    with pytest.raises(ValueError, match="one entry per token"):
        RolloutIndex([rollout(1.0, [0.5], token_ids=[1, 2])])
    with pytest.raises(ValueError, match="no whole group"):
        Inspector([])


def test_filters_and_sorts():
    groups = RolloutIndex(
        [
            *(rollout(r, [0.5], group=0) for r in (0.0, 0.0)),
            *(rollout(r, [1e-5], group=1) for r in (0.0, 1.0)),
            rollout(0.0, [0.5, 0.01], [0, 1], group=2),
            rollout(3.0, [0.5], group=2),
        ]
    ).groups
    found = {name: [g.group for g in groups if keep(g)] for name, (_, keep) in FILTERS.items()}
    assert found == {"all": [0, 1, 2], "spread": [1, 2], "silent": [0], "guided": [2], "own": [0, 1], "surprising": [1]} | {
        "lowered": [], "wrong": [0], "right": [], "cut": [], "odd": [], "unjudged": [], "disagree": [],
    }  # fmt: skip
    order = {name: [g.group for g in sorted(groups, key=key)] for name, (_, key) in SORTS.items()}
    assert order == {
        "step": [0, 1, 2],
        "spread": [2, 1, 0],
        "surprise": [1, 2, 0],
        "reward": [0, 1, 2],
        "disagreement": [0, 1, 2],
    }


def test_what_is_wrong_with_a_group_is_found():
    groups = RolloutIndex(
        [
            *(rollout(r, [0.5] * 4, group=0) for r in (1.0, 1.0)),
            *(rollout(0.0, [0.5] * 4, group=1, finish=f) for f in ("stop", "length")),
            *(rollout(r, [0.5] * n, group=2) for r, n in ((0.0, 4), (0.0, 5), (1.5, 40))),
            *(rollout(0.0, [0.5], group=3, sampler_logps=[math.log(p)]) for p in (0.5, 0.1)),
            *(rollout(r, [0.5], group=4) for r in (math.nan, 1.0)),
        ]
    ).groups
    found = {name: [g.group for g in groups if FILTERS[name][1](g)] for name in FILTERS}
    assert found["right"] == [0, 4] and found["wrong"] == [1, 3] and found["cut"] == [1]
    assert found["lowered"] == []
    three = [rollout(r, [0.5]) for r in (1.0, 1.5, 1.5)]
    assert FILTERS["lowered"][1](RolloutIndex(three).groups[0])
    assert found["odd"] == [2] and found["disagree"] == [3] and found["unjudged"] == [4]


def test_text_is_found_in_questions_and_rollouts(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, [rollout(0.0, [0.5], group=g, question=f"Q{g}?", text=t) for g, t in ((0, "Wait, no"), (1, "12"))])
    index = RolloutIndex(path)
    assert index.holding("wait") == {"0/0"} and index.holding("q1") == {"0/1"} and index.holding("absent") == set()


def test_groups_of_unequal_size_are_whole(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, [rollout(float(i), [0.5], group=g) for g, n in ((0, 2), (1, 2), (2, 3), (3, 2)) for i in range(n)])
    write(path, [rollout(1.0, [0.5], step=1) for _ in range(2)])
    assert [len(g.rows) for g in RolloutIndex(path).groups] == [2, 2, 3, 2, 2]


def test_a_folder_is_the_log_in_it_and_null_fields_are_named(tmp_path):
    write(tmp_path / "rollouts.jsonl", [rollout(1.0, [0.5])])
    assert len(RolloutIndex(tmp_path).groups) == 1
    for field in ("question", "token_ids", "logps"):
        row = json.loads(rollout(1.0, [0.5]).to_json()) | {field: None}
        (tmp_path / "rollouts.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match=f"line 1.*{field}"):
            RolloutIndex(tmp_path)
    row = json.loads(rollout(1.0, [0.5]).to_json()) | {"logps": [None]}
    (tmp_path / "rollouts.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1.*not null"):
        RolloutIndex(tmp_path)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1, True])
def test_rewards_that_are_missing_infinite_or_no_floats_hide_nothing(odd, tmp_path):
    ok = [rollout(r, [0.5, 0.2], group=1) for r in (0.0, 1.0)]
    inspector = Inspector([rollout(odd, [0.5]), rollout(0.0, [0.5]), rollout(0.5, [0.3]), *ok])
    assert len(inspector.listing["groups"]) == 2
    inspector.select(0, 0)
    json.dumps([inspector.group, inspector.listing, inspector.ui], allow_nan=False)
    sent = {k: v for k, v in inspector.numbers.items() if not isinstance(v, bytes)}
    json.dumps(sent, allow_nan=False)
    page = inspector.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert json.loads(page.split('id="data">')[1].split("</script>")[0])
    if odd in (1, True):
        assert inspector.current()[1].after.tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-3)
    elif math.isnan(odd):
        assert inspector.current()[1].after.tolist() == pytest.approx([0.0, -0.7071, 0.7071], abs=1e-3)


def of_texts(advantage: float = math.nan) -> list[Rollout]:
    """A group as dumps.py reads it from a log of texts: no token ids, no probabilities."""
    none = dict(token_ids=[UNKNOWN_TOKEN] * 3, logps=[math.nan] * 3, text="it is two", advantage=advantage)
    return [rollout(r, [1.0] * 3, **none) for r in (0.0, 1.0)]


def test_what_a_log_lacks_is_shown_as_missing(tmp_path):
    inspector = Inspector(of_texts())
    assert [r["tokens"] for r in inspector.group["rollouts"]] == [["it ", "is ", "two"]] * 2
    note = inspector.numbers["note"]
    assert all(words in note for words in ("token ids", "log-probabilities", "advantages (those shown follow")), note
    assert inspector.current()[1].after.tolist() == pytest.approx([-0.7071, 0.7071], abs=1e-3)
    sent = unpacked(inspector)
    assert np.isnan(sent[0]).all() and np.isnan(sent[11]).all()  # p, the sampler's p
    assert inspector.pushes(0) == [] and "rarest" not in inspector.listing["groups"][0]["label"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inspector.figure().savefig(BytesIO(), format="png")
    page = inspector.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    with pytest.raises(ValueError, match="token ids"):
        Inspector(of_texts(), Words()).compare(None)


def test_the_samplers_probability_stands_beside_the_trainers():
    told = [rollout(1.0, [0.5, 0.4], sampler_logps=[math.log(0.25), None]), rollout(0.0, [0.5])]
    assert unpacked(Inspector(told, Words()))[11].tolist() == pytest.approx([0.25, math.nan, math.nan], nan_ok=True)


def test_the_twin_shows_a_page_and_says_what_it_leaves_out():
    long = rollout(1.0, [0.5] * 900 + [0.1] * 100, [0] * 900 + [1] * 100, token_ids=[5] * 1000)
    inspector = Inspector([long, rollout(0.0, [0.5])])
    figure = inspector.figure()
    assert figure.get_figheight() < 12
    assert "tokens 861 to 1000 of 1000" in figure._suptitle.get_text()


def test_pushes_are_the_steps_largest(four):
    inspector = Inspector(four)
    found = inspector.pushes(0, 3)
    everything = inspector.current()[1].push.abs()
    assert [abs(x["push"]) for x in found] == everything.sort(descending=True).values[:3].tolist()
    assert found[0]["group"] == "0/0" and {"rollout", "token", "text"} <= set(found[0])


# ---------------------------------------------------------------- numbers


def test_numbers_by_hand(four):
    a = 0.75 / (0.5 + 1e-4)  # mean 1/4, sample std 1/2
    gamma = 0.00025 * a
    n = recompute(four, Settings("intended"))
    torch.testing.assert_close(n.after, torch.tensor([a, -a / 3, -a / 3, -a / 3]))
    assert torch.isnan(n.before[0]) and n.before[1:].tolist() == [0.0, 0.0, 0.0]  # without the guided one all are equal
    assert n.weight[:3].tolist() == pytest.approx(
        [0.9 / (0.9 + gamma), 0.8 / (0.8 + gamma), 1e-6 / (1e-6 + gamma)], rel=1e-4
    )
    assert n.weight[5:].tolist() == [1.0] * 6 and n.case[5:].tolist() == [0.0] * 6  # own rollouts are not shaped
    assert n.advantage[2].item() == pytest.approx(a * 1e-6 / (1e-6 + gamma), rel=1e-4)
    assert n.gradient[2].item() == pytest.approx(a * 1e-6 / (1e-6 + gamma), rel=1e-4)  # 1 - p = 1
    assert n.gradient[5].item() == pytest.approx(a / 3 * 0.1, rel=1e-4)  # an own token of p = 0.9
    assert n.ratio.tolist() == [1.0] * 11

    released = recompute(four, Settings("released"))
    assert released.weight[2].item() == pytest.approx(1.0001) and released.case[2] == 2
    assert released.weight[0].item() == pytest.approx(0.9 / 0.899) and released.case[0] == 1
    assert recompute(four, Settings("released", mask="teacher")).case[:3].tolist() == [0.0, 0.0, 2.0]
    luffy = list(SHAPINGS).index("luffy")
    assert released.weights_by[luffy, 2].item() == pytest.approx(1e-6 / 0.100001)


def test_a_wrong_guided_rollout_falls_back_below_the_threshold(four):
    group = [replace(four[0], reward=0.0), replace(four[1], reward=1.0), *four[2:]]
    n = recompute(group, Settings("intended"))
    assert n.after[0] < 0 and n.case[2] == 4 and n.weight[2] == 1.0
    lower = recompute(group, Settings("intended", constants=AASConstants(fallback_probability=1e-7)))
    assert lower.case[2] != 4


@pytest.mark.parametrize("name", list(SHAPINGS))
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_gradient_is_autograds_on_the_tokens_own_logit(name, reward, four):
    group = [replace(four[0], reward=reward), replace(four[1], reward=1 - reward), *four[2:]]
    n = recompute(group, Settings(name))
    for t, logp in enumerate(group[0].logps):
        p = math.exp(logp)
        z = torch.tensor([math.log(p), math.log1p(-p)], dtype=torch.float64, requires_grad=True)  # a vocabulary of two
        loss = shaped_loss(name, z.log_softmax(0)[0], n.after[0].double())
        own = torch.autograd.grad(loss, z)[0][0]
        assert n.gradient[t].item() == pytest.approx(abs(own.item()), rel=2e-3, abs=1e-9)


def test_clip_cuts_the_slope_off_exactly_where_ppo_does(four):
    now = [[lp + d for lp in r.logps] for r, d in zip(four, (0.0, 0.5, -0.5, 0.1), strict=True)]
    n = recompute(four, Settings("plain", loss=Loss(epsilon=0.2)), logps=now)
    own = slice(5, 11)
    assert n.ratio[own].tolist() == pytest.approx(
        [math.exp(0.5)] * 2 + [math.exp(-0.5)] * 3 + [math.exp(0.1)], rel=1e-5
    )
    # A < 0: a ratio below 0.8 has gone far enough, one above 1.2 is called back
    assert (n.slope[own] == 0).tolist() == [False, False, True, True, True, False]
    assert n.slope[5].item() == pytest.approx(-n.after[1].item() * math.exp(0.5), rel=1e-5)
    assert (n.ratio[:5] == 1).all()  # shaped tokens have none
    assert (recompute(four, Settings("plain", loss=Loss(epsilon=0.9)), logps=now).slope[own] != 0).all()


def test_rollouts_that_were_cut_off_do_not_count_in_the_mean_over_tokens():
    """As in TRL: with mask_truncated_completions the tokens that a step divides by are those it trains on."""
    kept, cut = [rollout(1.0, [0.5] * 3), rollout(0.0, [0.5] * 2)], rollout(0.0, [0.5] * 40, finish="length")
    settings = Settings("plain", loss=Loss(loss_type="dapo"), mask_truncated=True)
    rows = [Row(0, r.reward, False, -1.0, len(r.token_ids), r.finish, 0.0) for r in (*kept, cut)]
    n = recompute([*kept, cut], settings, batch=rows)
    assert (n.push[5:] == 0).all() and (n.push[:5] != 0).all()
    assert n.push[:3].tolist() == pytest.approx([-n.after[0].item() / 5] * 3)


def test_batch_scale_is_that_of_group_advantages(four):
    rewards = torch.tensor([1.0, 0, 0, 0, 2.0, 0, 1.0, 0])
    rows = [Row(0, r, False, 0.0, 1, None, 0.0) for r in rewards.tolist()]
    n = recompute(four, Settings(scale="batch"), batch=rows)
    torch.testing.assert_close(n.after, group_advantages(rewards, 4, scale="batch")[:4])


def test_probability_zero_and_a_lone_rollout_give_finite_numbers():
    none = replace(rollout(1.0, [0.5, 0.5], [0, 1]), logps=[-math.inf, -0.5])
    for name in SHAPINGS:
        n = recompute([none, rollout(0.0, [0.5])], Settings(name))
        assert all(torch.isfinite(x).all() for x in (n.weight, n.advantage, n.slope, n.gradient, n.ratio))
    assert recompute([replace(none, advantage=0.7)], Settings()).after.tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("mask", ["guided", "teacher"])
@pytest.mark.parametrize("name", list(SHAPINGS))
def test_the_logs_settings_are_found(four, name, mask):
    group = with_log(four, name, mask)
    found = detect([(group, [])])
    assert (found.shaping, found.scale) == (name, "group")
    assert found.mask == mask or name == "plain"  # weight 1 either way: the log cannot tell


# ---------------------------------------------------------------- text


def test_everything_invisible_is_shown():
    assert visible("plain text") == "plain text" and visible("é 漢 🙂") == "é 漢 🙂"
    assert visible("a\nb\tc\x00\x1b\x7f") == "a↵b␉c␀␛␡"
    assert visible("  ") == "␣␣" and visible("") == ""
    assert visible("\u202eabc\u2028\ufeff\x85\ud800") == "‹U+202E›abc‹U+2028›‹U+FEFF›‹U+0085›‹U+D800›"
    assert visible("\u0301x") == "◌\u0301x"
    for text in HOSTILE:
        visible(text).encode("utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


class Words:
    """A tokenizer of hostile words, one an id."""

    def decode(self, ids, **kwargs):
        return "".join(HOSTILE[i % len(HOSTILE)] for i in ids)


def hostile_group():
    return [
        rollout(
            float(i == 0),
            [0.5, 1e-4, 0.9, 0.9, 0.9, 0.9, 0.9],
            [0, 0, 0, 1, 1, 1, 1],
            question=HOSTILE[i % 7],
            text="".join(HOSTILE),
            token_ids=list(range(7)),
        )
        for i in range(4)
    ]


def test_hostile_text_draws_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Inspector(hostile_group(), Words()).figure().savefig(BytesIO(), format="png")


# ---------------------------------------------------------------- widget


def unpacked(inspector):
    count = sum(len(r["tokens"]) for r in inspector.group["rollouts"])
    return np.frombuffer(inspector.numbers["values"], np.float32).reshape(-1, count)


def test_a_slider_recomputes_what_the_browser_is_sent(four):
    inspector = Inspector(with_log(four, "released", "guided"), Words())
    assert inspector.settings.shaping == "released" and "These settings give" in inspector.numbers["note"]
    before, version = unpacked(inspector)[3, 2], inspector.numbers["version"]
    assert before == pytest.approx(1.0001)
    inspector.ui = inspector.ui | {"gamma_max": 0.004}  # released: the clamp's upper bound is what counts
    assert inspector.numbers["version"] == version + 1
    a = 0.75 / 0.5001
    gamma = 0.001 + (0.004 - 0.001) * (4 - a) / 8
    assert unpacked(inspector)[3, 2] == pytest.approx(1e-6 / (1e-6 + gamma), rel=1e-4)
    assert inspector.numbers["note"].startswith("What if: 5 of 11 weights and 0 of 4 advantages differ")
    inspector.ui = inspector.ui | {"rollout": 2, "colour": "p"}  # the browser's own business
    assert inspector.numbers["version"] == version + 1


def test_listing_follows_filter_sort_and_step():
    rows = [
        rollout(float(i % 2 and s != 1), [0.5], step=s, group=g) for s in (0, 1, 2) for g in (0, 1) for i in range(2)
    ]
    inspector = Inspector(rows, Words())
    assert inspector.listing["steps"] == [0, 1, 2] and inspector.listing["total"] == 6
    inspector.ui = inspector.ui | {"filter": "silent"}
    assert [g["key"] for g in inspector.listing["groups"]] == ["1/0", "1/1"]
    assert all("no signal" in g["label"] for g in inspector.listing["groups"])
    inspector.ui = inspector.ui | {"filter": "all", "step": 2}
    assert [g["key"] for g in inspector.listing["groups"]] == ["2/0", "2/1"]
    inspector.select(1, 1)
    assert inspector.group["key"] == "1/1" and "nothing to learn" in inspector.numbers["why"][0]
    with pytest.raises(ValueError, match="no group 7 at step 0"):
        inspector.select(0, 7)


def test_why_gives_the_arithmetic(four):
    inspector = Inspector(with_log(four, "plain", "guided"), Words())
    assert inspector.numbers["why"][1] == (
        "A = (reward 0 − mean 0.25) / (std 0.5 + 0.0001) = -0.5: worse than the mean of its group."
    )


def test_the_twin_comes_before_the_widget_and_is_what_a_committed_notebook_keeps(four, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, metadata=None, raw=False: shown.append((data, metadata))
    )
    inspector = Inspector(with_log(four, "plain", "guided"), Words())
    inspector._ipython_display_()
    (twin, metadata), (widget, _) = shown
    assert set(twin) == {"image/png", "text/html", "text/plain"}
    assert "Rewards" in metadata["image/png"]["alt"] and "1 groups, steps 0 to 0" in metadata["image/png"]["alt"]
    assert f'class="tti-twin" data-of="{inspector.twin}"' in twin["text/html"] and "alt=" in twin["text/html"]
    assert set(widget) == {WIDGET_VIEW, "text/plain"}

    outputs = [new_output("display_data", data, metadata=m or {}) for data, m in shown]
    book = new_notebook(cells=[new_code_cell("", outputs=outputs)])
    clean(book)
    (kept,) = book.cells[0].outputs
    assert set(kept.data) == {"image/png", "text/plain"} and kept.metadata == metadata


def test_compare_scores_the_same_tokens(tiny_model, tokenizer, four):
    ids = tokenizer.encode("3+4=7.", add_special_tokens=False)
    group = [replace(r, question="3+4?", token_ids=ids[: len(r.token_ids)], logps=r.logps[: len(ids)]) for r in four]
    inspector = Inspector(group, tokenizer).compare(tiny_model)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "3+4?"}], add_generation_prompt=True, tokenize=False
    )
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    with torch.no_grad():
        full = tiny_model.eval()(torch.tensor([prompt_ids + group[0].token_ids])).logits[0].softmax(-1)
    want = [full[len(prompt_ids) - 1 + t, i].item() for t, i in enumerate(group[0].token_ids)]
    _, n = inspector.current()
    assert n.p[: len(want)].tolist() == pytest.approx(want, rel=1e-4)
    assert n.p_old[1].item() == pytest.approx(0.8, rel=1e-4)  # the log's
    own = len(group[0].token_ids)
    torch.testing.assert_close(n.ratio[own:], n.p[own:] / n.p_old[own:], rtol=1e-4, atol=1e-7)
    _, same = inspector.compare(tiny_model, tiny_model).current()
    assert (same.ratio == 1).all()
    hot = score_tokens(tiny_model, tokenizer, group, lambda q: [{"role": "user", "content": q}], temperature=1e4)
    assert math.exp(hot[0][0]) == pytest.approx(1 / len(tokenizer), rel=0.05)


# ---------------------------------------------------------------- with the trainer


class Screen:
    """Stands for IPython's display: what is on the screen, by place."""

    def __init__(self, monkeypatch):
        self.shown, self.updates = [], 0
        screen = self

        class Handle:
            def display(self, what):
                self.at = len(screen.shown)
                screen.shown.append(what)

            def update(self, what):
                screen.shown[self.at] = what
                screen.updates += 1

        monkeypatch.setattr(live, "DisplayHandle", Handle)


def test_a_trainer_is_inspected_and_watched(settings, tiny_folder, tokenizer, dataset, scripted_teacher, monkeypatch):
    screen = Screen(monkeypatch)
    config = ThinkTuningConfig(**settings(rollout_log_steps=1, guided_fraction=0.25, shaping="released"))
    trainer = ThinkTuningTrainer(
        str(tiny_folder),
        length_reward,
        config,
        dataset,
        teacher=scripted_teacher,
        processing_class=tokenizer,
        callbacks=[live.LiveView(seconds=0)],
    )
    trainer.train()
    inspector = Inspector(trainer)
    assert inspector.listing["total"] == 2
    for group in inspector.index.groups:  # every weight and advantage of the log, recomputed
        inspector.select(group.step, group.group)
        assert "These settings give the logged weights and advantages" in inspector.numbers["note"]
    assert inspector.settings == Settings("released", "guided", config.constants, "group", Loss.of(config))
    assert Inspector(trainer.rollout_log.path, tokenizer).logged.shaping in ("released", "plain")
    assert len(screen.shown) == 2 and "Wait, I doubt 5." in screen.shown[1].data  # curves, and the guided rollout

    with pytest.raises(ValueError, match="rollout_log_steps"):
        trainer.rollout_log = None
        Inspector(trainer)


# ---------------------------------------------------------------- live view


class Args:
    output_dir = "nowhere"


class State:
    global_step, max_steps, is_world_process_zero = 0, 40, True


def test_live_view_throttles_and_survives(monkeypatch):
    screen, view, state, clock = Screen(monkeypatch), live.LiveView(seconds=10), State(), [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    view.on_train_begin(Args, state, None)
    for state.global_step in range(1, 21):
        clock[0] += 1
        view.on_log(Args, state, None, {"loss": 0.0, "reward": 0.1})
    assert len(screen.shown) == 1 and screen.updates == 1  # at 1 s and at 11 s, in one place
    # interrupted: no on_train_end. The next cell resumes at step 15
    state.global_step = 15
    view.on_train_begin(Args, state, None)
    view.on_train_end(Args, state, None)
    assert [row["step"] for row in view.rows] == list(range(1, 16)) and len(screen.shown) == 2

    def broken():
        raise OSError("no screen")

    monkeypatch.setattr(view, "draw", broken)
    with pytest.warns(UserWarning, match="no screen"):
        view.on_train_end(Args, state, None)
    view.on_train_end(Args, state, None)  # and training goes on, without a second warning


def test_live_view_escapes_model_text():
    page = live._as_html(hostile_group())
    tags = Tags()
    tags.feed(page)
    assert {tag for tag, _ in tags.seen} <= {"p", "bdi", "table", "thead", "tr", "th", "td"}


def test_two_logs_side_by_side_follow_each_other():
    def log(*steps: int) -> Inspector:
        rows = [
            rollout(float(i), [0.5], step=s, group=g, question=f"Q{g}") for s in steps for g in (0, 1) for i in (0, 1)
        ]
        return Inspector(rows, Words())

    left, right = log(0, 10, 20), log(0, 12)
    assert beside(left, right).children == (left, right)
    left.select(20, 1)
    assert right.group["key"] == "12/1" and left.group["key"] == "20/1"
    right.select(0, 0)
    assert left.group["key"] == "0/0" and right.group["key"] == "0/0"
