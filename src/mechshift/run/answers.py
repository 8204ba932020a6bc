"""Answers of controls and checkpoints: which held-out examples each of them solves.

A control is scored as the two models are, on the same pool, and its circuit is compared with the
ARM's. Both mean little where the control does not solve the task, so it is asked the held-out
examples of the pool, which both models solve.

A checkpoint is asked every example that was tried for the held-out pool, in the order in which it
was tried: those of the pool are chosen because both models of the pair solve them, and would make
the last checkpoint perfect by definition.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from mechshift.artifacts import stored_setting
from mechshift.errors import ArtifactError
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import (
    ANSWERS,
    CONTROLS,
    POOL,
    answers_folder,
    control_folder,
    pool_folder,
)
from mechshift.run.pools import pooled_task
from mechshift.run.records import Solved
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import model_inputs, pool_manifests, read_pool
from mechshift.tasks import CommonPool, Example, PoolConfig, Task, answer


def ask_controls(run: Path, pair: ModelPair, *, quiet: bool = False) -> None:
    """Write which held-out examples each control solves, where it is missing.

    Raises:
        ArtifactError: the run has no pool, or holds other answers.
    """
    write_pieces(run, CONTROL_ANSWERS, _control_pieces(run, pair), quiet=quiet)


def _control_pieces(run: Path, pair: ModelPair) -> Iterator[Piece]:
    for name in pool_manifests(run):
        pool, config = read_pool(run, name, "held-out"), _pool_config(run, name)
        task = pooled_task(name, pool)
        for control, model in pair.controls.items():
            work = partial(_work, task, control, model, pool.examples, config)
            yield _piece(run, control_folder(run, name, control), name, model, work)


CONTROL_ANSWERS = Stage(
    name=CONTROLS,
    command="attribute",
    about="asks the controls the held-out examples that both models solve",
    reads=(POOL,),
    when="unless skipped",
    pieces=lambda given: _control_pieces(given.run, given.pair),
)


def checkpoint_answers(
    run: Path,
    task: Task,
    member: str,
    model: LanguageModel,
    *,
    tokenizer: PreTrainedTokenizerFast,
) -> Piece:
    """Which held-out examples a checkpoint solves, of all that were tried.

    The answers of the pair itself are in its pool and are taken from there.

    Args:
        run: the run folder.
        task: of the pool.
        member: what the checkpoint is called in the run.
        model: the checkpoint.
        tokenizer: that of the pair's MDM, with which the pool was drawn; the checkpoint's own need
            not know the mask token.

    Raises:
        ArtifactError: the run has no pool of the task.
    """

    def prepare() -> Work:
        pool, config = read_pool(run, task.name, "held-out"), _pool_config(run, task.name)
        known = {"arm": pool.arm_correct, "mdm": pool.mdm_correct}
        # A pool that was made while the MDM was in training knows its first checkpoint's answers.
        made_with = pool_manifests(run)[task.name].inputs
        if member in known and made_with.get(member) == model.weights_hash:
            solved = Solved(correct=known[member])
            return Work(title=_title(task, member), total=0, compute=lambda _: solved)
        return _work(task, member, model, _tried(task, pool, config, tokenizer), config)

    return _piece(run, answers_folder(run, task.name, member), task.name, model, prepare)


CHECKPOINT_ANSWERS = Stage(
    name=ANSWERS,
    command="trajectory",
    about="asks a checkpoint every held-out example that was tried for the pool",
    reads=(POOL,),
    when="by itself",
)


def _piece(
    run: Path, folder: Path, task: str, model: LanguageModel, prepare: Callable[[], Work]
) -> Piece:
    return Piece(
        folder=folder,
        config={"task": task, "model": model.name},
        inputs=model_inputs(run, task, model),
        prepare=prepare,
    )


def _work(
    task: Task,
    member: str,
    model: LanguageModel,
    examples: Sequence[Example],
    config: PoolConfig,
) -> Work:
    def compute(advance: Advance) -> Solved:
        return Solved(correct=answer(model, task, examples, config, progress=advance).correct)

    return Work(title=_title(task, member), total=len(examples), compute=compute)


def _title(task: Task, member: str) -> str:
    return f"{task.name}: ask {member}"


def _pool_config(run: Path, task: str) -> PoolConfig:
    return stored_setting(pool_folder(run, task), "pool", PoolConfig)


def _tried(
    task: Task, pool: CommonPool, config: PoolConfig, tokenizer: PreTrainedTokenizerFast
) -> Sequence[Example]:
    """The candidates of a pool, drawn again: it keeps the ids of all and the text of its own."""
    tried = task.generate(
        tokenizer,
        split="held-out",
        num_examples=len(pool.candidate_ids),
        seed=config.seed,
        templates=config.templates,
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
