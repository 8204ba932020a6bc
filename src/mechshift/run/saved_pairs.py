"""Pairs from memory as folders, which a run can go on from and whose hashes it can state."""

from pathlib import Path

from mechshift.artifacts import explained_refusal
from mechshift.disk import move_into_place, partial_folder
from mechshift.errors import ConfigError
from mechshift.models import LanguageModel, ModelPair, without_reports
from mechshift.run.pair_options import PairOptions


def save_pair(pair: ModelPair, folder: Path | str) -> PairOptions:
    """Write both models of a pair as plain Hugging Face folders, for a run of them.

    A run names its models by where they lie, so that it can be gone on with and checked. The pair
    goes into `RunSettings(models=save_pair(pair, "models/mine"))`.

    Args:
        pair: such as `make_pair` gives.
        folder: gets the folders `arm` and `mdm`; it must not be there yet.

    Returns:
        The pair as the settings of a run name it.

    Raises:
        ConfigError: the folder is there already, or the pair has controls.
        ArtifactError: the disk refuses.
    """
    folder = Path(folder)
    if pair.controls:
        raise ConfigError(
            f"the pair '{pair.name}' has controls ({', '.join(pair.controls)}); save_pair writes"
            " the two models alone."
        )
    if folder.exists():
        raise ConfigError(f"{folder} is there already; choose another folder for the pair.")
    with explained_refusal(folder), partial_folder(folder) as partial:
        for model in pair.models:
            _write(model, partial / model.kind)
        move_into_place(partial, folder)
    return PairOptions(
        pair=pair.name,
        arm=str(folder / "arm"),
        mdm=str(folder / "mdm"),
        shift=pair.mdm.shift,
        attention=pair.mdm.attention,
        block_length=pair.mdm.block_length,
        mask_token_id=pair.mdm.mask_token_id,
        dtype="bfloat16" if str(pair.arm.dtype) == "torch.bfloat16" else "float32",
    )


def _write(model: LanguageModel, folder: Path) -> None:
    with without_reports():
        model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
