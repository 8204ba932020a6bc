"""GIM's rules for attention: outputs that stay, gradients by hand, a repaired effect made seen."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.attribution import eap, eap_ig, exact_edge_scores, gim_attention, node_attribution
from mechshift.attribution.gim import modified_attention
from mechshift.denoising import EncodedExample, build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS
from mechshift.testing.random_models import as_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]


def canvases_of(model):
    examples = random_examples(3, kind=model.kind, suffix_length=2)
    return build_canvases(model, examples, left_to_right([2] * 3, 1))


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_no_output_changes(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model)
    with gim_attention(model):
        within = exact_edge_scores(model, canvases, metric="logit_diff", edges_per_pass=99)
    stock = exact_edge_scores(model, canvases, metric="logit_diff", edges_per_pass=99)
    assert np.abs(stock.values).max() > 0.1
    np.testing.assert_allclose(within.clean_metric, stock.clean_metric, atol=1e-11)
    np.testing.assert_allclose(within.values, stock.values, atol=1e-11)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_at_temperature_one_with_whole_products_every_gradient_is_the_stock_one(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    canvases = canvases_of(model)
    stock = eap_ig(model, canvases, metric="logit_diff", ig_steps=2)
    with gim_attention(model, temperature=1.0, split_products=False):
        within = eap_ig(model, canvases, metric="logit_diff", ig_steps=2)
    np.testing.assert_allclose(within.values, stock.values, atol=1e-11)
    with gim_attention(model):
        other = eap_ig(model, canvases, metric="logit_diff", ig_steps=2)
    assert np.abs(other.values - stock.values).max() > 0.01 * np.abs(stock.values).max()


def test_gradients_of_one_query_and_three_keys_are_those_by_hand():
    """Scores log 4, log 4 and 0, values 1, 1 and 0: weights 4/9, 4/9, 1/9 and output 8/9.

    At temperature 2 the weights are 2/5, 2/5 and 1/5, and their mean of the values is 4/5.
    """
    query = torch.ones(1, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    key = torch.tensor([math.log(4), math.log(4), 0.0], dtype=torch.float64)
    key = key.reshape(1, 1, 3, 1).requires_grad_()
    value = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64).reshape(1, 1, 3, 1).requires_grad_()

    def gradients(temperature, split_products):
        attend = modified_attention(temperature, split_products)
        z, weights = attend(torch.nn.Identity(), query, key, value, None, scaling=1.0)
        assert weights.flatten().tolist() == pytest.approx([4 / 9, 4 / 9, 1 / 9])
        assert z.item() == pytest.approx(8 / 9)
        return [g.flatten().tolist() for g in torch.autograd.grad(z.sum(), (query, key, value))]

    to_query, to_key, to_value = gradients(1.0, False)
    assert to_key == pytest.approx([4 / 81, 4 / 81, -8 / 81])
    assert to_query == pytest.approx([8 / 81 * math.log(4)])
    assert to_value == pytest.approx([4 / 9, 4 / 9, 1 / 9])
    to_query, to_key, to_value = gradients(2.0, False)
    assert to_key == pytest.approx([2 / 25, 2 / 25, -4 / 25])
    assert to_query == pytest.approx([4 / 25 * math.log(4)])
    assert to_value == pytest.approx([4 / 9, 4 / 9, 1 / 9])
    to_query, to_key, to_value = gradients(2.0, True)
    assert to_key == pytest.approx([2 / 100, 2 / 100, -4 / 100])
    assert to_query == pytest.approx([4 / 100 * math.log(4)])
    assert to_value == pytest.approx([2 / 9, 2 / 9, 0.5 / 9])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_norms_and_gates_keep_their_own_gradients(architecture):
    """GIM freezes the statistics of norms and splits gates; here it does neither.

    Where the heads write nothing, all effects pass MLPs and norms, and no score may change.
    """
    model = random_language_model(architecture, "mdm", dtype=torch.float64)
    for layer in model.parts.layers:
        layer.output.module.weight.data.zero_()
    canvases = canvases_of(model)
    stock = eap_ig(model, canvases, metric="logit_diff", ig_steps=2)
    modified = eap_ig(model, canvases, metric="logit_diff", ig_steps=2, gim=True)
    into_mlp = [stock.graph.edge_name(e).endswith("->m1") for e in range(stock.graph.num_edges)]
    assert np.abs(stock.values[..., into_mlp]).max() > 0.1
    np.testing.assert_allclose(modified.values, stock.values, atol=1e-11)


@pytest.mark.parametrize("method", [eap, eap_ig])
def test_the_option_of_a_method_is_the_context_with_its_defaults(method):
    model = random_language_model("qwen2", "mdm")
    canvases = canvases_of(model)
    with gim_attention(model):
        within = method(model, canvases, metric="logit_diff")
    by_option = method(model, canvases, metric="logit_diff", gim=True)
    np.testing.assert_array_equal(by_option.values, within.values)
    stock = method(model, canvases, metric="logit_diff")
    assert np.abs(by_option.values - stock.values).max() > 0.01 * np.abs(stock.values).max()


SCALE = 1000.0
CONSTANT, MARK, SAID, ANSWER = range(4)
ANN, BOB, SO = range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + 3)
ATTRACTION = 5.0


def repairing_model():
    """One head that attends to "Ann" by its mark, and to "so" and "Bob" by default.

    "Ann" and "Bob" both say 1, which the head writes as the answer "Ann" minus "Bob". Norms divide
    by a constant, as in `mechshift.testing.known_circuit`; the head's key lies in a pair of
    dimensions that the rotation hardly turns.
    """
    config = LlamaConfig(
        vocab_size=SO + 1,
        hidden_size=4,
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": 1e16},
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    module = LlamaForCausalLM(config)
    for name, parameter in module.named_parameters():
        parameter.data.fill_(SCALE / 2 if "norm" in name else 0.0)
    attention = module.model.layers[0].self_attn
    with torch.no_grad():
        embedding = module.model.embed_tokens.weight
        embedding[:, CONSTANT] = SCALE
        embedding[ANN, MARK] = 1.0
        embedding[[ANN, BOB], SAID] = 1.0
        # Scores are divided by sqrt(head_dim) = 2.
        attention.q_proj.weight[1, CONSTANT] = 2 * ATTRACTION / SCALE
        attention.k_proj.weight[1, MARK] = 1.0
        attention.v_proj.weight[0, SAID] = 1.0
        attention.o_proj.weight[ANSWER, 0] = 1.0
        module.lm_head.weight[ANN, ANSWER], module.lm_head.weight[BOB, ANSWER] = 0.5, -0.5
    return as_language_model(module.double(), ["Ann", "Bob", "so"], "repairing", "arm", "causal")


def test_an_effect_that_two_keys_repair_for_each_other_is_seen():
    """In "so Ann Ann so" both names draw the attention, and losing one would leave the other.

    Only their marks are corrupted on the edge into the keys. With both marks the two names get
    e^5 / (e^5 + 1) of the attention, without any 1/2: the effect is 0.493. The gradient at the
    clean input says 5 e^5 / (e^5 + 1)^2 = 0.033, at temperature 2 5 e^2.5 / (e^2.5 + 1)^2 = 0.351.
    """
    model = repairing_model()
    example = EncodedExample(
        id="repair",
        task="repair",
        prefix_ids=(SO, ANN, ANN, SO),
        target_ids=(ANN,),
        corrupted_prefix_ids=(SO, BOB, BOB, SO),
        distractor_ids=(BOB,),
    )
    canvases = build_canvases(model, [example], left_to_right([1]))

    def score(method):
        scores = method(model, canvases, metric="logit_diff")
        return float(scores.values[0, 0, scores.graph.edge_index("input->a0.h0<k>")])

    def slope(x):
        return ATTRACTION * math.exp(x) / (math.exp(x) + 1) ** 2

    truth = math.exp(ATTRACTION) / (math.exp(ATTRACTION) + 1) - 0.5
    assert score(exact_edge_scores) == pytest.approx(truth, rel=1e-4)
    assert score(eap) == pytest.approx(slope(ATTRACTION), rel=1e-4)
    with gim_attention(model, split_products=False):
        assert score(eap) == pytest.approx(slope(ATTRACTION / 2), rel=1e-4)
    with gim_attention(model):
        assert score(eap) == pytest.approx(slope(ATTRACTION / 2) / 4, rel=1e-4)
    assert slope(ATTRACTION) < 0.1 * truth and slope(ATTRACTION / 2) > 0.7 * truth


def test_nodes_are_scored_by_the_same_rule_and_sum_over_their_edges():
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    canvases = canvases_of(model)
    stock = node_attribution(model, canvases, metric="logit_diff")
    with gim_attention(model):
        nodes = node_attribution(model, canvases, metric="logit_diff")
        edges = eap_ig(model, canvases, metric="logit_diff")
    assert np.abs(nodes.values - stock.values).max() > 0.01 * np.abs(stock.values).max()
    for source in range(nodes.graph.num_sources):
        summed = edges.values[..., edges.graph.edge_source == source].sum(axis=-1)
        np.testing.assert_allclose(nodes.values[..., source], summed, atol=1e-10)


def test_padding_and_batch_size_change_no_score():
    for kind in ("arm", "mdm"):
        model = random_language_model("qwen3", kind, dtype=torch.float64)
        canvases = canvases_of(model)
        with gim_attention(model):
            alone = eap(model, canvases, metric="logit_diff", batch_size=1)
            together = eap(model, canvases, metric="logit_diff", batch_size=3)
        np.testing.assert_allclose(together.values, alone.values, atol=1e-11)


def test_the_models_own_attention_is_back_after_the_block_also_after_an_error():
    model = random_language_model("llama", "mdm")
    before = model.module.config._attn_implementation
    with pytest.raises(RuntimeError, match="broken"), gim_attention(model):
        assert model.module.config._attn_implementation != before
        raise RuntimeError("broken")
    assert model.module.config._attn_implementation == before


def test_a_temperature_below_one_is_refused():
    with pytest.raises(AttributionError, match="gradient is 0.5; it must be at least 1"):
        with gim_attention(random_language_model(), temperature=0.5):
            pass
