"""The record of position flow: scores by span, for every example and step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float, Int

from mechshift.attribution.score_record import joined_clusters
from mechshift.axes import DIRECTIONS
from mechshift.errors import AttributionError
from mechshift.summaries import Summarised

POSITION_KINDS = ("q", "k", "v", "mlp")
"""Kinds of destination that a layer has."""

FLOWS = ("net", "magnitude", "by_direction", "into_readers")
READS = ("score_at", "magnitude_at", "logits_score_at", "logits_magnitude_at")
METRICS = ("clean_metric", "corrupted_metric")
TABLES = (*FLOWS, *READS, *METRICS)
"""Arrays with an entry for every example and step."""

WHOLE_TEXT = "text"
"""The span of a flow that is not cut up by spans."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PositionFlow(Summarised):
    """Flow between spans, and scores at spans, per example and denoising step.

    Everything is in units of the metric, positive where corruption hurts, and 0 at steps that an
    example does not have. A *magnitude* is a sum of absolute values: each is taken of the score of
    one head's k or v at one pair of positions (or of one destination at one position), on one
    example and step, after averaging over the points of the path and summing over sources.
    """

    spans: tuple[str, ...]
    """Names along the span axes; the last ones are `denoising.GENERAL_SPANS`."""
    net: Float[np.ndarray, "example step layer flow_kind query_span source_span"]
    """Flow from one span to another, over k and over v. Its sum over spans is the summed score of
    all edges into the layer's k, or v, destinations."""
    magnitude: Float[np.ndarray, "example step layer flow_kind query_span source_span"]
    """The same of absolute values."""
    by_direction: Float[np.ndarray, "example step layer flow_kind direction"]
    """Magnitude of flow by `DIRECTIONS`."""
    into_readers: Float[np.ndarray, "example step layer flow_kind source_span"]
    """Magnitude of flow into the positions whose logits are scored at this step."""
    score_at: Float[np.ndarray, "example step layer position_kind span"]
    """Summed score of all edges into a layer's destinations of a kind, by the span in which they
    read the residual stream."""
    magnitude_at: Float[np.ndarray, "example step layer position_kind span"]
    logits_score_at: Float[np.ndarray, "example step span"]
    """The same for `logits`."""
    logits_magnitude_at: Float[np.ndarray, "example step span"]
    clusters: Int[np.ndarray, " example"] | None = None
    """Number of each example's cluster; None: every example is a cluster of its own."""
    num_steps: Int[np.ndarray, " example"]
    """Denoising steps of each example."""
    clean_metric: Float[np.ndarray, "example step"]
    corrupted_metric: Float[np.ndarray, "example step"]

    def facts(self) -> dict[str, object]:
        """What was traced."""
        return {
            "examples": len(self.num_steps),
            "denoising steps": self.clean_metric.shape[1],
            "layers": self.num_layers,
            "spans": ", ".join(self.spans),
        }

    def __post_init__(self) -> None:
        num_spans, shapes = len(self.spans), part_shapes(self.num_layers, len(self.spans))
        cells = self.clean_metric.shape
        for name in (*FLOWS, *READS):
            shape, expected = getattr(self, name).shape, (*cells, *shapes[name])
            if shape != expected:
                raise AttributionError(
                    f"{name} has shape {shape}, not {expected} as {num_spans} spans and the"
                    " metrics need."
                )

    def of_examples(self, examples: Int[np.ndarray, " some"]) -> "PositionFlow":
        """The flow of some examples alone, by their places; steps that none has are left out."""
        most = int(self.num_steps[examples].max())
        tables = {name: getattr(self, name)[examples, :most] for name in TABLES}
        return replace(
            self,
            num_steps=self.num_steps[examples],
            clusters=None if self.clusters is None else self.clusters[examples],
            **tables,
        )

    def of_whole_text(self) -> "PositionFlow":
        """Summed over spans and over steps: of one span, the whole text, and of one step."""
        given, wanted = part_shapes(self.num_layers, len(self.spans)), part_shapes(self.num_layers)
        tables: dict[str, np.ndarray] = {}
        for name in (*FLOWS, *READS):
            shapes = zip(given[name], wanted[name], strict=True)
            over_spans = [axis for axis, (size, one) in enumerate(shapes, start=2) if size != one]
            tables[name] = getattr(self, name).sum(axis=(1, *over_spans), dtype=np.float64)
            tables[name] = tables[name].reshape(-1, 1, *wanted[name])
        for name in METRICS:
            tables[name] = getattr(self, name).sum(axis=1, keepdims=True, dtype=np.float64)
        return replace(self, spans=(WHOLE_TEXT,), num_steps=np.ones_like(self.num_steps), **tables)

    @property
    def num_examples(self) -> int:
        return len(self.num_steps)

    @property
    def num_layers(self) -> int:
        return int(self.net.shape[2])


def part_shapes(num_layers: int, num_spans: int = 1) -> dict[str, tuple[int, ...]]:
    """Shape of each array of `PositionFlow` for one example and step."""
    kinds = len(POSITION_KINDS)
    return {
        "net": (num_layers, 2, num_spans, num_spans),
        "magnitude": (num_layers, 2, num_spans, num_spans),
        "by_direction": (num_layers, 2, len(DIRECTIONS)),
        "into_readers": (num_layers, 2, num_spans),
        "score_at": (num_layers, kinds, num_spans),
        "magnitude_at": (num_layers, kinds, num_spans),
        "logits_score_at": (num_spans,),
        "logits_magnitude_at": (num_spans,),
    }


def concatenate_position_flows(chunks: Sequence[PositionFlow]) -> PositionFlow:
    """Join flows of consecutive examples; shorter step axes are filled with 0.

    Raises:
        AttributionError: no chunks, or chunks of different spans or numbers of layers.
    """
    if not chunks:
        raise AttributionError("there is no position flow to join; score at least one example.")
    kinds = {(chunk.spans, chunk.num_layers) for chunk in chunks}
    if len(kinds) > 1:
        raise AttributionError(
            f"position flow of different spans or layers cannot be joined: {sorted(kinds)}; give"
            " every chunk the examples of the whole pool."
        )
    most_steps = max(chunk.clean_metric.shape[1] for chunk in chunks)
    joined = {
        field.name: np.concatenate(
            [_with_steps(getattr(chunk, field.name), most_steps) for chunk in chunks]
        )
        for field in fields(PositionFlow)
        if field.name not in ("spans", "clusters")
    }
    clusters = joined_clusters([chunk.clusters for chunk in chunks])
    return PositionFlow(spans=chunks[0].spans, clusters=clusters, **joined)


def _with_steps(values: np.ndarray, num_steps: int) -> np.ndarray:
    """Fill the step axis with zeros; `num_steps`, the field, has none."""
    if values.ndim == 1:
        return values
    missing = num_steps - values.shape[1]
    return np.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))
