"""Shapes against published totals, real parameters, and what a catalogue entry may leave open."""

import json

import pytest
from transformers import BertConfig, LlamaConfig, LlamaForCausalLM

from mechshift.errors import ModelError
from mechshift.models import (
    PAIRS,
    UNPAIRED_MDMS,
    ModelSource,
    PairEntry,
    local_tokenizer,
    model_shape,
    pair_shape,
    read_shape,
)
from mechshift.models.published_shapes import PUBLISHED_SHAPES
from mechshift.testing import ARCHITECTURES, random_language_model


@pytest.mark.parametrize(
    ("hub", "total"),
    [
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-Coder-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-32B", 32_763_876_352),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-1.7B-Base", 1_720_574_976),
        ("Qwen/Qwen3-4B", 4_022_468_096),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("Qwen/Qwen3-30B-A3B", 30_532_122_624),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("openai-community/gpt2", 124_439_808),
        ("openai-community/gpt2-medium", 354_823_168),
        ("GSAI-ML/LLaDA-8B-Base", 8_015_581_184),
        ("smollm2", 134_515_008),
    ],
)
def test_the_parameters_of_a_published_shape_are_as_many_as_published(hub, total):
    assert PUBLISHED_SHAPES[hub].num_parameters == total


@pytest.mark.parametrize(
    ("hub", "billions"),
    [
        ("ByteDance-Seed/Seed-Coder-8B-Base", 8.25),
        ("Qwen/Qwen2.5-3B", 3.09),
        ("nvidia/Nemotron-Labs-Diffusion-3B", 3.83),
        ("nvidia/Nemotron-Labs-Diffusion-8B-Base", 8.49),
        ("nvidia/Nemotron-Labs-Diffusion-14B", 13.51),
    ],
)
def test_the_parameters_of_a_shape_are_those_that_are_published_rounded(hub, billions):
    assert round(PUBLISHED_SHAPES[hub].num_parameters / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("pair", "num_edges"),
    [("dream-7b", 935_747), ("diffullama-7b", 1_592_881), ("diffugpt-s", 32_491)],
)
def test_the_edges_of_a_published_pair_are_as_many_as_in_the_literature(pair, num_edges):
    assert PAIRS[pair].published_shape.graph().num_edges == num_edges


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_parameters_of_a_shape_are_those_of_the_model(architecture):
    model = random_language_model(architecture)
    shape = model_shape(model.module.config)
    assert shape.num_parameters == sum(p.numel() for p in model.module.parameters())
    for grouped in (False, True):
        assert shape.graph(grouped=grouped) == model.graph(grouped=grouped)


@pytest.mark.parametrize("tied", [False, True])
def test_biases_that_a_configuration_adds_are_counted(tied):
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=tied,
    )
    real = sum(parameter.numel() for parameter in LlamaForCausalLM(config).parameters())
    assert model_shape(config).num_parameters == real


@pytest.mark.parametrize("known", [*PAIRS.values(), *UNPAIRED_MDMS.values()], ids=lambda e: e.name)
def test_every_published_model_can_be_planned_without_its_config(known):
    # Of iLLaDA no config.json was to be seen.
    unknown = getattr(known, "embedded", False) or known.name.startswith("illada")
    assert (known.published_shape is None) == unknown


def test_the_embedded_pair_is_read_from_its_own_configs():
    shapes = pair_shape(PAIRS["tiny"])
    assert shapes.read and shapes.arm == shapes.mdm
    assert (shapes.arm.num_layers, shapes.arm.d_mlp, shapes.arm.vocab_size) == (6, 384, 469)
    assert len(local_tokenizer(PAIRS["tiny"])) == 469


def test_a_published_pair_needs_no_download():
    shapes = pair_shape(PAIRS["dream-7b"])
    assert not shapes.read and shapes.arm is shapes.mdm
    assert local_tokenizer(PAIRS["dream-7b"]) is None


def test_a_folder_needs_no_weights(model_folder):
    folder = model_folder("arm", "qwen3", tie_word_embeddings=True)
    (folder / "model.safetensors").unlink()
    shape = read_shape(folder)
    assert shape.tied and shape.family.head_norms and shape.num_key_value_heads == 2


def test_a_config_of_remote_code_is_read_as_the_stock_class(model_folder):
    folder = model_folder("arm", "qwen2")
    config = json.loads((folder / "config.json").read_text())
    stock = read_shape(folder)
    config |= {"architectures": ["DreamModel"], "model_type": "Dream", "auto_map": {"A": "b.C"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert read_shape(folder) == stock


def own_pair(arm, mdm):
    return PairEntry(
        name="own", arm=ModelSource(path=str(arm)), mdm=ModelSource(path=str(mdm)), shift=True
    )


def test_a_pair_of_different_shapes_is_refused(model_folder):
    arm, mdm = model_folder("arm"), model_folder("mdm", num_hidden_layers=3)
    with pytest.raises(ModelError, match="the models of 'own' have different shapes"):
        pair_shape(own_pair(arm, mdm))


def test_a_model_that_is_not_on_this_machine_and_not_published_is_refused(model_folder):
    arm = model_folder("arm")
    with pytest.raises(ModelError, match="the shape of 'someone/else' is not known: it is no fold"):
        pair_shape(own_pair(arm, "someone/else"))


def test_a_class_that_is_not_supported_is_refused():
    with pytest.raises(
        ModelError, match="the shape of a 'bert' model is not known; known: gemma3_text, gpt2"
    ):
        model_shape(BertConfig())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_pair_with_an_adapter_in_place_of_a_model_has_no_shape(model_folder, lora_folder):
    base = model_folder()
    arm, mdm = (ModelSource(path=str(folder)) for folder in (base, lora_folder(base)))
    with pytest.raises(ModelError, match="is an adapter .*, not a model"):
        pair_shape(PairEntry(name="own", arm=arm, mdm=mdm, shift=True))
