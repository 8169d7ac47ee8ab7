"""What the trainer's tests share: a tiny random policy with the project's tokenizer, data, a teacher, settings.

Everything runs offline on one core. The policy is random, so that no test leans on what a checkpoint has learnt;
its weights are drawn wide, so that token probabilities range from far below AAS's gamma to nearly 1.
"""

from __future__ import annotations

import copy
import functools
import gc
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# bitsandbytes wraps functions in torch.compile when imported, which loads the whole compiler; nothing here compiles.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import pytest  # noqa: E402

if TYPE_CHECKING:  # fixtures import what they use: the process that hands the tests out reads this file too
    from datasets import Dataset
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from thinktuning_lite.method.teacher import ScriptedTeacher
    from thinktuning_lite.method.trainer import ThinkTuningTrainer

LOADED = 500  # modules


@functools.cache
def spare() -> None:
    """Leave out what a trainer does dozens of times for nothing: about a seventh of the trainers' tests by a profile.

    accelerate reads the metadata of a package each time it asks whether that package is there; and without a GPU each
    seed is put in a queue for one, with the stack of who gave it.
    """
    import accelerate.utils.imports as available
    import torch

    available._is_package_available = functools.cache(available._is_package_available)
    for device in (torch.cuda, torch.xpu, torch.mtia):
        if not device.is_available():
            device.manual_seed_all = lambda seed: None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Set aside what imports and earlier files left: every trainer collects garbage, and would look at all of it.

    With each new file, and when many modules came, so that what a test leaves is collected as ever.
    """
    if "accelerate" in sys.modules:
        spare()
    if item.path != pytest_runtest_setup.path or len(sys.modules) > pytest_runtest_setup.modules + LOADED:
        pytest_runtest_setup.path, pytest_runtest_setup.modules = item.path, len(sys.modules)
        gc.collect()
        gc.freeze()


pytest_runtest_setup.path, pytest_runtest_setup.modules = None, 0

GUIDANCE = "<opinion>incorrect</opinion><reason>Wait, I doubt 5.</reason><phrase>Again: 3+4=7. \\boxed{7}</phrase>"


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    from thinktuning_lite.classroom.vocabulary import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A saved random Llama: 2 layers, width 32. A folder, because TRL reloads the reference model from it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with ChatML, as SmolLM2 and most real models have it: 256 bytes, some merges, three control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(
        [GUIDANCE, "Ana has 7 apples and Ben has 12 coins. Who has the most apples?"] * 20, trainer
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|im_end|>", unk_token="<|endoftext|>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="session")
def new_model(tiny_folder: Path) -> Callable[[], LlamaForCausalLM]:
    """Makes models as `tiny_folder` holds: copies of one, which is faster than to load each."""
    from transformers import LlamaForCausalLM

    loaded = LlamaForCausalLM.from_pretrained(tiny_folder)
    return lambda: copy.deepcopy(loaded)


@pytest.fixture
def tiny_model(new_model: Callable[[], LlamaForCausalLM]) -> LlamaForCausalLM:
    return new_model()


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Eight word problems in TRL's conversational form, with `question` and `answer`."""
    from datasets import Dataset

    from thinktuning_lite.classroom.problems import generate_problems
    from thinktuning_lite.classroom.sample import as_prompts

    return Dataset.from_list(as_prompts([p.row() for p in generate_problems(0, "train", (1, 2), 8)]))


def length_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward that differs within groups of a random policy's responses and needs no right answer."""
    return [len(c[-1]["content"]) % 7 / 6 for c in completions]


@pytest.fixture
def scripted_teacher() -> ScriptedTeacher:
    """Writes well-formed guidance, whatever it reads; `asked` keeps the requests."""
    from thinktuning_lite.method.teacher import GuidanceRequest, ScriptedTeacher

    asked: list[GuidanceRequest] = []

    def write(request: GuidanceRequest) -> str:
        asked.append(request)
        return GUIDANCE

    teacher = ScriptedTeacher(write)
    teacher.asked = asked  # type: ignore[attr-defined]
    return teacher


@pytest.fixture
def settings(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Callable[..., dict[str, Any]]:
    """Keyword arguments of GRPOConfig for seconds on one core; overrides win.

    Sampling is confined to a few tokens, EOS among them, and EOS is forced at the end: responses differ in length
    and all end by themselves, so all are eligible for guidance.
    """
    from thinktuning_lite.classroom.settings import TINY_RUN

    said = tokenizer.encode("0123456789+-= has more", add_special_tokens=False) + [tokenizer.eos_token_id]
    sampling = {
        "suppress_tokens": sorted(set(range(len(tokenizer))) - set(said)),
        "forced_eos_token_id": tokenizer.eos_token_id,
    }
    runs = iter(range(1000))

    def make(**overrides: Any) -> dict[str, Any]:
        defaults = dict(
            output_dir=str(tmp_path / f"run{next(runs)}"),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=16,
            generation_kwargs=sampling,
            loss_type="grpo",
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            max_steps=2,
            logging_steps=1,
            save_strategy="no",
            seed=3,
        )
        return TINY_RUN | defaults | overrides

    return make


@pytest.fixture
def build(settings, new_model, dataset, tokenizer) -> Callable[..., ThinkTuningTrainer]:
    """A ThinkTuningTrainer on its own copy of the tiny policy; whatever it is made of may be given."""
    from thinktuning_lite.method.prompts import TINY_PROMPT
    from thinktuning_lite.method.settings import ThinkTuningConfig
    from thinktuning_lite.method.trainer import ThinkTuningTrainer

    def make(
        teacher: Any = None, train_dataset: Any = dataset, model: Any = None, tok: Any = tokenizer,
        reward: Any = length_reward, peft_config: Any = None, eval_dataset: Any = None, fraction_policy: Any = None,
        behaviour_policy: Any = None, **overrides: Any,
    ) -> ThinkTuningTrainer:  # fmt: skip
        args = ThinkTuningConfig(**settings(**overrides))
        policy = new_model() if model is None else model
        return ThinkTuningTrainer(
            policy, reward, args, train_dataset, teacher=teacher, teacher_prompt=TINY_PROMPT,
            processing_class=tok, peft_config=peft_config, eval_dataset=eval_dataset, fraction_policy=fraction_policy,
            behaviour_policy=behaviour_policy,
        )  # fmt: skip

    return make
