"""Where nothing differs, tests reject as rarely as they say: 200 pools of one model.

Small graphs and few draws; benchmarks/false_positives.py does the same at length, with intervals.
"""

import numpy as np
import pytest
from scipy.stats import binom

from mechshift.circuits.edge_groups import edge_groups, order_within
from mechshift.comparison.depth import two_sided_p
from mechshift.comparison.draws import MeasuredPair, Wanted
from mechshift.comparison.layer_sums import SHIFTS, LayerSums, shift_rows
from mechshift.graph import Graph
from mechshift.statistics import exchange_masks, holm, permutation_p, split_halves

GRAPH = Graph(num_layers=4, num_heads=2, num_key_value_groups=2)
RUNS, EXAMPLES, DRAWS, SIZE = 200, 30, 79, 15
LEVELS = (0.05, 0.2, 0.5)


def pool(run: int, *, shared: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two models of one circuit on the same examples; the MDM's metric has another unit."""
    generator = np.random.default_rng(run)
    circuit = generator.normal(size=GRAPH.num_edges) * (generator.random(GRAPH.num_edges) < 0.1)
    both = circuit + shared * generator.normal(size=(EXAMPLES, GRAPH.num_edges))
    arm, mdm = both + generator.normal(size=(2, EXAMPLES, GRAPH.num_edges))
    return arm, 5 * mdm


def assert_no_more_than_stated(p: np.ndarray) -> None:
    """Fewer rejections at every level than a sound test exceeds once in a thousand times."""
    for level in LEVELS:
        assert (p <= level).sum() <= binom.ppf(0.999, len(p), level), level


@pytest.fixture(scope="module", params=[0.0, 2.0], ids=["own noise", "shared noise"])
def likeness_p(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """P-value of no difference by measure and run."""
    found: dict[str, list[float]] = {}
    for run in range(RUNS):
        arm, mdm = pool(run, shared=request.param)
        wanted = Wanted(edges=(SIZE,), beyond=(SIZE,))
        pair = MeasuredPair.of(graph=GRAPH, arm_scores=arm, mdm_scores=mdm, wanted=wanted)
        point = pair.on_pool()[SIZE]
        draws = pair.on_exchanges(exchange_masks(EXAMPLES, DRAWS, seed=run))[SIZE]
        for name, value in point.items():
            p = permutation_p(-value[0], -draws[name])
            found.setdefault(name, []).append(float(p[0]))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("measure", ["edges", "nodes", "weighted", "rank", "sign"])
def test_equal_models_are_told_apart_no_more_often_than_stated(
    likeness_p: dict[str, np.ndarray], measure: str
) -> None:
    assert_no_more_than_stated(likeness_p[measure])


def test_continuous_measures_reject_as_often_as_stated(likeness_p: dict[str, np.ndarray]) -> None:
    """Without ties the test is exact, not only safe."""
    for measure in ("nodes", "weighted", "rank"):
        for level in LEVELS:
            count = (likeness_p[measure] <= level).sum()
            assert count >= binom.ppf(0.001, RUNS, level), (measure, level)


def test_any_of_four_tasks_is_rejected_no_more_often_than_stated_after_holm(
    likeness_p: dict[str, np.ndarray],
) -> None:
    families = likeness_p["weighted"].reshape(-1, 4)
    smallest = np.array([holm(family).min() for family in families])
    assert_no_more_than_stated(smallest)
    uncorrected = (families <= 0.2).any(axis=1).mean()
    assert uncorrected > 0.4  # 1 - 0.8^4 = 0.59: there was something to correct


def test_equal_models_have_moved_no_more_often_than_stated() -> None:
    centre, distance = [], []
    for run in range(RUNS):
        arm, mdm = pool(run)
        swapped = exchange_masks(EXAMPLES, 39, seed=run)
        swapped = np.concatenate([np.zeros((1, EXAMPLES), dtype=bool), swapped])
        (half,) = split_halves(EXAMPLES, 1, seed=run)
        pair = MeasuredPair.of(
            graph=GRAPH, arm_scores=arm, mdm_scores=mdm, wanted=Wanted(depth=(SIZE,))
        )
        sums = LayerSums(values=pair.on_exchanged_halves(swapped, half)[SIZE]["crossed"])
        shifts = dict(zip(SHIFTS, shift_rows(*sums.layers("source")).T, strict=True))
        moved, apart = shifts["centre_of_mass"], shifts["distance"]
        centre.append(two_sided_p(moved[:1], moved[1:, None])[0])
        distance.append(permutation_p(apart[:1], apart[1:, None])[0])
    assert_no_more_than_stated(np.array(centre))
    assert_no_more_than_stated(np.array(distance))


def test_circuits_alike_in_layout_alone_look_alike_beyond_it_no_more_often_than_stated() -> None:
    groups = edge_groups(GRAPH)
    p = []
    for run in range(RUNS):
        arm, mdm = pool(run)
        mdm = mdm[:, order_within(groups, np.random.default_rng(10_000 + run))]
        pair = MeasuredPair.of(
            graph=GRAPH, arm_scores=arm, mdm_scores=mdm, wanted=Wanted(edges=(SIZE,))
        )
        draws = pair.on_shuffles(groups, num_draws=39, num_orders=0, seed=run)[SIZE]["edges"]
        p.append(float(permutation_p(pair.on_pool()[SIZE]["edges"][0], draws)[0]))
    assert_no_more_than_stated(np.array(p))
