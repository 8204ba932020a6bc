"""Can the controls do the tasks at all?

A control is scored as the two models are, on the same pool, and its circuit is compared with the
ARM's. Both mean little where the control does not solve the task, so it is asked the held-out
examples of the pool, which both models solve.
"""

from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_current, write_artifact
from mechshift.experiment.pooling import pooled_task
from mechshift.experiment.stores import (
    CONTROLS,
    control_folder,
    pool_folder,
    pool_manifests,
    read_pool,
)
from mechshift.models import ModelPair
from mechshift.progress import progress_bar
from mechshift.tasks import PoolConfig, answer


def ask_controls(run: Path, pair: ModelPair, *, quiet: bool = False) -> None:
    """Write which held-out examples each control solves, where it is missing.

    Raises:
        ArtifactError: the run has no pool, or holds other answers.
    """
    for task_name, manifest in pool_manifests(run).items():
        pool = read_pool(run, task_name, "held-out")
        for name, model in pair.controls.items():
            folder = control_folder(run, task_name, name)
            made_from: dict[str, Any] = {
                "stage": CONTROLS,
                "config": {"task": task_name, "model": model.name},
                "inputs": {
                    "pool": artifact_hash(pool_folder(run, task_name)),
                    **model.hashes,
                },
            }
            if is_current(folder, **made_from):
                continue
            title = f"{task_name}: ask {name}"
            with progress_bar(title, len(pool.examples), quiet=quiet) as advance:
                answers = answer(
                    model,
                    pooled_task(task_name, pool),
                    pool.examples,
                    PoolConfig(**manifest.config["pool"]),
                    progress=advance,
                )
            write_artifact(folder, **made_from, arrays={"correct": answers.correct})
