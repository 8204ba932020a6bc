"""The command that trains a model on."""

from pathlib import Path
from typing import Annotated

import tyro
from accelerate import PartialState
from tyro.conf import Positional

from mechshift.posttraining import PosttrainConfig, posttrain


def train_model(
    folder: Positional[Path],
    parent: str,
    config: Annotated[PosttrainConfig, tyro.conf.arg(name="")] = PosttrainConfig(),
    tensorboard: Path | None = None,
    quiet: bool = False,
) -> None:
    """Train an ARM on, into a masked diffusion model or with its own objective.

    Writes weights, tokenizer, model card, recipe.json, training_log.jsonl and, if asked for,
    checkpoints that `mechshift trajectory` compares. Give it tasks or texts of your own with
    --mixture NAME WEIGHT ROWS, again and again. A killed training goes on with the same command.
    For several GPUs: accelerate launch -m mechshift posttrain ... Example:
    mechshift posttrain my-mdm --parent my-arm --num-steps 4000 --first-checkpoint 32

    Args:
        folder: where the trained model goes; it must not exist yet.
        parent: folder or hub id of the ARM, or untrained-tiny, the embedded ARM before training.
        config: the recipe.
        tensorboard: a folder for TensorBoard events.
        quiet: no progress bar.
    """
    posttrain(folder, parent=parent, config=config, tensorboard=tensorboard, quiet=quiet)
    if PartialState().is_main_process:
        print(folder)
