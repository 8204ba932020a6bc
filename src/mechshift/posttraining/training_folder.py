"""The folder of a training that goes on, `OUT.partial`: what is in it, and how it becomes `OUT`.

    OUT.partial/model   recipe, log, checkpoints and in the end the trained model; becomes OUT
    OUT.partial/state   all that is needed to go on
    OUT.partial/.lock   held by the process that trains (locks.py)

`model` gets the name OUT in one step, and only then the rest goes. So a training that is killed at
any moment can go on, or is finished and whole under its name.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from mechshift.disk import disk_refusal, move_into_place, write_whole
from mechshift.errors import PosttrainingError
from mechshift.input_files import as_declared, read_json
from mechshift.locks import hold_folder
from mechshift.posttraining.saving import CHECKPOINTS
from mechshift.posttraining.training_state import saved_step

RECIPE_NAME = "recipe.json"
LOG_NAME = "training_log.jsonl"
CARD_NAME = "README.md"


@dataclass(frozen=True, kw_only=True)
class TrainingFolder:
    """Places of the files of one training."""

    out: Path
    """The folder of the trained model, once it is finished."""

    @property
    def partial(self) -> Path:
        """All that there is before."""
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def model(self) -> Path:
        return self.partial / "model"

    @property
    def state(self) -> Path:
        return self.partial / "state"

    @property
    def log(self) -> Path:
        return self.model / LOG_NAME

    def is_finished(self, recipe: dict[str, Any]) -> bool:
        """Whether a training of this recipe was killed between getting its name and tidying up.

        Args:
            recipe: the hash of the parent's weights is not compared: it costs a wait.
        """
        if not self.partial.is_dir() or self.model.exists():
            return False
        try:
            done = read_recipe(self.out / RECIPE_NAME)
        except PosttrainingError:
            return False
        return not _differing({**done, "parent_weights": None}, {**recipe, "parent_weights": None})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out, and find out before any wait whether all can be written.

        Raises:
            PosttrainingError: another process holds the folder; or a file is in the way, or the
                disk refuses, and the message says where.
        """
        with hold_folder(self.partial, error=PosttrainingError):
            if self.out.exists():  # another process, which held the folder until now, finished it
                raise PosttrainingError(f"{self.out} exists already; choose another folder.")
            self._check_places()
            yield

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the disk's refusal into one line.

        Raises:
            PosttrainingError: it names the file, where the system does.
        """
        try:
            yield
        except Exception as error:
            reason = disk_refusal(error)
            if reason is None:
                raise
            raise PosttrainingError(
                f"cannot write {getattr(error, 'filename', None) or self.partial}: {reason}; make"
                f" room or way, and give the same command again: it goes on from {self.kept()}."
            ) from error

    def check_recipe(self, recipe: dict[str, Any]) -> None:
        """Refuse to go on with a training that was begun with other settings.

        Raises:
            PosttrainingError: and says which; or the recipe there is missing or damaged.
        """
        path = self.model / RECIPE_NAME
        if not path.exists():
            self._check_no_state()
            return
        begun = read_recipe(path)
        differing = _differing(begun, recipe)
        if differing:
            name, there, wanted = differing
            raise PosttrainingError(
                f"{self.partial} holds a training that was begun with {name} {there}, not"
                f" {wanted}; give the same settings to go on with it, or delete it."
            )

    def kept(self) -> str:
        """What there is of a training that stopped, in words."""
        checkpoints = len(list((self.model / CHECKPOINTS).glob("step-*")))
        step = saved_step(self.state)
        state = "no state yet" if step is None else f"the state after step {step}"
        return f"the log, {checkpoints} checkpoints and {state}"

    def begin(self, recipe: dict[str, Any]) -> None:
        """Write the recipe, before anything that it stands for."""
        if not self.model.exists():
            # Of a training that is finished, and whose folder has been moved away since.
            shutil.rmtree(self.state, ignore_errors=True)
        self.model.mkdir(parents=True, exist_ok=True)
        write_whole(self.model / RECIPE_NAME, recipe_text(recipe))

    def finish(self) -> None:
        """Give the model its name, and remove the rest.

        Raises:
            PosttrainingError: something else has taken the name.
        """
        if self.out.exists():
            raise PosttrainingError(
                f"{self.out} exists by now, so the training stays in {self.partial}; move one of"
                " them away and give the same command again."
            )
        move_into_place(self.model, self.out, replace=True)
        self.remove_rest()

    def remove_rest(self) -> None:
        """Remove what a finished training no longer needs."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _check_places(self) -> None:
        checkpoints = self.model / CHECKPOINTS
        for place in (self.model, self.state, checkpoints):
            if place.exists() and not place.is_dir():
                raise PosttrainingError(f"{place} is a file, and a folder is to go there; move it.")
        for place in (self.model / RECIPE_NAME, self.log, self.model / CARD_NAME):
            if place.is_dir():
                raise PosttrainingError(f"{place} is a folder, and a file is to go there; move it.")
        for place in (self.model, self.state, checkpoints, self.log):
            if place.exists() and not os.access(place, os.W_OK):
                raise PosttrainingError(f"{place} may not be written; change its permissions.")

    def _check_no_state(self) -> None:
        if (self.partial / RECIPE_NAME).exists():
            raise PosttrainingError(
                f"{self.partial} holds a training that an earlier mechshift began; finish it with"
                " that one, or delete it."
            )
        if self.model.exists() and saved_step(self.state) is not None:
            raise PosttrainingError(
                f"{self.model / RECIPE_NAME} is missing, so nothing says which settings the"
                f" training there was begun with; put the file back, or delete {self.partial} to"
                " begin again."
            )


def recipe_text(recipe: dict[str, Any]) -> str:
    """The recipe as its file holds it."""
    return json.dumps(recipe, indent=2) + "\n"


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe of a training that was begun.

    Raises:
        PosttrainingError: the file is damaged.
    """
    advice = (
        "nothing else says which settings the training there was begun with: put the file back, or"
        f" delete {path.parent.parent} to begin again"
    )
    recipe = read_json(path, dict[str, Any], error=PosttrainingError, advice=advice)
    as_declared(recipe, _Recipe, where=str(path), error=PosttrainingError, advice=advice)
    return recipe


class _Recipe(Struct):
    """Parts of a recipe that are read by name; all of it is compared."""

    config: dict[str, Any]


def _differing(begun: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, object, object] | None:
    """The first setting of `wanted` that the other lacks or has otherwise, and both values."""
    there, here = _flat(begun), _flat(json.loads(recipe_text(wanted)))
    for name, value in here.items():
        if there.get(name) != value:
            return name, there.get(name), value
    return None


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    return {**recipe, **recipe["config"], "config": None}
