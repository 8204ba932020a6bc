from copy import deepcopy

import pytest
import torch
from transformers import PreTrainedModel

from mechshift.errors import ModelError
from mechshift.models import ModelPair, load_pair, make_pair


@pytest.fixture(scope="module")
def loaded() -> ModelPair:
    return load_pair("tiny")


@pytest.fixture
def modules(loaded: ModelPair) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Copies as they come out of a training: their attention as it may be, their weights free."""
    arm, mdm = (deepcopy(model.module) for model in loaded.models)
    for module in (arm, mdm):
        module.train()
        module.config.is_causal = True
        for parameter in module.parameters():
            parameter.requires_grad_(True)
    return arm, mdm


def test_models_in_memory_are_read_as_those_that_are_loaded(
    loaded: ModelPair, modules: tuple[PreTrainedModel, PreTrainedModel]
) -> None:
    pair = make_pair(*modules, loaded.mdm.tokenizer, name="mine", shift=loaded.mdm.shift)
    ids = torch.arange(7)[None] + 5
    ones, places = torch.ones_like(ids), torch.arange(7)[None]
    for ours, theirs in zip(pair.models, loaded.models, strict=True):
        assert (ours.kind, ours.attention, ours.shift) == (
            theirs.kind,
            theirs.attention,
            theirs.shift,
        )
        found, expected = (model.hidden(ids, ones, places) for model in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert not any(parameter.requires_grad for parameter in ours.module.parameters())
    assert pair.mdm.mask_token_id == loaded.mdm.mask_token_id
    assert (pair.arm.name, pair.mdm.name) == ("mine-arm", "mine-mdm")


def test_the_hash_is_of_the_weights(
    loaded: ModelPair, modules: tuple[PreTrainedModel, PreTrainedModel]
) -> None:
    arm, mdm = modules
    first = make_pair(arm, mdm, loaded.mdm.tokenizer)
    again = make_pair(deepcopy(arm), mdm, loaded.mdm.tokenizer)
    assert first.arm.weights_hash == again.arm.weights_hash != first.mdm.weights_hash
    with torch.no_grad():
        next(arm.parameters()).view(-1)[0] += 1
    assert make_pair(arm, mdm, loaded.mdm.tokenizer).arm.weights_hash != first.arm.weights_hash


def test_what_cannot_be_a_pair_is_refused_in_one_line(
    loaded: ModelPair, modules: tuple[PreTrainedModel, PreTrainedModel]
) -> None:
    arm, mdm = modules
    tokenizer = loaded.mdm.tokenizer
    with pytest.raises(ModelError, match="are one object"):
        make_pair(arm, arm, tokenizer)
    with pytest.raises(ModelError, match="block_length=4 belongs to"):
        make_pair(arm, mdm, tokenizer, block_length=4)
    mdm.config.mask_token_id = None
    without_mask = deepcopy(tokenizer)
    without_mask.mask_token = None
    with pytest.raises(ModelError, match="without a mask token"):
        make_pair(arm, mdm, without_mask)

    class Other(type(arm)):  # type: ignore[misc]
        pass

    arm.__class__ = Other
    with pytest.raises(ModelError, match="cannot read the parts of a Other"):
        make_pair(arm, mdm, tokenizer)
