"""Post-training: from a folder with a model to a folder with the model trained on.

1. Load the parent: a folder, a hub id, or the untrained start of the embedded pair.
2. Train it (trainer.py) in `OUT.partial` (training_folder.py), which holds recipe, log, checkpoints
   and the last state. The same call goes on from there after it was killed, and ends with the same
   bytes.
3. Write weights (safetensors), tokenizer and a model card beside them, and give the folder its
   name: under its final name it is whole.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.disk import write_whole
from mechshift.errors import PosttrainingError
from mechshift.models import load_language_model
from mechshift.posttraining._tiny_tokenizer import tiny_tokenizer
from mechshift.posttraining.accuracy import held_out_accuracy
from mechshift.posttraining.adapters import whole_model, write_adapters
from mechshift.posttraining.config import PosttrainConfig
from mechshift.posttraining.corpus import check_sources
from mechshift.posttraining.journal import Journal, check_tensorboard
from mechshift.posttraining.model_card import model_card
from mechshift.posttraining.saving import checkpoint_folder, write_checkpoint, write_model
from mechshift.posttraining.tiny_pair import untrained_tiny_arm
from mechshift.posttraining.trainer import Trainer, is_main_process, take_steps
from mechshift.posttraining.training_folder import CARD_NAME, TrainingFolder

UNTRAINED_TINY = "untrained-tiny"
"""The parent that stands for the embedded ARM before its first step."""


def posttrain(
    out: Path,
    *,
    parent: str,
    config: PosttrainConfig,
    tensorboard: Path | None = None,
    quiet: bool = False,
) -> None:
    """Train a model and write it to `out`, where the stock class and mechshift can load it.

    Args:
        out: a folder that does not exist yet. A killed training goes on from `OUT.partial`.
        parent: a folder or hub id of an ARM, or `untrained-tiny`.
        config: the recipe.
        tensorboard: a folder for TensorBoard events.
        quiet: no progress bar.

    Raises:
        PosttrainingError: `out` exists, `OUT.partial` holds another training or is in use by
            another process, the disk refuses, or training fails; what was made before is kept.
        TaskError: a source is neither a task nor a file of texts.
        ModelError: the parent cannot be loaded.
    """
    folder = TrainingFolder(out=out)
    if out.exists():
        if folder.is_finished(_recipe(parent, None, config)):
            folder.remove_rest()
            return
        raise PosttrainingError(f"{out} exists already; choose another folder or delete it.")
    check_sources(config)  # a wrong name costs no wait for the model
    if tensorboard is not None:
        check_tensorboard(tensorboard)
    with ExitStack() as stack:
        if is_main_process():
            stack.enter_context(folder.held())
        _train_in(folder, parent, config, tensorboard, quiet=quiet)


def _train_in(
    folder: TrainingFolder,
    parent: str,
    config: PosttrainConfig,
    tensorboard: Path | None,
    *,
    quiet: bool,
) -> None:
    """Go on with the training in `folder`, or begin it, and give it its name."""
    module, tokenizer, parent_hash = _load_parent(parent)
    if config.mask_token is not None:
        _name_mask_token(tokenizer, config.mask_token)
    recipe = _recipe(parent, parent_hash, config)
    with folder.explained():
        folder.check_recipe(recipe)
    trainer = Trainer(module, tokenizer, config, quiet=quiet)
    if trainer.is_main:
        with folder.explained():
            folder.begin(recipe)
    trainer.accelerator.wait_for_everyone()
    losses = trainer.resume(folder.state)
    with folder.explained():
        accuracy = _train(trainer, tokenizer, folder, losses, tensorboard, quiet=quiet)
    trained = trainer.gathered()
    if trained is not None:
        card = model_card(str(recipe["parent"]), parent_hash, config, accuracy)
        with folder.explained():
            write_model(folder.model, whole_model(trained), tokenizer, config)
            write_adapters(folder.model, trained)
            write_whole(folder.model / CARD_NAME, card)
            folder.finish()
    trainer.accelerator.wait_for_everyone()


def _train(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerFast,
    folder: TrainingFolder,
    losses: tuple[float, ...],
    tensorboard: Path | None,
    *,
    quiet: bool,
) -> dict[str, float]:
    """Take all steps that are left, keeping what is due, and return the last accuracy."""
    config = trainer.config
    checkpoints = config.checkpoint_steps()
    accuracy: dict[str, float] = {}
    journal = Journal(
        folder.log if trainer.is_main else None,
        config,
        num_steps_done=trainer.step,
        losses=losses,
        tensorboard=tensorboard,
    )
    with journal, _saying_what_is_kept(folder):
        for result in take_steps(trainer, quiet=quiet):
            step = trainer.step
            is_last = step == config.num_steps
            journal.record_step(step, result.loss)
            asks = config.num_evaluated > 0 and (is_last or _is_due(step, config.evaluate_every))
            saves = _is_due(step, config.state_every) and not is_last
            if asks or saves or step in checkpoints:
                trainer.check_finite()  # a good state is not replaced by a spoilt one
            module = trainer.gathered() if asks or step in checkpoints else None
            if module is not None:
                whole = whole_model(module)
                if asks:
                    accuracy = held_out_accuracy(whole, tokenizer, config)
                    journal.record_accuracy(step, accuracy)
                if step in checkpoints:
                    write_checkpoint(
                        checkpoint_folder(folder.model, step), whole, tokenizer, config
                    )
            if saves:
                trainer.save(folder.state, tuple(journal.losses))
    return accuracy


@contextmanager
def _saying_what_is_kept(folder: TrainingFolder) -> Iterator[None]:
    """Say of a training that diverged what it leaves, and that no resume could mend it."""
    try:
        yield
    except PosttrainingError as error:
        raise PosttrainingError(
            f"{error} The same command would come to the same; train with such a change into"
            f" another folder, or delete {folder.partial}, which keeps {folder.kept()}."
        ) from error


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _recipe(parent: str, parent_hash: str | None, config: PosttrainConfig) -> dict[str, Any]:
    return {
        # A path says nothing on another machine, and the hash says which weights they were.
        "parent": Path(parent).name if Path(parent).exists() else parent,
        "parent_weights": parent_hash,
        "config": asdict(config),
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
    }


def _name_mask_token(tokenizer: PreTrainedTokenizerFast, token: str) -> None:
    """Let a token that exists stand for a mask, so that the embeddings keep their shape.

    Raises:
        PosttrainingError: the vocabulary lacks it, or the tokenizer has another mask token.
    """
    if token not in tokenizer.get_vocab():
        raise PosttrainingError(
            f"the vocabulary has no token '{token}'; name one that it has, such as one of"
            f" {', '.join(tokenizer.all_special_tokens) or 'its reserved tokens'}."
        )
    if tokenizer.mask_token not in (None, token):
        raise PosttrainingError(
            f"the tokenizer's mask token is '{tokenizer.mask_token}'; leave out --mask-token."
        )
    tokenizer.mask_token = token


def _load_parent(parent: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str | None]:
    """Module, tokenizer and weights hash; the untrained start has no hash."""
    if parent == UNTRAINED_TINY:
        tokenizer = tiny_tokenizer()
        return untrained_tiny_arm(tokenizer), tokenizer, None
    model = load_language_model(parent, name=parent, kind="arm", attention="causal", shift=True)
    for parameter in model.module.parameters():
        parameter.requires_grad_(True)
    return model.module, model.tokenizer, model.weights_hash
