"""Flow made by hand: eleven examples, of which four have a second step."""

from dataclasses import fields, replace

import numpy as np
import pytest

from mechshift.attribution import DIRECTIONS, PositionFlow, position_flow
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.comparison import (
    MIN_EXAMPLES,
    ComparisonSettings,
    DirectionOfFlow,
    direction_of_flow,
)
from mechshift.denoising import GENERAL_SPANS
from mechshift.errors import ComparisonError
from mechshift.flat_records import from_flat, to_flat
from mechshift.statistics import Estimates, bootstrap_weights
from mechshift.testing import ClueStrengths, two_sided_reader

NUM_LAYERS = 2


@pytest.fixture
def make_flow():
    """Zeros but for what is given, for named spans."""

    def make(spans=("IO",), **given):
        names = (*spans, *GENERAL_SPANS)
        shapes = part_shapes(NUM_LAYERS, len(names))
        arrays = {name: np.zeros((11, 2, *shape)) for name, shape in shapes.items()}
        return PositionFlow(
            spans=names,
            num_steps=np.repeat([2, 1], [4, 7]),
            clean_metric=np.zeros((11, 2)),
            corrupted_metric=np.zeros((11, 2)),
            **{**arrays, **given},
        )

    return make


def directions(seed, right_to_left=True):
    """Random |flow| in the steps that exist; layer 1 has no flow over k."""
    flow = np.random.default_rng(seed).uniform(1, 2, size=(11, 2, NUM_LAYERS, 2, 3))
    flow[4:, 1] = 0
    flow[:, :, 1, 0] = 0
    if not right_to_left:
        flow[..., DIRECTIONS.index("right-to-left")] = 0
    return flow


def test_a_share_is_the_ratio_of_sums_over_examples(make_flow, quick: ComparisonSettings) -> None:
    flow = directions(0)
    found = direction_of_flow(
        make_flow(by_direction=directions(1, False)), make_flow(by_direction=flow), quick
    ).mdm
    whole = flow.sum()
    np.testing.assert_allclose(found.overall.value, flow.sum(axis=(0, 1, 2, 3)) / whole)
    for layer in range(NUM_LAYERS):
        of_layer = flow[:, :, layer]
        assert found.by_layer.value[layer] == pytest.approx(of_layer[..., 0].sum() / of_layer.sum())
    for kind in range(2):
        of_kind = flow[:, :, :, kind]
        assert found.by_kind.value[kind] == pytest.approx(of_kind[..., 0].sum() / of_kind.sum())
    for step in range(2):
        of_step = flow[:, step]
        assert found.by_step.value[step] == pytest.approx(of_step[..., 0].sum() / of_step.sum())


def test_flow_of_some_examples_has_their_shares(make_flow, quick: ComparisonSettings) -> None:
    """The last ten have one step each, the first four two."""
    flow = directions(0)
    whole = make_flow(by_direction=flow)
    some = np.arange(1, 11)
    found = direction_of_flow(*[whole.of_examples(some)] * 2, quick)
    np.testing.assert_allclose(
        found.mdm.overall.value, flow[1:].sum(axis=(0, 1, 2, 3)) / flow[1:].sum()
    )
    late = whole.of_examples(np.arange(4, 11))
    assert late.clean_metric.shape == (7, 1) and late.net.shape[:2] == (7, 1)
    assert late.num_steps.tolist() == [1] * 7


def test_an_arms_share_from_right_to_left_is_zero_with_an_interval_from_zero_to_zero(
    quick: ComparisonSettings,
) -> None:
    """Through the whole chain: hand-made models, attribution and comparison."""
    flows = {}
    for kind in ("arm", "mdm"):
        reader = two_sided_reader(kind, strengths=ClueStrengths(left=1.0, here=1.0, right=2.0))
        # Four examples are too few for intervals; the same ones three times are enough.
        flow = position_flow(reader.model, reader.canvases, reader.examples, metric="logit_diff")
        flows[kind] = repeated(flow, 3)
    found = direction_of_flow(flows["arm"], flows["mdm"], quick)
    zero = DIRECTIONS.index("right-to-left")
    for estimates, at in (
        (found.arm.overall, zero),
        (found.arm.by_layer, 0),
        (found.arm.by_kind, 1),
        (found.arm.by_step, 0),
    ):
        assert (estimates.value[at], estimates.low[at], estimates.high[at]) == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(found.mdm.overall.value, [0.5, 0.25, 0.25], atol=1e-4)
    np.testing.assert_allclose(found.shift.overall.value, [0.5, 0.0, -0.5], atol=1e-4)
    assert found.shift.by_step.low[0] > 0.49
    # Nothing flows over keys, so there is no share of it.
    assert np.isnan(found.mdm.by_kind.value[0]) and found.mdm.by_kind.at(0) is None


def repeated(flow, times):
    arrays = {
        field.name: np.concatenate([getattr(flow, field.name)] * times)
        for field in fields(PositionFlow)
        if field.name != "spans"
    }
    return PositionFlow(spans=flow.spans, **arrays)


def test_the_interval_of_a_difference_pairs_the_two_models(
    make_flow, quick: ComparisonSettings
) -> None:
    flow = directions(0)
    flow[::2, ..., 0] *= 9  # examples differ far more than the models do
    one = make_flow(by_direction=flow)
    other = flow.copy()
    other[..., 0] *= 1.01
    found = direction_of_flow(one, make_flow(by_direction=other), quick)

    def width(estimates, at=0):
        return estimates.high[at] - estimates.low[at]

    assert width(found.shift.overall) < 0.1 * width(found.mdm.overall)
    same = direction_of_flow(one, one, quick).shift
    for name in ("overall", "by_layer", "by_kind", "by_step"):
        estimates: Estimates = getattr(same, name)
        assert not estimates.value.any()
    assert width(same.overall) == 0


def test_draws_of_the_overall_share_are_ratios_of_the_same_resampled_sums(
    make_flow, quick: ComparisonSettings
) -> None:
    flows = [directions(seed) for seed in (0, 1)]
    found = direction_of_flow(*(make_flow(by_direction=flow) for flow in flows), quick)
    weights = bootstrap_weights(11, quick.num_resamples, quick.seed)
    for flow, side in zip(flows, (found.arm, found.mdm), strict=True):
        sums = weights @ flow.sum(axis=(1, 2, 3))
        expected = sums / sums.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(side.overall_draws, expected)
    difference = found.mdm.overall_draws - found.arm.overall_draws
    np.testing.assert_array_equal(found.shift.overall_draws, difference)


def test_a_step_of_few_examples_has_no_interval(make_flow, quick: ComparisonSettings) -> None:
    flow = make_flow(by_direction=directions(0))
    found = direction_of_flow(flow, flow, quick)
    assert found.step_num_examples.tolist() == [11, 4] and 4 < MIN_EXAMPLES <= 11
    assert found.mdm.by_step.at(0) is not None
    assert np.isfinite(found.mdm.by_step.value[1]) and found.mdm.by_step.at(1) is None


def test_spans_are_joined_by_name_and_shares_are_by_reader_and_source(
    make_flow, quick: ComparisonSettings
) -> None:
    """The ARM names `S2`, which the MDM does not, and the other way round."""
    magnitude = np.zeros((11, 2, NUM_LAYERS, 2, 5, 5))
    net = magnitude.copy()
    magnitude[:, 0, 0, 0, 2, 0] = 3  # "scored" reads from the named span
    magnitude[:4, 1, 1, 1, 4, 1] = 11  # "rest" reads from "committed"
    net[:, 0, 0, 0, 2, 0] = -2
    readers = np.zeros((11, 2, NUM_LAYERS, 2, 5))
    readers[:, 0, 0, 0, 0], readers[:, 0, 1, 1, 4] = 1, 3
    at = np.zeros((11, 2, NUM_LAYERS, 4, 5))
    at[:, 0, 0, 3, 0], at[:, 0, 1, 3, 3] = 1, 1
    at_logits = np.zeros((11, 2, 5))
    at_logits[:, 0, 2] = 1
    given = dict(
        by_direction=directions(0),
        magnitude=magnitude,
        net=net,
        into_readers=readers,
        magnitude_at=at,
        logits_magnitude_at=at_logits,
    )
    found = direction_of_flow(make_flow(("S2",), **given), make_flow(("IO",), **given), quick)
    assert found.spans == ("IO", "S2", "committed", "scored", "later", "rest")
    committed, scored, later, rest = (found.spans.index(name) for name in GENERAL_SPANS)
    for side, named in ((found.arm_spans, 1), (found.mdm_spans, 0)):
        # 11 * 3 against 4 * 11.
        expected = np.zeros((6, 6))
        expected[scored, named] = 33 / 77
        expected[rest, committed] = 44 / 77
        np.testing.assert_allclose(side.share.value, expected)
        assert side.net[scored, named] == -2 and np.count_nonzero(side.net) == 1
        np.testing.assert_allclose(side.by_step, [np.eye(6)[named], np.eye(6)[committed]])
        np.testing.assert_allclose(side.into_readers[0, [named, rest]], [0.25, 0.75])
        assert np.isnan(side.into_readers[1]).all()
        np.testing.assert_allclose(side.read_at[3, [named, later]], [0.5, 0.5])
        np.testing.assert_allclose(side.read_at[4], np.eye(6)[scored])
        assert np.isnan(side.read_at[0]).all()


def test_the_record_survives_being_taken_apart(make_flow, quick: ComparisonSettings) -> None:
    flow = make_flow(by_direction=directions(0), magnitude=np.ones((11, 2, NUM_LAYERS, 2, 5, 5)))
    found = direction_of_flow(flow, flow, quick)
    again = from_flat(DirectionOfFlow, to_flat(found))
    assert again.spans == found.spans
    np.testing.assert_array_equal(again.mdm.by_layer.low, found.mdm.by_layer.low)
    np.testing.assert_array_equal(again.arm_spans.share.high, found.arm_spans.share.high)
    stored = from_flat(PositionFlow, to_flat(flow))
    for field in fields(PositionFlow):
        np.testing.assert_array_equal(getattr(stored, field.name), getattr(flow, field.name))


def test_flows_that_cannot_be_compared_are_refused(make_flow, quick: ComparisonSettings) -> None:
    flow = make_flow(by_direction=directions(0))
    other_steps = replace(flow, num_steps=np.ones(11, dtype=int))
    with pytest.raises(ComparisonError, match="has 11 steps on 11 examples and the MDM's 15 on 11"):
        direction_of_flow(other_steps, flow, quick)
    reader = two_sided_reader()
    small = position_flow(reader.model, reader.canvases, reader.examples, metric="logit_diff")
    with pytest.raises(ComparisonError, match="4 examples are too few .* a pool of at least 10"):
        direction_of_flow(small, small, quick)
    shapes = part_shapes(1, 5)
    shallow = replace(flow, **{name: np.zeros((11, 2, *shape)) for name, shape in shapes.items()})
    with pytest.raises(ComparisonError, match="is of 1 layers and the MDM's of 2"):
        direction_of_flow(shallow, flow, quick)
    with pytest.raises(ComparisonError, match="nothing flows through any head of the ARM"):
        direction_of_flow(make_flow(), flow, quick)
