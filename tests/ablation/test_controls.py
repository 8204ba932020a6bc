import numpy as np
import pytest

from mechshift.ablation import (
    AblationSettings,
    Inventory,
    OutputNorms,
    norm_matched_control,
    number_matched_control,
    standard_plans,
    strongest_neurons_plan,
    third_plan,
)
from mechshift.ablation.structures import HEAD, MLP, NEURON
from mechshift.circuits import select_top_edges
from mechshift.errors import AblationError, ConfigError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=6, num_heads=3, num_key_value_groups=3)
INVENTORY = Inventory(graph=GRAPH, num_neurons=20)


def norms_of(values):
    return OutputNorms(
        inventory=INVENTORY,
        norm=values,
        node_square=np.ones((GRAPH.num_sources, 2)),
        neuron_square=np.ones((GRAPH.num_layers, INVENTORY.num_neurons)),
    )


@pytest.fixture
def norms():
    return norms_of(np.random.default_rng(0).uniform(0.5, 1.5, INVENTORY.num_structures))


def generator(seed=0):
    return np.random.default_rng(seed)


def counts(plan):
    return [plan.structures.count(kind) for kind in (HEAD, MLP, NEURON)]


@pytest.mark.parametrize("kind", ["heads", "mlps", "layers"])
def test_a_number_matched_control_has_as_many_of_each_kind_in_other_layers(kind):
    plan = third_plan(INVENTORY, "middle", kind)
    control = number_matched_control(plan, generator())
    assert counts(control) == counts(plan)
    assert not (control.structures.layers & plan.structures.layers).any()
    assert (control.name, control.of) == (f"middle {kind}, same number", f"middle {kind}")
    assert control.role == "same number"


def test_neurons_are_matched_by_neurons(norms):
    plan = strongest_neurons_plan(norms, "late", 0.25)
    by_number = number_matched_control(plan, generator())
    by_norm = norm_matched_control(plan, norms, generator(), tolerance=0.1)
    assert counts(plan) == counts(by_number) == [0, 0, 10]
    assert counts(by_norm)[:2] == [0, 0]


def test_every_candidate_is_drawn_equally_often_and_a_seed_repeats_its_draw():
    plan = third_plan(INVENTORY, "early", "heads")  # six of the heads; twelve are left
    drawn = [number_matched_control(plan, generator(seed)).structures for seed in range(400)]
    share = np.mean([control.mask for control in drawn], axis=0)
    heads = (INVENTORY.kind == HEAD) & (INVENTORY.layer > 1)
    np.testing.assert_allclose(share[heads], 0.5, atol=0.09)
    assert share[~heads].max() == 0
    again = number_matched_control(plan, generator(3)).structures
    np.testing.assert_array_equal(again.mask, drawn[3].mask)


def test_from_anywhere_the_plans_own_structures_may_be_drawn():
    plan = third_plan(INVENTORY, "early", "heads")
    drawn = [number_matched_control(plan, generator(seed), where="anywhere") for seed in range(30)]
    assert any((control.structures.mask & plan.structures.mask).any() for control in drawn)
    assert all(counts(control) == [6, 0, 0] for control in drawn)


@pytest.mark.parametrize("kind", ["heads", "mlps", "layers"])
def test_a_norm_matched_control_writes_as_much_in_other_layers(kind, norms):
    plan = third_plan(INVENTORY, "early", kind)
    control = norm_matched_control(plan, norms, generator(), tolerance=0.03)
    ratio = norms.of(control.structures) / norms.of(plan.structures)
    assert abs(ratio - 1) <= 0.03
    assert f"{ratio:.2f} of its norm" in control.note
    assert not (control.structures.layers & plan.structures.layers).any()
    assert not control.structures.nodes[0] and not control.structures.neurons.any()


def test_one_mlp_that_writes_as_much_as_many_heads_is_matched_by_heads(norms):
    values = norms.norm.copy()
    values[GRAPH.mlp_source(0)] = values[GRAPH.mlp_source(1)] = 4.0
    plan = third_plan(INVENTORY, "early", "mlps")
    control = norm_matched_control(plan, norms_of(values), generator())
    assert counts(plan) == [0, 2, 0]
    assert sum(counts(control)) > 5


def test_a_norm_that_nothing_reaches_is_refused_with_the_nearest(norms):
    values = norms.norm.copy()
    values[GRAPH.mlp_source(0)] = 3 * values[: GRAPH.num_sources].sum()
    plan = third_plan(INVENTORY, "early", "mlps")
    with pytest.raises(AblationError, match="the nearest reached 0.2. of it, and the tolerance is"):
        norm_matched_control(plan, norms_of(values), generator())


def test_more_than_the_other_layers_hold_is_refused():
    shallow = Inventory(
        graph=Graph(num_layers=1, num_heads=2, num_key_value_groups=2), num_neurons=3
    )
    plan = third_plan(shallow, "middle", "heads")
    with pytest.raises(
        AblationError, match="has 2 heads and other layers hold 0; draw its control"
    ):
        number_matched_control(plan, generator())


def test_standard_plans_are_every_third_of_every_kind_and_the_circuit_with_their_controls(norms):
    scores = np.random.default_rng(1).normal(size=GRAPH.num_edges)
    circuit = select_top_edges(GRAPH, scores, 8)
    found = standard_plans(norms, circuit, AblationSettings(norm_tolerance=0.1))
    structures = [plan.name for plan in found.plans if plan.role == "structure"]
    thirds = ("early", "middle", "late")
    kinds = ("heads", "mlps", "layers", "neurons")
    assert structures == [*(f"{t} {kind}" for kind in kinds for t in thirds), "circuit"]
    names = [plan.name for plan in found.plans]
    for name in structures:
        first = names.index(name)
        assert names[first + 1 : first + 3] == [f"{name}, same number", f"{name}, same norm"]
    assert found.left_out == ()


def test_a_control_that_does_not_exist_is_left_out_with_its_reason(norms):
    values = norms.norm.copy()
    values[GRAPH.mlp_source(0)] = 1e3
    found = standard_plans(norms_of(values), None, AblationSettings(kinds=("mlps",)))
    assert [plan.name for plan in found.plans][:3] == [
        "early mlps",
        "early mlps, same number",
        "middle mlps",
    ]
    assert len(found.left_out) == 1 and "do not match the norm of 'early mlps'" in found.left_out[0]


def test_the_seed_of_the_settings_draws_the_controls(norms):
    def masks(seed):
        settings = AblationSettings(kinds=("heads",), seed=seed)
        return [
            plan.structures.mask.tolist() for plan in standard_plans(norms, None, settings).plans
        ]

    assert masks(0) == masks(0)
    assert masks(0) != masks(1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"kinds": ("heads", "layer")}, r"kinds is \['heads', 'layer'\]; it names one or more of"),
        ({"replacements": ()}, r"replacements is \[\]; it names one or more of zero, mean, resamp"),
        ({"kinds": ("mlps", "mlps")}, "each once"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"norm_tolerance": 1.0}, "norm_tolerance lies between 0 and 1, not 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        AblationSettings(**setting)
