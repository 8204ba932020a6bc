"""Adapters merged when a model is loaded, against products worked out by hand."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mechshift.errors import ModelError
from mechshift.models import ModelSource, load_language_model
from mechshift.models.adapters import adapter_hash
from mechshift.models.folders import weights_hash
from mechshift.models.supply.adapters import merge_adapter

# peft 0.21 asks a question of transformers 5.23 by a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

MDM = dict(name="m", kind="mdm", attention="full", shift=True)
ARM = dict(name="a", kind="arm", attention="causal", shift=True)
IDS = torch.tensor([[1, 2, 3, 4, 22]])
GPT2_TARGETS = dict(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)


@pytest.fixture
def base(model_folder):
    return model_folder("base")


def loaded(base, adapter, **options):
    source = ModelSource(path=str(base), adapter=str(adapter))
    return load_language_model(source, **(ARM | options))


def by_hand(base, adapter, *, transposed=False):
    """The base by transformers alone, with 6 / 2 * B @ A added to each adapted weight."""
    module = AutoModelForCausalLM.from_pretrained(base)
    low_rank, adapted = load_file(adapter / "adapter_model.safetensors"), 0
    with torch.no_grad():
        for name, weight in module.named_parameters():
            stem = f"base_model.model.{name.removesuffix('.weight')}.lora"
            if f"{stem}_A.weight" in low_rank:
                product = 3 * low_rank[f"{stem}_B.weight"] @ low_rank[f"{stem}_A.weight"]
                weight += product.T if transposed else product
                adapted += 1
    assert 2 * adapted == len(low_rank)
    return module


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("llama", {}), ("qwen2", {}), ("qwen3", {}), ("mistral", {}), ("gpt2", GPT2_TARGETS)],
)
def test_the_logits_are_those_of_the_base_weights_and_the_scaled_product(
    architecture, options, model_folder, lora_folder
):
    base = model_folder(architecture=architecture)
    adapter = lora_folder(base, **options)
    model = loaded(base, adapter)
    expected = by_hand(base, adapter, transposed=architecture == "gpt2")
    plain = load_language_model(base, **ARM)
    with torch.no_grad():
        logits, right, unadapted = (
            module(IDS).logits for module in (model.module, expected, plain.module)
        )
    torch.testing.assert_close(logits, right, rtol=1e-4, atol=1e-4)
    assert (logits - unadapted).abs().max() > 0.1


def test_a_merged_model_is_frozen_and_a_plain_one_of_its_class(base, lora_folder):
    module = loaded(base, lora_folder(base)).module
    plain = load_language_model(base, **ARM).module
    assert [(name, type(part)) for name, part in module.named_modules()] == [
        (name, type(part)) for name, part in plain.named_modules()
    ]
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert not module.training and not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merging_at_load_gives_the_bits_of_the_merged_folder(base, lora_folder, tmp_path, dtype):
    adapter, out = lora_folder(base), tmp_path / "out"
    out.mkdir()
    merge_adapter(base, adapter, out, kind="mdm")
    ours, written = (
        loaded(base, adapter, **MDM, dtype=dtype),
        load_language_model(out, **MDM, dtype=dtype),
    )
    assert ours.dtype == written.dtype == getattr(torch, dtype)
    with torch.no_grad():
        assert torch.equal(ours.module(IDS).logits, written.module(IDS).logits)


def test_no_random_numbers_are_drawn(base, lora_folder):
    adapter = lora_folder(base)
    before = torch.get_rng_state()
    loaded(base, adapter)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hash_of_a_model_covers_its_adapter(base, lora_folder):
    adapter = lora_folder(base)
    model = loaded(base, adapter)
    assert model.weights_hash not in (weights_hash(base), adapter_hash(adapter))
    path = adapter / "adapter_model.safetensors"
    save_file({n: 2 * t for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
    assert loaded(base, adapter).weights_hash != model.weights_hash
    settings = json.loads((adapter / "adapter_config.json").read_text())
    save_file({n: t / 2 for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
    assert loaded(base, adapter).weights_hash == model.weights_hash
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 7}))
    assert loaded(base, adapter).weights_hash != model.weights_hash


def test_the_hash_of_an_adapter_covers_settings_and_weights(base, lora_folder):
    adapter = lora_folder(base)
    hashes = [adapter_hash(adapter)]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        path = adapter / name
        path.write_bytes(path.read_bytes() + b" ")
        hashes.append(adapter_hash(adapter))
    assert len(set(hashes)) == 3


def test_an_adapter_that_has_no_safetensors_is_refused_before_a_pickle_is_looked_for(
    base, lora_folder
):
    adapter = lora_folder(base)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="is no adapter in safetensors: it has no adapter_model"):
        loaded(base, adapter)


def test_a_model_in_place_of_an_adapter_is_refused(base):
    with pytest.raises(ModelError, match="base is no adapter in safetensors: it has no adapter_c"):
        loaded(base, base)


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        (
            {"hidden_size": 20},
            r"14 of 28 tensors .*q_proj.lora_A.weight.*is \[2, 16\] in the",
        ),
        ({"num_hidden_layers": 1}, r"14 of 28 .*layers.1.*is \[2, 24\] in the .*absent for this"),
        ({"num_hidden_layers": 3}, r"14 of 42 .*layers.2.*is absent in the .*\[2, 16\] for this"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_in_one_line(
    base, model_folder, lora_folder, changes, differs
):
    other = model_folder("other", **changes)
    said = rf"adapter was not trained on the model in .*other: {differs}"
    with pytest.raises(ModelError, match=said) as caught:
        loaded(other, lora_folder(base))
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_class_is_refused_in_one_line(base, model_folder, lora_folder):
    other = model_folder("other", architecture="gpt2")
    with pytest.raises(ModelError, match=r"cannot merge .*adapter into .*other: ") as caught:
        loaded(other, lora_folder(base))
    assert "\n" not in str(caught.value)


def test_an_adapter_that_names_a_module_to_import_is_refused_before_it_is(
    base, lora_folder, tmp_path, monkeypatch
):
    """As peft does for an adapter that was trained with Megatron."""
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    adapter = lora_folder(base)
    path = adapter / "adapter_config.json"
    settings = json.loads(path.read_text())
    named = {"megatron_core": "evil_module", "megatron_config": {"hidden_size": 8}}
    path.write_text(json.dumps(settings | named))
    with pytest.raises(ModelError, match="cannot merge .*: it was trained with Megatron"):
        loaded(base, adapter)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("r", 1.5), ("r", "x"), ("lora_alpha", []), ("target_modules", 7), ("peft_type", {})],
)
def test_an_adapter_whose_settings_are_of_odd_types_is_refused_in_one_line(
    base, lora_folder, setting, value
):
    adapter = lora_folder(base)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {setting: value}))
    with pytest.raises(ModelError, match="cannot merge .*adapter into "):
        loaded(base, adapter)


def test_an_adapter_that_adds_to_the_text_is_refused(base, lora_folder):
    adapter = lora_folder(base)
    settings = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="cannot merge .*: PROMPT_TUNING adds to the text, not to"):
        loaded(base, adapter)
