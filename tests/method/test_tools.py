"""TRL's tools and guidance together: it follows the last turn, is in the loss, and the tool's result is not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from trl.chat_template_utils import qwen2_5_chat_template

from tests.conftest import GUIDANCE
from thinktuning_lite.method.prompts import TINY_PROMPT
from thinktuning_lite.method.rewards import text_of
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.settings import ThinkTuningConfig
from thinktuning_lite.method.teacher import parse_guidance
from thinktuning_lite.method.trainer import ThinkTuningTrainer

pytest.importorskip("jmespath")
CALL = '<tool_call>\n{"name": "multiply", "arguments": {"left": 23, "right": 4}}\n</tool_call>'
TAUGHT = parse_guidance(GUIDANCE).text


def multiply(left: int, right: int) -> int:
    """Multiply two numbers.

    Args:
        left: The first.
        right: The second.
    """
    return left * right


class Scripted(ThinkTuningTrainer):
    """Its policy says what it is told to: by turn, a text for each rollout in order."""

    turns: list[list[str]]

    def _sampled(self, prompt_ids, *args, **kwargs):
        said = [next(self.lines[self.turn]) for _ in prompt_ids]
        self.turn += 1
        return [self._tokenizer.encode(text + "<|im_end|>", add_special_tokens=False) for text in said], None

    def _generate_and_score_completions(self, inputs):
        self.turn, self.lines = 0, [iter(texts) for texts in self.turns]
        self.output = super()._generate_and_score_completions(inputs)
        return self.output


@pytest.fixture
def scripted(settings, byte_tokenizer, dataset, scripted_teacher):
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = qwen2_5_chat_template
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip

    def make(turns: list[list[str]], **overrides) -> Scripted:
        options = dict(
            guided_fraction=1.0, max_steps=1, max_completion_length=600, rollout_log_steps=1, generation_kwargs=None
        )
        rewarded = []

        def reward(completions, **kwargs):
            rewarded[:] = rewarded or [text_of(c) for c in completions]
            return [float(len(text_of(c)) % 5) for c in completions]

        trainer = Scripted(
            model, reward, ThinkTuningConfig(**settings(**(options | overrides))), dataset, teacher=scripted_teacher,
            teacher_prompt=TINY_PROMPT, processing_class=tokenizer, tools=[multiply],
        )  # fmt: skip
        trainer.turns, trainer.rewarded = turns, rewarded
        return trainer

    return make


def test_guidance_follows_the_last_turn_and_the_tools_result_stays_out_of_the_loss(scripted, scripted_teacher):
    trainer = scripted([[CALL, r"\boxed{5}", CALL, r"\boxed{6}!!"], [r"So \boxed{92}.", r"Then \boxed{92}!!"]])
    trainer.train()
    tokenizer, output = trainer._tokenizer, trainer.output
    assert [("92" in r.response, "tool_response" in r.response) for r in scripted_teacher.asked] == [
        (True, True), (False, False), (True, True), (False, False)
    ]  # fmt: skip
    for i in range(4):
        ids, mask, tool, taught = (
            output[k][i].bool() if k != "completion_ids" else output[k][i]
            for k in ("completion_ids", "completion_mask", "tool_mask", "teacher_mask")
        )
        assert tokenizer.decode(ids[taught], skip_special_tokens=True) == TAUGHT
        assert tool[taught].all() and not taught[: int(mask.sum() - taught.sum())].any()
        result = tokenizer.decode(ids[mask & ~tool])
        assert ("92" in result and "tool_response" in result) if i % 2 == 0 else result == ""
        assert "multiply" not in result and "boxed" not in result
    assert all(text.endswith(TAUGHT) for text in trainer.rewarded)
    assert trainer.rewarded[1] == r"\boxed{5}" + TAUGHT
    assert trainer.state.log_history[0]["guidance/fraction"] == 1.0
    assert trainer.state.log_history[0]["tools/call_frequency"] == 0.5
    rows = list(read_rollouts(Path(trainer.args.output_dir) / "rollouts.jsonl"))
    assert len(rows) == 4 and all(r.guided for r in rows)


def test_a_rollout_whose_call_was_not_answered_is_not_guided(scripted):
    trainer = scripted(
        [[CALL, r"\boxed{5}", CALL, r"\boxed{6}!!"], [CALL, r"Then \boxed{92}!!"]], max_tool_calling_iterations=1
    )
    trainer.train()
    assert trainer.output["teacher_mask"].any(1).tolist() == [False, True, True, True]


def test_without_guidance_tools_are_trls_own(scripted, scripted_teacher):
    trainer = scripted(
        [[CALL, r"\boxed{5}", CALL, r"\boxed{6}!!"], [r"So \boxed{92}.", r"Then \boxed{92}!!"]], guided_fraction=0.0
    )
    trainer.train()
    assert not trainer.output["teacher_mask"].any() and scripted_teacher.asked == []
    assert trainer.rewarded[1] == r"\boxed{5}" and trainer.rewarded[0].endswith(r"So \boxed{92}.")


def test_a_cut_after_the_first_answer_is_refused_with_tools(scripted):
    with pytest.raises(ValueError, match="tools with guide_after_first_answer.*leave it False"):
        scripted([], guide_after_first_answer=True)
