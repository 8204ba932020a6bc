"""The command that trains a model on."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from mechshift.posttraining import PosttrainConfig, posttrain


def train_model(
    folder: Positional[Path],
    parent: str,
    config: Annotated[PosttrainConfig, tyro.conf.arg(name="")] = PosttrainConfig(),
    quiet: bool = False,
) -> None:
    """Train an ARM on, into a masked diffusion model or with its own objective.

    Writes weights, tokenizer, recipe.json and training_log.jsonl. Runs on the CPU. Example:
    mechshift posttrain my-mdm --parent my-arm --num-steps 4000

    Args:
        folder: where the trained model goes; it must not exist yet.
        parent: folder or hub id of the ARM, or untrained-tiny, the embedded ARM before training.
        config: the recipe.
        quiet: no progress bar.
    """
    posttrain(folder, parent=parent, config=config, quiet=quiet)
    print(folder)
