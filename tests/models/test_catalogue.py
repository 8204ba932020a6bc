import json
import re

import pytest
from tokenizers.processors import TemplateProcessing

from mechshift.errors import ModelError
from mechshift.models import (
    PAIRS,
    UNPAIRED_MDMS,
    ModelSource,
    PairEntry,
    load_mdm,
    load_pair,
)
from mechshift.models.revisions import REVISIONS


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
    with pytest.raises(ModelError, match="unknown pair 'big'; known: tiny, smollm2, dream-7b"):
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


def test_the_mdm_attends_in_blocks_where_its_entry_says_so(model_folder):
    folders = model_folder("arm"), model_folder("mdm", seed=1)
    pair = load_pair(entry(*folders, attention="block-causal", block_length=4))
    assert pair.arm.attention == "causal"
    assert (pair.mdm.attention, pair.mdm.block_length) == ("block-causal", 4)


def test_an_mdm_whose_tokenizer_is_remote_code_is_read_with_its_parents(
    model_folder, word_tokenizer
):
    arm, mdm = model_folder("arm", vocab_size=24), model_folder("mdm", vocab_size=24)
    word_tokenizer(22, mask_token=None, words=[f"w{i}" for i in range(22)]).save_pretrained(arm)
    (mdm / "tokenizer.json").unlink()
    words = {f"w{i}": i for i in range(22)}
    (mdm / "vocab.json").write_text(json.dumps(words))
    (mdm / "added_tokens.json").write_text(json.dumps({"<|mask|>": 22}))
    settings = {"mask_token": "<|mask|>", "tokenizer_class": "DreamTokenizer"}
    (mdm / "tokenizer_config.json").write_text(json.dumps(settings))
    pair = load_pair(entry(arm, mdm))
    assert pair.mdm.tokenizer.encode("w1 <|mask|>") == [1, 22]
    # The mask token comes from the tokenizer; the vocabulary is padded to 24 embeddings.
    assert (pair.mdm.mask_token_id, pair.mdm.vocab_size) == (22, 24)
    assert pair.arm.mask_token_id is None


def test_the_two_models_may_have_vocabularies_padded_to_different_sizes(
    model_folder, word_tokenizer
):
    arm, mdm = model_folder("arm", "gpt2", vocab_size=25), model_folder("mdm", "gpt2")
    pair = load_pair(entry(arm, mdm, mask_token_id=22))
    assert (pair.arm.vocab_size, pair.mdm.vocab_size) == (25, 23)


def test_an_mdm_without_a_parent_is_no_pair_and_is_named_where_it_is_asked_for():
    with pytest.raises(ModelError, match="'llada-8b' is an MDM without a parent; load it with"):
        load_pair("llada-8b")
    with pytest.raises(ModelError, match="unknown MDM 'tiny'; known without a parent: llada-8b"):
        load_mdm("tiny")


@pytest.mark.parametrize("known", [*PAIRS.values(), *UNPAIRED_MDMS.values()], ids=lambda e: e.name)
def test_every_entry_says_what_it_is_and_where_its_settings_were_read(known):
    assert {**PAIRS, **UNPAIRED_MDMS}[known.name] is known
    assert known.description and known.source
    has_blocks = known.attention in ("block-causal", "causal-prefix")
    assert (known.block_length is not None) == has_blocks
    assert known.verified == (known.name in ("tiny", "smollm2"))


def test_entries_are_pinned_to_whole_commits_where_one_is_known():
    known = [*PAIRS.values(), *UNPAIRED_MDMS.values()]
    sources = [source for entry in known for source in (getattr(entry, "arm", None), entry.mdm)]
    pinned = {source.path: source.revision for source in sources if source and source.revision}
    assert pinned == REVISIONS
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in REVISIONS.values())
    assert len(set(REVISIONS.values())) == len(REVISIONS)
    assert PAIRS["dream-7b"].mdm.revision == "6572adb5535263e4d1a337b56942ba48b6dee2a9"
    assert PAIRS["tiny"].arm.revision is None is PAIRS["diffullama-7b"].mdm.revision


def test_the_published_mask_tokens_and_shifts():
    """Against the notes on the checkpoints, written out here once more by hand."""
    stated = {
        "dream-7b": (151666, True),
        "dream-7b-instruct": (151666, True),
        "dream-coder-7b": (151666, True),
        "diffucoder-7b": (151666, True),
        "diffullama-7b": (811, True),
        "diffugpt-s": (10541, True),
        "diffugpt-m": (50257, True),
        "open-dcoder-0.5b": (None, True),
        "a2d-qwen3-0.6b-mdlm": (151669, False),
        "a2d-qwen3-0.6b-bd3lm": (151669, False),
        "a2d-coder-0.5b-mdlm": (151665, False),
        "sdar-4b": (151669, False),
        "fast-dllm-v2-7b": (151665, True),
        "a2d-init-8b": (151669, False),
        "wedlm-7b": (151665, False),
        "wedlm-8b": (151665, False),
        "rnd1-30b-a3b": (151669, True),
        "sdar-30b-a3b": (151669, False),
        "trado-8b-instruct": (151669, False),
        "stable-diffcoder-8b": (5, False),
        "coda-1.7b": (151669, True),
        "sdlm-3b-d8": (151665, True),
        "sdlm-32b-d4": (151665, True),
        "nemotron-labs-8b-base": (100, False),
    }
    assert {name: (PAIRS[name].mask_token_id, PAIRS[name].shift) for name in stated} == stated
    blocks = {n: PAIRS[n].block_length for n in PAIRS if PAIRS[n].attention == "block-causal"}
    assert set(blocks.values()) == {4, 32} and len(blocks) == 13
    prefix = {n: PAIRS[n].block_length for n in PAIRS if PAIRS[n].attention == "causal-prefix"}
    assert prefix == {"sdlm-3b-d4": 4, "sdlm-3b-d8": 8, "sdlm-32b-d4": 4} | {
        f"nemotron-labs-{size}": 32
        for size in ("3b", "3b-base", "8b", "8b-base", "14b", "14b-base")
    }
    assert all(PAIRS[n].arm == PAIRS[n].mdm for n in prefix if n.startswith("nemotron"))
    assert PAIRS["a2d-qwen3-0.6b-bd3lm"].mdm.path == "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1"
    reordered = {name for name in PAIRS if PAIRS[name].attention == "observed-first"}
    assert reordered == {"wedlm-7b", "wedlm-7b-instruct", "wedlm-8b", "wedlm-8b-instruct"}
    assert PAIRS["wedlm-7b"].arm == PAIRS["dream-7b"].arm  # two MDMs of one parent
    assert PAIRS["diffugpt-m"].arm.path == "openai-community/gpt2-medium"


@pytest.mark.parametrize("reader", ["arm", "mdm"])
def test_a_pair_of_which_one_model_reads_bos_is_refused_with_both_beginnings(
    reader, model_folder, word_tokenizer
):
    folders = {name: model_folder(name) for name in ("arm", "mdm")}
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="w3 $A w4", special_tokens=[("w3", 3), ("w4", 4)]
    )
    tokenizer.save_pretrained(folders[reader])
    reads = {"arm": "nothing", "mdm": "nothing"} | {reader: "w3"}
    message = f"reads {reads['arm']} before every text and '.*' reads {reads['mdm']}, so that"
    with pytest.raises(ModelError, match=message):
        load_pair(entry(folders["arm"], folders["mdm"]))
    # What stands after a text is not read, so one side alone may add it.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A w4", special_tokens=[("w4", 4)]
    )
    tokenizer.save_pretrained(folders[reader])
    assert load_pair(entry(folders["arm"], folders["mdm"])).arm.name
