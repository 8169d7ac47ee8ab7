"""The command line: `thinktuning COMMAND ...`, also `python -m thinktuning_lite COMMAND ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from thinktuning_lite.experiments import commands, workers
from thinktuning_lite.experiments.folders import InUseError
from thinktuning_lite.experiments.options import Parser
from thinktuning_lite.method.files import NotWholeError


@dataclass(frozen=True)
class Command:
    """`module`.main takes the rest of the line. `parser` reads it before that module, which may be slow, is loaded.

    `grid`: it trains in processes side by side.
    """

    module: str
    says: str
    parser: Callable[[], Parser] | None = None
    grid: bool = False


COMMANDS = {
    "run": Command(
        "experiments.side_by_side",
        "train GRPO and ThinkTuning side by side from the tiny student; the main job",
        commands.run_parser,
        grid=True,
    ),
    "train": Command(
        "experiments.train", "train any instruct model from a preset or a config file", commands.train_parser
    ),
    "fetch": Command("models.fetch", "bring a small real model to this machine, once", commands.fetch_parser),
    "plan": Command(
        "experiments.plan", "the memory that a training run needs, by part, before it starts", commands.plan_parser
    ),
    "table": Command(
        "experiments.table", "twelve methods on three test sets, with intervals", commands.table_parser, True
    ),
    "quote": Command(
        "experiments.movie_quote", "the movie-quote experiment and its controls", commands.quote_parser, True
    ),
    "beyond": Command(
        "experiments.beyond",
        "the paper's future work, its limits and its relatives, as one grid",
        commands.beyond_parser,
        grid=True,
    ),
    "smol-quote": Command(
        "experiments.smol_quote", "the movie quote on a real model, SmolLM2-135M", commands.smol_quote_parser
    ),
    "inspect": Command(
        "experiments.inspect", "every token of a run's rollouts, as a page in the browser", commands.inspect_parser
    ),
    "lab": Command("lessons.lab", "open the notebooks in JupyterLab", commands.lab_parser),
    "course": Command(
        "lessons.course.pack",
        "student and instructor versions of the notebooks, and otter's tests",
        commands.course_parser,
    ),
    "grade": Command("lessons.course.grade", "a folder of submissions, to one CSV", commands.grade_parser),
    "make-classroom": Command("classroom.make", "pretrain the tiny student anew", commands.make_classroom_parser),
}


def main(arguments: list[str] | None = None) -> None:
    """Run one command. What is wrong is said in one line: exit status 2 for unknown words and values, 1 for the rest."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a sign must not end a run
    name, rest = _command(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS[name]
    if command.parser:
        command.parser().parse_args(rest)
    if command.grid:
        workers.get_ready()
    try:
        import_module(f"thinktuning_lite.{command.module}").main(rest)
    except (InUseError, NotWholeError, OSError) as error:
        raise SystemExit(f"thinktuning {name}: {error}") from error
    except KeyboardInterrupt:
        print(f"\nthinktuning {name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _command(arguments: list[str]) -> tuple[str, list[str]]:
    listed = "\n".join(f"  {name:<15} {command.says}" for name, command in COMMANDS.items())
    parser = Parser(
        prog="thinktuning",
        usage="thinktuning COMMAND ...",
        description=f"commands:\n{listed}\n\n`thinktuning COMMAND --help` says what it takes and what it writes.",
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of the above")
    return parser.parse_args(arguments[:1]).command, arguments[1:]


if __name__ == "__main__":
    main()
