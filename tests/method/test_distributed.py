"""Two processes (gloo, on the CPU) train as one does with the same global batch; their guidance metrics are gathered.

The file is also the script that torchrun starts. Sampling cannot agree between one process and two (each draws its own
random numbers), so responses are a fixed function of prompt and place in the group; the rest is the real path of
`thinktuning_lite.train`: NF4 + LoRA, adapter-off KL reference, guidance, AAS, logging, saving.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3
ROWS = 16  # a step: 4 groups of 4, in two accumulated micro-batches

pytestmark = pytest.mark.slow  # two runs that import everything anew, one of them twice: 45 s of processor time


def launch(processes: int, folder: Path, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    if processes == 1:
        command = [sys.executable]
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    folder.mkdir()
    done = subprocess.run(
        [*command, __file__, str(folder), str(model)], env=env, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def runs(tiny_folder, tmp_path_factory) -> dict[int, dict[str, Any]]:
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("distributed")
    return {n: launch(n, folder / f"world{n}", tiny_folder) for n in (1, 2)}


def test_two_processes_really_ran(runs):
    one, two = runs[1], runs[2]
    assert one["world"] == 1 and two["world"] == 2 and two["backend"] == "gloo"
    assert len(set(two["pids"])) == 2
    assert two["rows"] == [ROWS // 2, ROWS // 2] and one["rows"] == [ROWS]
    assert sorted(sum(two["questions"], [])) == sorted(one["questions"][0])  # the same global batches


def test_loss_gradient_and_weights_are_those_of_one_process(runs):
    for a, b in zip(runs[1]["logs"], runs[2]["logs"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    assert max(abs(a["loss"]) for a in runs[1]["logs"]) > 1e-3  # or there would be nothing to compare
    assert runs[1]["logs"][-1]["kl"] > 1e-3  # the loss holds the KL too (its metric is a mean over micro-batches)
    assert runs[1]["adapter"].keys() == runs[2]["adapter"].keys() and len(runs[1]["adapter"]) == 28
    for name, (size, projection) in runs[1]["adapter"].items():
        assert runs[2]["adapter"][name] == pytest.approx([size, projection], rel=1e-4, abs=1e-5), name
    assert runs[1]["moved"] > 1e-3


def test_guidance_metrics_are_those_of_both_processes_together(runs):
    """They differ between the two, so one process's own figures would be wrong."""
    counts = runs[2]["guided"]
    assert any(a != b for a, b in zip(*counts, strict=True)) and sum(map(sum, counts)) == sum(runs[1]["guided"][0])
    names = {n for row in runs[1]["logs"] for n in row if n.startswith("guidance/")}
    assert {"guidance/fraction", "guidance/teacher_tokens", "guidance/reward/guided", "guidance/probability/teacher",
            "guidance/weight/teacher", "guidance/loss_share/teacher", "guidance/format_failures"} <= names  # fmt: skip
    for a, b in zip(runs[1]["logs"], runs[2]["logs"], strict=True):
        for name in names | {"reward", "completions/mean_length"}:
            assert a.get(name) == pytest.approx(b.get(name), rel=1e-4, abs=1e-6), name
        assert a["guidance/fraction"] * ROWS == pytest.approx(round(a["guidance/fraction"] * ROWS))


def test_one_process_saved_one_adapter(runs, tmp_path_factory):
    for n in (1, 2):
        assert runs[n]["saved"] == ["adapter_config.json", "adapter_model.safetensors"]


# ---------------------------------------------------------------- what torchrun starts


def scripted_completion(prompt: list[int], place: int, said: list[int], eos: int) -> list[int]:
    """A response that hangs on the prompt and its place in the group; only some second ones end by themselves."""
    rng = random.Random(f"{prompt}/{place}")
    ids = [rng.choice(said) for _ in range(rng.randint(3, 12))]
    return [*ids, eos] if place == 1 and sum(prompt) % 3 else ids


def main(folder: Path, model: str) -> None:
    import torch
    from accelerate.utils import gather_object
    from trl import GRPOTrainer

    from thinktuning_lite.experiments import presets, train
    from thinktuning_lite.method import teacher
    from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial

    names = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)
    cpu = Machine("cpu", "some CPU", 2**34, {n: Trial(n != "flash_attention_2", "") for n in names})
    world = int(os.environ.get("WORLD_SIZE", "1"))
    guided: list[int] = []
    questions: list[str] = []
    rows: list[int] = []

    def single_turn(self: Any, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple[list[list[int]], None]:
        said = self._tokenizer.encode("0123456789+-= has more", add_special_tokens=False)
        eos = self._tokenizer.eos_token_id
        rows.append(len(prompt_ids))
        questions.extend(x["question"] for x in self._inputs)
        return [scripted_completion(p, i % 4, said, eos) for i, p in enumerate(prompt_ids)], None

    def write(request: teacher.GuidanceRequest) -> str:
        guided[-1] += 1
        n = len(request.response) % 10
        return (
            f"<opinion>incorrect</opinion><reason>Wait, I doubt {n}.</reason>"
            f"<phrase>Again: {'3+4=7. ' * (n % 3 + 1)}\\boxed{{7}}</phrase>"
        )

    def by_length(completions: list[Any], **kwargs: Any) -> list[float]:
        return [len(c[-1]["content"]) % 7 / 6 for c in completions]

    data = folder / "train.jsonl"
    lines = [json.dumps({"question": f"What is {i} plus {7 * i}?", "answer": f"#### {8 * i}"}) for i in range(24)]
    if os.environ.get("RANK", "0") == "0":
        data.write_text("\n".join(lines) + "\n")
    else:  # the first process writes it
        import time

        while not data.exists() or data.read_text().count("\n") < len(lines):
            time.sleep(0.1)
    GRPOTrainer._generate_single_turn = single_turn
    train.correctness_reward = by_length
    train._endpoint = lambda run, config: teacher.ScriptedTeacher(write)
    run = presets.resolve(dict(
        model=model, data=str(data), validation=0, max_prompt_tokens=300, lora_rank=4, quantization="nf4",
        training=dict(
            output_dir=str(folder / "run"), per_device_train_batch_size=ROWS // 2 // world,
            gradient_accumulation_steps=2, num_generations=4, max_completion_length=16, teacher_max_new_tokens=32, max_steps=STEPS,
            learning_rate=0.05,
            optim="sgd", lr_scheduler_type="constant", logging_steps=1, save_strategy="no", report_to="none", seed=3,
            guided_fraction=0.25, behaviours=["self-conflict"], loss_type="dapo", beta=0.04,
            use_bias_correction_kl=False, sampling_engine="hf",  # TRL's own way, which is replaced above
            gradient_checkpointing=False, disable_tqdm=True, log_level="error",
        ),
    ))  # fmt: skip
    guide = train.ThinkTuningTrainer._guide

    def counted(self: Any, *args: Any) -> Any:
        guided.append(0)
        return guide(self, *args)

    train.ThinkTuningTrainer._guide = counted
    trainer = train.train(run, cpu)
    adapter, moved = {}, 0.0
    for i, (name, p) in enumerate((n, p) for n, p in trainer.model.named_parameters() if p.requires_grad):
        flat = p.detach().flatten()
        direction = torch.randn(len(flat), generator=torch.Generator().manual_seed(i))
        adapter[name.removeprefix("module.")] = [flat.norm().item(), (flat @ direction).item()]
        moved = max(moved, flat.abs().max().item() if "lora_B" in name else 0.0)
    result = {
        "world": torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1,
        "backend": torch.distributed.get_backend() if torch.distributed.is_initialized() else "none",
        "pids": gather_object([os.getpid()]), "guided": gather_object([guided]),
        "questions": gather_object([questions]), "rows": gather_object([rows[0]]), "adapter": adapter, "moved": moved,
        "logs": [x for x in trainer.state.log_history if "loss" in x],
        "saved": sorted(p.name for p in (folder / "run" / "final").glob("adapter_*")),
    }  # fmt: skip
    if trainer.is_world_process_zero():
        (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
