"""The folder of a training that goes on, `OUT.partial`: what is in it, and how it becomes `OUT`.

    OUT.partial/model   recipe, log, checkpoints and in the end the trained model; becomes OUT
    OUT.partial/state   all that is needed to go on

`model` gets the name OUT in one step, and only then the rest goes. So a training that is killed at
any moment can go on, or is finished and whole under its name.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechshift.errors import PosttrainingError
from mechshift.posttraining.saving import CHECKPOINTS
from mechshift.posttraining.training_state import saved_step
from mechshift.posttraining.whole_files import move_into_place, write_whole

RECIPE_NAME = "recipe.json"
LOG_NAME = "training_log.jsonl"
CARD_NAME = "README.md"


@dataclass(frozen=True, kw_only=True)
class TrainingFolder:
    """Where the files of one training are."""

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
        except (OSError, PosttrainingError):
            return False
        return not _differing({**done, "parent_weights": None}, {**recipe, "parent_weights": None})

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
        move_into_place(self.model, self.out)
        self.remove_rest()

    def remove_rest(self) -> None:
        """Remove what a finished training no longer needs."""
        shutil.rmtree(self.partial, ignore_errors=True)

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
    try:
        recipe = json.loads(path.read_bytes())
        if not isinstance(recipe, dict) or not isinstance(recipe.get("config"), dict):
            raise ValueError("not an object with a config")
    except ValueError as error:
        raise PosttrainingError(
            f"{path} is no recipe ({error}), so nothing says which settings the training there was"
            f" begun with; put the file back, or delete {path.parent.parent} to begin again."
        ) from None
    return recipe


def _differing(begun: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, object, object] | None:
    """The first setting of `wanted` that the other lacks or has otherwise, and both values."""
    there, here = _flat(begun), _flat(json.loads(recipe_text(wanted)))
    for name, value in here.items():
        if there.get(name) != value:
            return name, there.get(name), value
    return None


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    return {**recipe, **recipe["config"], "config": None}
