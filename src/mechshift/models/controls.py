"""Controls: further models that tell apart what may have caused a shift.

    arm-full         the ARM's weights read as the MDM is: the attention mask without training
    mdm-causal       the MDM's weights read as the ARM is: the training without the mask
    arm-continued    the ARM trained on with its own objective on the MDM's data and steps: the
                     training without diffusion
    mdm-other-seed   an MDM of the same recipe and another seed: how far chance goes

The first two need no further weights. The last two exist where a pair names them; further trainings
of either are called `arm-continued-2`, `mdm-other-seed-2` and so on.

Beside them may stand MDMs that others made of the same ARM, by another recipe and read in their own
way: *siblings*, called as the known pairs that they are of. They say what one recipe does and the
other does not; of chance, and of causes, they say nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from mechshift.errors import ModelError
from mechshift.models.catalogue import (
    ModelPair,
    load_entry_arm,
    load_entry_mdm,
    on_this_machine,
)
from mechshift.models.folders import ModelSource
from mechshift.models.language_model import LanguageModel
from mechshift.models.published import PAIRS, PairEntry
from mechshift.models.rereading import read_like

ARM_FULL, MDM_CAUSAL, ARM_CONTINUED, MDM_OTHER_SEED = (
    "arm-full",
    "mdm-causal",
    "arm-continued",
    "mdm-other-seed",
)

CONTROLS = (ARM_FULL, MDM_CAUSAL, ARM_CONTINUED, MDM_OTHER_SEED)
"""*Role* of a control."""

SIBLING = "sibling"
"""The role of an MDM of the same ARM and another recipe."""

NUMBERED = re.compile(rf"({ARM_CONTINUED}|{MDM_OTHER_SEED})(?:-([1-9][0-9]*))?")


def control_name(role: str, training: int) -> str:
    """Name of a control in a run: that of its role, numbered from its second training on.

    Args:
        role: of `CONTROLS`.
        training: counted from 1.
    """
    return role if training == 1 else f"{role}-{training}"


def control_role(name: str) -> tuple[str, int] | None:
    """Role and training of a control; None where a member of a run is none.

    Siblings are told apart by their places among the known pairs.
    """
    if name in CONTROLS:
        return name, 1
    if name in PAIRS:
        return SIBLING, 1 + list(PAIRS).index(name)
    found = NUMBERED.fullmatch(name)
    if found is None or found[2] == "1":  # which no training is called
        return None
    return found[1], int(found[2])


@dataclass(frozen=True, kw_only=True, eq=False)
class Controls:
    """The controls of a pair."""

    models: Mapping[str, LanguageModel]
    """By name, by the order of their roles in `CONTROLS`; siblings last."""
    missing: Mapping[str, str]
    """Why the others are not there, by name."""


def load_controls(pair: ModelPair, entry: PairEntry) -> Controls:
    """Every control that this pair can have, on the pair's device and in its precision.

    Raises:
        ModelError: a control that the entry names cannot be loaded, or does not match the pair, or
            is a copy of another model.
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
        if not located.continued_arms:
            missing[ARM_CONTINUED] = "the pair names no ARM that was trained on"
        for name, source in _named(ARM_CONTINUED, located.continued_arms):
            models[name] = load_entry_arm(source, f"{pair.name}-{name}", **_like(pair))
            _check_no_copy(name, source, models, pair)
        if not located.other_mdms:
            missing[MDM_OTHER_SEED] = "the pair names no MDM of another seed"
        for name, source in _named(MDM_OTHER_SEED, located.other_mdms):
            other_seed = replace(located, mdm=source)
            model = load_entry_mdm(other_seed, pair.arm.tokenizer, **_like(pair))
            models[name] = replace(model, name=f"{pair.name}-{name}")
            _check_no_copy(name, source, models, pair)
        for sibling in entry.siblings:
            found = on_this_machine(sibling, stack)
            models[sibling.name] = load_entry_mdm(found, pair.arm.tokenizer, **_like(pair))
    return Controls(models=models, missing=missing)


def _named(role: str, sources: Sequence[ModelSource]) -> Iterator[tuple[str, ModelSource]]:
    for training, source in enumerate(sources, start=1):
        yield control_name(role, training), source


def _check_no_copy(
    name: str, source: ModelSource, models: Mapping[str, LanguageModel], pair: ModelPair
) -> None:
    """Refuse a training whose weights are those of another: it says nothing on chance.

    Raises:
        ModelError: they are, byte by byte.
    """
    others = {"arm": pair.arm, "mdm": pair.mdm, **models}
    for other, model in others.items():
        if other != name and model.weights_hash == models[name].weights_hash:
            where = source.path if source.adapter is None else f"{source.path} + {source.adapter}"
            raise ModelError(
                f"{name} ({where}) holds the weights of {other}: a copy is no further training;"
                " give a model of another seed, or leave it out."
            )


def _like(pair: ModelPair) -> dict[str, str]:
    """Device and precision of a pair, as the loaders take them."""
    return {
        "device": pair.arm.place or str(pair.arm.device),
        "dtype": str(pair.arm.dtype).removeprefix("torch."),
    }
