"""Analysis plan of a run: what it will decide, and at which circuit size, stored before any score.

For readers who ask whether a circuit size or a verdict was chosen after a look at the results. Each
axis of the verdict rests on one quantity by one rule (`topics.registry.rules`), at one circuit size
K. `mechshift run` stores both before its first stage, and never again: with another K or level it
stops until the plan is deleted, and one that is made when scores are there says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mechshift.artifacts import is_written
from mechshift.comparison import ComparisonSettings
from mechshift.flat_records import read_record
from mechshift.progress import Advance
from mechshift.run.folders import SCORES
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.topics.registry import rules


@dataclass(frozen=True, kw_only=True)
class AnalysisPlan:
    """Plan of what a run set out to decide."""

    circuit_size: int | None
    """Edges in the circuits of which every verdict speaks; None: `circuit_size_in` of the graph."""
    level: float
    """1 minus the chance that a run decides anything falsely."""
    rules: Mapping[str, str]
    """Axis of the verdict -> the rule, in words."""
    tasks: tuple[str, ...]
    before_scores: bool
    """Whether no edge of the run was scored when this was stored."""


ANALYSIS = Stage(
    name="analysis",
    command="run",
    about="stores which verdicts will be decided, and at which circuit size",
    when="by itself",
)
"""In no list of stages, since no stage reads it: the page alone does."""


def analysis_folder(run: Path) -> Path:
    """Where the plan of a run is kept."""
    return run / ANALYSIS.name


def store_analysis_plan(run: Path, settings: ComparisonSettings, tasks: tuple[str, ...]) -> None:
    """Write the plan, unless it is there.

    Raises:
        ArtifactError: the plan that is there has another circuit size or level.
    """
    piece = Piece(
        folder=analysis_folder(run),
        config={"circuit_size": settings.circuit_size, "level": settings.level},
        inputs={},
        prepare=lambda: Work(
            title="analysis plan", total=1, compute=partial(_plan, run, settings, tasks)
        ),
    )
    write_pieces(run, ANALYSIS, [piece], quiet=True)


def read_analysis_plan(run: Path) -> AnalysisPlan | None:
    """None where the stages of a run were done one by one.

    Raises:
        ArtifactError: it is damaged.
    """
    folder = analysis_folder(run)
    return read_record(AnalysisPlan, folder, stage=ANALYSIS.name) if is_written(folder) else None


def analysis_words(
    plan: AnalysisPlan | None, settings: ComparisonSettings, tasks: tuple[str, ...]
) -> str:
    """What the page says of the time at which verdicts were chosen.

    Args:
        plan: of the run.
        settings: with which its tasks were compared.
        tasks: that are shown.
    """
    if plan is None:
        return (
            "No analysis plan was stored: its stages were done one by one, so nothing shows that"
            " circuit size and verdicts were chosen before the scores were seen."
        )
    if (plan.circuit_size, plan.level) != (settings.circuit_size, settings.level):
        return "Circuit size or level are not those of the stored plan: read this as exploration."
    if not plan.before_scores:
        return "The stored plan is younger than some scores: read this as exploration."
    added = [task for task in tasks if task not in plan.tasks]
    later = f" Added since: {', '.join(added)}." if added else ""
    return (
        "Circuit size, level, rules and tasks were stored before any edge was scored, one quantity"
        f" an axis (RUN/{ANALYSIS.name}).{later}"
    )


def _plan(
    run: Path, settings: ComparisonSettings, tasks: tuple[str, ...], advance: Advance
) -> AnalysisPlan:
    advance(1)
    return AnalysisPlan(
        circuit_size=settings.circuit_size,
        level=settings.level,
        rules={rule.axis: rule.words for rule in rules()},
        tasks=tasks,
        before_scores=not any((run / SCORES).glob("*/*")),
    )
