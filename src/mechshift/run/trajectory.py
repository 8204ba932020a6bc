"""Trajectory of a post-training: every checkpoint, compared with its parent.

1. The pool is that of the parent and the final MDM, so all checkpoints are measured on the same
   examples, in the same denoising steps.
2. The parent is scored, once.
3. Each checkpoint in turn, one in memory beside the parent: its edges are scored, its flow traced,
   the held-out examples asked, its circuit exchanged with the parent's, and all of it compared. A
   checkpoint whose numbers are there is not loaded again.
4. The page and the table are written from the numbers.

With `follow` the trainings may still go on (`following`): checkpoints are measured as they appear,
and the page is written anew each time. The final MDM does not exist then, so the pool holds what
the parent alone solves, and the first checkpoint stands for the MDM while it is made; the same call
after the training ends with the same bytes.

Step 0 of the diffusion training is the parent read as the MDM is: what attention and masks do
before any training. Step 0 of the control, the ARM trained on with its own objective, is the parent
as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from mechshift.comparison import ComparisonSettings
from mechshift.errors import ConfigError, MechshiftError, ModelError
from mechshift.locks import hold_folder
from mechshift.models import LanguageModel, ModelSource, PairEntry, load_pair, read_like
from mechshift.models.catalogue import on_this_machine
from mechshift.models.controls import ARM_FULL
from mechshift.models.supply import get_embedded
from mechshift.run.answers import CHECKPOINT_ANSWERS, checkpoint_answers
from mechshift.run.checkpoints import (
    Checkpoint,
    Parent,
    find_checkpoints,
    load_checkpoint,
    parent_checkpoints,
)
from mechshift.run.circuit_runs import EXCHANGE, exchanged_circuits
from mechshift.run.flow import FLOW_STAGE, flow_pieces
from mechshift.run.following import Following
from mechshift.run.pair_options import PairOptions, find_device
from mechshift.run.points import POINT, checkpoint_point
from mechshift.run.pools import make_pools
from mechshift.run.scores import ATTRIBUTE, check_shards, score_pieces
from mechshift.run.settings import AttributionSettings, Unprefixed
from mechshift.run.stage import Piece, is_written_as, write_pieces
from mechshift.run.trajectory_reporting import write_trajectory
from mechshift.tasks import PoolConfig, Task, load_tasks
from mechshift.topics.scores import shards_definition
from mechshift.topics.trajectory import (
    TRAINING_KINDS,
    Training,
    training_kind,
    training_place,
)

FAMILY = "family"
"""Folder, in that of the run, of the embedded pair's models with their checkpoints."""


@dataclass(frozen=True, kw_only=True)
class TrajectorySettings:
    """Everything that `mechshift trajectory` does."""

    models: Annotated[PairOptions, Unprefixed] = field(default_factory=PairOptions)
    """Parent and trained models."""
    tasks: tuple[str, ...] = ()
    """Names that `mechshift tasks` lists, or .jsonl files; by default the pair's own."""
    steps: tuple[int, ...] = ()
    """Training steps of the checkpoints to measure, by default all; the ends always are."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """Which examples; parent and final model solve them, or with --follow the parent alone."""
    attribution: AttributionSettings = field(default_factory=AttributionSettings)
    """How edges are scored."""
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    """Circuit size, and how uncertain it is."""
    skip: tuple[Literal["flow"], ...] = ()
    """Leave out which way information flows: without it no share runs from right to left. Flow
    takes about half of the time."""
    follow: bool = False
    """Measure checkpoints while the trainings go on, as they appear, until all have ended. The pool
    then holds what the parent alone solves, since no final model is there to ask."""

    def __post_init__(self) -> None:
        if self.models.beside:
            raise ConfigError(
                f"--beside {' '.join(self.models.beside)}: a trajectory follows one training and"
                " its checkpoints; leave it out, or give each of these a `mechshift run`."
            )

    def task_names(self) -> tuple[str, ...]:
        """The tasks to compare, in order."""
        return self.tasks or self.models.default_tasks()

    def circuit_size(self, model: LanguageModel) -> int:
        """Edges in each circuit that is compared and exchanged."""
        graph = model.graph(grouped=self.attribution.grouped)
        return self.comparison.circuit_size_in(graph.num_edges)


def run_trajectory(
    run: Path, settings: TrajectorySettings, *, device: str = "auto", quiet: bool = False
) -> Path:
    """Compare every checkpoint of a post-training with its parent, and show them over steps.

    A second call with the same settings goes on where a killed one stopped and ends with the same
    bytes; checkpoints that have come in between are added.

    Args:
        run: the run folder; that of a `mechshift run` of the same pair and pool shares its work.
        settings: parent, folders of the trainings, and how they are measured.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`.
        quiet: no progress bars.

    Returns:
        The page.

    Raises:
        MechshiftError: one line on what is wrong and what to do; finished checkpoints are kept.
            Also where another process runs in this folder.
    """
    tasks = load_tasks(settings.task_names())
    check_shards(settings.pool.num_examples, settings.attribution.examples_per_shard)
    with hold_folder(run), ExitStack() as stack:
        entry = _with_checkpoints(on_this_machine(settings.models.entry(), stack), run)
        found: tuple[Checkpoint, ...] = ()
        following: Following | None = None
        if settings.follow:
            following = Following(entry, settings.steps, quiet=quiet)
            parent = _where_it_lies(
                following,
                following.first(),
                lambda first: _start(run, settings, _with_mdm(entry, first), tasks, device, quiet),
            )
        else:
            found = find_checkpoints(entry, settings.steps)
            parent = _start(run, settings, settings.models.entry(), tasks, device, quiet)
        kinds = TRAINING_KINDS if entry.continued_arms else TRAINING_KINDS[:1]
        measuring = _Measuring(
            run=run, settings=settings, entry=entry, parent=parent, tasks=tasks, quiet=quiet
        )
        measuring.score("arm", parent.arm, tasks)
        starts = parent_checkpoints(parent, kinds)
        if following is not None:
            _measure_as_they_appear(following, starts, measuring)
            found = find_checkpoints(entry, settings.steps)
        checkpoints = _in_order([*starts, *found])
        for checkpoint in checkpoints:
            measuring.measure(checkpoint)
        return measuring.write(checkpoints)


def _with_mdm(entry: PairEntry, first: Checkpoint) -> PairEntry:
    """The pair with a checkpoint in place of the MDM that it is on the way to."""
    assert first.source is not None
    return replace(entry, mdm=first.source)


def _measure_as_they_appear(
    following: Following, starts: Sequence[Checkpoint], measuring: "_Measuring"
) -> None:
    """Measure every checkpoint until all trainings have ended, and write the page after each."""
    measured = [*starts]
    for start in starts:
        measuring.measure(start)
    for appeared in following.appearing():
        for checkpoint in appeared:
            _where_it_lies(following, checkpoint, measuring.measure)
            measured.append(checkpoint)
            curves = [one for one in measured if _has_curve(one.training, measured)]
            if curves:
                measuring.write(_in_order(curves), "the training goes on; the page is written anew")


Made = TypeVar("Made")


def _where_it_lies(
    following: Following, checkpoint: Checkpoint, work: Callable[[Checkpoint], Made]
) -> Made:
    """Do something with a checkpoint, again if its training ended while it was being read."""
    try:
        return work(checkpoint)
    except (MechshiftError, OSError):
        moved = following.moved(checkpoint)
        if moved is None:
            raise
        return work(moved)


def _has_curve(training: Training, measured: Sequence[Checkpoint]) -> bool:
    """Whether a training has two points; the further ones begin where the first of a kind does."""
    kind = training_kind(training)
    start = [one for one in measured if one.training == kind and one.step == 0]
    own = [one for one in measured if one.training == training and one.step > 0]
    return len(start) + len(own) > 1


def _notes(settings: TrajectorySettings, parent: Parent) -> Iterator[str]:
    if parent.as_mdm is None:
        yield f"diffusion has no step 0: {parent.why_not}"
    per_shard = settings.attribution.examples_per_shard
    if per_shard > 1:
        yield shards_definition(settings.pool.num_examples // per_shard, per_shard).meaning


def _with_checkpoints(entry: PairEntry, run: Path) -> PairEntry:
    """The embedded pair's checkpoints are packed: it is measured in plain folders in the run."""
    if not entry.embedded:
        return entry
    family = run / FAMILY
    get_embedded(family, family=Path(entry.arm.path).parent)

    def unpacked(source: ModelSource) -> ModelSource:
        return replace(source, path=str(family / Path(source.path).name))

    return replace(
        entry,
        arm=unpacked(entry.arm),
        mdm=unpacked(entry.mdm),
        continued_arms=tuple(map(unpacked, entry.continued_arms)),
        other_mdms=tuple(map(unpacked, entry.other_mdms)),
    )


def _start(
    run: Path,
    settings: TrajectorySettings,
    entry: PairEntry,
    tasks: Sequence[Task],
    device: str,
    quiet: bool,
) -> Parent:
    """Make the pools of a pair, and keep of it the parent alone."""
    pair = load_pair(entry, device=find_device(device), dtype=settings.models.dtype)
    make_pools(
        run,
        pair,
        settings.models,
        tasks,
        settings.pool,
        solved_by="arm" if settings.follow else "both",
        quiet=quiet,
    )
    parent = Parent(arm=pair.arm, as_mdm=None, mdm_tokenizer=pair.mdm.tokenizer)
    try:
        as_mdm = read_like(pair.arm, pair.mdm, name=f"{pair.name}-{ARM_FULL}")
    except ModelError as error:
        return replace(parent, why_not=str(error))
    return replace(parent, as_mdm=as_mdm)


def _in_order(checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    def place(checkpoint: Checkpoint) -> tuple[int, int, int]:
        return *training_place(checkpoint.training), checkpoint.step

    return tuple(sorted(checkpoints, key=place))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measuring:
    """Parts of a trajectory that stay the same from checkpoint to checkpoint."""

    run: Path
    settings: TrajectorySettings
    entry: PairEntry
    parent: Parent
    tasks: Sequence[Task]
    quiet: bool

    @property
    def with_flow(self) -> bool:
        return "flow" not in self.settings.skip

    def score(self, member: str, model: LanguageModel, tasks: Sequence[Task]) -> None:
        """Score a model's edges and trace its flow, where that is missing."""
        of_model, names = {member: model}, [task.name for task in tasks]
        attribution = self.settings.attribution
        scores = score_pieces(self.run, of_model, names, attribution)
        write_pieces(self.run, ATTRIBUTE, scores, quiet=self.quiet)
        if self.with_flow:
            flow = flow_pieces(self.run, of_model, names, attribution)
            write_pieces(self.run, FLOW_STAGE, flow, quiet=self.quiet)

    def measure(self, checkpoint: Checkpoint) -> None:
        """Write the points of a checkpoint that are missing.

        The checkpoint is let go in the end: of large models no two fit beside the parent.
        """
        missing = [
            task for task in self.tasks if not is_written_as(POINT, self.point(task, checkpoint))
        ]
        if not missing:
            return
        dtype = self.settings.models.dtype
        model = load_checkpoint(checkpoint, self.parent, self.entry, dtype=dtype)
        self.score(checkpoint.member, model, missing)
        for task in missing:
            answers = checkpoint_answers(
                self.run,
                task,
                checkpoint.member,
                model,
                tokenizer=self.parent.mdm_tokenizer,
            )
            write_pieces(self.run, CHECKPOINT_ANSWERS, [answers], quiet=self.quiet)
            exchanged = exchanged_circuits(
                self.run,
                task.name,
                checkpoint.member,
                model,
                self.parent.arm,
                circuit_size=self.settings.circuit_size(model),
                batch_size=self.settings.attribution.batch_size,
            )
            write_pieces(self.run, EXCHANGE, [exchanged], quiet=self.quiet)
            write_pieces(self.run, POINT, [self.point(task, checkpoint)], quiet=self.quiet)

    def write(self, checkpoints: Sequence[Checkpoint], *notes: str) -> Path:
        """Write the page of checkpoints that are measured."""
        return write_trajectory(
            self.run,
            [task.name for task in self.tasks],
            checkpoints,
            self.settings.comparison,
            solved_by="arm" if self.settings.follow else "both",
            notes=(*notes, *_notes(self.settings, self.parent)),
        )

    def point(self, task: Task, checkpoint: Checkpoint) -> Piece:
        """The numbers of a checkpoint on one task."""
        return checkpoint_point(
            self.run,
            task.name,
            checkpoint,
            self.settings.comparison,
            with_flow=self.with_flow,
        )
