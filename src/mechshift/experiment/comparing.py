"""Stage 4: what do the two models' circuits share, and where in depth do they differ?

The MDM is compared with the ARM in full. Of every control that was scored, the shift is measured
that the MDM's is held against.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mechshift.artifacts import is_current, write_artifact
from mechshift.comparison import ComparisonSettings, circuit_shift, compare
from mechshift.experiment.stores import (
    COMPARISON,
    comparison_folder,
    pool_manifests,
    read_scores,
    record_contents,
    score_inputs,
    scored_members,
    scores_folder,
)
from mechshift.progress import progress_bar


def compare_pair(run: Path, settings: ComparisonSettings, *, quiet: bool = False) -> None:
    """Write the comparisons of the ARM with every other scored member that are missing.

    Raises:
        ArtifactError: scores are missing, or the run holds other comparisons.
        ComparisonError: the scores cannot be compared.
        ConfigError: a circuit size exceeds the graph.
    """
    others = {task: scored_members(run, task)[1:] for task in pool_manifests(run)}
    total = sum(map(len, others.values()))
    with progress_bar("compare circuits", total, quiet=quiet) as advance:
        for task, member in (
            (task, member) for task, of_task in others.items() for member in of_task
        ):
            made_from: dict[str, Any] = {
                "stage": COMPARISON,
                "config": {"task": task, "comparison": asdict(settings)},
                "inputs": score_inputs(run, task, ("arm", member)),
            }
            folder = comparison_folder(run, task, member)
            if not is_current(folder, **made_from):
                arm, other = (read_scores(scores_folder(run, task, m)) for m in ("arm", member))
                method = compare if member == "mdm" else circuit_shift
                contents = record_contents(method(task, arm, other, settings))
                write_artifact(folder, **made_from, **contents)
            advance(1)
