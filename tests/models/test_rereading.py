from dataclasses import replace

import pytest
import torch

from mechshift.errors import ModelError
from mechshift.models import ModelSource, PairEntry, load_pair, read_like


@pytest.fixture
def pair_of(model_folder):
    """A function that loads a pair of random weights."""

    def load(shift=True, **mdm):
        entry = PairEntry(
            name="own",
            arm=ModelSource(path=str(model_folder("arm", architecture="qwen2"))),
            mdm=ModelSource(path=str(model_folder("mdm", architecture="qwen2", seed=1, **mdm))),
            shift=shift,
        )
        return load_pair(entry)

    return load


def hidden(model, ids):
    ids = torch.tensor([ids])
    return model.hidden(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None])


def test_the_arms_weights_read_like_the_mdm_see_to_the_right(pair_of):
    pair = pair_of()
    both_ways = read_like(pair.arm, pair.mdm, name="arm, bidirectional")
    assert (both_ways.kind, both_ways.attention) == ("mdm", "full")
    assert both_ways.mask_token_id == pair.mdm.mask_token_id
    assert both_ways.weights_hash == pair.arm.weights_hash
    short, long = [3, 4, 5, 6], [3, 4, 5, 9]
    assert not torch.equal(hidden(both_ways, short)[:, 0], hidden(both_ways, long)[:, 0])
    # and the ARM itself is read as before
    assert torch.equal(hidden(pair.arm, short)[:, :3], hidden(pair.arm, long)[:, :3])


def test_it_is_what_the_stock_class_gives_with_these_weights_and_that_attention(pair_of):
    pair = pair_of()
    causal = read_like(pair.mdm, pair.arm, name="mdm, causal")
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    pair.mdm.module.config.is_causal = True
    expected = pair.mdm.module(input_ids=ids).logits
    pair.mdm.module.config.is_causal = False
    assert torch.equal(causal.module(input_ids=ids).logits, expected)


def test_the_weights_are_shared(pair_of):
    pair = pair_of()
    both_ways = read_like(pair.arm, pair.mdm, name="arm, bidirectional")
    assert both_ways.module is not pair.arm.module
    ours = [parameter.data_ptr() for parameter in both_ways.module.parameters()]
    assert ours == [parameter.data_ptr() for parameter in pair.arm.module.parameters()]


def test_weights_that_predict_from_another_position_are_refused(pair_of):
    pair = pair_of(shift=False)
    message = r"predict the token at i from position i, and 'own-arm' is read at i \+ 1 from"
    with pytest.raises(ModelError, match=message):
        read_like(pair.mdm, pair.arm, name="mdm, causal")


def test_weights_without_an_embedding_of_the_mask_token_are_refused(pair_of):
    pair = pair_of(vocab_size=24)
    wider = replace(pair.mdm, mask_token_id=23)
    with pytest.raises(ModelError, match="the mask token 23 of 'x' is outside its 23 embeddings"):
        read_like(pair.arm, wider, name="x")


def test_the_arms_weights_are_read_block_by_block_as_the_mdm_is(pair_of):
    pair = pair_of()
    mdm = replace(pair.mdm, attention="causal-prefix", block_length=3)
    read = read_like(pair.arm, mdm, name="arm, by blocks")
    assert (read.attention, read.block_length, read.kind) == ("causal-prefix", 3, "mdm")
    mask = read.mask_token_id
    # The block is 4, mask, 5: its first token sees the last, and what is before it sees neither.
    one, other = (hidden(read, [3, 4, mask, last, 6]) for last in (5, 9))
    assert torch.equal(one[:, 0], other[:, 0]) and not torch.equal(one[:, 1], other[:, 1])
    back = read_like(mdm, pair.arm, name="mdm, causal")
    assert (back.attention, back.block_length) == ("causal", None)
