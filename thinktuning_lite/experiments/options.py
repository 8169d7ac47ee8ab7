"""What the commands' parsers share: one line for what is wrong, and the options that every experiment has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from thinktuning_lite.experiments.folders import RunPlan

AnyPlan = TypeVar("AnyPlan", bound=RunPlan)


class Parser(argparse.ArgumentParser):
    """argparse's parser that keeps its description's lines and says a mistake in one line, with exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. `{self.prog} --help` says more.\n")

    def plan(self, kind: type[AnyPlan], options: dict[str, Any]) -> AnyPlan:
        """The plan that the options ask for (lists as tuples); what a plan refuses ends the command."""
        try:
            return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})
        except ValueError as error:
            self.error(str(error))


def add_run_options(parser: argparse.ArgumentParser, name: str) -> None:
    """--name, --fresh and --save: where a run is kept, whether it starts anew, where to copy its figures."""
    parser.add_argument("--name", default=name, help=f"the run's folder below runs/ ({name})")
    parser.add_argument("--fresh", action="store_true", help="empty runs/<name> first and start anew")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="copy figures and curves there when all is done")
