"""The trainer's loss against TRL's own and against autograd of the closed form of each shaping.

Three questions. Without guided tokens, is every bit TRL's? With them, is the gradient of TRL's loss under the
seam the one of "shaped loss on guided tokens, GRPO on the others", summed as that loss type sums? And do the
refused options really break that, so that refusing them is right?
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import GUIDANCE, length_reward
from torch import Tensor
from transformers import TrainingArguments, set_seed
from trl import GRPOConfig, GRPOTrainer

from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.shaping import SHAPINGS, shaped_loss
from thinktuning_lite.method.teacher import ScriptedTeacher
from thinktuning_lite.method.trainer import ThinkTuningTrainer

LOSSES: dict[str, dict[str, Any]] = {
    "grpo": {}, "bnpo": {}, "dr_grpo": {}, "dapo": {}, "luspo": {}, "sapo": {},
    "cispo": {"epsilon_high": 5.0},
}  # fmt: skip
NO_BIAS = {"use_bias_correction_kl": False}
GUIDED: dict[str, Any] = {
    "guided_fraction": 0.25,
    "guidance_steps": 9,
}  # one of each group of 4, from the first step


@pytest.fixture
def build(settings, new_model, dataset, tokenizer) -> Callable[..., GRPOTrainer]:
    """A trainer on its own copy of the tiny policy, in training mode, ready for `_compute_loss`."""

    def make(ours: bool, teacher: Any = None, **overrides: Any) -> Any:
        model = new_model()
        if ours:
            args = ThinkTuningConfig(**settings(**overrides))
            trainer = ThinkTuningTrainer(
                model, length_reward, args, dataset, teacher=teacher, processing_class=tokenizer
            )
        else:
            args = GRPOConfig(**settings(**overrides))
            trainer = GRPOTrainer(model, length_reward, args, dataset, processing_class=tokenizer)
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps
        return trainer

    return make


# --- no guided token: TRL's own, to the last bit ------------------------------------------------------------


def drive(trainer: Any, rows: list[dict]) -> list[Tensor]:
    """Losses of all micro-batches and gradients of all optimizer steps of one generation; plain SGD between."""
    seen: list[Tensor] = []
    set_seed(11)
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    for _ in range(trainer.num_iterations):
        for _ in range(trainer.args.gradient_accumulation_steps):
            loss = trainer._compute_loss(trainer.model, trainer._prepare_inputs(rows))
            loss.backward()
            seen.append(loss.detach())
            trainer._step += 1
        with torch.no_grad():
            for p in parameters:
                seen.append(p.grad.clone())
                p -= 1e-2 * p.grad
                p.grad = None
    return seen


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_without_a_guided_token_loss_and_gradients_are_trls(build, dataset, loss_type, beta, iterations, accumulation):
    """With guidance off, and with all hooks at work but every feedback malformed, so that no token is guided."""
    common = dict(
        loss_type=loss_type, beta=beta, num_iterations=iterations, gradient_accumulation_steps=accumulation,
        **LOSSES[loss_type], **NO_BIAS,
    )  # fmt: skip
    asked: list[Any] = []
    nonsense = ScriptedTeacher(lambda request: asked.append(request) or "no tags at all")
    rows = [dataset[i] for i in range(accumulation) for _ in range(4)]
    theirs = drive(build(False, **common), rows)
    off = drive(build(True, **common, guided_fraction=0.0), rows)
    idle = drive(build(True, nonsense, **common, **GUIDED, rollout_log_steps=1), rows)
    assert len(asked) == accumulation
    assert len(theirs) == len(off) == len(idle) > 10
    assert any(g.abs().max() > 0 for g in theirs)
    assert all(torch.equal(a, b) for a, b in zip(off, theirs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(idle, theirs, strict=True))


@pytest.mark.parametrize("kind", [{"num_iterations": 2, "beta": 0.05, **NO_BIAS}, {"gradient_accumulation_steps": 2}])
def test_whole_runs_without_guidance_end_with_trls_weights(build, kind):
    ends = []
    for ours in (True, False):
        trainer = build(ours, max_steps=4, **kind, **({"guided_fraction": 0.0} if ours else {}))
        start = [p.clone() for p in trainer.model.parameters()]
        trainer.train()
        ends.append([p.detach().clone() for p in trainer.model.parameters()])
    assert any(not torch.equal(a, b) for a, b in zip(start, ends[0], strict=True))  # something was learnt
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# --- guided tokens: the closed form -------------------------------------------------------------------------

# From far below gamma to 1 - 1e-6, both sides of the pole at 0.001 and of the fallback at 0.01.
PROBABILITIES = [
    1e-8, 1e-6, 1e-4, 9e-4, 9.99e-4, 1.001e-3, 1.1e-3, 2e-3, 9.9e-3, 1.01e-2, 0.03, 0.25, 0.5, 0.9, 0.9995, 1 - 1e-6,
]  # fmt: skip
LENGTHS = [16, 9, 16, 12, 16, 7]  # of the completions; the tensors are two columns wider
STUDENT = [16, 4, 5, 12, 1, 3]  # tokens by the student; the rest is the teacher's
ADVANTAGES = [1.2, -0.7, 1.4, -0.4, -1.1, 0.0]  # guided rows: 1, 2, 4, 5
WIDTH, PROMPT, SKIP = 18, 5, 2


def hand_made(stale: bool, reference: bool) -> tuple[dict[str, Tensor], Tensor]:
    """A micro-batch as TRL would prepare it, and its log-probs as a leaf in float64."""
    g = torch.Generator().manual_seed(5)
    position = torch.arange(WIDTH)
    length, student = torch.tensor(LENGTHS), torch.tensor(STUDENT)
    p = torch.tensor(PROBABILITIES, dtype=torch.float64)
    order = torch.stack([torch.randperm(len(p), generator=g) for _ in LENGTHS])
    leaf = torch.nn.functional.pad(p[order].log(), (0, WIDTH - len(p)), value=-3.0).requires_grad_()
    prompt_mask = (torch.arange(PROMPT) >= SKIP).long().expand(len(LENGTHS), PROMPT)
    batch = {
        "prompt_ids": torch.full((len(LENGTHS), PROMPT), 7),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.full((len(LENGTHS), WIDTH), 9),
        "completion_mask": (position < length[:, None]).long(),
        "teacher_mask": ((position >= student[:, None]) & (position < length[:, None])).long(),
        "advantages": torch.tensor(ADVANTAGES, dtype=torch.float64),
        "num_items_in_batch": length.sum() + 31,  # other micro-batches of the generation
        "row": torch.arange(len(LENGTHS)),
    }
    if stale:
        batch["old_per_token_logps"] = leaf.detach() + 0.4 * torch.randn(leaf.shape, generator=g, dtype=torch.float64)
    if reference:
        batch["ref_per_token_logps"] = leaf.detach() + 0.5 * torch.randn(leaf.shape, generator=g, dtype=torch.float64)
    return batch, leaf


def ordinary(loss_type: str, a: Any, leaf: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    """What TRL minimises on a token that the student sampled, written from the papers' formulas."""
    ratio = (leaf - old).exp()
    if loss_type == "cispo":
        return -ratio.clamp(max=a.epsilon_high).detach() * advantages * leaf
    if loss_type == "sapo":
        t = torch.where(advantages > 0, a.sapo_temperature_pos, a.sapo_temperature_neg)
        return -advantages * torch.sigmoid(t * (ratio - 1)) * 4 / t
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - a.epsilon, 1 + a.epsilon) * advantages)


def aggregate(loss_type: str, a: Any, per_token: Tensor, mask: Tensor, num_items: Tensor) -> Tensor:
    total, n, accumulation = per_token * mask, mask.sum(1), a.gradient_accumulation_steps
    return {
        "grpo": lambda: (total.sum(1) / n).mean() / accumulation,
        "sapo": lambda: (total.sum(1) / n).mean() / accumulation,
        "bnpo": lambda: total.sum() / n.sum() / accumulation,
        "dr_grpo": lambda: total.sum() / (len(n) * a.max_completion_length) / accumulation,
        "luspo": lambda: total.sum(1).mean() / accumulation,
        "dapo": lambda: total.sum() / num_items * a.steps_per_generation / accumulation,
        "vespo": lambda: total.sum() / num_items * a.steps_per_generation / accumulation,
        "cispo": lambda: total.sum() / num_items * a.steps_per_generation / accumulation,
    }[loss_type]()


def shaped_tokens(batch: dict[str, Tensor], mask_name: str) -> Tensor:
    taught = batch["teacher_mask"].bool()
    whole = taught.any(1, keepdim=True) & batch["completion_mask"].bool()
    return taught if mask_name == "teacher" else whole


def closed_form(a: Any, batch: dict[str, Tensor], leaf: Tensor, ratio_scale: Tensor | float = 1.0) -> Tensor:
    """Shaped loss on guided tokens, the ordinary term on all others and on AAS's fallback, KL on all."""
    advantages = batch["advantages"][:, None].expand_as(leaf)
    old = batch.get("old_per_token_logps", leaf.detach())
    where = shaped_tokens(batch, a.shaping_mask)
    if a.shaping in ("intended", "released"):
        where = where & ~((advantages < 0) & (leaf.detach().exp() < 0.01))
    own = ordinary(a.loss_type, a, leaf, old, advantages) * ratio_scale
    per_token = torch.where(where, shaped_loss(a.shaping, leaf, advantages), own)
    if a.beta:
        gap = batch["ref_per_token_logps"] - leaf
        per_token = per_token + a.beta * (gap.exp() - gap - 1)
    return aggregate(a.loss_type, a, per_token, batch["completion_mask"], batch["num_items_in_batch"])


def trl_gradient(trainer: Any, batch: dict[str, Tensor], leaf: Tensor, monkeypatch: Any) -> Tensor:
    """d(TRL's loss under the seam)/d(log p), with `leaf` standing in for the policy's log-probs."""

    def given(self, model, input_ids, attention_mask, logits_to_keep, **kwargs):
        assert input_ids.shape == attention_mask.shape
        entropies = leaf.detach().neg()[:, :logits_to_keep]
        return leaf[:, :logits_to_keep], entropies, None

    with monkeypatch.context() as patch:
        patch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", given)
        (gradient,) = torch.autograd.grad(trainer._compute_loss(trainer.model, batch), leaf)
    return gradient


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_gradient_with_guided_tokens_is_autograd_of_the_closed_form(
    build, monkeypatch, loss_type, beta, stale, accumulation
):
    trainer = build(
        True, ScriptedTeacher(lambda r: GUIDANCE), loss_type=loss_type, beta=beta, guided_fraction=0.25,
        gradient_accumulation_steps=accumulation, **LOSSES[loss_type], **NO_BIAS,
    )  # fmt: skip
    for trainer.args.shaping in SHAPINGS:
        for trainer.args.shaping_mask in ("guided", "teacher"):
            batch, leaf = hand_made(stale, beta > 0)
            kept = {k: v.clone() for k, v in batch.items()}
            got = trl_gradient(trainer, batch, leaf, monkeypatch)
            (wanted,) = torch.autograd.grad(closed_form(trainer.args, batch, leaf), leaf)
            assert torch.isfinite(got).all() and got.abs().max() > 1e-3
            torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-12)
            # TRL's buffered dict is as it was: it is read again at num_iterations > 1.
            assert batch.keys() == kept.keys()
            assert all(torch.equal(batch[k], kept[k]) for k in kept)


def test_the_shapings_and_masks_differ_in_this_batch(build, monkeypatch):
    """Negative control: the comparison above could tell one shaping, or one mask, from another."""
    trainer = build(True, ScriptedTeacher(lambda r: GUIDANCE), guided_fraction=0.25)
    gradients = []
    for trainer.args.shaping in SHAPINGS:
        for trainer.args.shaping_mask in ("guided", "teacher"):
            batch, leaf = hand_made(False, False)
            gradients.append(trl_gradient(trainer, batch, leaf, monkeypatch))
    off = {**hand_made(False, False)[0]}
    off["teacher_mask"] = torch.zeros_like(off["teacher_mask"])
    gradients.append(trl_gradient(trainer, off, leaf, monkeypatch))
    # "plain" is weight 1, which is what a ratio of 1 gives: only it may equal GRPO and itself under the other mask.
    same = [(i, j) for i in range(9) for j in range(i) if torch.allclose(gradients[i], gradients[j])]
    plain = 2 * list(SHAPINGS).index("plain")
    assert set(same) == {(plain + 1, plain), (8, plain), (8, plain + 1)}


def test_delta_of_one_keeps_the_identity(build, monkeypatch):
    trainer = build(True, ScriptedTeacher(lambda r: GUIDANCE), guided_fraction=0.25, delta=1.0)
    batch, leaf = hand_made(False, False)
    (wanted,) = torch.autograd.grad(closed_form(trainer.args, batch, leaf), leaf)
    torch.testing.assert_close(trl_gradient(trainer, batch, leaf, monkeypatch), wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("per_token", [True, False])
def test_vllms_correction_leaves_shaped_tokens_alone(build, monkeypatch, per_token):
    trainer = build(True, ScriptedTeacher(lambda r: GUIDANCE), guided_fraction=0.25, shaping_mask="teacher")
    trainer.use_vllm = True  # only its branch of the loss is wanted, not the engine
    batch, leaf = hand_made(True, False)
    batch["importance_sampling_ratio"] = torch.linspace(0.2, 2.0, 6)[:, None].expand(6, WIDTH if per_token else 1)
    got = trl_gradient(trainer, batch, leaf, monkeypatch)
    form = closed_form(trainer.args, batch, leaf, batch["importance_sampling_ratio"])
    torch.testing.assert_close(got, torch.autograd.grad(form, leaf)[0], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shaping_mask", ["guided", "teacher"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_parameter_gradients_of_real_guided_rollouts(build, dataset, scripted_teacher, loss_type, shaping_mask):
    """End to end: generated, guided and scored by the trainer; the reference runs the model itself, at T = 0.8."""
    trainer = build(
        True, scripted_teacher, loss_type=loss_type, shaping="released", shaping_mask=shaping_mask, beta=0.05,
        temperature=0.8, **GUIDED, num_iterations=2,
        **LOSSES[loss_type], **NO_BIAS,
    )  # fmt: skip
    set_seed(1)
    parameters = dict(trainer.model.named_parameters())
    for _ in range(2):  # the second pass has a stale policy
        batch = trainer._prepare_inputs([dataset[0]] * 4)
        assert batch["teacher_mask"].any(1).sum() == 1
        trainer._compute_loss(trainer.model, batch).backward()
        got = {n: p.grad.clone() for n, p in parameters.items()}
        trainer.model.zero_grad()

        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        width = batch["completion_ids"].shape[1]
        with torch.enable_grad():  # LlamaForCausalLM's own forward, without TRL's patched head
            hidden = trainer.model.model(input_ids=ids, attention_mask=attention).last_hidden_state
            logits = trainer.model.lm_head(hidden[:, -width - 1 : -1]).double() / 0.8
        logps = logits.log_softmax(-1).gather(-1, batch["completion_ids"][..., None]).squeeze(-1)
        closed_form(trainer.args, batch, logps).backward()
        for name, p in parameters.items():
            scale = p.grad.abs().max()
            torch.testing.assert_close(got[name], p.grad, rtol=1e-3, atol=2e-4 * scale.item())
        with torch.no_grad():
            for p in parameters.values():
                p -= 5e-3 * p.grad / p.grad.norm()
                p.grad = None
        trainer._step += 1


# --- what is refused, and that refusing it is right ---------------------------------------------------------

BREAKING: dict[str, dict[str, Any]] = {
    "importance_sampling_level": {"importance_sampling_level": "sequence"},
    "vespo": {"loss_type": "vespo"},
    "epsilon_high": {"loss_type": "cispo", "epsilon_high": 0.2},
    "delta": {"delta": 0.5},
    "top_entropy_quantile": {"top_entropy_quantile": 0.5},
    "off_policy_mask_threshold": {"off_policy_mask_threshold": 0.001},
    "use_bias_correction_kl": {"beta": 0.05, "use_bias_correction_kl": True},
}


@pytest.mark.parametrize("name", BREAKING)
def test_an_option_that_breaks_the_identity_is_refused_by_name(build, settings, monkeypatch, name):
    with pytest.raises(ValueError, match=name):
        ThinkTuningConfig(**settings(guided_fraction=0.1, **BREAKING[name]))

    # Without guidance it is TRL's business and accepted; guided tokens then really get another gradient.
    trainer = build(True, guided_fraction=0.0, shaping="intended", shaping_mask="teacher", **BREAKING[name])
    batch, leaf = hand_made(stale=True, reference="beta" in BREAKING[name])
    got = trl_gradient(trainer, batch, leaf, monkeypatch)
    (wanted,) = torch.autograd.grad(closed_form(trainer.args, batch, leaf), leaf)
    taught = batch["teacher_mask"].bool() & (batch["advantages"] != 0)[:, None]
    off = ((got - wanted).abs() / wanted.abs().clamp(min=1e-6))[taught]
    assert (off > 1e-2).float().mean() > 0.1, off


def test_cispo_with_its_default_cap_is_refused(settings):
    with pytest.raises(ValueError, match="epsilon_high"):  # None means epsilon, 0.2
        ThinkTuningConfig(**settings(loss_type="cispo", guided_fraction=0.1))


def test_groups_that_straddle_processes_are_refused(settings, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "world_size", property(lambda self: 2))
    GRPOConfig(**settings(per_device_train_batch_size=2))  # 2 x 2 rows hold one group of 4; TRL is content
    with pytest.raises(ValueError, match="multiple of num_generations"):
        ThinkTuningConfig(**settings(guided_fraction=0.1, per_device_train_batch_size=2))


def test_liger_is_refused(settings):
    with pytest.raises(ValueError, match="use_liger_kernel"):
        ThinkTuningConfig(**settings(guided_fraction=0.1, use_liger_kernel=True))


def test_a_trl_that_does_not_ask_for_logps_is_found_out(build, monkeypatch):
    trainer = build(True, ScriptedTeacher(lambda r: GUIDANCE), guided_fraction=0.25)
    batch, leaf = hand_made(False, False)
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", lambda self, model, inputs: leaf.sum())
    with pytest.raises(RuntimeError, match="AAS was not applied"):
        trainer._compute_loss(trainer.model, batch)


# --- rows sorted into micro-batches -------------------------------------------------------------------------


def random_window(tokenizer: Any, n_batches: int, guided: tuple[int, ...]) -> list[dict[str, Tensor]]:
    """Micro-batches of 4 rows of random tokens and lengths, as split from one generation batch; some rows guided."""
    g = torch.Generator().manual_seed(2)
    n, width = 4 * n_batches, 20
    length = torch.randint(3, width + 1, (n,), generator=g)
    position = torch.arange(width)
    student = torch.where(torch.isin(torch.arange(n), torch.tensor(guided)), length // 2, length)
    ids = torch.randint(10, len(tokenizer), (n, 6 + width), generator=g)
    full = {
        "prompt_ids": ids[:, :6],
        "prompt_mask": (torch.arange(6) >= torch.randint(0, 3, (n, 1), generator=g)).long(),
        "completion_ids": ids[:, 6:],
        "completion_mask": (position < length[:, None]).long(),
        "teacher_mask": ((position >= student[:, None]) & (position < length[:, None])).long(),
        "advantages": torch.randn(n, generator=g),
        "old_per_token_logps": -4 - torch.rand(n, width, generator=g),
        "ref_per_token_logps": -4 - torch.rand(n, width, generator=g),
        "row": torch.arange(n),
    }
    batches = [{k: v[i : i + 4] for k, v in full.items()} for i in range(0, n, 4)]
    return [b | {"num_items_in_batch": length.sum()} for b in batches]


def accumulated(trainer: Any, batches: list[dict[str, Tensor]]) -> Tensor:
    trainer.model.zero_grad()
    for batch in batches:
        trainer._compute_loss(trainer.model, batch).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("loss_type", LOSSES)
def test_sorted_rows_give_the_same_accumulated_gradient(build, tokenizer, loss_type):
    """One generation for two optimizer steps: rows move within an accumulation window, never across."""
    trainer = build(
        True, ScriptedTeacher(lambda r: GUIDANCE), loss_type=loss_type, beta=0.05, guided_fraction=0.25,
        gradient_accumulation_steps=3, steps_per_generation=6, **LOSSES[loss_type], **NO_BIAS,
    )  # fmt: skip
    batches = random_window(tokenizer, 6, guided=(1, 6, 15))
    result = trainer._sort_windows(batches)
    if loss_type == "bnpo":  # a token's share there depends on its micro-batch
        assert result is batches
        return
    padded = [sum(int(b["completion_mask"].sum(1).max()) for b in window) for window in (batches, result)]
    assert padded[1] < padded[0]
    for start in (0, 3):
        before, after = batches[start : start + 3], result[start : start + 3]
        rows = [torch.cat([b["row"] for b in window]).tolist() for window in (before, after)]
        assert rows[0] != rows[1] and sorted(rows[0]) == sorted(rows[1])
        wanted = accumulated(trainer, before)
        torch.testing.assert_close(
            accumulated(trainer, after), wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item()
        )


@pytest.mark.parametrize("loss_type", [t for t in LOSSES if t != "bnpo"])
def test_rows_of_zero_advantage_are_left_out_of_guided_windows_and_the_gradient_stays(
    build, tokenizer, loss_type, monkeypatch
):
    trainer = build(
        True, ScriptedTeacher(lambda r: GUIDANCE), loss_type=loss_type, guided_fraction=0.25,
        gradient_accumulation_steps=3, **LOSSES[loss_type],
    )  # fmt: skip
    batches = random_window(tokenizer, 3, guided=(1, 6))
    idle = torch.tensor([0, 4, 5, 6, 7, 9])  # a guided row and a whole micro-batch among them
    for b in batches:
        b["advantages"] = torch.where(torch.isin(b["row"], idle), 0.0, b["advantages"])
    seen: list[int] = []
    logps = type(trainer)._get_per_token_logps_and_entropies

    def counted(self, model, input_ids, *args, **kwargs):
        seen.append(len(input_ids))
        return logps(self, model, input_ids, *args, **kwargs)

    monkeypatch.setattr(type(trainer), "_get_per_token_logps_and_entropies", counted)
    wanted = accumulated(trainer, batches)
    assert seen == [4, 4, 4]  # windows that were not sorted are left as they are
    result = accumulated(trainer, [b | {"trim": True} for b in batches])
    assert seen[3:] == [3, 1, 3]  # TRL is never given an empty micro-batch
    torch.testing.assert_close(result, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())
    seen.clear()
    trainer.beta = 0.05
    accumulated(trainer, [b | {"trim": True} for b in batches])
    assert seen == [4, 4, 4]  # the KL term needs every row


def test_windows_without_guided_rows_are_not_touched(build, tokenizer):
    trainer = build(
        True, ScriptedTeacher(lambda r: GUIDANCE), guided_fraction=0.25, gradient_accumulation_steps=3,
        steps_per_generation=6,
    )  # fmt: skip
    batches = random_window(tokenizer, 6, guided=(1,))
    result = trainer._sort_windows(batches)
    assert all(a is b for a, b in zip(result[3:], batches[3:], strict=True))
    assert any(not torch.equal(a["row"], b["row"]) for a, b in zip(result[:3], batches[:3], strict=True))


def test_windows_of_the_own_sampler_are_sorted_without_guidance_too_and_the_gradient_stays(
    build, tokenizer, monkeypatch
):
    trainer = build(True, guided_fraction=0.0, gradient_accumulation_steps=3)
    batches = random_window(tokenizer, 3, guided=())
    for b in batches:
        b["advantages"] = torch.where(b["row"] % 3 == 0, 0.0, b["advantages"])
    wanted = accumulated(trainer, batches)
    assert trainer._own_sampling() is None  # forced_eos_token_id is generate's alone
    assert all(a is b for a, b in zip(trainer._sort_windows(batches), batches, strict=True))
    monkeypatch.setattr(trainer, "_own_sampling", dict)
    tidied = trainer._sort_windows(batches)
    widths: list[int] = []
    logps = type(trainer)._get_per_token_logps_and_entropies

    def counted(self, model, input_ids, *args, **kwargs):
        widths.append(input_ids.numel())
        return logps(self, model, input_ids, *args, **kwargs)

    monkeypatch.setattr(type(trainer), "_get_per_token_logps_and_entropies", counted)
    result = accumulated(trainer, tidied)
    assert sum(widths) < 0.7 * sum(b["prompt_ids"].numel() + b["completion_ids"].numel() for b in batches)
    torch.testing.assert_close(result, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())


def test_a_generation_that_straddles_accumulation_windows_is_not_sorted(build, tokenizer):
    trainer = build(
        True, ScriptedTeacher(lambda r: GUIDANCE), guided_fraction=0.25, gradient_accumulation_steps=2,
        steps_per_generation=3,
    )  # fmt: skip
    batches = random_window(tokenizer, 3, guided=(1, 6))
    assert trainer._sort_windows(batches) is batches


def test_an_entropy_bonus_is_the_same_with_and_without_sorting(build, tokenizer):
    """TRL averages the bonus over the tokens of a micro-batch, so moving rows would change it."""
    trainer = build(
        True,
        ScriptedTeacher(lambda r: GUIDANCE),
        guided_fraction=0.25,
        gradient_accumulation_steps=3,
        entropy_coef=1.0,
    )
    batches = random_window(tokenizer, 3, guided=(1, 6))
    for b in batches:
        b.pop("old_per_token_logps")
    wanted = accumulated(trainer, batches)
    result = accumulated(trainer, trainer._sort_windows(batches))
    torch.testing.assert_close(result, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())


# --- num_iterations = 2 -------------------------------------------------------------------------------------


def test_the_buffer_of_a_second_iteration_is_the_one_of_the_first(build, dataset, scripted_teacher):
    trainer = build(True, scripted_teacher, num_iterations=2, rollout_log_steps=1, **GUIDED)
    rows = [dataset[0]] * 4
    first = trainer._prepare_inputs(rows)
    assert first["teacher_mask"].any() and "old_per_token_logps" in first
    kept = {k: v.clone() for k, v in first.items()}
    trainer._compute_loss(trainer.model, first).backward()
    trainer._step += 1
    second = trainer._prepare_inputs(rows)
    assert second is first and second.keys() == kept.keys()
    assert all(torch.equal(second[k], kept[k]) for k in kept)
    assert len(scripted_teacher.asked) == 1  # nobody was asked again
