"""The groups of the static page in few bytes: what follows from other numbers is left out, the rest is rounded and deflated.

page.js puts it together again. Some groups make a piece, in which a number of all their tokens stands together: what is alike
deflates best side by side.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from thinktuning_lite.method.shaping import SHAPINGS
from thinktuning_lite.views.exchange import FIELDS

Row = np.ndarray  # (N,) float32: a number for every token of a piece, rollout after rollout, group after group
# These are kept as roots, of -log p and of the entropy, in so many parts of 1: fine where most tokens are, p near 1.
ROOTS = {"p": 700, "p_old": 700, "sampler": 700, "entropy": 300}
UNKNOWN, NEVER = 0xFFFFF, 0xFFFFE  # for NaN and for infinity
MANTISSA = 12  # bits kept: 1 in 8000
NEAR_ONE = 15  # bits of the weights, which AAS keeps close to 1
TOGETHER = 8  # groups in a piece
CURVE = (150, 30)  # a weight of 1 in the figure, and the parts of a factor of 10: finer than a screen shows


class InForce(NamedTuple):
    """The shaping in force, whose weight a shaped token has, and the constant of LUFFY's."""

    shaping: str
    luffy_gamma: float


class Shown(NamedTuple):
    """A group as the browser is sent it: `Inspector.group` and `.numbers`, these without their arrays.

    rows is (F + S, N) as `token_rows` gives it, curves (G, M): weights over probability.
    """

    group: dict
    numbers: dict
    rows: np.ndarray
    curves: np.ndarray


def deflated(*parts: bytes) -> str:
    """A base85 text, without "<". Each part has a block, and with it a code, of its own, since bytes of a kind deflate best."""
    stream = zlib.compressobj(9, strategy=zlib.Z_FILTERED)
    blocks = [stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    return base64.b85encode(b"".join(blocks) + stream.flush()).decode().replace("<", ",")


def as_text(value: Any) -> bytes:
    """JSON with seven digits a number; lone surrogates, which UTF-8 does not hold, become question marks."""
    short = json.loads(json.dumps(value, allow_nan=False), parse_float=lambda x: float(f"{float(x):.7g}"))
    return json.dumps(short, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def compact(groups: Sequence[Shown], words: dict[str, int], force: InForce) -> str:
    """A piece as page.js reads it: a header's length in four bytes, the header, then every row that it does not give.

    Args:
        words: number of each token's text, filled on the way.
    """
    rollouts = [r for shown in groups for r in shown.group["rollouts"]]
    tokens = [words.setdefault(t, len(words)) for r in rollouts for t in r["tokens"]]
    rows = np.concatenate([shown.rows for shown in groups], axis=1)
    known = dict(zip((*FIELDS, *BY), rows, strict=True))
    lengths = [len(r["tokens"]) for r in rollouts]
    after = np.repeat(np.array([a for shown in groups for a in shown.numbers["after"]], np.float32), lengths)
    factors = [_factor(known, start, n) for start, n in zip(np.cumsum([0, *lengths]), lengths, strict=False)]
    curves = np.concatenate([_curve(shown.curves) for shown in groups])
    distinct, curve_of = np.unique(curves, axis=0, return_inverse=True)
    sent = {"tokens": np.array(tokens), "author": np.array([a for r in rollouts for a in r["author"]])}
    sent |= _not_expected(known, after, np.repeat(np.array(factors, np.float32), lengths), force)
    head = {
        "groups": [_without_tokens(shown.group) for shown in groups],
        "numbers": [{k: v for k, v in shown.numbers.items() if not isinstance(v, bytes)} for shown in groups],
        "lengths": lengths,
        "factors": factors,
        "curve_of": curve_of.ravel().tolist(),
        "rows": {k: _constant(v) for k, v in sent.items()},
    }
    planes = [plane for k, v in sent.items() if head["rows"][k] is None for plane in _planes(k, v)]
    text = as_text(head)
    return deflated(len(text).to_bytes(4, "little") + text, *planes, distinct.tobytes())


def _without_tokens(group: dict) -> dict:
    kept = [{k: v for k, v in r.items() if k not in ("tokens", "author")} for r in group["rollouts"]]
    return group | {"rollouts": kept}


def expected(name: str, known: dict[str, Row], after: Row, factors: Row, force: InForce) -> Row:
    """What a row holds unless it is sent, by the rows before it; `expected` of page.js is the same."""
    none, one = np.zeros_like(after), np.ones_like(after)
    case = known.get("case", none)
    formula, shaped = (case > 0) & (case < 4), case > 0
    with np.errstate(invalid="ignore"):
        return {
            "case": lambda: none,
            "p": lambda: one,
            "p_old": lambda: known["p"],
            "by_luffy": lambda: np.where(shaped, known["p"] / (known["p"] + force.luffy_gamma), 1),
            "weight": lambda: np.where(shaped, known[f"by_{force.shaping}"], 1),
            "advantage": lambda: after * np.where(formula, known["weight"], 1),
            "slope": lambda: -known["advantage"],
            "gradient": lambda: np.abs(known["slope"]) * (1 - known["p"]),
            "push": lambda: known["slope"] * factors + known["kl"],
            "sampler": lambda: one * np.nan,
            "entropy": lambda: one * np.nan,
            "correction": lambda: one * np.nan,
            "kl": lambda: none,
            "change": lambda: none,
        }.get(name, lambda: one)()


# The rows of numbers, each after what it follows from.
BY = [f"by_{name}" for name in SHAPINGS]
ORDER = ["case", "p", *BY, *(f for f in FIELDS if f not in ("case", "p", "push")), "push"]


def near_one(name: str) -> bool:
    """Whether a row holds weights."""
    return name == "weight" or name in BY


def _not_expected(known: dict[str, Row], after: Row, factors: Row, force: InForce) -> dict[str, Row]:
    shaped = known["case"] > 0
    known = known | {name: np.where(shaped, known[name], 1) for name in BY}
    wanted = {name: expected(name, known, after, factors, force) for name in ORDER}
    return {
        name: known[name]
        for name in ORDER
        if not np.allclose(known[name], wanted[name], rtol=1e-5 if near_one(name) else 1e-3, atol=1e-9, equal_nan=True)
    }


def _factor(known: dict[str, Row], start: int, n: int) -> float:
    """By what the loss type averages the tokens of a rollout; 0 where nothing is trained."""
    slope, push = known["slope"][start : start + n], (known["push"] - known["kl"])[start : start + n]
    at = np.flatnonzero(np.isfinite(slope) & (slope != 0))
    return float(push[at[0]] / slope[at[0]]) if len(at) else 0.0


def _constant(row: Row) -> float | None:
    """The number that a row holds throughout; None where it holds several, or NaN."""
    same = len(row) > 0 and np.isfinite(row[0]) and (row == row[0]).all()
    return float(row[0]) if same else None


def _curve(weights: np.ndarray) -> np.ndarray:
    one, parts = CURVE
    return (np.log10(np.maximum(weights, 1e-9)) * parts + one).round().clip(0, 255).astype(np.uint8)


def _planes(name: str, row: Row) -> list[bytes]:
    """Three bytes a token: all first ones, all second ones, all third ones. Of a root the third has four bits: where what
    comes before them has no pattern, a byte's worth would hide it.
    """
    if name in ("tokens", "author", "case"):
        code = row.astype(np.uint32)
    elif name in ROOTS:
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(np.maximum(row if name == "entropy" else -np.log(row.astype(np.float64)), 0)) * ROOTS[name]
        code = np.where(np.isnan(root), UNKNOWN, np.where(np.isinf(root), NEVER, np.nan_to_num(root) + 0.5))
        code = code.astype(np.uint32)
    else:
        dropped = 23 - (NEAR_ONE if near_one(name) else MANTISSA)
        code = row.astype(np.float32).view(np.uint32)
        code = np.where(np.isfinite(row), (code + (1 << dropped - 1)) >> dropped << dropped, code) >> 8
    return [
        (code >> shift & (15 if name in ROOTS and not shift else 255)).astype(np.uint8).tobytes()
        for shift in ((12, 4, 0) if name in ROOTS else (16, 8, 0))
    ]
