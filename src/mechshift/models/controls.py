"""Controls: further models that tell apart what may have caused a shift.

    arm-full         the ARM's weights read as the MDM is: the attention mask without training
    mdm-causal       the MDM's weights read as the ARM is: the training without the mask
    arm-continued    the ARM trained on with its own objective on the MDM's data and steps: the
                     training without diffusion
    mdm-other-seed   an MDM of the same recipe and another seed: how far chance goes

The first two need no further weights. The last two exist where a pair names them.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from mechshift.errors import ModelError
from mechshift.models.catalogue import (
    ModelPair,
    load_entry_arm,
    load_entry_mdm,
    on_this_machine,
)
from mechshift.models.language_model import LanguageModel
from mechshift.models.published import PairEntry
from mechshift.models.rereading import read_like

ARM_FULL, MDM_CAUSAL, ARM_CONTINUED, MDM_OTHER_SEED = (
    "arm-full",
    "mdm-causal",
    "arm-continued",
    "mdm-other-seed",
)

CONTROLS = (ARM_FULL, MDM_CAUSAL, ARM_CONTINUED, MDM_OTHER_SEED)


@dataclass(frozen=True, kw_only=True, eq=False)
class Controls:
    """The controls of a pair."""

    models: Mapping[str, LanguageModel]
    """By name, in the order of `CONTROLS`."""
    missing: Mapping[str, str]
    """Why the others are not there, by name."""


def load_controls(pair: ModelPair, entry: PairEntry) -> Controls:
    """Every control that this pair can have, on the pair's device and in its precision.

    Raises:
        ModelError: a control that the entry names cannot be loaded, or does not match the pair.
    """
    models: dict[str, LanguageModel] = {}
    missing: dict[str, str] = {}
    for name, weights, other in (
        (ARM_FULL, pair.arm, pair.mdm),
        (MDM_CAUSAL, pair.mdm, pair.arm),
    ):
        try:
            models[name] = read_like(weights, other, name=f"{pair.name}-{name}")
        except ModelError as error:
            missing[name] = str(error)
    with ExitStack() as stack:
        located = on_this_machine(entry, stack)
        if located.continued_arm is None:
            missing[ARM_CONTINUED] = "the pair names no ARM that was trained on"
        else:
            models[ARM_CONTINUED] = load_entry_arm(
                located.continued_arm, f"{pair.name}-{ARM_CONTINUED}", **_like(pair)
            )
        if located.other_mdm is None:
            missing[MDM_OTHER_SEED] = "the pair names no MDM of another seed"
        else:
            other_seed = replace(located, mdm=located.other_mdm)
            model = load_entry_mdm(other_seed, pair.arm.tokenizer, **_like(pair))
            models[MDM_OTHER_SEED] = replace(model, name=f"{pair.name}-{MDM_OTHER_SEED}")
    return Controls(models=models, missing=missing)


def _like(pair: ModelPair) -> dict[str, str]:
    """Device and precision of a pair, as the loaders take them."""
    return {
        "device": str(pair.arm.device),
        "dtype": str(pair.arm.dtype).removeprefix("torch."),
    }
