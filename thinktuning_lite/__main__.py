"""The command line: `thinktuning COMMAND ...`, also `python -m thinktuning_lite COMMAND ...`."""

from __future__ import annotations

import argparse
from importlib import import_module

# command: (module of this package whose main() takes the rest of the line, what it does)
COMMANDS = {
    "run": ("experiments.side_by_side", "train GRPO and ThinkTuning side by side from the tiny student; the main job"),
    "train": ("experiments.train", "train any instruct model from a preset or a config file"),
    "plan": ("experiments.plan", "the memory that a training run needs, by part, before anything is loaded"),
    "table": ("experiments.table", "twelve methods on three test sets, with intervals"),
    "quote": ("experiments.movie_quote", "the movie-quote experiment and its controls"),
    "make-classroom": ("classroom.make", "pretrain the tiny student anew"),
}


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Unknown words end with one line and exit status 2."""
    listed = "\n".join(f"  {name:<15} {does}" for name, (_, does) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="thinktuning",
        description=f"commands:\n{listed}\n\n`thinktuning COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    module, _ = COMMANDS[options.command]
    import_module(f"thinktuning_lite.{module}").main(options.rest)


if __name__ == "__main__":
    main()
