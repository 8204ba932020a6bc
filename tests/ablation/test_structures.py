import numpy as np

from mechshift.ablation import Inventory, inventory_of
from mechshift.ablation.structures import HEAD, INPUT, MLP, NEURON
from mechshift.graph import Graph
from mechshift.testing import random_language_model

INVENTORY = Inventory(graph=Graph(num_layers=2, num_heads=2, num_key_value_groups=1), num_neurons=3)


def test_structures_are_the_sources_and_then_the_neurons_layer_by_layer():
    names = [INVENTORY.name(structure) for structure in range(INVENTORY.num_structures)]
    assert names == [
        *("input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1"),
        *("m0.n0", "m0.n1", "m0.n2", "m1.n0", "m1.n1", "m1.n2"),
    ]
    kinds = [INPUT, *2 * [HEAD, HEAD, MLP], *6 * [NEURON]]
    np.testing.assert_array_equal(INVENTORY.kind, kinds)
    np.testing.assert_array_equal(INVENTORY.layer, [-1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1])


def test_a_set_is_split_into_nodes_and_neurons():
    mask = np.zeros(INVENTORY.num_structures, dtype=bool)
    mask[[0, 2, 11]] = True
    chosen = INVENTORY.choose(mask)
    assert chosen.names() == ["input", "a0.h1", "m1.n1"]
    np.testing.assert_array_equal(np.flatnonzero(chosen.nodes), [0, 2])
    np.testing.assert_array_equal(np.argwhere(chosen.neurons), [[1, 1]])
    assert [chosen.count(kind) for kind in (INPUT, HEAD, MLP, NEURON)] == [1, 1, 0, 1]
    np.testing.assert_array_equal(chosen.layers, [True, True])
    outputs = chosen.outputs()
    assert outputs.num_runs == 1
    np.testing.assert_array_equal(outputs.nodes[0], chosen.nodes)


def test_a_models_inventory_has_its_neurons_whatever_the_layout_of_the_weights():
    for architecture in ("gpt2", "qwen2"):
        model = random_language_model(architecture)
        inventory = inventory_of(model)
        assert inventory.num_neurons == 24
        assert inventory.graph == model.graph()
