from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mechshift.errors import ModelError
from mechshift.models import (
    CONTROLS,
    PAIRS,
    ModelSource,
    PairEntry,
    control_name,
    control_role,
    load_controls,
    load_pair,
)


@pytest.fixture
def entry(model_folder):
    return PairEntry(
        name="own",
        arm=ModelSource(path=str(model_folder("arm"))),
        mdm=ModelSource(path=str(model_folder("mdm", seed=1))),
        continued_arms=(ModelSource(path=str(model_folder("continued", seed=2))),),
        other_mdms=(ModelSource(path=str(model_folder("other", seed=3))),),
        shift=True,
    )


def test_a_pair_that_names_further_weights_has_every_control(entry):
    pair = load_pair(entry)
    found = load_controls(pair, entry)
    assert tuple(found.models) == CONTROLS
    assert not found.missing
    read = {name: (model.kind, model.attention) for name, model in found.models.items()}
    assert read == {
        "arm-full": ("mdm", "full"),
        "mdm-causal": ("arm", "causal"),
        "arm-continued": ("arm", "causal"),
        "mdm-other-seed": ("mdm", "full"),
    }
    hashes = {name: model.weights_hash for name, model in found.models.items()}
    assert hashes["arm-full"] == pair.arm.weights_hash
    assert hashes["mdm-causal"] == pair.mdm.weights_hash
    assert len({pair.arm.weights_hash, pair.mdm.weights_hash, *hashes.values()}) == 4
    assert {model.name for model in found.models.values()} == {f"own-{name}" for name in CONTROLS}
    members = replace(pair, controls=found.models).members
    assert list(members) == ["arm", "mdm", *CONTROLS]


def test_further_trainings_are_numbered_from_the_second_on(entry, model_folder):
    sources = [ModelSource(path=str(model_folder(f"more-{seed}", seed=seed))) for seed in (4, 5, 6)]
    entry = replace(
        entry,
        continued_arms=(*entry.continued_arms, *sources[:2]),
        other_mdms=(*entry.other_mdms, sources[2]),
    )
    found = load_controls(load_pair(entry), entry).models
    assert list(found) == [
        "arm-full",
        "mdm-causal",
        "arm-continued",
        "arm-continued-2",
        "arm-continued-3",
        "mdm-other-seed",
        "mdm-other-seed-2",
    ]
    assert {name: model.name for name, model in found.items()} == {
        name: f"own-{name}" for name in found
    }
    assert (found["arm-continued-3"].kind, found["mdm-other-seed-2"].kind) == ("arm", "mdm")
    assert len({model.weights_hash for model in found.values()}) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"continued_arms": ("continued", "continued")},
            r"arm-continued-2 \(.*continued\) .* of a",
        ),
        ({"continued_arms": ("arm",)}, r"arm-continued \(.*arm\) holds the weights of arm: "),
        ({"other_mdms": ("mdm",)}, r"mdm-other-seed \(.*mdm\) .* of mdm: a copy is no"),
        ({"other_mdms": ("continued",)}, r"mdm-other-seed .* holds the weights of arm-continued:"),
    ],
)
def test_a_copy_is_refused_as_a_further_training(entry, options, message):
    folder = Path(entry.arm.path).parent
    sources = {
        role: tuple(ModelSource(path=str(folder / name)) for name in names)
        for role, names in options.items()
    }
    with pytest.raises(ModelError, match=message):
        load_controls(load_pair(entry), replace(entry, **sources))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("arm-full", ("arm-full", 1)),
        ("arm-continued", ("arm-continued", 1)),
        ("arm-continued-2", ("arm-continued", 2)),
        ("mdm-other-seed-12", ("mdm-other-seed", 12)),
        ("wedlm-7b", ("sibling", 1 + list(PAIRS).index("wedlm-7b"))),
        ("mdm", None),
        ("arm-full-2", None),
        ("arm-continued-1", None),
        ("arm-continued-02", None),
        ("arm-continued-step-000032", None),
    ],
)
def test_a_controls_name_says_its_role_and_its_training(name, role):
    assert control_role(name) == role
    if role is not None and name not in PAIRS:
        assert control_name(*role) == name


def test_controls_come_in_the_precision_of_the_pair(entry):
    pair = load_pair(entry, dtype="bfloat16")
    found = load_controls(pair, entry)
    assert {model.dtype for model in found.models.values()} == {torch.bfloat16}


def test_siblings_stand_beside_the_controls_and_are_read_in_their_own_way(entry, model_folder):
    """Also an MDM whose weights are another member's: what differs is how they are read."""
    sibling = replace(entry, name="sdar-4b", shift=False, attention="observed-first")
    entry = replace(entry, siblings=(sibling,))
    pair = load_pair(entry)
    found = load_controls(pair, entry).models
    assert list(found) == [*CONTROLS, "sdar-4b"]
    model = found["sdar-4b"]
    assert (model.kind, model.shift, model.attention) == ("mdm", False, "observed-first")
    assert model.weights_hash == pair.mdm.weights_hash and pair.mdm.shift
    deeper = ModelSource(path=str(model_folder("deeper", num_hidden_layers=3)))
    entry = replace(entry, siblings=(replace(sibling, mdm=deeper),))
    controls = load_controls(pair, entry).models
    with pytest.raises(ModelError, match="the number of layers is 2 in the ARM and 3 in the MDM"):
        replace(pair, controls=controls)


def test_a_control_that_cannot_be_is_named_with_the_reason(entry):
    """The MDM's logits at i predict token i, where no ARM reads them."""
    entry = replace(entry, shift=False, continued_arms=(), other_mdms=())
    found = load_controls(load_pair(entry), entry)
    assert not found.models
    assert list(found.missing) == list(CONTROLS)
    assert "cannot be read like it" in found.missing["arm-full"]
    assert "names no ARM that was trained on" in found.missing["arm-continued"]


def test_a_control_of_another_shape_is_refused(entry, model_folder):
    source = ModelSource(path=str(model_folder("deeper", num_hidden_layers=3)))
    entry = replace(entry, continued_arms=(source,))
    pair = load_pair(entry)
    controls = load_controls(pair, entry).models
    with pytest.raises(ModelError, match="the number of layers is 2 in the ARM and 3 in the MDM"):
        replace(pair, controls=controls)
