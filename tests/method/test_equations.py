"""equations.py: what is read as an equation, which hold, and which do nothing."""

from __future__ import annotations

import pytest

from thinktuning_lite.method.equations import Equation, equations, padding, share_before_error, share_that_holds


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("23*4=92. 92 - 100 = -8", [(23, "*", 4, 92), (92, "-", 100, -8)]),
        ("1.5+2=3.5 and 2+1=3.5", []),
        ("2+3+4=9, 2 + 3 + 4 = 9, (1 + 2) * 3 + 1 = 10 and -3+4=1", []),
        ("- 3+4=7\n* 2*4=8", [(3, "+", 4, 7), (2, "*", 4, 8)]),
        ("no sum here", []),
    ],
)
def test_what_is_read(text, found):
    assert [(e.left, e.op, e.right, e.said) for e in equations(text)] == found


def test_shares():
    text = "2+2=4. 4*3=13. 13+1=14. 14-4=10"
    assert share_that_holds(text) == 0.75
    assert share_before_error(text) == 0.25
    assert share_that_holds("none") == share_before_error("none") == 0.0


def test_padding_counts_equations_that_do_nothing():
    assert [Equation(a, op, b, 0).trivial for a, op, b in ((5, "+", 0), (0, "+", 5), (5, "-", 0), (5, "*", 1))] == [
        True
    ] * 4
    assert [Equation(a, op, b, 0).trivial for a, op, b in ((5, "+", 1), (0, "-", 5), (5, "*", 2))] == [False] * 3
    assert padding("2+2=4. 4+0=4. 2+2=4. 4+1=5") == 2
