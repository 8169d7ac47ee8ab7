"""The main job: from the shipped tiny student, train GRPO and ThinkTuning side by side, evaluate, draw, tabulate.

    python -m thinktuning_lite run [--name classroom] [--seeds 0 1 2] [--steps 32] [--arms grpo released] [--fresh]
                                         [--save data/logs/classroom]

Everything goes to runs/<name>/: config.json, environment.json, one folder a run (metrics.jsonl, rollouts.jsonl,
checkpoints, result.json), results.json, table.md, curves.png, advantages.png. Interrupted, the same command goes on
where it was; finished, it says so and prints the table again; --fresh starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.settings import COMPLETION_TOKENS, TEACHER_TOKENS, TINY_RUN
from thinktuning_lite.experiments.commands import run_parser
from thinktuning_lite.experiments.folders import RunPlan, result_path
from thinktuning_lite.experiments.runs import (
    claimed,
    quiet,
    read_metrics,
    run_side_by_side,
    save_log,
    train_run,
)
from thinktuning_lite.method.files import read_json, write_json
from thinktuning_lite.method.settings import ThinkTuningConfig

ARMS = ("grpo", "intended", "released", "luffy", "plain")
# Where the main job departs from the authors' run, each taken back by itself: what the departure does, on validation.
DEPARTURES: dict[str, dict[str, Any]] = {
    "released-token-mean": dict(loss_type="dapo"),
    "released-teacher-mask": dict(shaping_mask="teacher"),
    "released-cut-off-counts": dict(reward_needs_eos=False),
    "released-8-guided-generations": dict(guidance_steps=8),
    # As many generations, each in four updates of a quarter of the rows; a quarter of the rate, so Adam moves as far.
    "released-four-updates": dict(
        gradient_accumulation_steps=1, steps_per_generation=4, max_steps=192, guidance_steps=136, learning_rate=1.25e-5
    ),
}
TEST_SETS = ("test", "test_harder", "test_distractor")
GROUP_SIZE = 8
PROMPTS_PER_STEP = 8
MICRO_BATCH = 16  # rows
GUIDED_SHARE_OF_RUN = 0.7  # guidance is off for the last 30 % of the steps: what stays is the student's own


@dataclass(frozen=True)
class Plan(RunPlan):
    """What one invocation trains and evaluates. `arms`: "grpo", or a shaping's name for ThinkTuning under it."""

    name: str = "classroom"
    arms: tuple[str, ...] = ("grpo", "released")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 32  # 48 gain ThinkTuning nothing more on validation (docs/results.md), and cost half as much again
    learning_rate: float = 5e-5
    sets: tuple[str, ...] = TEST_SETS


def training_config(arm: str, seed: int, output_dir: Path, steps: int, **overrides: Any) -> ThinkTuningConfig:
    """The tiny classroom's settings: 8 prompts x 8 rollouts a step, one in eight guided unless `arm` is "grpo"."""
    shaping = arm.split("-")[0]
    settings: dict[str, Any] = dict(
        output_dir=str(output_dir),
        shaping=shaping if arm != "grpo" else "intended",
        guided_fraction=0.0 if arm == "grpo" else 1 / GROUP_SIZE,
        guidance_steps=round(GUIDED_SHARE_OF_RUN * steps),
        teacher_max_new_tokens=TEACHER_TOKENS,
        max_completion_length=COMPLETION_TOKENS,
        num_generations=GROUP_SIZE,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=PROMPTS_PER_STEP * GROUP_SIZE // MICRO_BATCH,
        loss_type="grpo",  # the authors take the mean over tokens; measured among DEPARTURES
        reward_needs_eos=True,
        learning_rate=5e-5,
        lr_scheduler_type="constant",
        max_steps=steps,
        seed=seed,
        logging_steps=1,
        save_steps=max(1, min(20, steps // 4)),  # a short run is worth resuming too
        save_total_limit=1,
        rollout_log_steps=6,
    )
    return ThinkTuningConfig(**(TINY_RUN | settings | overrides | DEPARTURES.get(arm, {})))


def evaluate_policy(
    model: Any, tokenizer: Any, sets: tuple[str, ...], seed: int, known: dict[str, dict] | None = None
) -> dict[str, dict]:
    """Per set: the summary at T=1 and greedy accuracy (`greedy`), plus greedy accuracy by number of steps.

    `known`: what another seed's evaluation of the same weights gave; its greedy figures hold for every seed.
    """
    out = {}
    for name in sets:
        rows = sample.load_tiny_set(name)
        sampled, _ = sample.evaluate(model, tokenizer, rows, temperature=1.0, seed=seed)
        greedy = {k: known[name][k] for k in _GREEDY} if known else _greedy_figures(model, tokenizer, rows)
        out[name] = sampled.summary() | greedy
    return out


_GREEDY = ("greedy", "greedy_by_steps")


def _greedy_figures(model: Any, tokenizer: Any, rows: list[dict]) -> dict[str, Any]:
    greedy, _ = sample.evaluate(model, tokenizer, rows, temperature=0.0)
    by_steps: dict[str, list[bool]] = {}
    for row, right in zip(rows, greedy.correct, strict=True):
        by_steps.setdefault(str(row["steps"]), []).append(right)
    shares = {k: sum(v) / len(v) for k, v in sorted(by_steps.items())}
    return dict(zip(_GREEDY, (greedy.summary()["accuracy"], shares), strict=True))


def run(plan: Plan) -> dict[str, list[dict]]:
    """Train and evaluate what is missing; returns {arm: [evaluation of each seed]}, "base" among the arms.

    The first seed first, so that a table is there early; the longest runs first, so that no core idles long: guided, GRPO, none.
    """
    by_length = (*sorted(plan.arms, key=lambda arm: arm == "grpo"), "base")
    first, *others = plan.seeds
    wanted = [(arm, first) for arm in by_length] + [(arm, seed) for arm in by_length for seed in others]
    missing = [job for job in wanted if not result_path(plan, *job).exists()]

    def done(job: tuple) -> None:
        seed, complete = job[-1], [s for s in plan.seeds if all(result_path(plan, a, s).exists() for a in arms)]
        if seed in complete and len(complete) < len(plan.seeds):
            _report(replace(plan, seeds=(seed,)), of=len(plan.seeds))

    arms = ("base", *plan.arms)
    run_side_by_side([(_job, plan, *job) for job in missing], done=done)
    return _results(plan)


def _results(plan: Plan) -> dict[str, list[dict]]:
    return {arm: [read_json(result_path(plan, arm, seed)) for seed in plan.seeds] for arm in ("base", *plan.arms)}


def _job(plan: Plan, arm: str, seed: int, bar: int) -> None:
    """One run, beside others in other processes; its result file is what marks it as done."""
    quiet()
    path, known = result_path(plan, arm, seed), None
    if arm == "base":
        model, tokenizer = load_classroom()
        known = next((read_json(p) for s in plan.seeds if (p := result_path(plan, arm, s)).exists()), None)
    else:
        config = training_config(arm, seed, path.parent, plan.steps, learning_rate=plan.learning_rate)
        trainer = train_run(f"{arm}, seed {seed}", config, bar=bar)
        model, tokenizer = trainer.model, trainer.processing_class
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, evaluate_policy(model, tokenizer, plan.sets, seed, known))


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: mean over seeds and 95 % t-interval for each arm and set; then the paired difference to GRPO."""
    columns = (
        ("accuracy", 100, "right at T=1, %"),
        ("greedy", 100, "right, greedy, %"),
        ("worked_route", 100, "worked route, %"),
        ("reflection", 100, "reflection, %"),
        ("length", 1, "tokens"),
    )
    lines = ["| set | policy | " + " | ".join(c[2] for c in columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in next(iter(results.values()))[0]:
        for arm, seeds in results.items():
            cells = [cell([s[name][key] * unit for s in seeds]) for key, unit, _ in columns]
            lines.append(f"| {name} | {_label(arm)} | " + " | ".join(cells) + " |")
        for arm in [a for a in results if a not in ("base", "grpo") and "grpo" in results]:
            pairs = list(zip(results[arm], results["grpo"], strict=True))
            cells = [cell([(a[name][k] - b[name][k]) * u for a, b in pairs], sign=True) for k, u, _ in columns]
            lines.append(f"| {name} | *{_label(arm)} minus GRPO, paired* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _label(arm: str) -> str:
    return {"base": "base", "grpo": "GRPO"}.get(
        arm, f"ThinkTuning, {arm} AAS" if arm in ("intended", "released") else f"ThinkTuning, {arm}"
    )


def cell(values: list[float], sign: bool = False) -> str:
    mean, half = sample.seed_interval(values)
    return f"{mean:{'+' if sign else ''}.1f}" + (f" ± {half:.1f}" if len(values) > 1 else "")


def main(arguments: list[str] | None = None) -> None:
    parser = run_parser()
    options = vars(parser.parse_args(arguments))
    fresh, save = options.pop("fresh", False), options.pop("save", None)
    plan = parser.plan(Plan, options)
    quiet()
    with claimed(plan, fresh):
        done = plan.complete
        run(plan)
        _report(plan)
        if save:
            save_log(plan, save)
    if done:
        print(f"\n{plan.folder} was complete already; --fresh (make run FRESH=1) trains anew.")


def _report(plan: Plan, of: int | None = None) -> None:
    """Print the table and draw the curves; with `of`, for one seed of so many, while the others still run."""
    from thinktuning_lite.views import plots

    results = _results(plan)
    text = table(results)
    runs = {a: [read_metrics(plan.folder / f"{a}-seed{s}" / "metrics.jsonl") for s in plan.seeds] for a in plan.arms}
    curves = plots.learning_curves({_label(a): r for a, r in runs.items()})
    if of:
        path = plan.folder / f"curves-seed{plan.seeds[0]}.png"
        curves.savefig(path, dpi=150)
        tqdm.write(f"\nSeed {plan.seeds[0]}, one of {of}: what more seeds will say is open\n\n{text}\n\nSee {path}\n")
        return
    write_json(plan.folder / "results.json", results)
    (plan.folder / "table.md").write_text(text + "\n", encoding="utf-8")
    curves.savefig(plan.folder / "curves.png", dpi=150)
    guided = next((a for a in plan.arms if a != "grpo"), plan.arms[0])
    log = plan.folder / f"{guided}-seed{plan.seeds[0]}" / "rollouts.jsonl"
    plots.advantages_by_author(log).savefig(plan.folder / "advantages.png", dpi=150)
    print(f"\nMean over seeds {', '.join(map(str, plan.seeds))} ± 95 % t-interval\n\n{text}\n\nSee {plan.folder}/")
