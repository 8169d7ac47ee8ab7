"""What a training run would need of memory, by part, before anything is loaded: seconds, and nothing is written.

    thinktuning plan --preset t4
    thinktuning plan --config run.yaml --card "L4 24 GB"
    thinktuning plan Qwen/Qwen2.5-3B-Instruct

Only the model's config is read (kilobytes, from the Hub, its cache or a local folder). Without --card it plans for this
machine's GPU; where there is none, for the smallest card that holds the run.
"""

from __future__ import annotations

from thinktuning_lite.experiments.commands import plan_parser
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.experiments.train import configured, one_line
from thinktuning_lite.models.machine import ATTENTIONS, Machine, Trial, probe
from thinktuning_lite.models.planner import GPUS

_TRIED = ("bf16", "4-bit", "8-bit optimizer", "paged 8-bit optimizer", *ATTENTIONS)


def card(name: str) -> Machine:
    """A GPU that is not here, as the probe would see it: all works, but for bf16 on a T4, and FlashAttention."""
    lacks = {"flash_attention_2", *(["bf16"] if name.startswith("T4") else [])}
    return Machine("cuda", name, GPUS[name], {n: Trial(n not in lacks, "not tried") for n in _TRIED})


def main(arguments: list[str] | None = None) -> None:
    parser = plan_parser()
    options = parser.parse_args(arguments)
    quiet()
    try:
        here = probe()
        run = configured(options, here)
        machine = card(options.card) if options.card else here
        plan = run.memory_plan(machine)
        if machine.device == "cpu" and not run.is_tiny:
            holding = (m for m in map(card, GPUS) if run.memory_plan(m).fits(m.memory))
            machine = next(holding, card(list(GPUS)[-1]))
            plan = run.memory_plan(machine)
    except (OSError, ValueError, ImportError) as error:
        parser.error(f"{type(error).__name__}: {one_line(error)}")
    print(f"{run.model} on {machine.name}\n\n{plan.table()}")
    if machine.device == "cuda" and not plan.fits(machine.memory):
        print(
            f"\nIt does not fit {machine.name}. Halve per_device_train_batch_size and double gradient_accumulation_steps, "
            "lower max_completion_length, or take 4-bit or a smaller model."
        )
