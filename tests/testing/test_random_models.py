import pytest
import torch

from mechshift.errors import ModelError
from mechshift.models import probe_attention
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model
from mechshift.testing.random_models import MASK_TOKEN_ID, VOCAB_SIZE

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_a_model_attends_as_its_kind_does_and_is_the_stock_class(architecture, kind):
    model = random_language_model(architecture, kind)
    assert type(model.module) is ARCHITECTURES[architecture][1]
    assert model.attention == {"arm": "causal", "mdm": "full"}[kind]
    assert model.mask_token_id == {"arm": None, "mdm": MASK_TOKEN_ID}[kind]
    probe_attention(model.module, model.attention)
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


@pytest.mark.parametrize(
    ("kind", "attention"),
    [
        ("arm", "full"),
        ("mdm", "causal"),
        ("mdm", "block-causal"),
        ("mdm", "observed-first"),
        ("mdm", "causal-prefix"),
    ],
)
def test_attention_can_be_chosen_against_the_kind(kind, attention):
    model = random_language_model("qwen2", kind, attention=attention)
    assert model.attention == attention
    assert (model.block_length is None) == (attention not in ("block-causal", "causal-prefix"))
    probe_attention(model.module, attention, model.block_length)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights_for_both_kinds_and_another_gives_others(architecture):
    arm, mdm = random_language_model(architecture), random_language_model(architecture, "mdm")
    other = random_language_model(architecture, seed=1)
    for (name, one), two, three in zip(
        arm.module.named_parameters(),
        mdm.module.parameters(),
        other.module.parameters(),
        strict=True,
    ):
        assert torch.equal(one, two) and not torch.equal(one, three), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_bias_is_zero_and_no_norm_weight_is_one(architecture):
    for name, parameter in random_language_model(architecture).module.named_parameters():
        if parameter.ndim == 1:
            is_norm = "norm" in name or name.split(".")[-2].startswith("ln_")
            idle = 1.0 if is_norm and name.endswith("weight") else 0.0
            assert (parameter != idle).all(), name
    assert random_language_model("qwen2").parts.layers[0].key.bias is not None


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_projection_stretches_vectors_by_about_the_gain(architecture):
    for gain in (0.5, 2.0):
        weight = random_language_model(architecture, gain=gain).parts.layers[0].query.weight
        x = torch.randn(1000, 16)
        ratio = (x @ weight.T).square().mean().sqrt() / x.square().mean().sqrt()
        assert float(ratio) == pytest.approx(gain, rel=0.2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_norms_compute_in_the_models_precision(architecture):
    single = random_language_model(architecture)
    double = random_language_model(architecture, dtype=torch.float64)
    x = torch.randn(3, 16, dtype=torch.float64)
    norm = double.parts.layers[0].attention_norm
    centred = x - x.mean(-1, keepdim=True) if architecture == "gpt2" else x
    scaled = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    expected = norm.weight * scaled + (0.0 if norm.bias is None else norm.bias)
    torch.testing.assert_close(norm(x), expected, rtol=1e-13, atol=1e-14)
    stock = single.parts.layers[0].attention_norm(x.float())
    assert "forward" not in vars(single.parts.layers[0].attention_norm.module)
    torch.testing.assert_close(stock, expected.float())


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_examples_are_what_attribution_needs(kind):
    examples = random_examples(7, kind=kind, num_targets=3, suffix_length=4, contrasts=True)
    assert [len(e.prefix_ids) for e in examples] == [4, 5, 7, 4, 5, 7, 4]
    for example in examples:
        assert len(example.suffix_ids) == (0 if kind == "arm" else 4)
        assert example.corrupted_prefix_ids != example.prefix_ids
        assert example.corrupted_prefix_ids[1::2] == example.prefix_ids[1::2]
        pairs = list(zip(example.target_ids, example.distractor_ids, strict=True))
        assert all(target != distractor for target, distractor in pairs)
        assert [(*c.positive, *c.negative) for c in example.contrasts] == pairs
        used = {*example.prefix_ids, *example.suffix_ids, *example.target_ids}
        assert 4 <= min(used) and max(used) < VOCAB_SIZE
    again = random_examples(7, kind=kind, num_targets=3, suffix_length=4, contrasts=True)
    assert again == examples


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="'bert'; known: gemma3, gpt2, .*, qwen3_moe"):
        random_language_model("bert")
