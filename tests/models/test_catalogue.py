import pytest

from mechshift.errors import ModelError
from mechshift.models import PAIRS, ModelSource, PairEntry, load_pair


def entry(arm, mdm, **overrides):
    settings = dict(
        name="own",
        arm=ModelSource(path=str(arm)),
        mdm=ModelSource(path=str(mdm)),
        shift=False,
    )
    return PairEntry(**(settings | overrides))


def test_a_pair_of_two_folders_is_a_causal_arm_and_a_full_mdm(model_folder):
    pair = load_pair(entry(model_folder("arm"), model_folder("mdm", seed=1)), dtype="bfloat16")
    assert pair.name == "own"
    assert (pair.arm.name, pair.arm.kind, pair.arm.attention) == ("own-arm", "arm", "causal")
    assert (pair.mdm.name, pair.mdm.kind, pair.mdm.attention) == ("own-mdm", "mdm", "full")
    assert pair.arm.shift and not pair.mdm.shift
    assert pair.mdm.mask_token_id == 22
    assert pair.arm.weights_hash != pair.mdm.weights_hash


def test_an_unknown_pair_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="unknown pair 'big'; known: tiny, dream-7b"):
        load_pair("big")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_hidden_layers": 3}, "the number of layers is 2 in the ARM and 3 in the MDM"),
        ({"num_attention_heads": 2}, "the number of heads is 4 in the ARM and 2 in the MDM"),
        ({"num_key_value_heads": 4}, "the number of KV heads is 2 in the ARM and 4"),
        ({"head_dim": 6}, "the size of a head is 4 in the ARM and 6"),
        ({"hidden_size": 20}, "d_model is 16 in the ARM and 20"),
        (
            {"architecture": "qwen3"},
            "the class is LlamaForCausalLM in the ARM and Qwen3ForCausalLM",
        ),
    ],
)
def test_pairs_of_different_shape_are_refused_with_both_values(model_folder, overrides, message):
    with pytest.raises(ModelError, match=message):
        load_pair(entry(model_folder("arm"), model_folder("mdm", **overrides)))


def test_the_mdm_may_have_more_tokens_than_the_arm(model_folder, word_tokenizer):
    arm, mdm = model_folder("arm"), model_folder("mdm")
    word_tokenizer(words=[f"w{i}" for i in range(20)], mask_token=None).save_pretrained(arm)
    pair = load_pair(entry(arm, mdm))
    assert pair.arm.mask_token_id is None


def test_pairs_whose_tokens_differ_are_refused_with_both_ids(model_folder, word_tokenizer):
    arm, mdm = model_folder("arm"), model_folder("mdm")
    swapped = ["w0", "w2", "w1", *[f"w{i}" for i in range(3, 22)], "[MASK]"]
    word_tokenizer(words=swapped).save_pretrained(mdm)
    with pytest.raises(ModelError, match="disagree about 2 of the ARM's 23.*'w1' is 1 .* and 2"):
        load_pair(entry(arm, mdm))


def test_tokenizers_that_split_text_differently_are_refused(model_folder, word_tokenizer):
    arm, mdm = model_folder("arm"), model_folder("mdm")
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = None
    tokenizer.save_pretrained(mdm)
    with pytest.raises(ModelError, match="have the same tokens but split"):
        load_pair(entry(arm, mdm))


def test_every_known_pair_has_a_description_and_its_own_name():
    for name, known in PAIRS.items():
        assert known.name == name
        assert known.description
