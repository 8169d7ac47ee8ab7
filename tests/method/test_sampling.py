"""The sampler: greedy as transformers, sampled by the model's own probabilities, whatever rows have left the batch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import chisquare
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from thinktuning_lite.method import decoding
from thinktuning_lite.method.sampling import eos_ids_of, sample, suppressed_ids

EOS, PAD = 1, 0
SMALL = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    initializer_range=0.5,
    max_position_embeddings=128,
    bos_token_id=None,
    eos_token_id=EOS,
    pad_token_id=PAD,
)
DECODED = {
    "llama": {},
    "mistral": dict(sliding_window=None, num_key_value_heads=2),
    "qwen2": dict(num_key_value_heads=2),
    "qwen3": dict(num_key_value_heads=2, head_dim=16),
    "gemma": dict(head_dim=8),
    "phi": {},
    "gpt2": dict(n_positions=128, activation_function="gelu"),
    "gpt_neox": {},
    "falcon": dict(new_decoder_architecture=True),
    "stablelm": {},
    "olmo2": {},
}
LEFT_TO_GENERATE = {
    "gemma2": dict(sliding_window=8, head_dim=8, num_key_value_heads=2),
    "mamba": dict(state_size=4),
    "bloom": {},
    "mistral": dict(sliding_window=8, num_key_value_heads=2),
}


def build(kind: str = "llama", **overrides) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SMALL | overrides))
    return AutoModelForCausalLM.from_config(config).eval()


def ragged(n: int = 6, seed: int = 0) -> list[list[int]]:
    """Prompts of 3 to 9 tokens; the last is the first again."""
    g = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(2, 64, (3 + i % 7,), generator=g).tolist() for i in range(n - 1)]
    return [*prompts, prompts[0]]


def ask(model, prompts, **kwargs):
    return sample(model, prompts, **(dict(max_new_tokens=24, eos_ids=[EOS], pad_id=PAD) | kwargs))


@pytest.mark.parametrize("kind", DECODED)
def test_greedy_is_transformers_token_for_token(kind):
    model = build(kind, **DECODED[kind])
    assert decoding.can_decode(model)
    greedy = [ask(model, ragged(), temperature=0, eos_ids=[EOS, 5, 9], engine=e) for e in ("fast", "hf")]
    assert greedy[0] == greedy[1]
    assert len({tuple(row) for row in greedy[0]}) > 2  # the model says different things to different prompts


@pytest.mark.parametrize("kind", LEFT_TO_GENERATE)
def test_what_the_loop_cannot_drive_goes_to_generate(kind):
    model = build(kind, **LEFT_TO_GENERATE[kind])
    assert not decoding.can_decode(model)
    assert ask(model, ragged(), temperature=0) == ask(model, ragged(), temperature=0, engine="hf")
    with pytest.raises(ValueError, match="fast engine"):
        ask(model, ragged(), engine="fast")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "falcon"])
def test_a_prefix_is_read_once_and_changes_nothing(kind):
    model, prefix = build(kind, **DECODED[kind]), list(range(10, 50))
    prompts = [prefix + p for p in ragged()]
    seen = []
    handle = model.register_forward_pre_hook(lambda m, a, k: seen.append(k["input_ids"].shape), with_kwargs=True)
    with_prefix = ask(model, prompts, temperature=0, prefix=prefix)
    handle.remove()
    assert seen[0] == (1, 40) and seen[1][1] == 7  # the prefix for all, then the rest of each
    assert with_prefix == ask(model, prompts, temperature=0) == ask(model, prompts, temperature=0, engine="hf")
    again = [ask(model, [prefix, *prompts], temperature=0, prefix=p) for p in (prefix, None)]  # nothing behind it
    assert again[0] == again[1]


def test_rows_that_ended_leave_the_batch_and_change_no_other():
    model, prompts = build(), ragged(40)
    widths = []
    handle = model.register_forward_pre_hook(lambda m, a, k: widths.append(len(k["input_ids"])), with_kwargs=True)
    torch.manual_seed(3)
    dropped = ask(model, prompts, eos_ids=[EOS, 2, 3, 4])
    handle.remove()
    torch.manual_seed(3)
    carried = ask(model, prompts, eos_ids=())
    for short, long in zip(dropped, carried, strict=True):
        assert short == long[: len(short)] and not set(short[:-1]) & {EOS, 2, 3, 4}
    assert widths[0] == 39  # one prompt came twice
    assert widths[1:] == [sum(len(row) > n for row in dropped) for n in range(1, len(widths))]
    assert min(map(len, dropped)) < max(map(len, dropped))


def test_each_token_has_the_log_probability_of_a_forward_pass():
    model, prompts, seen = build(), ragged(12), []

    def keep(logits, how, uniform):
        seen.append(torch.log_softmax(logits / how.temperature, -1))
        return choose(logits, how, uniform)

    choose = decoding._choose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_choose", keep)
        torch.manual_seed(0)
        completions = ask(model, prompts, temperature=0.7, eos_ids=())
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / 0.7
        decoded = torch.stack([step[row] for step in seen])
        torch.testing.assert_close(decoded, torch.log_softmax(logits, -1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{}, dict(temperature=0.6), dict(top_k=3), dict(top_p=0.7), dict(suppress_ids=(4,)), dict(top_k=4, top_p=0.8)],
    ids=str,
)
@pytest.mark.parametrize("engine", ["fast", "hf"])
def test_samples_follow_the_model_by_chi_square(engine, settings):
    """Two tokens each out of eight: counts against the exact probabilities of transformers' own logits processors."""
    model, prompt, n = build(vocab_size=8, initializer_range=0.2), [3, 5, 2], 4000
    torch.manual_seed(1)
    said = Counter(map(tuple, ask(model, [prompt] * n, max_new_tokens=2, eos_ids=(), engine=engine, **settings)))
    expected = {}
    for first, p in enumerate(next_probabilities(model, prompt, **settings)):
        for second, q in enumerate(next_probabilities(model, [*prompt, first], **settings)):
            expected[first, second] = p * q * n
    assert not [pair for pair in said if expected[pair] == 0]
    likely = [pair for pair, count in expected.items() if count >= 5]
    rest = [n - sum(c[pair] for pair in likely) for c in (said, expected)]
    observed, wanted = [said[pair] for pair in likely], [expected[pair] for pair in likely]
    if rest[1] >= 5:
        observed, wanted = [*observed, rest[0]], [*wanted, rest[1]]
    else:
        wanted = [w * sum(observed) / sum(wanted) for w in wanted]
    assert len(likely) > 3 and chisquare(observed, wanted).pvalue > 1e-3


def next_probabilities(model, ids, temperature=1.0, top_k=0, top_p=1.0, suppress_ids=()) -> list[float]:
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1].double() / temperature
    logits[list(suppress_ids)] = -torch.inf
    if top_k:
        logits[logits < logits.topk(top_k).values[-1]] = -torch.inf
    p, order = logits.softmax(-1).sort(descending=True)
    p[p.cumsum(-1) - p >= top_p] = 0
    return (torch.zeros_like(p).scatter(0, order, p) / p.sum()).tolist()


def test_one_seed_gives_one_answer_and_a_generator_leaves_the_global_one_alone():
    model, prompts = build(), ragged()
    for engine in ("fast", "hf"):
        before = torch.get_rng_state()
        a, b, c = (ask(model, prompts, generator=torch.Generator().manual_seed(s), engine=engine) for s in (7, 7, 8))
        assert a == b != c
        assert torch.equal(before, torch.get_rng_state())


def test_one_batch_of_several_blocks_says_what_batches_of_a_block_say(monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 4)
    model, prompts = build(), ragged(10)
    whole = ask(model, prompts, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    assert whole == [row for i in (0, 4, 8) for row in ask(model, prompts[i : i + 4], generator=generator)]
    assert len({tuple(row) for row in whole}) > 5


def test_the_checkpoints_own_generation_config_does_not_act():
    model, prompts = build(), ragged()
    plain = {e: ask(model, prompts, temperature=0, engine=e) for e in ("fast", "hf")}
    own = GenerationConfig(repetition_penalty=5.0, do_sample=True, top_k=2, eos_token_id=7, suppress_tokens=[3])
    model.generation_config = own
    assert {e: ask(model, prompts, temperature=0, engine=e) for e in ("fast", "hf")} == plain
    assert model.generation_config is own and suppressed_ids(model) == [3]


def test_a_peft_model_speaks_with_its_adapter_and_without(tokenizer):
    model = get_peft_model(build(), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.model.generation_config.repetition_penalty = 5.0
    prompts = ragged()
    with_adapter = [ask(model, prompts, temperature=0, engine=e) for e in ("fast", "hf")]
    with model.disable_adapter():
        without = [ask(model, prompts, temperature=0, engine=e) for e in ("fast", "hf")]
    assert with_adapter[0] == with_adapter[1] and without[0] == without[1] == ask(build(), prompts, temperature=0)
    assert with_adapter[0] != without[0]


def test_a_model_in_training_is_left_as_it_was_and_can_train_on():
    model = build().train()
    model.gradient_checkpointing_enable()
    model.config.use_cache = False
    ask(model, ragged())
    assert model.training and model.is_gradient_checkpointing and not model.config.use_cache
    model(torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
    assert model.lm_head.weight.grad.abs().sum() > 0


def test_every_eos_ends_a_turn(tiny_model, tokenizer):
    assert eos_ids_of(tiny_model, tokenizer) == [tokenizer.eos_token_id]
    tiny_model.generation_config.eos_token_id = [9, tokenizer.eos_token_id, 12]
    assert eos_ids_of(tiny_model, tokenizer) == [tokenizer.eos_token_id, 9, 12]
    tiny_model.generation_config = None
    assert eos_ids_of(tiny_model, tokenizer) == [tokenizer.eos_token_id]


def test_what_cannot_be_sampled_is_refused():
    model = build()
    assert ask(model, []) == []
    with pytest.raises(ValueError, match="prompt 1 has no token"):
        ask(model, [[3], []])
    with pytest.raises(ValueError, match="prompt 1 does not begin with the prefix of 2 tokens"):
        ask(model, [[3, 4, 5], [3, 5]], prefix=[3, 4])
    with pytest.raises(ValueError, match="engine is 'slow'; choose one of auto, fast, hf"):
        ask(model, ragged(), engine="slow")
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with pytest.raises(ValueError, match="hold NaN"):
        ask(model, ragged(), engine="fast")


def test_half_precision_and_room_that_grows():
    model = LlamaForCausalLM(LlamaConfig(**SMALL)).to(torch.bfloat16)
    long = sample(model, ragged(), max_new_tokens=2 * decoding.ROOM + 3, eos_ids=(), pad_id=PAD)
    assert [len(row) for row in long] == [2 * decoding.ROOM + 3] * 6
