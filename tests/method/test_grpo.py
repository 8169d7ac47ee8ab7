"""grpo.py against hand-computed numbers, exact expectations and TRL's own loss."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from thinktuning_lite.method import grpo

# --- advantages ---------------------------------------------------------------------------------------------


def test_advantages_of_one_right_in_four_by_hand():
    # mean 1/4; sample variance (3 * 1/16 + 9/16) / 3 = 1/4, so the standard deviation is 1/2.
    got = grpo.group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), 4)
    torch.testing.assert_close(got, torch.tensor([0.75, -0.25, -0.25, -0.25]) / 0.5001)


def test_group_scale_is_per_group_and_keeps_the_order():
    rewards = [1.5, 0.0, 1.0, 0.2, 0.0, 0.0, 0.5, 0.0]
    got = grpo.group_advantages(torch.tensor(rewards, dtype=torch.float64), 4).tolist()
    for start in (0, 4):
        group = rewards[start : start + 4]
        mean, std = statistics.mean(group), statistics.stdev(group)
        assert got[start : start + 4] == pytest.approx([(r - mean) / (std + 1e-4) for r in group], abs=1e-12)


def test_batch_scale_divides_by_the_deviation_of_all_rewards():
    rewards = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    std = statistics.stdev(rewards)
    centred = [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]
    got = grpo.group_advantages(torch.tensor(rewards, dtype=torch.float64), 2, scale="batch").tolist()
    assert got == pytest.approx([c / (std + 1e-4) for c in centred], abs=1e-12)


def test_dr_grpo_only_subtracts_the_mean():
    got = grpo.group_advantages(torch.tensor([1, 0, 0, 0, 1, 1, 1, 0]), 4, scale="none")
    assert got.dtype == torch.float32
    assert got.tolist() == [0.75, -0.25, -0.25, -0.25, 0.25, 0.25, 0.25, -0.75]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("value", [0.0, 1.0, 1.5])
def test_equal_rewards_give_exactly_zero(scale, value):
    assert torch.equal(grpo.group_advantages(torch.full((8,), value), 4, scale=scale), torch.zeros(8))


def test_advantages_in_half_precision_are_widened():
    rewards = torch.tensor([1.0, 0.0, 0.5, 0.0])
    assert torch.equal(grpo.group_advantages(rewards.bfloat16(), 4), grpo.group_advantages(rewards, 4))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_by_trls_own_statistics(scale):
    trl_utils = pytest.importorskip("trl.trainer.utils")
    rewards = torch.rand(24, generator=torch.Generator().manual_seed(0))
    centred = rewards - rewards.view(-1, 6).mean(dim=1).repeat_interleave(6)
    std = {
        "group": trl_utils.nanstd(rewards.view(-1, 6), dim=1).repeat_interleave(6) + 1e-4,
        "batch": trl_utils.nanstd(rewards).expand_as(rewards) + 1e-4,
        "none": torch.ones(24),
    }[scale]
    torch.testing.assert_close(grpo.group_advantages(rewards, 6, scale=scale), centred / std)


@pytest.mark.parametrize(
    ("rewards", "group_size", "scale", "says"),
    [
        (torch.ones(4), 1, "group", "group_size is 1"),
        (torch.ones(4), 0, "group", "group_size is 0"),
        (torch.ones(5), 2, "group", "multiple of group_size=2"),
        (torch.ones(0), 2, "group", "multiple"),
        (torch.ones(2, 2), 2, "group", "flat"),
        (torch.tensor([1.0, math.nan]), 2, "group", r"at \[1\]"),
        (torch.ones(4), 2, "std", "unknown scale 'std'"),
    ],
)
def test_bad_rewards_are_refused(rewards, group_size, scale, says):
    with pytest.raises(ValueError, match=says):
        grpo.group_advantages(rewards, group_size, scale=scale)


# --- ratio and clip -----------------------------------------------------------------------------------------


def test_ratio_is_the_quotient_of_probabilities():
    p, q = torch.tensor([[0.5, 0.1]]), torch.tensor([[0.25, 0.4]])
    torch.testing.assert_close(grpo.importance_ratio(p.log(), q.log()), torch.tensor([[2.0, 0.25]]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.0),
        (1.5, 2.0, -2.6, 0.0),  # above 1.3: clipped, no gradient
        (0.5, 2.0, -1.0, -2.0),  # the clip does not bind below for A > 0
        (0.5, -2.0, 1.6, 0.0),  # below 0.8: clipped
        (1.5, -2.0, 3.0, 2.0),  # nor above for A < 0
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, loss, slope):
    r = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    got = grpo.clipped_surrogate(r, torch.tensor([advantage]).double(), epsilon_low=0.2, epsilon_high=0.3)
    got.sum().backward()
    assert got.item() == pytest.approx(loss)
    assert r.grad.item() == pytest.approx(slope)


def test_advantages_per_completion_and_per_token_agree_on_a_square_batch():
    # B == T, where a (B,) tensor broadcast along the wrong axis would not raise.
    ratio = torch.tensor([[1.0, 1.1], [0.9, 1.0]])
    per_row = torch.tensor([1.0, -3.0])
    per_token = torch.tensor([[1.0, 1.0], [-3.0, -3.0]])
    assert torch.equal(grpo.clipped_surrogate(ratio, per_row), grpo.clipped_surrogate(ratio, per_token))


def test_clip_fraction_counts_active_tokens_where_the_clip_binds():
    ratio = torch.tensor([[1.5, 0.5, 1.0, 1.5], [1.5, 0.5, 1.0, 0.1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    # Row 1, A > 0: the two 1.5; row 2, A < 0: the 0.5, the 0.1 being padding. 3 of 7.
    got = grpo.clip_fraction(ratio, torch.tensor([1.0, -1.0]), mask)
    assert got.item() == pytest.approx(3 / 7)
    assert grpo.clip_fraction(ratio, torch.tensor([1.0, -1.0]), torch.zeros(2, 4)).item() == 0.0
    assert grpo.clip_fraction(ratio, torch.zeros(2), mask).item() == 0.0


# --- KL -----------------------------------------------------------------------------------------------------


@pytest.fixture
def categorical():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.log_softmax(torch.randn(7, generator=generator, dtype=torch.float64), dim=0)


def exact_mean(values: torch.Tensor, logps: torch.Tensor) -> torch.Tensor:
    """Expectation over tokens drawn from the policy, by enumeration; the sampling is not differentiated."""
    return (logps.exp().detach() * values).sum()


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p.exp() * (p - q)).sum()


def test_kl_estimators_in_expectation(categorical):
    logits, ref = categorical
    logps = torch.log_softmax(logits, dim=0)
    exact = kl(logps, ref).item()
    assert exact > 0.1
    assert exact_mean(grpo.kl_k1(logps, ref), logps).item() == pytest.approx(exact, abs=1e-12)
    assert exact_mean(grpo.kl_k3(logps, ref), logps).item() == pytest.approx(exact, abs=1e-12)
    assert exact_mean(grpo.kl_k2(logps, ref), logps).item() != pytest.approx(exact, rel=1e-3)  # biased
    assert torch.nn.functional.kl_div(ref, logps, log_target=True, reduction="sum").item() == pytest.approx(exact)


def test_gradients_of_the_kl_estimators_are_what_their_docstrings_say(categorical):
    logits, ref = categorical

    def gradient(scalar_of_logps) -> torch.Tensor:
        return torch.autograd.grad(scalar_of_logps(torch.log_softmax(logits, dim=0)), logits)[0]

    k1, k2, k3 = (gradient(lambda lp, k=k: exact_mean(k(lp, ref), lp)) for k in (grpo.kl_k1, grpo.kl_k2, grpo.kl_k3))
    forward, backward = gradient(lambda lp: kl(lp, ref)), gradient(lambda lp: kl(ref, lp))
    assert not torch.allclose(forward, backward, atol=1e-2)
    torch.testing.assert_close(k1, torch.zeros_like(k1), atol=1e-12, rtol=0)
    torch.testing.assert_close(k2, forward)
    torch.testing.assert_close(k3, backward)


def test_k2_and_k3_are_never_negative_and_zero_at_the_reference():
    logps = -10 * torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ref = logps.flip(0)
    for estimator in (grpo.kl_k2, grpo.kl_k3):
        assert (estimator(logps, ref) >= 0).all()
        assert torch.equal(estimator(logps, logps), torch.zeros_like(logps))
    assert (grpo.kl_k1(logps, ref) < 0).any()


# --- aggregation --------------------------------------------------------------------------------------------

LOSSES = torch.tensor([[1.0, 2.0, 3.0, math.nan], [10.0, 99.0, 99.0, 99.0], [7.0, 7.0, 7.0, 7.0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("how", "extra", "expected"),
    [
        ("grpo", {}, (2.0 + 10.0 + 0.0) / 3),
        ("bnpo", {}, 16.0 / 4),
        ("dapo", {}, 16.0 / 4),
        ("dapo", {"num_items": 32}, 0.5),
        ("dapo", {"num_items": torch.tensor(32)}, 0.5),
        ("dr_grpo", {"max_completion_length": 16}, 16.0 / (3 * 16)),
    ],
)
@pytest.mark.parametrize("mask", [MASK, MASK.bool(), MASK.float()], ids=["int", "bool", "float"])
def test_aggregations_by_hand(how, extra, expected, mask):
    assert grpo.aggregate(LOSSES, mask, how, **extra).item() == pytest.approx(expected)


@pytest.mark.parametrize("how", ["grpo", "bnpo", "dapo", "dr_grpo"])
def test_nothing_active_is_zero_not_nan(how):
    got = grpo.aggregate(LOSSES, torch.zeros(3, 4), how, max_completion_length=4)
    assert got.item() == 0.0


def test_bad_aggregations_are_refused():
    with pytest.raises(ValueError, match="max_completion_length, which is None"):
        grpo.aggregate(LOSSES, MASK, "dr_grpo")
    with pytest.raises(ValueError, match="unknown aggregation 'mean'"):
        grpo.aggregate(LOSSES, MASK, "mean")
    with pytest.raises(ValueError, match=r"\(3, 4\) and mask \(3, 1\)"):
        grpo.aggregate(LOSSES, MASK[:, :1], "grpo")


# --- the whole loss, beside TRL's ---------------------------------------------------------------------------


def trl_loss(logps, old_logps, advantages, mask, *, how, beta, ref_logps, num_items, max_length, epsilons):
    """TRL's own ``GRPOTrainer._compute_loss``; a stand-in trainer hands it nothing but numbers."""
    trl = pytest.importorskip("trl")
    identity = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logps, torch.zeros_like(logps), None),
        accelerator=identity,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        loss_type=how,
        beta=beta,
        epsilon_low=epsilons[0],
        epsilon_high=epsilons[1],
        max_completion_length=max_length,
    )
    inputs = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old_logps,
        "ref_per_token_logps": ref_logps,
        "num_items_in_batch": num_items,
    }
    loss = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss, trainer._metrics["train"]["clip_ratio/region_mean"][0]


@pytest.mark.parametrize("per_token", [False, True], ids=["A (B,)", "A (B,T)"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("how", ["grpo", "bnpo", "dapo", "dr_grpo"])
def test_loss_gradient_and_clip_fraction_equal_trls(how, beta, per_token):
    generator = torch.Generator().manual_seed(3)
    shape, epsilons = (6, 9), (0.2, 0.28)

    def logps_near(center: torch.Tensor, spread: float) -> torch.Tensor:
        return center + spread * torch.randn(shape, generator=generator, dtype=torch.float64)

    old = logps_near(torch.full(shape, -1.5, dtype=torch.float64), 0.5)
    ref = logps_near(old, 0.3)
    logps = logps_near(old, 0.3).requires_grad_()
    advantages = torch.randn(shape if per_token else shape[:1], generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, 10, (6, 1), generator=generator)
    mask = (torch.arange(9) < lengths).long()

    theirs, their_clip = trl_loss(
        logps, old, advantages, mask, how=how, beta=beta, ref_logps=ref,
        num_items=torch.tensor(77), max_length=12, epsilons=epsilons,
    )  # fmt: skip
    ours = grpo.grpo_loss(
        logps, old, advantages, mask, ref_logps=ref, beta=beta, how=how,
        epsilon_low=epsilons[0], epsilon_high=epsilons[1], max_completion_length=12, num_items=77,
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    their_gradient = torch.autograd.grad(theirs, logps, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, logps)[0], their_gradient, rtol=1e-12, atol=1e-15)

    ratio = grpo.importance_ratio(logps, old)
    clipped = grpo.clip_fraction(ratio, advantages, mask, epsilon_low=epsilons[0], epsilon_high=epsilons[1])
    assert 0 < their_clip == pytest.approx(clipped.item())


def test_on_policy_loss_is_minus_the_mean_advantage_and_pushes_by_it():
    logps = torch.full((2, 3), -1.0, requires_grad=True)
    loss = grpo.grpo_loss(logps, logps.detach(), torch.tensor([1.0, -0.5]), torch.ones(2, 3))
    loss.backward()
    assert loss.item() == pytest.approx(-0.25)
    torch.testing.assert_close(logps.grad, torch.tensor([[-1.0], [0.5]]).expand(2, 3) / 6)


def test_beta_without_reference_is_refused():
    x = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="ref_logps is None"):
        grpo.grpo_loss(x, x, torch.ones(1), torch.ones(1, 1), beta=0.1)
