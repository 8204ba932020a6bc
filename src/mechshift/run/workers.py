"""Workers of a run: how its stages are handed out to processes of one machine, or of a cluster.

The stages follow each other as in a run in one process. Within one

1. a worker says which pieces are missing;
2. each missing piece goes to the next worker that is free, which makes it, or says which chunks
   are missing that it is joined from;
3. those chunks go to the workers in their place, and once all are saved the piece goes again.

Where the workers are is their engine's business: `processes` starts one a device of this machine,
`cluster` has Ray start them on all of its own. What a worker does is in `jobs`. The process that
hands out jobs loads no model, and is the one that holds the run folder.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

from mechshift.errors import MechshiftError
from mechshift.progress import Advance, progress_bar
from mechshift.run.jobs import Job, Told
from mechshift.run.stage import Stage

LOOK_EVERY = 0.2
"""Seconds between two looks at how far the workers are, and whether their parent still lives."""


class Done(NamedTuple):
    """A job that a worker did."""

    job: Job
    left: Sequence[int]
    """What `Worker.do` gave."""
    worker: str
    """Who did it."""


@runtime_checkable
class Engine(Protocol):
    """Workers, wherever they are, and jobs that they take as they are free."""

    def load(self) -> None:
        """Load the models, before anything is written.

        Raises:
            MechshiftError: they cannot be loaded.
        """

    def hand_out(self, job: Job) -> None:
        """Have a job done by the next worker that is free."""

    def done(self) -> list[Done]:
        """Jobs that were done since it was asked last; waits for one, but not for long.

        Raises:
            MechshiftError: what a worker raised.
            ArtifactError: a worker was killed, and the engine has none in its place.
        """

    def told(self) -> list[Told]:
        """How far the workers have said that they are since they were asked last."""

    def finish(self) -> None:
        """Wait for the jobs that workers are at, and forget all others."""

    def close(self, *, at_once: bool) -> None:
        """End the workers: when they have done what they are at, or at once."""


class WorkerPool:
    """The workers of one engine, for all stages of a run."""

    def __init__(self, engine: Engine, *, quiet: bool = False) -> None:
        """`quiet`: no progress bars."""
        self._engine, self._quiet = engine, quiet

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End the workers: after what they are at, or at once where the run is broken off."""
        at_once = kind is not None and not issubclass(kind, MechshiftError)
        self._engine.close(at_once=at_once)

    def load(self) -> None:
        """Load the models in the workers, before anything is written.

        Raises:
            MechshiftError: they cannot be loaded.
        """
        self._engine.load()

    def write(self, stage: Stage) -> list[Done]:
        """Write the pieces of a stage that are missing.

        Returns:
            What was done, and by whom.

        Raises:
            MechshiftError: what a worker raised; what the others were at is finished first.
            ArtifactError: a worker was killed, where no other takes its place.
        """
        self._engine.hand_out(Job(stage.name))
        answers: list[Done] = []
        while not answers:
            answers = self._engine.done()
        missing = answers[0].left
        try:
            with progress_bar(stage.name, len(missing), quiet=self._quiet) as advance:
                return answers + self._make(stage.name, missing, advance)
        except MechshiftError:
            self._engine.finish()
            raise

    def _make(self, stage: str, missing: Sequence[int], advance: Advance) -> list[Done]:
        """Have pieces made, each after its chunks."""
        done: list[Done] = []
        shown = {piece: 0.0 for piece in missing}
        chunks_left: dict[int | None, int] = {}
        jobs_left = 0

        def hand_out(job: Job) -> None:
            nonlocal jobs_left
            jobs_left += 1
            self._engine.hand_out(job)

        for piece in missing:
            hand_out(Job(stage, piece))
        while jobs_left:
            for one in self._engine.done():
                job, chunks, _ = one
                done.append(one)
                jobs_left -= 1
                for chunk in chunks:
                    hand_out(job._replace(chunk=chunk))
                if chunks:
                    chunks_left[job.piece] = len(chunks)
                elif job.chunk is not None:
                    chunks_left[job.piece] -= 1
                    if not chunks_left[job.piece]:
                        hand_out(job._replace(chunk=None))
            self._show(stage, shown, advance)
        return done

    def _show(self, stage: str, shown: dict[int, float], advance: Advance) -> None:
        """Move the bar on, by no more than one for each piece: what a piece tells is a guess."""
        for (of_stage, piece, _), title, share in self._engine.told():
            if of_stage == stage and piece in shown:  # and no late word on an earlier stage
                share = min(share, 1 - shown[piece])
                shown[piece] += share
                advance(share, title)
