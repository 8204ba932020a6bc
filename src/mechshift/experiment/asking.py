"""How many of the held-out examples does a checkpoint solve?

Asked is every example that was tried for the held-out pool, in the order in which it was tried, not
only those of the pool: these are chosen because both models of the pair solve them, and would make
the last checkpoint perfect by definition.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Bool
from numpy import ndarray

from mechshift.artifacts import artifact_hash, is_current, write_artifact
from mechshift.errors import ArtifactError
from mechshift.experiment.stores import KINDS, pool_folder, pool_manifests, read_pool
from mechshift.experiment.trajectory_stores import ANSWERS, answers_folder
from mechshift.models import LanguageModel
from mechshift.progress import progress_bar
from mechshift.tasks import CommonPool, Example, PoolConfig, Task, answer


def ask_checkpoint(
    run: Path, task: Task, member: str, model: LanguageModel, *, quiet: bool
) -> None:
    """Write which held-out examples a checkpoint solves, where it is missing.

    The answers of the pair itself are in its pool and are taken from there.

    Raises:
        ArtifactError: the run has no pool of the task, or holds other answers.
    """
    made_from: dict[str, Any] = {
        "stage": ANSWERS,
        "config": {"task": task.name, "model": model.name},
        "inputs": {
            "pool": artifact_hash(pool_folder(run, task.name)),
            **model.hashes,
        },
    }
    folder = answers_folder(run, task.name, member)
    if not is_current(folder, **made_from):
        pool = read_pool(run, task.name, "held-out")
        config = PoolConfig(**pool_manifests(run)[task.name].config["pool"])
        correct = (
            {"arm": pool.arm_correct, "mdm": pool.mdm_correct}[member]
            if member in KINDS
            else _correct(task, pool, config, member, model, quiet)
        )
        write_artifact(folder, **made_from, arrays={"correct": correct})


def _correct(
    task: Task, pool: CommonPool, config: PoolConfig, member: str, model: LanguageModel, quiet: bool
) -> Bool[ndarray, " example"]:
    tried = _tried(task, pool, config, model)
    with progress_bar(f"{task.name}: ask {member}", len(tried), quiet=quiet) as advance:
        return answer(model, task, tried, config, progress=advance).correct


def _tried(
    task: Task, pool: CommonPool, config: PoolConfig, model: LanguageModel
) -> Sequence[Example]:
    """The candidates of a pool, drawn again: it keeps the ids of all and the text of its own."""
    tried = task.generate(
        model.tokenizer,
        split="held-out",
        num_examples=len(pool.candidate_ids),
        seed=config.seed,
    )
    if tuple(example.id for example in tried) != pool.candidate_ids:
        raise ArtifactError(
            f"the held-out examples of '{task.name}' cannot be drawn again as they were for the"
            f" pool with the tokenizer of '{model.name}'; use another run folder."
        )
    return tried
