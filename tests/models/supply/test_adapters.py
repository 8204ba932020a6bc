"""Merged weights against the low-rank product, worked out by hand."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mechshift.models import load_language_model
from mechshift.models.supply.adapters import merge_adapter

# peft 0.21 asks a question of transformers 5.23 by a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def base(model_folder):
    return model_folder("base", tie_word_embeddings=True)


@pytest.fixture
def write_adapter(base, lora_folder):
    """A function that writes a LoRA adapter of the base."""

    def write(**options):
        return lora_folder(base, **options)

    return write


def test_every_adapted_weight_gains_the_scaled_product_and_no_other_changes(
    base, write_adapter, tmp_path
):
    adapter, out = write_adapter(), tmp_path / "out"
    out.mkdir()
    merge_adapter(base, adapter, out, kind="arm")
    before, after = (load_file(folder / "model.safetensors") for folder in (base, out))
    low_rank = load_file(adapter / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    adapted = 0
    for name, weight in before.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" in low_rank:
            down, up = (low_rank[f"{module}.lora_{matrix}.weight"] for matrix in "AB")
            weight = weight + 3 * up @ down
            adapted += 1
        assert torch.allclose(after[name], weight, atol=1e-6), name
    assert adapted == 2 * 7  # layers and projections


@pytest.mark.parametrize(("kind", "attention"), [("arm", "causal"), ("mdm", "full")])
def test_the_merged_folder_is_a_model_of_its_kind(base, write_adapter, tmp_path, kind, attention):
    out = tmp_path / "out"
    out.mkdir()
    merge_adapter(base, write_adapter(), out, kind=kind)
    model = load_language_model(out, name="m", kind=kind, attention=attention, shift=True)
    assert model.mask_token_id == 22
    stated = json.loads((out / "config.json").read_text()).get("mask_token_id")
    assert stated == (22 if kind == "mdm" else None)


def test_an_adapter_may_train_the_embedding_of_the_mask_token_alone(base, write_adapter, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    merge_adapter(base, write_adapter(trainable_token_indices=[22]), out, kind="mdm")
    before, after = (
        load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
        for folder in (base, out)
    )
    changed = (before != after).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [22]
