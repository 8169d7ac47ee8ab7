"""shaping.py against formulas in plain Python, autograd, finite differences and hypothesis' extremes."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktuning_lite.method import grpo, shaping
from thinktuning_lite.method.shaping import SHAPINGS, AASConstants, per_token_advantages, shape, shaped_loss

NAMES = ["intended", "released", "luffy", "plain"]
ADVANTAGES = [-50.0, -4.0, -1.3, -1e-3, 0.0, 1e-3, 0.7, 1.5, 4.0, 50.0]
POLE = 0.001
PROBABILITIES = [
    *(10.0**-k for k in range(1, 9)), 3e-7, 2e-4, 5e-4, 9.99e-4, POLE * (1 - 1e-6), POLE * (1 + 1e-6),
    1.001e-3, 1.1e-3, 2e-3, 0.00999, 0.0101, 0.03, 0.25, 0.5, 0.9, 0.9985, 0.9995, 0.99995, 1 - 1e-6,
]  # fmt: skip


def gamma_by_hand(name: str, advantage: float) -> float:
    return -0.001 if name == "released" else 0.00025 * max(-4.0, min(4.0, advantage))


def gradient_by_hand(name: str, p: float, advantage: float) -> float:
    """s(p, A) in plain floats, written from the method's description and not from the package."""
    if name == "plain":
        return 1.0
    if name == "luffy":
        return 0.1 * p / (p + 0.1) ** 2
    if advantage < 0 and p < 0.01:
        return 1.0
    denominator = p + gamma_by_hand(name, advantage)
    if denominator < 0:
        denominator = p / 1.0001
    elif denominator > 1:
        denominator = p / 0.9999
    return p / denominator


def grid(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Every probability with every advantage, flat; p is made from log p, as in training."""
    p, a = torch.cartesian_prod(torch.tensor(PROBABILITIES).double(), torch.tensor(ADVANTAGES).double()).T
    return p.log().to(dtype), a.to(dtype)


# --- gamma --------------------------------------------------------------------------------------------------


def test_intended_gamma_is_a_quarter_of_a_thousandth_per_unit_of_advantage():
    got = shaping.gamma_intended(torch.tensor([-9.0, -4.0, -1.0, 0.0, 2.0, 4.0, 9.0], dtype=torch.float64))
    assert got.tolist() == pytest.approx([-0.001, -0.001, -0.00025, 0.0, 0.0005, 0.001, 0.001], abs=1e-15)
    assert shaping.gamma_intended(torch.tensor(0.0)).item() == 0.0  # float32 too


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_released_gamma_does_not_depend_on_the_advantage(dtype):
    got = shaping.gamma_released(torch.linspace(-9, 9, 101, dtype=dtype))
    assert torch.equal(got, torch.full((101,), -0.001, dtype=dtype))


def test_with_the_bounds_in_order_the_clamp_changes_nothing():
    a, ordered = torch.linspace(-5, 5, 101), AASConstants(gamma_min=-0.002, gamma_max=0.003)
    assert torch.equal(shaping.gamma_released(a, ordered), shaping.gamma_intended(a, ordered))
    assert shaping.gamma_intended(torch.tensor([4.0, -4.0]), ordered).tolist() == pytest.approx([-0.002, 0.003])


# --- weights and gradients ----------------------------------------------------------------------------------


def test_the_two_differ_most_on_tokens_the_student_finds_unlikely():
    p, a = torch.tensor(1e-6), torch.tensor(2.0)
    assert shape("intended", p, a).weight.item() == pytest.approx(1e-6 / 5.01e-4, rel=1e-4)  # about 0.002
    assert shape("released", p, a).weight.item() == pytest.approx(1.0001)
    assert shape("released", torch.tensor(0.5), a).weight.item() == pytest.approx(0.5 / 0.499)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_equals_the_formula_in_plain_floats(name):
    logps, a = grid()
    got = shape(name, logps.exp(), a)
    expected = [gradient_by_hand(name, math.exp(lp), x) for lp, x in zip(logps.tolist(), a.tolist(), strict=True)]
    assert got.gradient.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_equals_autograd_of_the_closed_form(name):
    logps, a = grid()
    logps.requires_grad_()
    loss = shaped_loss(name, logps, a)
    autograd = torch.autograd.grad(loss.sum(), logps)[0]
    got = shape(name, logps.exp(), a)
    torch.testing.assert_close(-a * got.gradient, autograd, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(-a * got.weight, loss.detach(), rtol=1e-6, atol=1e-12)


def closed_form_in_test(name: str, logps: torch.Tensor, a: torch.Tensor, p_held: torch.Tensor) -> torch.Tensor:
    """The loss with sg(p) replaced by a tensor that is held fixed; written apart from the package's own."""
    p = logps.exp()
    if name == "luffy":
        return -a * p / (p + 0.1)
    if name == "plain":
        return -a * p / p_held
    gamma = torch.tensor([gamma_by_hand(name, x) for x in a.tolist()], dtype=p.dtype)
    denominator = p_held + gamma
    denominator = torch.where(p_held + gamma < 0, p_held / 1.0001, denominator)
    denominator = torch.where(p_held + gamma > 1, p_held / 0.9999, denominator)
    denominator = torch.where((a < 0) & (p_held < 0.01), p_held, denominator)
    return -a * p / denominator


@pytest.mark.parametrize("name", NAMES)
def test_gradient_equals_autograd_and_central_differences_of_an_independent_closed_form(name):
    logps, a = grid()
    leaf = logps.clone().requires_grad_()
    autograd = torch.autograd.grad(closed_form_in_test(name, leaf, a, leaf.detach().exp()).sum(), leaf)[0]
    h, held = 1e-5, logps.exp()
    differences = (closed_form_in_test(name, logps + h, a, held) - closed_form_in_test(name, logps - h, a, held)) / (
        2 * h
    )
    expected = -a * shape(name, logps.exp(), a).gradient
    torch.testing.assert_close(expected, autograd, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(expected, differences, rtol=1e-6, atol=1e-12)


def real_logits(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (24, 16, 50) and token ids (24, 16) whose probabilities run from below 1e-8 to almost 1."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(24, 16, 50, generator=generator, dtype=dtype) * 2
    logits[..., 0] += torch.linspace(-18, 22, 16).to(dtype)
    ids = torch.randint(0, 50, (24, 16), generator=generator)
    ids[::2] = 0
    return logits, ids


def logps_of(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, dim=-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_on_logits_through_grpos_own_loss(name, dtype):
    """The identity end to end: GRPO with per-token advantages at ratio 1 = autograd of the closed form."""
    logits, ids = real_logits(dtype)
    logits.requires_grad_()
    logps = logps_of(logits, ids)
    assert logps.min().exp() < 1e-8
    assert logps.max().exp() > 1 - 1e-6
    a = torch.linspace(-3, 3, 24, dtype=dtype).unsqueeze(1)
    guided = torch.rand(24, 16, generator=torch.Generator().manual_seed(1)) < 0.6
    old = (logps + 0.5 * torch.sin(torch.arange(16))).detach()  # stale enough for the clip to bind on own tokens

    adv, shaped_mask = per_token_advantages(name, logps, a.squeeze(1), guided)
    old_for_grpo = torch.where(shaped_mask, logps.detach(), old)
    by_identity = grpo.grpo_loss(logps, old_for_grpo, adv, torch.ones_like(ids))

    falls_back = (a < 0) & (logps.detach().exp() < 0.01) & (name in ("intended", "released"))
    own = grpo.clipped_surrogate(grpo.importance_ratio(logps, old), a)
    by_closed_form = torch.where(guided & ~falls_back, shaped_loss(name, logps, a), own).mean()

    got = torch.autograd.grad(by_identity, logits, retain_graph=True)[0]
    expected = torch.autograd.grad(by_closed_form, logits)[0]
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())
    assert torch.equal(shaped_mask, guided & ~falls_back)


# --- the pole and the guards --------------------------------------------------------------------------------


def around(center: float, dtype: torch.dtype) -> torch.Tensor:
    """The 2001 floats around a number, itself included."""
    x = torch.full((), center, dtype=dtype)
    up, down = [x], [x]
    for _ in range(1000):
        up.append(torch.nextafter(up[-1], torch.ones((), dtype=dtype)))
        down.append(torch.nextafter(down[-1], torch.zeros((), dtype=dtype)))
    return torch.stack(down[:0:-1] + up)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_released_pole_is_huge_but_finite(dtype):
    p, a = around(POLE, dtype), torch.ones((), dtype=dtype)
    s = shape("released", p, a).gradient
    below_or_at, above = s[:1001], s[1001:]
    assert torch.equal(below_or_at, torch.full_like(below_or_at, 1.0001))
    assert torch.isfinite(s).all()
    assert above[0] > 1e6  # the pole is there, and is not hidden
    assert above.max() <= (2**24 if dtype == torch.float32 else 2**53)
    assert (above.diff() < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["intended", "released"])
def test_loss_and_gradient_at_the_pole_have_a_finite_norm(name, dtype):
    logps = around(math.log(POLE), dtype).requires_grad_()
    for a in (-4.0, 0.0, 4.0):
        loss = shaped_loss(name, logps, torch.tensor(a, dtype=dtype))
        gradient = torch.autograd.grad(loss.sum(), logps)[0]
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient.norm())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("logp", [0.0, -1e-8, -87.0, -104.0, -1e4, -1e38])
def test_probabilities_that_underflow_or_are_certain(name, logp):
    logps = torch.full((3,), logp, requires_grad=True)
    a = torch.tensor([-1.0, 0.0, 1.0])
    loss = shaped_loss(name, logps, a)
    gradient = torch.autograd.grad(loss.sum(), logps)[0]
    assert torch.isfinite(loss).all()
    torch.testing.assert_close(gradient, -a * shape(name, logps.detach().exp(), a).gradient, rtol=1e-6, atol=1e-12)


def test_guards_by_hand():
    p = torch.tensor([5e-4, 0.9995, 1.0], dtype=torch.float64)
    assert shape("released", p, torch.tensor(1.0)).gradient.tolist() == pytest.approx(
        [1.0001, 0.9995 / 0.9985, 1 / 0.999], rel=1e-7
    )
    assert shape("intended", p, torch.tensor(4.0)).gradient.tolist() == pytest.approx(
        [5e-4 / 1.5e-3, 0.9999, 0.9999], rel=1e-7
    )


def test_p_zero_with_advantage_zero_contributes_nothing():
    for name in NAMES:
        adv, _ = per_token_advantages(name, torch.tensor([[-math.inf]]), torch.tensor([0.0]), torch.ones(1, 1))
        assert adv.item() == 0.0


def test_fallback_is_for_unlikely_tokens_of_bad_rollouts_only():
    p = torch.tensor([0.0099, 0.0101])
    for name in ("intended", "released"):
        assert shape(name, p, torch.tensor(-1.0)).fallback.tolist() == [True, False]
        assert shape(name, p, torch.tensor(-1.0)).weight[0] == 1
        assert not shape(name, p, torch.tensor(0.0)).fallback.any()
        assert not shape(name, p, torch.tensor(1.0)).fallback.any()
        assert not shape(name, p, torch.tensor(-1.0), AASConstants(fallback_probability=0.0)).fallback.any()
    for name in ("luffy", "plain"):
        assert not shape(name, p, torch.tensor(-1.0)).fallback.any()


@settings(max_examples=500, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    p=st.floats(0, 1) | st.floats(0.00099, 0.00101) | st.floats(0, 1e-30),
    advantage=st.floats(allow_nan=False, allow_infinity=False) | st.floats(-5, 5),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_nothing_is_ever_infinite_or_nan(name, p, advantage, dtype):
    limit = torch.finfo(dtype).max
    a = torch.tensor(max(-limit, min(limit, advantage)), dtype=dtype)
    got = shape(name, torch.tensor(p, dtype=dtype), a)
    bound = 2**53 if dtype == torch.float64 else 2**24
    assert got.weight.dtype == got.gradient.dtype == (dtype if dtype == torch.float64 else torch.float32)
    assert 0 <= got.weight.item() <= bound
    assert 0 <= got.gradient.item() <= bound
    assert got.fallback.dtype == torch.bool


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    p=st.floats(0, 1) | st.floats(0, 1e-2),
    advantage=st.floats(-10, 10),
    ends=st.tuples(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9)),
)
def test_other_constants_stay_finite_and_match_autograd(name, p, advantage, ends):
    constants = AASConstants(gamma_min=ends[0], gamma_max=ends[1])
    logp = torch.tensor(max(p, 1e-300), dtype=torch.float64).log().requires_grad_()
    a = torch.tensor(advantage, dtype=torch.float64)
    loss = shaped_loss(name, logp, a, constants)
    gradient = torch.autograd.grad(loss, logp)[0]
    assert torch.isfinite(gradient)
    torch.testing.assert_close(
        gradient, -a * shape(name, logp.detach().exp(), a, constants).gradient, rtol=1e-6, atol=1e-12
    )


def test_half_precision_is_computed_in_float32():
    p = torch.tensor([1e-3, 2e-3, 0.5]).bfloat16()
    a = torch.tensor(1.0).bfloat16()
    for name in NAMES:
        assert torch.equal(shape(name, p, a).weight, shape(name, p.float(), a.float()).weight)


# --- the per-token advantage --------------------------------------------------------------------------------


def test_per_token_advantages_by_hand():
    logps = torch.tensor([[0.5, 1e-6, 0.5], [0.5, 1e-6, 0.5]], dtype=torch.float64).log()
    guided = torch.tensor([[1, 1, 0], [1, 1, 0]])
    adv, mask = per_token_advantages("intended", logps, torch.tensor([2.0, -2.0]), guided)
    assert mask.tolist() == [
        [True, True, False],
        [True, False, False],
    ]  # the unlikely one of the bad row falls back
    assert adv[0].tolist() == pytest.approx([2 * 0.5 / 0.5005, 2 * 1e-6 / 5.01e-4, 2.0])
    assert adv[1].tolist() == pytest.approx([-2 * 0.5 / 0.4995, -2.0, -2.0])


def test_without_guided_tokens_advantages_are_untouched():
    a = torch.randn(3, generator=torch.Generator().manual_seed(0))
    for name in NAMES:
        adv, mask = per_token_advantages(name, torch.zeros(3, 4), a, torch.zeros(3, 4, dtype=torch.bool))
        assert torch.equal(adv, a.unsqueeze(1).expand(3, 4))
        assert not mask.any()


def test_nothing_of_the_result_carries_a_gradient():
    logps = torch.full((2, 3), -1.0, requires_grad=True)
    adv, _ = per_token_advantages("luffy", logps, torch.ones(2, 3), torch.ones(2, 3))
    assert not adv.requires_grad
    assert not any(part.requires_grad for part in shape("released", logps.exp(), torch.ones(2, 1)))


def test_square_batch_takes_advantages_along_completions():
    logps = torch.full((2, 2), math.log(0.5))
    adv, _ = per_token_advantages("plain", logps, torch.tensor([1.0, 2.0]), torch.ones(2, 2))
    assert adv.tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_shapes_that_do_not_fit_are_refused():
    x = torch.zeros(2, 3)
    for logps, a, guided in [
        (x, torch.ones(3), x),
        (x, torch.ones(2), x[:, :2]),
        (x[0], torch.ones(3), x[0]),
        (x, torch.ones(2, 1), x),
    ]:
        with pytest.raises(ValueError, match="pass logps and guided_mask as"):
            per_token_advantages("plain", logps, a, guided)


def test_unknown_shaping_is_refused_by_name():
    x = torch.zeros(1, 1)
    for call in (
        lambda: shape("aas", x, x),
        lambda: shaped_loss("aas", x, x),
        lambda: per_token_advantages("aas", x, torch.ones(1), x),
    ):
        with pytest.raises(ValueError, match="unknown shaping 'aas': use one of 'intended', 'released'"):
            call()
    assert list(SHAPINGS) == NAMES


# --- constants ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"gamma_min": math.nan}, "gamma_min is nan"),
        ({"gamma_max": 1.0}, "gamma_max is 1.0"),
        ({"advantage_min": 4.0}, r"advantage_min \(4.0\) must be below"),
        ({"fallback_probability": 1.5}, "fallback_probability is 1.5"),
        ({"fallback_probability": -0.1}, "fallback_probability is -0.1"),
        ({"luffy_gamma": 0.0}, "luffy_gamma is 0.0"),
    ],
)
def test_bad_constants_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        AASConstants(**wrong)


def test_pure_maths_imports_nothing_but_torch():
    package = Path(shaping.__file__).parent
    for file in ("grpo.py", "shaping.py"):
        tree = ast.parse((package / file).read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
        assert foreign - {"thinktuning_lite.method.grpo"} == {"torch"}  # and of the package each other
