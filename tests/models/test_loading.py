import hashlib
import json
import os
import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from mechshift.errors import ModelError
from mechshift.models import ModelSource, load_language_model
from mechshift.models.checkpoints import checkpoint_format
from mechshift.models.folders import weights_hash
from mechshift.models.stock_classes import check_stock_modules

MDM = dict(name="m", kind="mdm", attention="full", shift=True)
ARM = dict(name="a", kind="arm", attention="causal", shift=True)

# peft 0.21 asks a question of transformers 5.23 by a name that is to go.
PEFT_WARNING = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize(
    "architecture",
    ["gemma3", "gpt2", "llama", "ministral3", "mistral", "qwen2", "qwen3", "qwen3_moe"],
)
def test_a_loaded_model_has_the_saved_weights_frozen_and_its_logits(
    architecture, model_folder, tiny_module
):
    model = load_language_model(model_folder(architecture=architecture), **ARM)
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        expected = tiny_module(architecture)(ids).logits
        torch.testing.assert_close(model.module(ids).logits, expected, rtol=0, atol=0)
    assert not model.module.training
    assert not any(p.requires_grad for p in model.module.parameters())
    assert model.dtype == torch.float32


def test_full_attention_reads_both_sides(model_folder):
    model = load_language_model(str(model_folder()), **MDM)
    with torch.no_grad():
        first, second = (model.module(torch.tensor([[1, 2, last]])).logits[0, 0] for last in (3, 4))
    assert not torch.equal(first, second)


def test_bfloat16_weights_are_the_saved_ones_rounded(model_folder):
    folder = model_folder()
    model = load_language_model(folder, **MDM, dtype="bfloat16")
    saved = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.module.lm_head.weight, saved.to(torch.bfloat16))


def test_the_callers_precision_wins_over_that_in_config_json(model_folder):
    folder = model_folder()
    edit_config(folder, dtype="bfloat16", torch_dtype="float16")
    assert load_language_model(folder, **MDM).dtype == torch.float32


def test_a_tied_head_needs_no_weight_of_its_own(model_folder):
    folder = model_folder(tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    parts = load_language_model(folder, **MDM).parts
    assert torch.equal(parts.unembedding.weight, parts.embedding.weight)


def test_a_config_that_asks_for_remote_code_runs_none_of_it(model_folder, tmp_path):
    folder, marker = model_folder(), tmp_path / "executed"
    auto_map = {
        "AutoConfig": "evil.EvilConfig",
        "AutoModel": "evil.EvilModel",
        "AutoModelForCausalLM": "evil.EvilModel",
        "AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"],
    }
    code = f"import os\nos.mkdir({str(marker)!r})\nraise RuntimeError('executed')\n"
    (folder / "evil.py").write_text(code)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    edit_config(folder, auto_map=auto_map)
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer_config | {"auto_map": auto_map, "tokenizer_class": "EvilTokenizer"})
    )
    model = load_language_model(folder, **MDM)
    assert not marker.exists()
    assert model.tokenizer.encode("w3 w5") == [3, 5]


def test_a_folder_with_pickles_only_is_refused_and_not_unpickled(model_folder, tmp_path):
    folder, marker = model_folder(), tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\)"):
        load_language_model(folder, **MDM)
    assert not marker.exists()


def test_a_folder_without_weights_is_refused(model_folder):
    folder = model_folder()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load_language_model(folder, **MDM)


def test_a_damaged_weight_file_is_one_line(model_folder):
    folder = model_folder()
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00broken!!")
    with pytest.raises(ModelError, match="cannot load .* as LlamaForCausalLM") as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused_by_name(model_folder):
    folder = model_folder()
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 missing \(model.norm.weight\), 0 unexpected"):
        load_language_model(folder, **MDM)


def test_unexpected_weights_are_refused_by_name(model_folder):
    folder = model_folder()
    weights = load_file(folder / "model.safetensors") | {"extra.weight": torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"0 missing \(\), 1 unexpected \(extra.weight\)"):
        load_language_model(folder, **MDM)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.int8, "I8"),
        (torch.int64, "I64"),
        (torch.uint8, "U8"),
        (torch.bool, "BOOL"),
        (torch.complex64, "C64"),
        (torch.float8_e4m3fn, "F8_E4M3"),
    ],
)
def test_weights_that_are_no_real_numbers_are_refused_by_name(model_folder, dtype, name):
    folder, tensor = model_folder(), "model.layers.1.mlp.up_proj.weight"
    weights = load_file(folder / "model.safetensors")
    weights[tensor] = weights[tensor].to(dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said = rf"model.safetensors stores '{tensor}' as {name}, and weights must be real numbers: F16"
    with pytest.raises(ModelError, match=said) as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)


def test_the_masks_in_old_gpt2_checkpoints_are_no_weights(model_folder):
    folder = model_folder(architecture="gpt2")
    expected = load_language_model(folder, **MDM).module(torch.tensor([[1, 2]])).logits
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    logits = load_language_model(folder, **MDM).module(torch.tensor([[1, 2]])).logits
    assert torch.equal(logits, expected)


def test_a_tensor_in_two_shards_is_refused(model_folder, tiny_module):
    folder = model_folder()
    (folder / "model.safetensors").unlink()
    tiny_module().save_pretrained(folder, max_shard_size="4KB")
    first, *_, last = sorted(folder.glob("model-*.safetensors"))
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(last) | {name: tensor + 1}, last, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"'{name}' is in both .*{first.name} and {last.name}"):
        load_language_model(folder, **MDM)


def test_weights_of_another_size_are_refused(model_folder):
    folder = model_folder()
    edit_config(folder, intermediate_size=25)
    with pytest.raises(ModelError, match="cannot load") as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["Qwen3ForCausalLM"], "model_type": "llama"}, "Qwen3ForCausalLM"),
        ({"architectures": ["DreamModel"], "model_type": "Dream"}, "Qwen2ForCausalLM"),
        ({"architectures": ["A2DQwen3LMHeadModel"]}, "Qwen3ForCausalLM"),
        ({"model_type": "llama"}, "LlamaForCausalLM"),
        ({"architectures": ["DiscreteDiffusionModel"], "model_type": "gpt2"}, "GPT2LMHeadModel"),
        ({"architectures": ["DiscreteDiffusionModel"], "model_type": "llama"}, "LlamaForCausalLM"),
    ],
)
def test_the_class_follows_architectures_and_then_model_type(config, expected):
    assert checkpoint_format(config, "here").model_class.__name__ == expected


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="architectures 'GPTNeoForCausalLM'.*LlamaForCausalLM"):
        checkpoint_format({"architectures": ["GPTNeoForCausalLM"], "model_type": "llama"}, "here")
    with pytest.raises(ModelError, match="model_type 'None'"):
        checkpoint_format({}, "here")


def test_a_dream_checkpoint_loads_as_stock_qwen2(model_folder, tiny_module):
    folder = model_folder(architecture="qwen2", mask_token="w7")
    edit_config(
        folder,
        architectures=["DreamModel"],
        model_type="Dream",
        mask_token_id=7,
        auto_map={"AutoModel": "modeling_dream.DreamModel"},
    )
    model = load_language_model(folder, **MDM)
    ids = torch.tensor([[1, 2, 3]])
    reference = tiny_module("qwen2")
    reference.config.is_causal = False
    with torch.no_grad():
        torch.testing.assert_close(model.module(ids).logits, reference(ids).logits)
    assert model.mask_token_id == 7


def test_the_mask_token_comes_from_the_argument_then_the_config_then_the_tokenizer(model_folder):
    folder, unnamed = model_folder(), model_folder("unnamed", mask_token=None)
    assert load_language_model(folder, **MDM).mask_token_id == 22
    assert load_language_model(folder, **MDM, mask_token_id=0).mask_token_id == 0
    edit_config(unnamed, mask_token_id=5)
    assert load_language_model(unnamed, **MDM).mask_token_id == 5
    edit_config(folder, mask_token_id=22)
    assert load_language_model(folder, **MDM).mask_token_id == 22
    edit_config(folder, mask_token_id=5)
    assert load_language_model(folder, **MDM, mask_token_id=5).mask_token_id == 5


def test_a_mask_token_that_contradicts_config_json_is_refused(model_folder):
    folder = model_folder()
    edit_config(folder, mask_token_id=5)
    with pytest.raises(ModelError, match="says that the mask token is 5, not 0; leave"):
        load_language_model(folder, **MDM, mask_token_id=0)


def test_a_mask_token_about_which_config_json_and_tokenizer_disagree_is_refused(model_folder):
    folder = model_folder()
    edit_config(folder, mask_token_id=5)
    said = r"says that the mask token is 5, and the tokenizer's '\[MASK\]' is 22; .*-id 5 if"
    with pytest.raises(ModelError, match=said) as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)
    load_language_model(folder, **ARM)  # which reads no masks


def test_a_mask_token_that_is_absent_or_out_of_range_is_refused(model_folder):
    folder = model_folder(mask_token=None)
    with pytest.raises(ModelError, match="MDM without a mask token"):
        load_language_model(folder, **MDM)
    with pytest.raises(ModelError, match="mask token 23 of 'm' is outside its 23 embeddings"):
        load_language_model(folder, **MDM, mask_token_id=23)
    assert load_language_model(folder, **ARM).mask_token_id is None


def test_the_hash_covers_the_weight_files_in_name_order(model_folder, tiny_module):
    folder = model_folder()
    whole = load_language_model(folder, **MDM)
    assert (
        whole.weights_hash
        == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    )
    (folder / "model.safetensors").unlink()
    tiny_module().save_pretrained(folder, max_shard_size="4KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    sharded = load_language_model(folder, **MDM)
    joined = b"".join(shard.read_bytes() for shard in shards)
    assert sharded.weights_hash == hashlib.sha256(joined).hexdigest()
    assert torch.equal(sharded.module.lm_head.weight, whole.module.lm_head.weight)
    shards[0].unlink()
    with pytest.raises(ModelError, match=f"1 are missing \\({shards[0].name}\\)"):
        load_language_model(folder, **MDM)


def change_json(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: change_json(folder, "config.json", rms_norm_eps=0.5),
        lambda folder: change_json(
            folder, "config.json", rope_parameters={"rope_theta": 7.0, "rope_type": "default"}
        ),
        lambda folder: change_json(folder, "config.json", mask_token_id=22),
        lambda folder: change_json(folder, "tokenizer_config.json", unk_token="w1"),
        lambda folder: change_json(folder, "tokenizer.json", normalizer={"type": "Lowercase"}),
        lambda folder: (folder / "special_tokens_map.json").write_text('{"unk_token": "w1"}'),
    ],
)
def test_nothing_in_a_folder_changes_a_model_without_a_hash_that_does(model_folder, change):
    folder = model_folder()
    before = load_language_model(folder, **MDM).hashes
    change(folder)
    after = load_language_model(folder, **MDM).hashes
    assert after["weights"] == before["weights"]
    assert after["settings"] != before["settings"]


def test_layout_and_what_a_config_says_of_its_making_change_no_hash(model_folder):
    folder = model_folder()
    before = load_language_model(folder, **MDM).hashes
    change_json(folder, "config.json", transformers_version="5.0", dtype="float16")
    path = folder / "config.json"
    entries = reversed(json.loads(path.read_text()).items())
    path.write_text(json.dumps(dict(entries), indent=7))
    (folder / "README.md").write_text("a model")
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    assert load_language_model(folder, **MDM).hashes == before


def test_a_tokenizer_of_another_folder_is_part_of_the_settings(model_folder):
    folder, other = model_folder(), model_folder("other")
    source = ModelSource(path=str(folder), tokenizer_path=str(other))
    before = load_language_model(source, **MDM).hashes
    change_json(other, "tokenizer_config.json", unk_token="w1")
    after = load_language_model(source, **MDM).hashes
    assert after["weights"] == before["weights"] and after["settings"] != before["settings"]


def test_a_stale_file_beside_shards_is_refused(model_folder, tiny_module):
    folder = model_folder()
    stale = (folder / "model.safetensors").read_bytes()
    tiny_module(seed=1).save_pretrained(folder, max_shard_size="4KB")
    number = len(list(folder.glob("model-*.safetensors")))
    (folder / "model.safetensors").write_bytes(stale)
    said = f"two sets of weights, model.safetensors and the {number} files that model.safe.*index"
    for read in (lambda: load_language_model(folder, **MDM), lambda: weights_hash(folder)):
        with pytest.raises(ModelError, match=said) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_an_index_of_the_one_file_is_no_second_set(model_folder):
    folder = model_folder()
    weight_map = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert load_language_model(folder, **MDM).weights_hash == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight_map": []}, "weight_map: expected `object`, got `array`; save the model anew"),
        ({"weight_map": {"a": 1}}, r"weight_map\['a'\]: expected `str`, got `int`; save"),
        ({}, "the key 'weight_map' is missing"),
    ],
)
def test_an_index_without_names_is_one_line(model_folder, content, message):
    folder = model_folder()
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=f"index.json: {message}"):
        load_language_model(folder, **MDM)


def test_files_that_transformers_reads_in_place_of_the_hashed_ones_are_refused(
    model_folder, tiny_module
):
    folder, other = model_folder(), model_folder("other", seed=1)
    weights = (other / "model.safetensors").read_bytes()
    (folder / "other.safetensors").write_bytes(weights)
    edit_config(folder, transformers_weights="other.safetensors")
    with pytest.raises(ModelError, match="sets transformers_weights to 'other.safetensors', by"):
        load_language_model(folder, **MDM)
    edit_config(folder, transformers_weights=None)
    load_language_model(folder, **MDM)
    (folder / "shard-00000-model-00001-of-00001.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="1 files of a distributed checkpoint .shard-00000-model"):
        load_language_model(folder, **MDM)


def test_a_config_that_changes_the_class_is_refused(model_folder):
    folder = model_folder()
    edit_config(folder, fusion_config={"patch_embeddings": True})
    with pytest.raises(ModelError, match="sets fusion_config to .*, by which transformers would"):
        load_language_model(folder, **MDM)


def test_a_tokenizer_can_come_from_another_folder(model_folder):
    folder, other = model_folder(), model_folder("other")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer.json.*set tokenizer_path"):
        load_language_model(folder, **MDM)
    source = ModelSource(path=str(folder), tokenizer_path=str(other))
    assert load_language_model(source, **MDM).tokenizer.encode("w2") == [2]


def test_a_damaged_tokenizer_is_one_line(model_folder):
    folder = model_folder()
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot read the tokenizer in"):
        load_language_model(folder, **MDM)


def test_a_damaged_config_is_one_line(model_folder):
    folder = model_folder()
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="config.json: not valid JSON"):
        load_language_model(folder, **MDM)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="config.json: expected `object`, got `array`"):
        load_language_model(folder, **MDM)


def test_quantized_weights_are_refused(model_folder):
    folder = model_folder()
    edit_config(folder, quantization_config={"quant_method": "gptq"})
    with pytest.raises(ModelError, match="quantized weights"):
        load_language_model(folder, **MDM)


def test_sizes_far_beyond_the_stored_weights_are_refused_before_any_are_made(model_folder):
    folder = model_folder()
    edit_config(folder, intermediate_size=2**26)  # 6 GB of each matrix
    with pytest.raises(ModelError, match="is of a model of [0-9,]+ weights, and [0-9,]+ are sto"):
        load_language_model(folder, **MDM)


def test_layers_of_another_kind_are_refused(model_folder):
    folder = model_folder(architecture="qwen3")
    edit_config(folder, layer_types=["full_attention", "chunked_attention"])
    with pytest.raises(ModelError, match="1 of 2 layers chunked_attention"):
        load_language_model(folder, **MDM)
    edit_config(folder, layer_types=["full_attention", "sliding_attention"])
    with pytest.raises(ModelError, match="1 of 2 layers sliding_attention.* with a sliding_window"):
        load_language_model(folder, **MDM)


@pytest.mark.parametrize("attention", ["causal", "full"])
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("gemma3", {}),
        ("ministral3", {}),
        ("mistral", {}),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}),
    ],
)
def test_a_window_hides_nothing_of_a_text_that_it_covers_and_a_longer_one_is_refused(
    architecture, settings, attention, model_folder
):
    """Eight tokens, which the probe reads too, in a window of eight, of nine and of seven."""
    ids, ones, positions = torch.arange(8)[None], torch.ones(1, 8).long(), torch.arange(8)[None]
    common = settings | ({"use_sliding_window": True} if architecture == "qwen3" else {})
    options = (MDM if attention == "full" else ARM) | {"attention": attention}
    folder = model_folder(architecture=architecture)
    found = {}
    for window in (9, 8, 7):
        edit_config(folder, sliding_window=window, **common)
        model = load_language_model(folder, **options)
        assert model.parts.max_length == window
        if window == 7:
            with pytest.raises(ModelError, match="8 tokens is too long .* reads at most 7"):
                model.hidden(ids, ones, positions)
            continue
        with torch.no_grad():
            found[window] = model.hidden(ids, ones, positions)
    torch.testing.assert_close(found[8], found[9])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0 caps its logits"),
        ({"attention_bias": True}, "attention_bias=true norms a bias"),
    ],
)
def test_a_gemma_whose_heads_or_logits_are_no_sums_is_refused(change, message, model_folder):
    folder = model_folder(architecture="gemma3", **change)
    with pytest.raises(ModelError, match=message) as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)


def test_angles_of_each_kind_of_layer_are_looked_at(model_folder):
    folder = model_folder(architecture="gemma3")
    rope = json.loads((folder / "config.json").read_text())["rope_parameters"]
    rope["full_attention"] = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}
    edit_config(folder, rope_parameters=rope)
    with pytest.raises(ModelError, match="the type 'dynamic'"):
        load_language_model(folder, **MDM)


def test_block_causal_attention_needs_a_length_of_at_least_two(model_folder):
    folder, settings = model_folder(), MDM | dict(attention="block-causal")
    model = load_language_model(folder, **settings, block_length=3)
    assert (model.attention, model.block_length) == ("block-causal", 3)
    for block_length in (None, 1):
        with pytest.raises(ModelError, match=f"block_length={block_length}; give the length"):
            load_language_model(folder, **settings, block_length=block_length)
    with pytest.raises(ModelError, match="block_length=3 belongs to block-causal.* not to 'full'"):
        load_language_model(folder, **MDM, block_length=3)


def test_a_head_stored_beside_a_tied_embedding_is_loaded_as_stored(model_folder):
    folder = model_folder(tie_word_embeddings=False)
    edit_config(folder, tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    parts = load_language_model(folder, **MDM).parts
    assert torch.equal(parts.unembedding.weight, stored["lm_head.weight"])
    assert torch.equal(parts.embedding.weight, stored["model.embed_tokens.weight"])


def test_the_rotary_tables_of_old_llama_checkpoints_are_no_unexpected_weights(model_folder):
    folder = model_folder()
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load_language_model(folder, **MDM)


def test_unknown_dtypes_and_devices_are_refused(model_folder):
    folder = model_folder()
    with pytest.raises(ModelError, match="unknown dtype 'float16'; known: float32, bfloat16"):
        load_language_model(folder, **MDM, dtype="float16")
    with pytest.raises(ModelError, match="unknown device 'gpu'"):
        load_language_model(folder, **MDM, device="gpu")
    for device in ("mps", "xpu", "meta"):
        with pytest.raises(ModelError, match=f"the device '{device}' is untested with mechshift"):
            load_language_model(folder, **MDM, device=device)
    with pytest.raises(ModelError, match="'cpu:7' is not there: there is one 'cpu'"):
        load_language_model(folder, **MDM, device="cpu:7")
    with pytest.raises(ModelError, match="'cuda:99' is not there: torch sees"):
        load_language_model(folder, **MDM, device="cuda:99")


def test_a_path_that_is_no_folder_and_no_hub_id_is_refused(tmp_path):
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        load_language_model(tmp_path / "absent", **MDM)


def test_a_hub_id_that_cannot_be_fetched_is_one_line(monkeypatch):
    def fail(*_args, **options):
        assert not any(pattern.endswith((".py", ".bin")) for pattern in options["allow_patterns"])
        raise OSError("no route to the hub\nlong story")

    monkeypatch.setattr("mechshift.models.folders.snapshot_download", fail)
    with pytest.raises(ModelError, match="'some/model' is not a local folder.*no route") as caught:
        load_language_model("some/model", **MDM)
    assert "\n" not in str(caught.value)


ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def copied_into(folder, adapter, *names):
    for name in names:
        (folder / name).write_bytes((adapter / name).read_bytes())


@PEFT_WARNING
@pytest.mark.parametrize("names", [ADAPTER_FILES, ADAPTER_FILES[:1], ADAPTER_FILES[1:]])
def test_an_adapter_beside_the_weights_is_refused_and_not_attached(
    model_folder, lora_folder, names
):
    folder = model_folder()
    copied_into(folder, lora_folder(folder), *names)
    said = rf"holds an adapter \({', '.join(names)}\) beside the weights of a model, which"
    with pytest.raises(ModelError, match=said):
        load_language_model(folder, **MDM)
    with pytest.raises(ModelError, match=said):
        weights_hash(folder)


@PEFT_WARNING
def test_an_adapter_that_a_hub_snapshot_brings_is_refused(model_folder, lora_folder, monkeypatch):
    folder = model_folder()
    copied_into(folder, lora_folder(folder), *ADAPTER_FILES)

    def snapshot(*_args, allow_patterns, **_options):
        assert {"*.json", "*.safetensors"} <= set(allow_patterns)
        return str(folder)

    monkeypatch.setattr("mechshift.models.folders.snapshot_download", snapshot)
    with pytest.raises(ModelError, match="holds an adapter .* beside the weights of a model"):
        load_language_model("some/model", **MDM)


def test_a_hub_model_is_asked_for_at_its_commit_and_knows_which_it_is_of(
    model_folder, tmp_path, monkeypatch
):
    commit, asked = "0123456789abcdef" * 2 + "01234567", []
    cached = tmp_path / "models--some--model" / "snapshots" / commit
    cached.parent.mkdir(parents=True)
    model_folder().rename(cached)

    def snapshot(path, *, revision, **_options):
        asked.append((path, revision))
        return str(cached)

    monkeypatch.setattr("mechshift.models.folders.snapshot_download", snapshot)
    source = ModelSource(path="some/model", revision=commit)
    assert load_language_model(source, **MDM).revision == commit
    assert load_language_model("some/model", **MDM).revision == commit
    assert asked == [("some/model", commit), ("some/model", None)]
    # A folder of one's own says nothing of the hub, whatever it is called.
    assert load_language_model(cached.rename(tmp_path / commit), **MDM).revision is None


@PEFT_WARNING
def test_a_folder_of_an_adapter_alone_is_called_so(model_folder, lora_folder):
    adapter = lora_folder(model_folder())
    with pytest.raises(ModelError, match=r"adapter is an adapter \(adapter_config.json, "):
        load_language_model(adapter, **MDM)


@PEFT_WARNING
def test_a_training_checkpoint_of_an_adapter_is_called_so(model_folder, lora_folder):
    base = model_folder()
    adapter = lora_folder(base)
    for name in ("config.json", "tokenizer.json"):
        (adapter / name).write_bytes((base / name).read_bytes())
    (adapter / "optimizer.pt").write_bytes(b"")
    (adapter / "trainer_state.json").write_text("{}")
    with pytest.raises(ModelError, match="is a training checkpoint of an adapter .*, not a model"):
        load_language_model(adapter, **MDM)


@PEFT_WARNING
def test_a_model_with_modules_that_are_not_its_class_s_own_is_refused(tiny_module):
    module = tiny_module()
    check_stock_modules(module, type(module), "here")
    adapted = get_peft_model(module, LoraConfig(target_modules=["v_proj"])).base_model.model
    assert adapted is module  # peft injects its modules into the model itself
    with pytest.raises(
        ModelError,
        match="here is not what LlamaForCausalLM computes: 'model.layers.0.self_attn.v_proj' is a"
        r" peft.*Linear where the class has a torch.nn.modules.linear.Linear \(\d+ modules differ",
    ):
        check_stock_modules(module, LlamaForCausalLM, "here")


@PEFT_WARNING
def test_an_adapter_that_transformers_attaches_in_a_way_unknown_to_us_is_refused(
    model_folder, lora_folder, monkeypatch
):
    folder = model_folder()
    copied_into(folder, lora_folder(folder), *ADAPTER_FILES)
    for module in ("loading", "folders"):
        monkeypatch.setattr(f"mechshift.models.{module}.check_no_adapter", lambda _folder: None)
    with pytest.raises(ModelError, match="is not what LlamaForCausalLM computes|do not fit Llama"):
        load_language_model(folder, **MDM)


def test_the_check_of_the_modules_draws_no_random_numbers(tiny_module):
    module = tiny_module()
    before = torch.get_rng_state()
    check_stock_modules(module, type(module), "here")
    assert torch.equal(torch.get_rng_state(), before)


def test_an_ordinary_word_that_is_the_mask_token_is_named_so_and_texts_are_split_as_before(
    model_folder,
):
    folder = model_folder(mask_token=None)
    tokenizer = load_language_model(folder, **MDM, mask_token_id=7).tokenizer
    assert (tokenizer.mask_token, tokenizer.mask_token_id) == ("w7", 7)
    assert tokenizer.encode("w1 w7 w17 w3") == [1, 7, 17, 3]
    assert load_language_model(folder, **ARM).tokenizer.mask_token is None


LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.0],
    "long_factor": [2.0, 2.0],
    "original_max_position_embeddings": 8,
}


@pytest.mark.parametrize(
    "architecture", ["llama", "ministral3", "mistral", "qwen2", "qwen3", "qwen3_moe"]
)
@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "type 'dynamic', .*no longer than its 64"),
        (LONGROPE, "type 'longrope', which may depend on the longest row of a batch.*llama3"),
        ({"rope_type": "own"}, "type 'own', .* supported: default, linear, yarn"),
    ],
    ids=lambda value: value["rope_type"] if isinstance(value, dict) else "",
)
def test_rotary_angles_that_depend_on_the_batch_are_refused(
    architecture, rope, message, model_folder
):
    folder = model_folder(architecture=architecture)
    edit_config(folder, rope_parameters={"rope_theta": 1e4, **rope})
    with pytest.raises(ModelError, match=message) as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)


def test_a_rope_type_is_found_under_its_older_name_too(model_folder):
    folder = model_folder()
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    config |= {"rope_theta": 1e4, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="the type 'dynamic'"):
        load_language_model(folder, **MDM)


def gpt2_logits(weights, ids, *, scaled_by_head, scaled_by_layer):
    """A GPT-2 of four heads of four features, causal, written out from its definition."""

    def normed(x, name):
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def mapped(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["transformer.wte.weight"][ids] + weights["transformer.wpe.weight"][: len(ids)]
    for layer in range(2):
        block = f"transformer.h.{layer}"
        q, k, v = mapped(normed(x, f"{block}.ln_1"), f"{block}.attn.c_attn").split(16, dim=-1)
        heads = []
        for h in range(4):
            at = slice(4 * h, 4 * h + 4)
            scores = q[:, at] @ k[:, at].T
            if scaled_by_head:
                scores = scores / 2  # the square root of four features
            if scaled_by_layer:
                scores = scores / (layer + 1)
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            heads.append(scores.softmax(-1) @ v[:, at])
        x = x + mapped(torch.cat(heads, dim=-1), f"{block}.attn.c_proj")
        h = mapped(normed(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        h = h / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (h + 0.044715 * h**3)))
        x = x + mapped(h, f"{block}.mlp.c_proj")
    return normed(x, "transformer.ln_f") @ weights["lm_head.weight"].T


@pytest.mark.parametrize("scaled_by_head", [True, False])
@pytest.mark.parametrize("scaled_by_layer", [True, False])
def test_gpt2_scales_its_attention_as_its_config_says(
    scaled_by_head, scaled_by_layer, model_folder
):
    folder = model_folder(
        architecture="gpt2",
        scale_attn_weights=scaled_by_head,
        scale_attn_by_inverse_layer_idx=scaled_by_layer,
    )
    model = load_language_model(folder, **ARM)
    ids = torch.tensor([3, 1, 4, 1, 5, 9])
    weights = load_file(folder / "model.safetensors")

    def by_hand(by_head, by_layer):
        return gpt2_logits(weights, ids, scaled_by_head=by_head, scaled_by_layer=by_layer)

    with torch.no_grad():
        found = model.module(ids[None]).logits[0]
    torch.testing.assert_close(
        found, by_hand(scaled_by_head, scaled_by_layer), rtol=1e-4, atol=1e-4
    )
    for other in ((not scaled_by_head, scaled_by_layer), (scaled_by_head, not scaled_by_layer)):
        assert (found - by_hand(*other)).abs().max() > 1e-2


@pytest.mark.parametrize(
    "architecture", ["gemma3", "llama", "ministral3", "mistral", "qwen2", "qwen3", "qwen3_moe"]
)
def test_a_padding_token_outside_the_vocabulary_is_refused_in_one_line(architecture, model_folder):
    folder = model_folder(architecture=architecture)
    edit_config(folder, pad_token_id=23)
    message = "pad_token_id 23 for a vocabulary of 23 .* set it to null"
    with pytest.raises(ModelError, match=message) as caught:
        load_language_model(folder, **MDM)
    assert "\n" not in str(caught.value)
    last = model_folder("last", architecture, pad_token_id=22)
    assert load_language_model(last, **MDM).vocab_size == 23


def test_gpt2_has_no_padding_row_and_may_name_any_padding_token(model_folder):
    folder = model_folder(architecture="gpt2")
    edit_config(folder, pad_token_id=50257)
    assert load_language_model(folder, **MDM).vocab_size == 23
