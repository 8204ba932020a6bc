import numpy as np
import pytest

from mechshift.ablation import (
    AblationPlan,
    AblationSettings,
    Inventory,
    OutputNorms,
    max_num_plans,
    norm_matched_controls,
    number_matched_controls,
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


def by_number(plan, seed=0, **options):
    """One draw."""
    (control,) = number_matched_controls(plan, generator(seed), num_draws=1, **options)
    return control


def by_norm(plan, norms, **options):
    """One draw."""
    (control,) = norm_matched_controls(plan, norms, generator(), num_draws=1, **options)
    return control


def counts(plan):
    return [plan.structures.count(kind) for kind in (HEAD, MLP, NEURON)]


@pytest.mark.parametrize("kind", ["heads", "mlps", "layers"])
def test_a_number_matched_control_has_as_many_of_each_kind_in_other_layers(kind):
    plan = third_plan(INVENTORY, "middle", kind)
    control = by_number(plan)
    assert counts(control) == counts(plan)
    assert not (control.structures.layers & plan.structures.layers).any()
    assert control.name == f"middle {kind}, same number, draw 1"
    assert (control.of, control.draw) == (f"middle {kind}", 1)
    assert control.role == "same number"


def test_neurons_are_matched_by_neurons(norms):
    plan = strongest_neurons_plan(norms, "late", 0.25)
    assert counts(plan) == counts(by_number(plan)) == [0, 0, 10]
    assert counts(by_norm(plan, norms, tolerance=0.1))[:2] == [0, 0]


def test_every_candidate_is_drawn_equally_often_and_a_seed_repeats_its_draw():
    plan = third_plan(INVENTORY, "early", "heads")  # six of the heads; twelve are left
    drawn = [by_number(plan, seed).structures for seed in range(400)]
    share = np.mean([control.mask for control in drawn], axis=0)
    heads = (INVENTORY.kind == HEAD) & (INVENTORY.layer > 1)
    np.testing.assert_allclose(share[heads], 0.5, atol=0.09)
    assert share[~heads].max() == 0
    again = by_number(plan, 3).structures
    np.testing.assert_array_equal(again.mask, drawn[3].mask)


def test_from_anywhere_the_plans_own_structures_may_be_drawn():
    plan = third_plan(INVENTORY, "early", "heads")
    drawn = [by_number(plan, seed, where="anywhere") for seed in range(30)]
    assert any((control.structures.mask & plan.structures.mask).any() for control in drawn)
    assert all(counts(control) == [6, 0, 0] for control in drawn)


@pytest.mark.parametrize("kind", ["heads", "mlps", "layers"])
def test_a_norm_matched_control_writes_as_much_in_other_layers(kind, norms):
    plan = third_plan(INVENTORY, "early", kind)
    control = by_norm(plan, norms, tolerance=0.03)
    ratio = norms.of(control.structures) / norms.of(plan.structures)
    assert abs(ratio - 1) <= 0.03
    assert f"{ratio:.2f} of its norm" in control.note
    assert not (control.structures.layers & plan.structures.layers).any()
    assert not control.structures.nodes[0] and not control.structures.neurons.any()


def test_one_mlp_that_writes_as_much_as_many_heads_is_matched_by_heads(norms):
    values = norms.norm.copy()
    values[GRAPH.mlp_source(0)] = values[GRAPH.mlp_source(1)] = 4.0
    plan = third_plan(INVENTORY, "early", "mlps")
    control = by_norm(plan, norms_of(values))
    assert counts(plan) == [0, 2, 0]
    assert sum(counts(control)) > 5


def test_a_norm_that_nothing_reaches_is_refused_with_the_nearest(norms):
    values = norms.norm.copy()
    values[GRAPH.mlp_source(0)] = 3 * values[: GRAPH.num_sources].sum()
    plan = third_plan(INVENTORY, "early", "mlps")
    with pytest.raises(AblationError, match="the nearest reached 0.2. of it, and the tolerance is"):
        by_norm(plan, norms_of(values))


def test_more_than_the_other_layers_hold_is_refused():
    shallow = Inventory(
        graph=Graph(num_layers=1, num_heads=2, num_key_value_groups=2), num_neurons=3
    )
    plan = third_plan(shallow, "middle", "heads")
    with pytest.raises(
        AblationError, match="has 2 heads and other layers hold 0; draw its control"
    ):
        by_number(plan)


def test_draws_of_a_control_differ_and_more_of_them_keep_the_first(norms):
    plan = third_plan(INVENTORY, "early", "mlps")
    few, many = (number_matched_controls(plan, generator(), num_draws=n) for n in (2, 5))
    assert [control.draw for control in many] == [1, 2, 3, 4, 5]
    assert len({control.structures.mask.tobytes() for control in many}) == 5
    for first, second in zip(few, many, strict=False):
        np.testing.assert_array_equal(first.structures.mask, second.structures.mask)
    matched = norm_matched_controls(plan, norms, generator(), num_draws=5)
    assert len({control.structures.mask.tobytes() for control in matched}) == 5
    assert [control.name for control in matched][:2] == [
        "early mlps, same norm, draw 1",
        "early mlps, same norm, draw 2",
    ]


def test_where_few_sets_exist_each_is_drawn_once():
    """Two of the four other MLPs: six pairs, though nine were asked for."""
    plan = third_plan(INVENTORY, "early", "mlps")
    controls = number_matched_controls(plan, generator(), num_draws=9)
    pairs = {tuple(control.structures.names()) for control in controls}
    assert len(controls) == len(pairs) == 6
    assert pairs == {
        (f"m{first}", f"m{second}") for first in range(2, 6) for second in range(first + 1, 6)
    }


def test_a_draw_is_never_the_plan_itself_and_where_nothing_else_exists_there_is_no_control():
    tiny = Inventory(graph=Graph(num_layers=2, num_heads=1, num_key_value_groups=1), num_neurons=2)
    plan = third_plan(tiny, "early", "mlps")
    (control,) = number_matched_controls(plan, generator(), num_draws=5, where="anywhere")
    assert control.structures.names() == ["m1"]
    mask = np.isin(tiny.kind, (HEAD, MLP))
    everything = AblationPlan(
        name="all", structures=tiny.choose(mask), of="all", note="every head and MLP"
    )
    with pytest.raises(AblationError, match="nothing drawn from anywhere matches 'all' but 'all'"):
        number_matched_controls(everything, generator(), num_draws=5, where="anywhere")


def test_standard_plans_are_every_third_of_every_kind_and_the_circuit_with_their_controls(norms):
    scores = np.random.default_rng(1).normal(size=GRAPH.num_edges)
    circuit = select_top_edges(GRAPH, scores, 8)
    settings = AblationSettings(
        kinds=("heads", "mlps", "layers", "neurons"), norm_tolerance=0.1, num_control_draws=3
    )
    found = standard_plans(norms, circuit, settings)
    structures = [plan.name for plan in found.plans if plan.role == "structure"]
    thirds = ("early", "middle", "late")
    kinds = ("heads", "mlps", "layers", "neurons")
    assert structures == [*(f"{t} {kind}" for kind in kinds for t in thirds), "circuit"]
    names = [plan.name for plan in found.plans]
    for name in structures:
        first = names.index(name)
        assert names[first + 1 : first + 7] == [
            f"{name}, {role}, draw {draw}"
            for role in ("same number", "same norm")
            for draw in (1, 2, 3)
        ]
    assert found.left_out == ()
    assert len(names) == max_num_plans(GRAPH, settings, with_circuit=True) == 13 * 7


def test_early_structures_have_the_draws_of_an_interval_and_others_a_few(norms):
    settings = AblationSettings(kinds=("heads",), norm_tolerance=0.1)
    found = standard_plans(norms, None, settings)
    drawn = [plan.of for plan in found.plans if plan.role == "same number"]
    counts = {name: drawn.count(name) for name in dict.fromkeys(drawn)}
    assert counts == {"early heads": 20, "middle heads": 3, "late heads": 3}
    assert found.left_out == ()
    assert len(found.plans) == max_num_plans(GRAPH, settings, with_circuit=False) == 41 + 2 * 7


def test_a_control_that_does_not_exist_is_left_out_with_its_reason(norms):
    values = norms.norm.copy()
    values[GRAPH.mlp_source(0)] = 1e3
    settings = AblationSettings(kinds=("mlps",), num_control_draws=1)
    found = standard_plans(norms_of(values), None, settings)
    assert [plan.name for plan in found.plans][:3] == [
        "early mlps",
        "early mlps, same number, draw 1",
        "middle mlps",
    ]
    assert len(found.left_out) == 1 and "do not match the norm of 'early mlps'" in found.left_out[0]


def test_draws_that_do_not_exist_are_left_out_with_their_number(norms):
    """Six pairs of MLPs lie outside each third of six layers."""
    settings = AblationSettings(kinds=("mlps",), num_control_draws=8, norm_tolerance=0.4)
    found = standard_plans(norms, None, settings)
    drawn = [plan for plan in found.plans if plan.role == "same number"]
    assert [plan.draw for plan in drawn] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 3]
    assert found.left_out == (
        "'early mlps, same number' is 6 of 8 draws: 1000 tries found no other.",
    )


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
        ({"num_control_draws": 0}, "num_control_draws must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"num_examples": 9}, "num_examples must be at least 10, not 9: fewer leave nothing to"),
        (
            {"decode": True, "replacements": ("resample",)},
            "'resample' has no meaning; add 'zero' or 'mean' to the replacements",
        ),
        ({"norm_tolerance": 1.0}, "norm_tolerance lies between 0 and 1, not 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        AblationSettings(**setting)
