"""Stage 4: what do the two models' circuits share, and where in depth do they differ?"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mechshift.artifacts import is_current, write_artifact
from mechshift.comparison import ComparisonSettings, compare
from mechshift.experiment.stores import (
    COMPARISON,
    KINDS,
    comparison_contents,
    comparison_folder,
    pool_manifests,
    read_scores,
    score_inputs,
    scores_folder,
)
from mechshift.progress import progress_bar


def compare_pair(run: Path, settings: ComparisonSettings, *, quiet: bool = False) -> None:
    """Write the comparison of every scored task that has none yet.

    Raises:
        ArtifactError: scores are missing, or the run holds other comparisons.
        ComparisonError: the scores cannot be compared.
        ConfigError: a circuit size exceeds the graph.
    """
    tasks = list(pool_manifests(run))
    with progress_bar("compare circuits", len(tasks), quiet=quiet) as advance:
        for task in tasks:
            made_from: dict[str, Any] = {
                "stage": COMPARISON,
                "config": {"task": task, "comparison": asdict(settings)},
                "inputs": score_inputs(run, task),
            }
            folder = comparison_folder(run, task)
            if not is_current(folder, **made_from):
                arm, mdm = (read_scores(scores_folder(run, task, k)) for k in KINDS)
                comparison = compare(task, arm, mdm, settings)
                write_artifact(folder, **made_from, **comparison_contents(comparison))
            advance(1)
