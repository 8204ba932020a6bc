"""Following of trainings that go on: their checkpoints as they appear, until all have ended.

1. `mechshift posttrain` fills OUT.partial/model, the recipe first; a checkpoint is whole once it
   has its name. When the training ends, that folder gets the name OUT. So a training goes on while
   there is no OUT, and may come to its end while one of its checkpoints is being read.
2. A recipe is checked as soon as it is there, a checkpoint when it is first seen, and hashed once.
3. Of a training that has ended, all that is left is taken at once, the final model last.

Between looks, a bar says which step is waited for, and after which one the training has logged.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from mechshift.errors import ModelError
from mechshift.locks import is_held
from mechshift.models import ModelSource, PairEntry
from mechshift.posttraining.training_folder import LOG_NAME, TrainingFolder
from mechshift.progress import progress_bar
from mechshift.run.checkpoints import (
    CHECKPOINTS,
    RECIPE_NAME,
    Checkpoint,
    TrainingPlan,
    check_no_adapters,
    checkpoint_on_the_way,
    final_sources,
    finished_checkpoints,
    option_of,
    parent_hash,
    read_plan,
    step_folders,
    wanted_of,
)
from mechshift.topics.trajectory import Training

POLL_SECONDS = 1.0
"""Between two looks at the folders."""


@dataclass(frozen=True, kw_only=True)
class FollowedTraining:
    """A training that may go on, and where its files are now."""

    name: Training
    final: ModelSource
    """The final model, once there is one."""

    @property
    def places(self) -> TrainingFolder:
        return TrainingFolder(out=Path(self.final.path).expanduser())

    @property
    def has_ended(self) -> bool:
        return self.places.out.is_dir()

    @property
    def folder(self) -> Path:
        """Of recipe, log and checkpoints."""
        return self.places.out if self.has_ended else self.places.model

    def logged_step(self) -> int:
        """The last one of the log; 0 where there is none yet."""
        with suppress(OSError, msgspec.DecodeError, IndexError):
            whole = (self.folder / LOG_NAME).read_bytes().rpartition(b"\n")[0]
            return msgspec.json.decode(whole.splitlines()[-1], type=_LogLine).step
        return 0


class _LogLine(msgspec.Struct):
    step: int


class Following:
    """The checkpoints of a pair's trainings, while these go on."""

    def __init__(self, entry: PairEntry, steps: Collection[int] = (), *, quiet: bool) -> None:
        """Look whether there are trainings to follow.

        Args:
            entry: the pair; its trained models are folders that there will be.
            steps: training steps to measure; empty: all.
            quiet: no progress bars.

        Raises:
            ModelError: no training has begun where one of the models is to be.
        """
        check_no_adapters(entry)
        self._entry, self._steps, self._quiet = entry, steps, quiet
        self._parent = parent_hash(entry)
        self._trainings = [
            FollowedTraining(name=name, final=final) for name, final in final_sources(entry).items()
        ]
        self._kept: list[Checkpoint] = []
        self._seen: set[tuple[Training, int]] = set()
        self._taken: set[Training] = set()
        for training in self._trainings:
            self._check_there(training)

    def first(self) -> Checkpoint:
        """The first checkpoint of the first diffusion training, once it is there.

        Raises:
            ModelError: the training is not one of this pair, or keeps no checkpoints.
        """
        while True:
            before = self._state()
            self._kept = self._look(self._trainings[0])
            if self._kept:
                return min(self._kept, key=lambda one: one.step)
            self._wait(before)

    def appearing(self) -> Iterator[list[Checkpoint]]:
        """Checkpoints that have appeared since the last ones, until all trainings have ended.

        Raises:
            ModelError: a folder is mixed up with another training, or is gone.
        """
        found, self._kept = self._kept, []
        while True:
            if wanted := wanted_of(found, self._steps):
                yield wanted
            if len(self._taken) == len(self._trainings):
                return
            before = self._state()
            found = [one for training in self._trainings for one in self._look(training)]
            if not found and len(self._taken) < len(self._trainings):
                self._wait(before)

    def moved(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """A checkpoint whose training has ended since it was found; None: it lies where it lay."""
        assert checkpoint.source is not None
        path = Path(checkpoint.source.path)
        (training,) = (one for one in self._trainings if one.name == checkpoint.training)
        now = training.places.out / CHECKPOINTS / path.name
        if path.exists() or not now.exists():
            return None
        return replace(checkpoint, source=replace(checkpoint.source, path=str(now)))

    def _look(self, training: FollowedTraining) -> list[Checkpoint]:
        """What was not there at the last look."""
        if training.name in self._taken:
            return []
        folder = training.folder
        try:
            if training.has_ended:
                found = finished_checkpoints(folder, self._entry, training.name, self._parent)
                self._taken.add(training.name)
            else:
                found = self._on_the_way(training)
        except (ModelError, OSError):
            if folder == training.folder:
                raise
            return []  # it has just ended, and is looked at again
        new = [one for one in found if (one.training, one.step) not in self._seen]
        self._seen |= {(one.training, one.step) for one in new}
        return new

    def _on_the_way(self, training: FollowedTraining) -> list[Checkpoint]:
        """Checkpoints of a training that goes on, which are no copies of its ends."""
        plan = self._plan(training)
        if plan is None:
            return []
        return [
            checkpoint_on_the_way(path, step, training.folder, training.final, training.name)
            for step, path in step_folders(training.folder).items()
            if 0 < step < plan.num_steps and (training.name, step) not in self._seen
        ]

    def _plan(self, training: FollowedTraining) -> TrainingPlan | None:
        """What the training is going to do; None: it has not said so yet."""
        if not (training.folder / RECIPE_NAME).exists():
            self._check_there(training)
            return None
        plan = read_plan(training.folder, self._entry, training.name, self._parent)
        if plan.first_checkpoint == 0 and training == self._trainings[0]:
            raise ModelError(
                f"the training in {training.places.partial} keeps no checkpoints, so there is"
                " nothing to follow; begin it again with --first-checkpoint."
            )
        return plan

    def _check_there(self, training: FollowedTraining) -> None:
        places = training.places
        # What ends takes its name before OUT.partial goes, so it is asked for last too.
        if not (training.has_ended or places.partial.is_dir() or training.has_ended):
            raise ModelError(
                f"there is no training to follow: {option_of(training.name)} asks for {places.out},"
                f" and there is neither that nor {places.partial}, which `mechshift posttrain`"
                " fills; begin the training first."
            )

    def _wait(self, before: list[object]) -> None:
        """Return once a folder has something that it had not before the last look."""
        training = next(one for one in self._trainings if one.name not in self._taken)
        try:
            plan = self._plan(training)
        except (ModelError, OSError):
            if not training.has_ended:
                raise
            return  # it has just ended
        awaited, num_steps = self._awaited(training, plan), 0 if plan is None else plan.num_steps
        with progress_bar(f"wait for {awaited}", num_steps, quiet=self._quiet) as advance:
            shown = 0
            while self._state() == before:
                step = training.logged_step()
                advance(step - shown, note=f"trained to step {step:,}{_by_whom(training)}")
                shown = step
                time.sleep(POLL_SECONDS)

    def _state(self) -> list[object]:
        """What a look at the folders can tell, without reading a weight."""
        for training in self._trainings:
            self._check_there(training)
        return [
            (one.has_ended, (one.folder / RECIPE_NAME).exists(), *step_folders(one.folder))
            for one in self._trainings
        ]

    def _awaited(self, training: FollowedTraining, plan: TrainingPlan | None) -> str:
        if plan is None:
            return f"{training.name} to begin"
        last = max((step for name, step in self._seen if name == training.name), default=0)
        following = 2 * last or plan.first_checkpoint or 0
        if not 0 < following <= plan.num_steps // 2:
            following = plan.num_steps
        return f"{training.name}, step {following:,}"


def _by_whom(training: FollowedTraining) -> str:
    """A training that no process goes on with waits for its user."""
    goes_on = training.has_ended or is_held(training.places.partial)
    return "" if goes_on else ", and stopped: give its command again"
