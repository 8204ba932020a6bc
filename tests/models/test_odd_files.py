"""Model folders whose JSON files hold anything at any key: a model that loads, or one line."""

import json

import pytest

from mechshift.errors import ModelError
from mechshift.models import ModelSource, read_shape
from mechshift.models.folders import local_folder, resolve_folder, weight_files
from mechshift.models.loading import load_language_model
from mechshift.models.tokenizers import read_tokenizer, tokenizer_from_parent

MDM = dict(name="m", kind="mdm", attention="full", shift=True)

VALUES = ["null", "[]", '["x"]', "{}", '{"a": 1}', '"x"', r'"\u0000"', "0", "-1", "1.5", "1e400"]
VALUES += ["true", "NaN", "1" + "0" * 30]
ODD = [value.encode() for value in [*VALUES, "[" * 10_000, r'"\ud800"']] + [b'"\xe9"', b"\xff\xfe"]


def texts_with(content, key, values=ODD):
    """The JSON of an object, with each of these values at a key."""
    head = json.dumps({k: v for k, v in content.items() if k != key}).encode()[:-1]
    separator = b", " if len(head) > 1 else b""
    for value in values:
        yield head + separator + json.dumps(key).encode() + b": " + value + b"}"


def check(read, what):
    try:
        read()
    except ModelError as refusal:
        assert "\n" not in str(refusal) and len(str(refusal)) < 1000, (what, str(refusal))
        return str(refusal)
    except BaseException as error:
        pytest.fail(f"{what[:200]!r}: {type(error).__name__} {error}")
    return None


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3"])
def test_a_config_with_anything_at_any_key_describes_a_model_or_is_refused(
    model_folder, architecture
):
    folder = model_folder(architecture=architecture)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key in [*config, "mask_token_id", "sliding_window", "rope_parameters", "auto_map"]:
        for text in texts_with(config, key):
            path.write_bytes(text)
            check(lambda: read_shape(folder), text)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_model_with_anything_at_any_key_of_its_config_loads_or_is_refused(
    model_folder, architecture
):
    folder = model_folder(architecture=architecture)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key in [*config, "mask_token_id", "quantization_config", "layer_types"]:
        for text in texts_with(config, key, [b'["x"]', b'{"a": 1}', b"-1", b"1e400"]):
            path.write_bytes(text)
            check(lambda: load_language_model(folder, **MDM), text)


def test_a_config_names_file_key_and_what_was_expected(model_folder):
    folder = model_folder()
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value, said in [
        ("architectures", "3", "config.json: architectures: expected `array | null`, got `int`"),
        ("mask_token_id", "1.5", "config.json: mask_token_id: expected `int | null`, got `float`"),
        (
            "num_attention_heads",
            "0",
            "config.json: num_attention_heads must lie between 1 and 67,108,864, not 0",
        ),
        (
            "rms_norm_eps",
            '"x"',
            "none of LlamaConfig: .*'rms_norm_eps': .* expected float, got str",
        ),
    ]:
        (text,) = texts_with(config, key, [value.encode()])
        path.write_bytes(text)
        with pytest.raises(ModelError, match=said):
            load_language_model(folder, **MDM)


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_sizes_beyond_any_models_are_refused_before_a_class_makes_lists_of_them(
    model_folder, architecture
):
    folder = model_folder(architecture=architecture)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    layers = "n_layer" if architecture == "gpt2" else "num_hidden_layers"
    for size, said in (
        (10**25, rf"{layers} must lie between 1 and 4,096, not 1000000"),
        (4_097, rf"{layers} must lie between 1 and 4,096, not 4097"),
        (4_000, r"config.json says 4,000 layers, and its weights are \d+ tensors"),
    ):
        path.write_text(json.dumps(config | {layers: size, "layer_types": None}))
        with pytest.raises(ModelError, match=said):
            load_language_model(folder, **MDM)


@pytest.mark.parametrize("name", ["num_experts", "num_experts_per_tok", "moe_intermediate_size"])
def test_sizes_of_a_mixture_are_whole_numbers(model_folder, name):
    folder = model_folder(architecture="qwen3_moe")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for size in (1.5, 0, -1, "4", True, 10**12):
        path.write_text(json.dumps(config | {name: size}))
        with pytest.raises(ModelError, match=f"config.json: {name} must lie between 1 and"):
            read_shape(folder)


NO_FILES = ["../model.safetensors", "/etc/passwd", "x" * 5_000, "a\0b", "", ".", "\n"]


@pytest.mark.parametrize("name", NO_FILES)
def test_an_index_that_names_no_file_of_its_folder_is_refused(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    check(lambda: weight_files(tmp_path), name)
    with pytest.raises(ModelError, match=r"index.json names .*(no file in its folder|missing)"):
        weight_files(tmp_path)


@pytest.mark.parametrize("path", ["x" * 5_000, "a\0b", "~nobody-of-this-name/x", "\ud800", "a\nb"])
def test_a_path_that_can_be_no_folders_is_refused(path):
    with pytest.raises(ModelError, match="is neither a folder nor a hub id"):
        resolve_folder(path, None)
    assert local_folder(ModelSource(path=path), "config.json") is None


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
)
def test_a_tokenizer_with_anything_at_any_key_is_read_or_refused(model_folder, name):
    folder = model_folder()
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    for key in [*content, "mask_token", "added_tokens_decoder", "model_max_length"]:
        for text in texts_with(content, key):
            path.write_bytes(text)
            check(lambda: read_tokenizer(folder), text)


@pytest.mark.parametrize("name", ["vocab.json", "added_tokens.json", "tokenizer_config.json"])
def test_data_files_of_a_tokenizer_with_anything_at_any_key_fit_the_parents_or_are_refused(
    tmp_path, word_tokenizer, name
):
    parent = word_tokenizer()
    (tmp_path / "vocab.json").write_text(json.dumps(parent.get_vocab()))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"mask_token": "[MASK]"}))
    path = tmp_path / name
    content = json.loads(path.read_text()) if path.exists() else {}
    for key in ("w3", "mask_token", "added_tokens_decoder"):
        for text in [*texts_with(content, key), *ODD]:
            path.write_bytes(text)
            check(lambda: tokenizer_from_parent(parent, tmp_path), text)
    path.write_text('{"added_tokens_decoder": {"3": {"content": 5}}}')
    if name == "tokenizer_config.json":
        with pytest.raises(
            ModelError, match=r"added_tokens_decoder\['3'\].content: expected `str`"
        ):
            tokenizer_from_parent(parent, tmp_path)
