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
from transformers import PreTrainedTokenizerFast

from mechshift.artifacts import artifact_hash, is_current, write_artifact
from mechshift.errors import ArtifactError
from mechshift.experiment.stores import KINDS, pool_folder, pool_manifests, read_pool
from mechshift.experiment.trajectory_stores import ANSWERS, answers_folder
from mechshift.models import LanguageModel
from mechshift.progress import progress_bar
from mechshift.tasks import CommonPool, Example, PoolConfig, Task, answer


def ask_checkpoint(
    run: Path,
    task: Task,
    member: str,
    model: LanguageModel,
    *,
    tokenizer: PreTrainedTokenizerFast,
    quiet: bool,
) -> None:
    """Write which held-out examples a checkpoint solves, where it is missing.

    The answers of the pair itself are in its pool and are taken from there.

    Args:
        run: the run folder.
        task: of the pool.
        member: what the checkpoint is called in the run.
        model: the checkpoint.
        tokenizer: that of the pair's MDM, with which the pool was drawn; the checkpoint's own need
            not know the mask token.
        quiet: no progress bar.

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
            else _correct(task, _tried(task, pool, config, tokenizer), config, member, model, quiet)
        )
        write_artifact(folder, **made_from, arrays={"correct": correct})


def _correct(
    task: Task,
    tried: Sequence[Example],
    config: PoolConfig,
    member: str,
    model: LanguageModel,
    quiet: bool,
) -> Bool[ndarray, " example"]:
    with progress_bar(f"{task.name}: ask {member}", len(tried), quiet=quiet) as advance:
        return answer(model, task, tried, config, progress=advance).correct


def _tried(
    task: Task, pool: CommonPool, config: PoolConfig, tokenizer: PreTrainedTokenizerFast
) -> Sequence[Example]:
    """The candidates of a pool, drawn again: it keeps the ids of all and the text of its own."""
    tried = task.generate(
        tokenizer,
        split="held-out",
        num_examples=len(pool.candidate_ids),
        seed=config.seed,
    )
    drawn = {example.id: example for example in tried}
    # Ids are numbers in order, which another draw may repeat; the texts are the proof.
    same_texts = all(_text(drawn.get(example.id)) == _text(example) for example in pool.examples)
    if tuple(drawn) != pool.candidate_ids or not same_texts:
        raise ArtifactError(
            f"the held-out examples of '{task.name}' cannot be drawn again as they were for the"
            " pool with the tokenizer of the pair's MDM; use another run folder."
        )
    return tried


def _text(example: Example | None) -> tuple[str, ...] | None:
    """What a model reads and writes of an example."""
    if example is None:
        return None
    return example.prompt, example.target, example.suffix, example.causal_prompt or ""
