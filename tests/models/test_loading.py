import hashlib
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from mechshift.errors import ModelError
from mechshift.models import ModelSource, load_language_model
from mechshift.models.checkpoints import checkpoint_format

MDM = dict(name="m", kind="mdm", attention="full", shift=True)
ARM = dict(name="a", kind="arm", attention="causal", shift=True)


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


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral", "qwen2", "qwen3"])
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
    folder = model_folder(architecture="qwen2")
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
    folder = model_folder()
    assert load_language_model(folder, **MDM).mask_token_id == 22
    assert load_language_model(folder, **MDM, mask_token_id=0).mask_token_id == 0
    edit_config(folder, mask_token_id=5)
    assert load_language_model(folder, **MDM).mask_token_id == 5
    assert load_language_model(folder, **MDM, mask_token_id=5).mask_token_id == 5


def test_a_mask_token_that_contradicts_config_json_is_refused(model_folder):
    folder = model_folder()
    edit_config(folder, mask_token_id=5)
    with pytest.raises(ModelError, match="says that the mask token is 5, not 0; leave"):
        load_language_model(folder, **MDM, mask_token_id=0)


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
    with pytest.raises(ModelError, match="cannot read .*config.json"):
        load_language_model(folder, **MDM)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="config.json holds a list, not an object"):
        load_language_model(folder, **MDM)


def test_quantized_weights_are_refused(model_folder):
    folder = model_folder()
    edit_config(folder, quantization_config={"quant_method": "gptq"})
    with pytest.raises(ModelError, match="quantized weights"):
        load_language_model(folder, **MDM)


def test_sliding_window_layers_are_refused(model_folder):
    folder = model_folder(architecture="qwen3")
    edit_config(folder, layer_types=["full_attention", "sliding_attention"], sliding_window=4)
    with pytest.raises(ModelError, match="1 of 2 layers sliding_attention"):
        load_language_model(folder, **MDM)


def test_a_sliding_window_over_all_layers_is_refused(model_folder):
    folder = model_folder(architecture="mistral")
    edit_config(folder, sliding_window=4)
    with pytest.raises(ModelError, match="sets sliding_window to 4.*set it to null in a copy"):
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


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
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


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
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
