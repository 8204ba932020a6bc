import numpy as np
import pytest

from mechshift.ablation import (
    Inventory,
    OutputNorms,
    circuit_nodes_plan,
    strongest_neurons_plan,
    third_plan,
)
from mechshift.circuits import Circuit
from mechshift.errors import AblationError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=4, num_heads=2, num_key_value_groups=1)
INVENTORY = Inventory(graph=GRAPH, num_neurons=5)


def norms_of(inventory, values):
    return OutputNorms(
        inventory=inventory,
        norm=np.asarray(values, dtype=np.float64),
        node_square=np.ones((inventory.graph.num_sources, 3)),
        neuron_square=np.ones((inventory.graph.num_layers, inventory.num_neurons)),
    )


def circuit_of(graph, *edges):
    return Circuit(
        graph=graph,
        edges=np.array([graph.edge_index(edge) for edge in edges]),
        scores=np.arange(len(edges), 0, -1.0),
    )


@pytest.mark.parametrize(
    ("third", "kind", "names"),
    [
        ("early", "heads", ["a0.h0", "a0.h1"]),
        ("middle", "mlps", ["m1", "m2"]),
        ("late", "layers", ["a3.h0", "a3.h1", "m3"]),
    ],
)
def test_a_third_of_four_layers_holds_one_two_or_one_of_them(third, kind, names):
    plan = third_plan(INVENTORY, third, kind)
    assert plan.structures.names() == names
    assert (plan.name, plan.of, plan.role) == (f"{third} {kind}", f"{third} {kind}", "structure")


def test_the_neurons_of_a_third_that_write_most_are_taken_from_all_its_layers():
    values = np.zeros(INVENTORY.num_structures)
    values[GRAPH.num_sources :] = [9, 9, 9, 9, 9, 1, 5, 2, 0, 0, 4, 0, 3, 0, 0, 9, 9, 9, 9, 9]
    plan = strongest_neurons_plan(norms_of(INVENTORY, values), "middle", 0.3)
    assert plan.structures.names() == ["m1.n1", "m2.n0", "m2.n2"]
    assert plan.note == "the 30% of the middle third's hidden neurons that write most"


def test_a_mixture_of_experts_has_no_neurons_to_choose_from():
    mixture = Inventory(graph=GRAPH, num_neurons=0)
    norms = norms_of(mixture, np.ones(GRAPH.num_sources))
    with pytest.raises(AblationError, match="mixture of experts .* leave 'neurons' out"):
        strongest_neurons_plan(norms, "early", 0.5)


def test_at_least_one_neuron_is_taken():
    norms = norms_of(INVENTORY, np.ones(INVENTORY.num_structures))
    plan = strongest_neurons_plan(norms, "early", 0.01)
    assert plan.structures.names() == ["m0.n0"]


def test_a_circuits_nodes_are_those_its_edges_are_written_and_read_by():
    circuit = circuit_of(GRAPH, "input->a1.h0<q>", "m0->m2", "a3.h1->logits")
    plan = circuit_nodes_plan(INVENTORY, circuit)
    assert plan.structures.names() == ["m0", "a1.h0", "m2", "a3.h1"]
    assert plan.name == "circuit" and "3 edges" in plan.note


def test_a_grouped_key_joins_all_heads_that_share_it():
    plan = circuit_nodes_plan(INVENTORY, circuit_of(GRAPH, "input->a1.h0<k>"), name="own circuit")
    assert plan.structures.names() == ["a1.h0", "a1.h1"]
    assert plan.name == "own circuit"


def test_what_cannot_be_planned_is_refused():
    norms = norms_of(INVENTORY, np.ones(INVENTORY.num_structures))
    two_layers = Inventory(
        graph=Graph(num_layers=2, num_heads=2, num_key_value_groups=2), num_neurons=5
    )
    with pytest.raises(
        AblationError, match="unknown third 'last' of the layers; known: early, mid"
    ):
        third_plan(INVENTORY, "last", "heads")
    with pytest.raises(
        AblationError, match="no plan of the 'neurons' of a third; known: heads, ml"
    ):
        third_plan(INVENTORY, "early", "neurons")
    with pytest.raises(AblationError, match="none of 2 layers belongs to the middle third"):
        third_plan(two_layers, "middle", "heads")
    with pytest.raises(AblationError, match="above 0 and at most at 1, not at 1.5"):
        strongest_neurons_plan(norms, "early", 1.5)
    with pytest.raises(AblationError, match="a graph of 13 nodes does not fit a model of 7"):
        circuit_nodes_plan(two_layers, circuit_of(GRAPH, "m0->m2"))
    with pytest.raises(AblationError, match="circuit of 1 edges holds no head and no MLP"):
        circuit_nodes_plan(INVENTORY, circuit_of(GRAPH, "input->logits"))
