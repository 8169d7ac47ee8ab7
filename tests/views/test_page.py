"""The page without a kernel, read back as page.js reads it: every number of every token, in few bytes, hostile text and all."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from test_inspector import HOSTILE, Words, hostile_group, of_texts, rollout, with_log

from thinktuning_lite.views import compact
from thinktuning_lite.views.compact import BY, CURVE, NEVER, ORDER, ROOTS, TOGETHER, UNKNOWN, InForce, expected
from thinktuning_lite.views.index import FILTERS, SORTS
from thinktuning_lite.views.inspector import Inspector


def panes_of(page: Path) -> list[dict]:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])


def inflated(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text.replace(",", "<")))


def index_of(pane: dict) -> dict:
    return json.loads(inflated(pane["index"]))


def unpacked(pane: dict, key: str) -> tuple[dict, dict[str, np.ndarray]]:
    """A group with its tokens, numbers and curves, and every row of numbers."""
    index = index_of(pane)
    piece, place = divmod(index["places"][key], TOGETHER)
    data = inflated(pane["pieces"][piece])
    size = int.from_bytes(data[:4], "little")
    head = json.loads(data[4 : 4 + size])
    n, at, known = sum(head["lengths"]), 4 + size, {}
    for name, constant in head["rows"].items():
        if constant is not None:
            known[name] = np.full(n, constant)
            continue
        high, middle, low = np.frombuffer(data[at : at + 3 * n], np.uint8).astype(np.uint32).reshape(3, n)
        at, code = at + 3 * n, (high << 8 | middle) << (4 if name in ROOTS else 8) | low
        if name in ROOTS:
            square = np.where(code == UNKNOWN, np.nan, np.where(code == NEVER, np.inf, (code / ROOTS[name]) ** 2))
            known[name] = square if name == "entropy" else np.exp(-square)
        else:
            known[name] = code if name in ("tokens", "author", "case") else (code << 8).view(np.float32)
    force = InForce(pane["ui"]["shaping"], index["luffy_gamma"])
    after = [a for numbers in head["numbers"] for a in numbers["after"]]
    after, factors = (np.repeat(np.array(x, np.float32), head["lengths"]) for x in (after, head["factors"]))
    for name in ORDER:
        if name not in known:
            known[name] = expected(name, known, after, factors, force)
    first = sum(len(g["rollouts"]) for g in head["groups"][:place])
    own = slice(first, first + len(head["groups"][place]["rollouts"]))
    tokens = slice(sum(head["lengths"][:first]), sum(head["lengths"][: own.stop]))
    known = {name: row[tokens] for name, row in known.items()}
    one, parts = CURVE
    bent = np.frombuffer(data[at:], np.uint8).reshape(max(head["curve_of"]) + 1, -1).astype(float)
    return {
        "group": head["groups"][place],
        "numbers": head["numbers"][place],
        "lengths": head["lengths"][own],
        "tokens": [index["words"][int(t)] for t in known["tokens"]],
        "curves": 10 ** ((bent[head["curve_of"][own]] - one) / parts),
    }, known


def sent(inspector: Inspector) -> np.ndarray:
    count = sum(len(r["tokens"]) for r in inspector.group["rollouts"])
    return np.frombuffer(inspector.numbers["values"], np.float32).reshape(-1, count)


MANY = dict(ref_logps=[-0.3, -0.2], sampler_logps=[-0.5, None], entropy=[0.1, 0.2], correction=[1.0, 0.9])


@pytest.fixture
def four():
    guided = rollout(1.0, [0.9, 0.8, 1e-6, 0.5, 0.99], [0, 0, 1, 1, 1])
    return [guided, rollout(0.0, [0.9, 0.3]), rollout(0.0, [0.001, 0.9, 0.99999]), rollout(0.0, [0.5])]


@pytest.mark.parametrize(
    "ui", [{}, {"loss_type": "dr_grpo", "gamma_max": 0.004}, {"shaping": "luffy"}, {"loss_type": "cispo"}]
)
def test_every_number_of_the_page_is_the_live_one(ui, four, tmp_path):
    older = [rollout(r, [0.5, 0.3], group=1, old_logps=[-1.0, -1.2], **MANY) for r in (0.0, 0.5, 2.0)]
    inspector = Inspector([*with_log(four, "released", "guided"), *older], Words())
    inspector.ui = inspector.ui | ui
    (pane,) = panes_of(inspector.to_html(tmp_path / "page.html"))
    for g in (0, 1):
        inspector.select(0, g)
        head, known = unpacked(pane, f"0/{g}")
        live, fields = sent(inspector), pane["choices"]["fields"]
        for name, row in zip(fields, live, strict=False):
            rough = 0.03 if name == "entropy" else 2e-3
            np.testing.assert_allclose(known[name], row, rtol=rough, atol=2e-4, equal_nan=True, err_msg=name)
        shaped = known["case"] > 0
        for name, row in zip(BY, live[len(fields) :], strict=True):
            rough = dict(rtol=2e-3, atol=2e-4) if name == "by_luffy" else dict(rtol=2e-5)  # that one follows from p
            np.testing.assert_allclose(known[name][shaped], row[shaped], **rough)
        weights = np.frombuffer(inspector.numbers["curves"], np.float32).reshape(head["curves"].shape)
        np.testing.assert_allclose(head["curves"], weights.clip(1e-5, 10**3.5), rtol=0.04)
        rollouts = inspector.group["rollouts"]
        assert head["tokens"] == [t for r in rollouts for t in r["tokens"]]
        assert known.get("author", np.zeros(len(shaped))).tolist() == [a for r in rollouts for a in r["author"]]
        assert head["numbers"]["why"] == inspector.numbers["why"] and head["group"]["question"] == "2+2?"


def test_filters_and_orders_travel_with_the_list(tmp_path):
    rows = [rollout(float(i % 2 and g), [0.5 / (g + 1)], step=g, group=0) for g in range(3) for i in range(2)]
    inspector = Inspector(rows, Words())
    inspector.ui = inspector.ui | {"filter": "spread", "sort": "surprise"}
    (pane,) = panes_of(inspector.to_html(tmp_path / "page.html", groups=2))
    listing = index_of(pane)["listing"]
    assert [g["key"] for g in listing["groups"]] == ["2/0", "1/0"] and listing["steps"] == [1, 2]
    passes = dict(zip(FILTERS, listing["groups"][0]["in"], strict=True))
    assert passes["spread"] == 1 and passes["silent"] == 0
    place = dict(zip(SORTS, listing["groups"][0]["rank"], strict=True))
    assert place["step"] == 1 and place["surprise"] == 0


def test_what_no_one_recorded_is_missing_in_the_page(tmp_path):
    (pane,) = panes_of(Inspector(of_texts()).to_html(tmp_path / "page.html"))
    _, known = unpacked(pane, "0/0")
    assert np.isnan(known["p"]).all() and np.isnan(known["push"]).all() and np.isnan(known["sampler"]).all()


def test_two_logs_stand_side_by_side(four, tmp_path):
    one, two = Inspector(four, Words()), Inspector(four[1:], Words())
    panes = panes_of(one.to_html(tmp_path / "page.html", beside=two))
    assert [len(unpacked(pane, "0/0")[0]["lengths"]) for pane in panes] == [4, 3]


def test_a_token_of_the_page_takes_few_bytes(tmp_path):
    """As JSON it took over 100. Of these, half of the texts and a fifth of the probabilities are drawn at random."""
    draw = np.random.default_rng(0)
    rows = []
    for g in range(50):
        ids = draw.geometric(0.02, 200).clip(max=500)
        for i in range(8):
            sure = -(10 ** draw.uniform(-5, -2, 200))
            logps = np.where(draw.random(200) < 0.2, -draw.exponential(1, 200), sure)
            own = np.where(draw.random(200) < 0.5, ids, draw.geometric(0.02, 200).clip(max=500))
            author = [0] * 100 + [1] * 100 if i == 0 else [0] * 200
            more = dict(token_ids=own.tolist(), logps=logps.tolist(), step=g)
            rows.append(rollout(float(draw.random() < 0.5), [1.0] * 200, author, **more))
    size = Inspector(rows).to_html(tmp_path / "page.html").stat().st_size
    assert size < 5 * len(rows) * 200, size


def test_a_thousand_groups_of_random_tokens_take_less_than_five_megabytes(tmp_path):
    """The benchmark's log, a twentieth of it: every token, probability and weight is drawn at random."""
    draw, rows = np.random.default_rng(0), []
    for g in range(50):
        for i in range(8):
            own, logps = (100 if i == 0 else 200), -draw.exponential(0.5, 200)
            weights = [1.0] * 200 if i else draw.uniform(0.9, 1.1, 200).tolist()
            more = dict(token_ids=draw.integers(10, 90, 200).tolist(), logps=logps.tolist(), weights=weights, step=g)
            rows.append(rollout(float(draw.random() < 0.5), [1.0] * 200, [0] * own + [1] * (200 - own), **more))
    (pane,) = panes_of(Inspector(rows).to_html(tmp_path / "page.html"))
    scripts = sum((Path(compact.__file__).parent / name).stat().st_size for name in ("inspector.js", "page.js"))
    assert scripts + 20 * (len(pane["index"]) + sum(map(len, pane["pieces"]))) < 5_000_000


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_hostile_text_stays_text(tmp_path):
    path = Inspector(hostile_group(), Words()).to_html(tmp_path / "page.html")
    page = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    scripts = [attrs for tag, attrs in tags.seen if tag == "script"]
    assert [s.get("type") for s in scripts] == ["application/json", "module"] and not any("src" in s for s in scripts)
    assert not [t for t, _ in tags.seen if t in ("img", "iframe", "link", "object")]
    assert not [a for _, attrs in tags.seen for a in attrs if a.startswith("on") or a in ("src", "href")]
    assert unpacked(panes_of(path)[0], "0/0")[0]["tokens"][0] == HOSTILE[0]
    assert "default-src 'none'" in page


def test_readers_without_scripts_have_the_texts(four, tmp_path):
    page = Inspector(four, Words()).to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    plain = page.split("<noscript>")[1].split("</noscript>")[0]
    assert plain.count("<tr>") == 5 and "2+2?" in plain
