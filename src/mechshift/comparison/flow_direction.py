"""Direction of attributed flow in each model, and the spans of the text between which it runs.

1. A model's flow holds, for each example, sums of |flow| over heads and pairs of positions, so a
   share is a ratio of two such sums, each added up over the examples.
2. Shares by direction: of all k/v flow, of one layer's, of k's and of v's, of one step's. What
   flows from right to left has its source to the right of the query that takes it up; causal
   attention makes it exactly 0.
3. Shares by span: who reads from where, which step reads from which span, and in which span each
   kind of destination reads.
4. The same on every bootstrap resample of the examples, for intervals of both models and of their
   difference, MDM minus ARM (the same resample for both). Per step, the examples that have it are
   resampled.

A share of nothing is undefined and NaN: of a layer, kind or step over which nothing flows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.axes import DIRECTIONS, GENERAL_SPANS
from mechshift.comparison.scores import MIN_EXAMPLES, Flow, example_clusters
from mechshift.comparison.settings import ComparisonSettings
from mechshift.errors import ComparisonError
from mechshift.statistics import Estimates, bootstrap_weights

RIGHT_TO_LEFT = DIRECTIONS.index("right-to-left")
"""Place of the direction that causal attention lacks, on the axis `direction`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RightToLeft:
    """Share of k/v |flow| from right to left, or a difference of such shares."""

    overall: Estimates
    """All three `DIRECTIONS`; a model's sum to 1, a difference's to 0."""
    overall_draws: Float[np.ndarray, "resample direction"]
    """`overall` in each resample, of which its intervals are made: two models' shares can be
    subtracted on the same resamples."""
    by_layer: Estimates
    """Right to left, of each layer's flow."""
    by_kind: Estimates
    """Right to left, of the flow over k and over v."""
    by_step: Estimates
    """Right to left, of each denoising step's flow. No interval at a step of fewer than
    `MIN_EXAMPLES` examples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanFlow:
    """Between which spans one model's flow runs; span axes are those of `DirectionOfFlow.spans`."""

    share: Estimates
    """Share of k/v |flow| by `query_span, source_span`; sums to 1."""
    net: Float[np.ndarray, "query_span source_span"]
    """Mean signed flow of an example, summed over steps, layers and heads [metric units]."""
    by_step: Float[np.ndarray, "step source_span"]
    """Share of a step's |flow| by source span; rows sum to 1."""
    into_readers: Float[np.ndarray, "step source_span"]
    """The same, of what flows into the positions whose logits the step scores."""
    read_at: Float[np.ndarray, "destination_kind span"]
    """Share of |score| of all edges into destinations of a kind (`graph.KIND_NAMES`) by the span
    in which they read; rows sum to 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionOfFlow:
    """Direction and spans of both models' flow."""

    spans: tuple[str, ...]
    """The spans of both models; one that a model's text lacks has no flow there."""
    arm: RightToLeft
    mdm: RightToLeft
    shift: RightToLeft
    """MDM minus ARM."""
    arm_spans: SpanFlow
    mdm_spans: SpanFlow
    num_layers: int
    num_examples: int
    step_num_examples: Int[np.ndarray, " step"]
    """Examples that have each step."""
    num_resamples: int
    level: float


def direction_of_flow(arm: Flow, mdm: Flow, settings: ComparisonSettings) -> DirectionOfFlow:
    """Compare the direction and the spans of two models' flow.

    Args:
        arm: flow of the ARM.
        mdm: flow of the MDM on the same examples in the same order, by the same schedule.
        settings: resamples, level and seed.

    Raises:
        ComparisonError: the flows are of other examples, steps or layers, too few, or all zero.
    """
    _check_comparable(arm, mdm)
    spans = _joint_spans(arm.spans, mdm.spans)
    has_step = np.arange(arm.clean_metric.shape[1]) < arm.num_steps[:, None]
    clusters = example_clusters(arm)
    weights = _weights(clusters, settings)
    by_side = [_direction_rows(flow, weights, has_step, clusters, settings) for flow in (arm, mdm)]
    difference = {name: by_side[1][name] - by_side[0][name] for name in by_side[0]}
    level = settings.level
    return DirectionOfFlow(
        spans=spans,
        arm=_right_to_left(by_side[0], level, (0.0, 1.0)),
        mdm=_right_to_left(by_side[1], level, (0.0, 1.0)),
        shift=_right_to_left(difference, level, (-1.0, 1.0)),
        arm_spans=_span_flow(arm, spans, weights, level),
        mdm_spans=_span_flow(mdm, spans, weights, level),
        num_layers=arm.num_layers,
        num_examples=arm.num_examples,
        step_num_examples=has_step.sum(axis=0),
        num_resamples=settings.num_resamples,
        level=level,
    )


Rows = Mapping[str, Float[np.ndarray, "row entry"]]
"""Shares by field of `RightToLeft`; row 0 is the pool, the others its resamples."""


def _direction_rows(
    flow: Flow,
    weights: Float[np.ndarray, "row example"],
    has_step: Bool[np.ndarray, "example step"],
    clusters: Int[np.ndarray, " example"],
    settings: ComparisonSettings,
) -> Rows:
    sums = flow.by_direction.astype(np.float64)
    by_step = [
        _right_to_left_share(
            sums[present, step].sum(axis=(1, 2)), _weights(clusters[present], settings)
        )
        for step, present in enumerate(has_step.T)
    ]
    overall = sums.sum(axis=(1, 2, 3))
    return {
        "overall": share_rows(weights, overall, overall.sum(axis=1, keepdims=True)),
        "by_layer": _right_to_left_share(sums.sum(axis=(1, 3)), weights),
        "by_kind": _right_to_left_share(sums.sum(axis=(1, 2)), weights),
        "by_step": np.stack(by_step, axis=1),
    }


def _right_to_left_share(
    sums: Float[np.ndarray, "example *entry direction"], weights: Float[np.ndarray, "row example"]
) -> Float[np.ndarray, "row ..."]:
    return share_rows(weights, sums[..., RIGHT_TO_LEFT], sums.sum(axis=-1))


def _weights(
    clusters: Int[np.ndarray, " present"], settings: ComparisonSettings
) -> Float[np.ndarray, "row present"]:
    """Equal weights in row 0, then those of the resamples; NaN resamples of too few examples."""
    count = len(clusters)
    resamples = np.full((settings.num_resamples, count), np.nan)
    if count >= MIN_EXAMPLES:
        resamples = bootstrap_weights(clusters, settings.num_resamples, settings.seed)
    return np.concatenate([np.full((1, count), 1.0 / count), resamples])


def _right_to_left(rows: Rows, level: float, bounds: tuple[float, float]) -> RightToLeft:
    estimates = {
        name: Estimates.from_rows(values, level=level, bounds=bounds)
        for name, values in rows.items()
    }
    return RightToLeft(**estimates, overall_draws=rows["overall"][1:])


def _span_flow(
    flow: Flow,
    spans: Sequence[str],
    weights: Float[np.ndarray, "row example"],
    level: float,
) -> SpanFlow:
    place = np.array([[name == span for span in spans] for name in flow.spans], dtype=np.float64)
    magnitude = place.T @ flow.magnitude.sum(axis=(1, 2, 3), dtype=np.float64) @ place
    net = place.T @ flow.net.sum(axis=(1, 2, 3), dtype=np.float64).mean(axis=0) @ place
    of_steps = flow.magnitude.sum(axis=(0, 2, 3, 4), dtype=np.float64) @ place
    into_readers = flow.into_readers.sum(axis=(0, 2, 3), dtype=np.float64) @ place
    read_at = np.concatenate(
        [
            flow.magnitude_at.sum(axis=(0, 1, 2), dtype=np.float64),
            flow.logits_magnitude_at.sum(axis=(0, 1), dtype=np.float64)[None],
        ]
    )
    share = share_rows(weights, magnitude, magnitude.sum(axis=(1, 2), keepdims=True))
    return SpanFlow(
        share=Estimates.from_rows(share, level=level, bounds=(0.0, 1.0)),
        net=net,
        by_step=_rows_to_one(of_steps),
        into_readers=_rows_to_one(into_readers),
        read_at=_rows_to_one(read_at @ place),
    )


def share_rows(
    weights: Float[np.ndarray, "row example"],
    part: Float[np.ndarray, "example ..."],
    whole: Float[np.ndarray, "example ..."],
) -> Float[np.ndarray, "row ..."]:
    """Weighted sum of `part` over that of `whole`, for each row of weights; NaN where it is 0 / 0.

    Args:
        weights: of the examples in the pool and in its resamples.
        part: what is counted, at most `whole`.
        whole: what it is a share of; axes of size 1 stand for all entries.
    """
    sums = np.tensordot(weights, part, axes=1)
    wholes = np.broadcast_to(np.tensordot(weights, whole, axes=1), sums.shape)
    return np.divide(sums, wholes, out=np.full_like(sums, np.nan), where=wholes > 0)


def _rows_to_one(sums: Float[np.ndarray, "row span"]) -> Float[np.ndarray, "row span"]:
    whole = sums.sum(axis=1, keepdims=True)
    return np.divide(sums, whole, out=np.full_like(sums, np.nan), where=whole > 0)


def _joint_spans(arm: tuple[str, ...], mdm: tuple[str, ...]) -> tuple[str, ...]:
    named = dict.fromkeys(name for name in (*mdm, *arm) if name not in GENERAL_SPANS)
    return (*named, *GENERAL_SPANS)


def _check_comparable(arm: Flow, mdm: Flow) -> None:
    if not np.array_equal(arm.num_steps, mdm.num_steps):
        raise ComparisonError(
            f"the ARM's flow has {arm.num_steps.sum()} steps on {arm.num_examples} examples and the"
            f" MDM's {mdm.num_steps.sum()} on {mdm.num_examples}; score both on the same pool by"
            " the same schedule."
        )
    if not np.array_equal(example_clusters(arm), example_clusters(mdm)):
        raise ComparisonError(
            "the examples of the ARM's flow are not in the clusters of the MDM's; score both on the"
            " same pool."
        )
    if arm.num_layers != mdm.num_layers:
        raise ComparisonError(
            f"the ARM's flow is of {arm.num_layers} layers and the MDM's of {mdm.num_layers};"
            " layers can be compared within one architecture only."
        )
    if arm.num_examples < MIN_EXAMPLES:
        raise ComparisonError(
            f"{arm.num_examples} examples are too few to say how certain a comparison is;"
            f" use a pool of at least {MIN_EXAMPLES}."
        )
    for name, flow in (("ARM", arm), ("MDM", mdm)):
        if not flow.by_direction.any():
            raise ComparisonError(
                f"nothing flows through any head of the {name}: there is no direction to compare."
                " Check that its metric differs between clean and corrupted prompts."
            )
