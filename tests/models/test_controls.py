from dataclasses import replace

import pytest
import torch

from mechshift.errors import ModelError
from mechshift.models import CONTROLS, ModelSource, PairEntry, load_controls, load_pair


@pytest.fixture
def entry(model_folder):
    return PairEntry(
        name="own",
        arm=ModelSource(path=str(model_folder("arm"))),
        mdm=ModelSource(path=str(model_folder("mdm", seed=1))),
        continued_arm=ModelSource(path=str(model_folder("continued", seed=2))),
        other_mdm=ModelSource(path=str(model_folder("other", seed=3))),
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


def test_controls_come_in_the_precision_of_the_pair(entry):
    pair = load_pair(entry, dtype="bfloat16")
    found = load_controls(pair, entry)
    assert {model.dtype for model in found.models.values()} == {torch.bfloat16}


def test_a_control_that_cannot_be_is_named_with_the_reason(entry):
    """The MDM's logits at i predict token i, where no ARM reads them."""
    entry = replace(entry, shift=False, continued_arm=None, other_mdm=None)
    found = load_controls(load_pair(entry), entry)
    assert not found.models
    assert list(found.missing) == list(CONTROLS)
    assert "cannot be read like it" in found.missing["arm-full"]
    assert "names no ARM that was trained on" in found.missing["arm-continued"]


def test_a_control_of_another_shape_is_refused(entry, model_folder):
    source = ModelSource(path=str(model_folder("deeper", num_hidden_layers=3)))
    entry = replace(entry, continued_arm=source)
    pair = load_pair(entry)
    controls = load_controls(pair, entry).models
    with pytest.raises(ModelError, match="the number of layers is 2 in the ARM and 3 in the MDM"):
        replace(pair, controls=controls)
