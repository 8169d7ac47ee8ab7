"""Checkpoints that are there whole or not at all, and the newest whole one to go on from."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerState
from transformers.trainer_utils import rotate_checkpoints
from trl import SFTTrainer

from thinktuning_lite.method.files import read_json, write_json

MANIFEST = "files.json"  # of a checkpoint: the size in bytes of each of its files
_ASIDE = ".saving"  # where a checkpoint is written until it is whole
_log = logging.getLogger(__name__)


class WholeCheckpoints(Trainer):
    """A Trainer that writes a checkpoint aside, with the sizes of its files, and renames it when it is whole.

    So no kill and no full disk leaves half a checkpoint where one is looked for. (With push_to_hub, which uploads from
    the folder while training goes on, transformers' own way stays.)

    Raises OSError, chained to what went wrong, when a checkpoint cannot be saved.
    """

    _saving = False

    def _get_output_dir(self, trial: Any) -> str:
        folder = Path(super()._get_output_dir(trial))
        return str(folder / _ASIDE if self._saving else folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.args.push_to_hub:
            super()._save_checkpoint(model, trial)
            return
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        aside = folder / _ASIDE
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)  # a kill's
        self.accelerator.wait_for_everyone()
        self._saving = True
        try:
            super()._save_checkpoint(model, trial)
        except Exception as error:  # safetensors, torch and the system each raise their own on a full disk
            shutil.rmtree(aside, ignore_errors=True)
            raise OSError(
                f"{folder / name} could not be saved ({error}). Make room, then start the same run again: it goes on "
                "from the checkpoint before"
            ) from error
        finally:
            self._saving = False
        self.accelerator.wait_for_everyone()  # every process writes its own random state
        if self.args.should_save:
            self._publish(aside / name, folder / name)
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )
        self.accelerator.wait_for_everyone()

    def go_on(self) -> None:
        """Train from the newest whole checkpoint in output_dir, or from the start; when it is of the last step, load it.

        (transformers' own resuming trains a step beyond the last one then.)
        """
        checkpoint = newest_checkpoint(self.args.output_dir)
        if checkpoint is not None and not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
            last = self.args.max_steps if self.args.max_steps > 0 else state.max_steps
            if state.global_step >= last:
                self._load_from_checkpoint(checkpoint)
                self.state = state
                return
        self.train(resume_from_checkpoint=checkpoint)

    def _publish(self, written: Path, place: Path) -> None:
        if self.state.best_model_checkpoint == str(written):  # so transformers named it while it lay aside
            self.state.best_model_checkpoint = str(place)
            self.state.save_to_json(str(written / "trainer_state.json"))
        write_json(written / MANIFEST, _sizes(written))
        if place.exists():  # of an earlier run, or not whole
            place.rename(written.with_name("replaced"))
        written.rename(place)
        shutil.rmtree(written.parent)


class WholeSFTTrainer(WholeCheckpoints, SFTTrainer):
    """TRL's SFTTrainer with such checkpoints, for what is fine-tuned beside the method."""


def _sizes(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def what_is_missing(checkpoint: Path) -> str | None:
    """What keeps a checkpoint from being whole, in a few words; None for a whole one.

    One without a manifest (saved by another program) counts as whole when its trainer_state.json, which is written
    last, can be read.
    """
    try:
        if not (checkpoint / MANIFEST).exists():
            read_json(checkpoint / "trainer_state.json")
            return None
        sizes, found = read_json(checkpoint / MANIFEST), _sizes(checkpoint)
    except FileNotFoundError as error:
        return f"it has no {Path(str(error.filename)).name}"
    except (OSError, ValueError) as error:
        return str(error)
    wrong = [name for name, size in sizes.items() if found.get(name) != size]
    return f"{wrong[0]} is cut or gone" if wrong else None


def newest_checkpoint(folder: str | Path) -> str | None:
    """The newest whole checkpoint below `folder` to go on from, or None; says which it passes over, and why."""
    numbered = [(int(m[1]), p) for p in Path(folder).glob("checkpoint-*") if (m := re.fullmatch(r"\D+-(\d+)", p.name))]
    for _, path in sorted(numbered, reverse=True):
        missing = what_is_missing(path)
        if missing is None:
            return str(path)
        _log.warning("%s is passed over, for %s", path, missing)
    if numbered:
        _log.warning("%s holds no whole checkpoint: this run starts at its first step", folder)
    return None
