"""Comparisons of a run: what two models' circuits share, and where in depth they differ.

The MDM is compared with the ARM in full. Of every control that was scored, the shift is measured
that the MDM's is held against.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mechshift.comparison import (
    CircuitShift,
    Comparison,
    ComparisonSettings,
    circuit_shift,
    compare,
)
from mechshift.progress import Advance
from mechshift.run.folders import COMPARISON, SCORES, comparison_folder, member_title
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import pool_manifests, score_inputs, scored_members
from mechshift.run.stored import RunTask


def compare_pair(run: Path, settings: ComparisonSettings, *, quiet: bool = False) -> None:
    """Write the comparisons of the ARM with every other scored member that are missing.

    Raises:
        ArtifactError: scores are missing, or the run holds other comparisons.
        ComparisonError: the scores cannot be compared.
        ConfigError: a circuit size exceeds the graph.
    """
    write_pieces(run, COMPARE, _pieces(run, settings), quiet=quiet)


def _pieces(run: Path, settings: ComparisonSettings) -> Iterator[Piece]:
    others = {task: scored_members(run, task)[1:] for task in pool_manifests(run)}
    for task, members in others.items():
        for member in members:
            yield Piece(
                folder=comparison_folder(run, task, member),
                config={"task": task, "comparison": asdict(settings)},
                inputs=score_inputs(run, task, ("arm", member)),
                prepare=partial(_work, run, task, member, settings),
            )


COMPARE = Stage(
    name=COMPARISON,
    command="compare",
    about="compares the MDM and the controls with the ARM: overlap, depth, steps, with intervals",
    reads=(SCORES,),
    pieces=lambda given: _pieces(given.run, given.settings.comparison),
)


def _work(run: Path, task: str, member: str, settings: ComparisonSettings) -> Work:
    def compute(advance: Advance) -> Comparison | CircuitShift:
        arm, other = (RunTask(run=run, task=task).scores(one) for one in ("arm", member))
        method = compare if member == "mdm" else circuit_shift
        found = method(task, arm, other, settings)
        advance(1)
        return found

    return Work(title=f"{task}: compare {member_title(member)}", total=1, compute=compute)
