"""The groups of the static page in few bytes: what follows from other numbers is left out, the rest is rounded and deflated.

page.js puts it together again. A row is three bytes a token, all first bytes before all second ones, which deflates best.
"""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np

from thinktuning_lite.views.exchange import FIELDS

Row = np.ndarray  # (N,) float32: a number for every token of a group, rollout after rollout
# These are kept as roots, of -log p and of the entropy, in so many parts of 1: fine where most tokens are, p near 1.
ROOTS = {"p": 1000, "p_old": 1000, "sampler": 1000, "entropy": 100}
UNKNOWN, NEVER = 0xFFFFFF, 0xFFFFFE  # for NaN and for infinity
PRECISION = {"weight": 15}  # bits of the mantissa; 12 of the others: 1 in 8000
TOGETHER = 8  # groups deflated in one piece: what they share is kept once


def deflated(groups: list[bytes]) -> list[str]:
    """Groups in pieces of TOGETHER, each a base64 text: every group behind its length in four bytes."""
    framed = [len(g).to_bytes(4, "little") + g for g in groups]
    pieces = [b"".join(framed[i : i + TOGETHER]) for i in range(0, len(framed), TOGETHER)]
    return [base64.b64encode(zlib.compress(piece, 9)).decode() for piece in pieces]


def compact(group: dict, numbers: dict, rows: np.ndarray, curves: np.ndarray, words: dict[str, int]) -> bytes:
    """A group as page.js reads it.

    Args:
        group, numbers: what the browser is sent of a group (`Inspector.group`, `.numbers` without its arrays).
        rows: (F + S, N) as `token_rows` gives them.
        curves: (G, M) weights over probability.
        words: number of each token's text, filled on the way.
    """
    rollouts = group["rollouts"]
    tokens = [words.setdefault(t, len(words)) for r in rollouts for t in r["tokens"]]
    known = dict(zip((*FIELDS, *(f"by{i}" for i in range(len(rows) - len(FIELDS)))), rows, strict=True))
    lengths = [len(r["tokens"]) for r in rollouts]
    after = np.repeat(np.array(numbers["after"], np.float32), lengths)
    factors = [_factor(known, start, n) for start, n in zip(np.cumsum([0, *lengths]), lengths, strict=False)]
    distinct, curve_of = np.unique(curves.round(6), axis=0, return_inverse=True)
    sent = {"tokens": np.array(tokens), "author": np.array([a for r in rollouts for a in r["author"]])}
    sent |= _not_expected(known, after, np.repeat(np.array(factors, np.float32), lengths))
    head = {
        "group": group
        | {"rollouts": [{k: v for k, v in r.items() if k not in ("tokens", "author")} for r in rollouts]},
        "numbers": {k: v for k, v in numbers.items() if not isinstance(v, bytes)},
        "lengths": lengths,
        "factors": factors,
        "curve_of": curve_of.ravel().tolist(),
        "rows": {k: _constant(v) for k, v in sent.items()},
    }
    packed = [_bytes(k, v) for k, v in sent.items() if head["rows"][k] is None]
    text = json.dumps(head, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return b"".join([len(text).to_bytes(4, "little"), text, *packed, *(_bytes("curve", c) for c in distinct)])


def expected(name: str, known: dict[str, Row], after: Row, factors: Row) -> Row:
    """What a row holds unless it is sent, by the rows before it; `expected` of page.js is the same."""
    none, one = np.zeros_like(after), np.ones_like(after)
    shaped = (known.get("case", none) > 0) & (known.get("case", none) < 4)
    with np.errstate(invalid="ignore"):
        return {
            "case": lambda: none,
            "p": lambda: one,
            "p_old": lambda: known["p"],
            "weight": lambda: one,
            "advantage": lambda: after * np.where(shaped, known["weight"], 1),
            "slope": lambda: -known["advantage"],
            "gradient": lambda: np.abs(known["slope"]) * (1 - known["p"]),
            "push": lambda: known["slope"] * factors + known["kl"],
            "sampler": lambda: one * np.nan,
            "entropy": lambda: one * np.nan,
            "correction": lambda: one * np.nan,
            "kl": lambda: none,
            "change": lambda: none,
        }.get(name, lambda: one)()


ORDER = ("case", *(name for name in FIELDS if name not in ("case", "push")), "push")  # each after what it follows from


def _not_expected(known: dict[str, Row], after: Row, factors: Row) -> dict[str, Row]:
    names = (*ORDER, *(name for name in known if name not in FIELDS))
    shaped = known["case"] > 0
    known = known | {name: np.where(shaped, known[name], 1) for name in names if name not in FIELDS}
    return {
        name: known[name]
        for name in names
        if not np.allclose(known[name], expected(name, known, after, factors), rtol=1e-3, atol=1e-9, equal_nan=True)
    }


def _factor(known: dict[str, Row], start: int, n: int) -> float:
    """By what the loss type averages the tokens of a rollout; 0 where nothing is trained."""
    slope, push = known["slope"][start : start + n], (known["push"] - known["kl"])[start : start + n]
    at = np.flatnonzero(np.isfinite(slope) & (slope != 0))
    return float(f"{push[at[0]] / slope[at[0]]:.7g}") if len(at) else 0.0


def _constant(row: Row) -> float | None:
    """The number that a row holds throughout; None where it holds several, or NaN."""
    same = len(row) > 0 and np.isfinite(row[0]) and (row == row[0]).all()
    return float(row[0]) if same else None


def _bytes(name: str, row: Row) -> bytes:
    if name in ("tokens", "author", "case"):
        code = row.astype(np.uint32)
    elif name in ROOTS:
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(np.maximum(row if name == "entropy" else -np.log(row.astype(np.float64)), 0)) * ROOTS[name]
        code = np.where(np.isnan(root), UNKNOWN, np.where(np.isinf(root), NEVER, np.nan_to_num(root) + 0.5))
        code = code.astype(np.uint32)
    else:
        dropped = 23 - PRECISION.get(name, 12)
        code = row.astype(np.float32).view(np.uint32)
        code = np.where(np.isfinite(row), (code + (1 << dropped - 1)) >> dropped << dropped, code) >> 8
    return np.stack([code >> 16 & 255, code >> 8 & 255, code & 255]).astype(np.uint8).tobytes()
