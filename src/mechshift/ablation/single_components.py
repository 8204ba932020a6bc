"""Ablation of single components: every head and MLP, one at a time.

A component is a head or an MLP: the sources of the graph, in its order, without `input`. For each:

    drop(u) = metric(clean) - metric(clean tokens, with u's output replaced)

Under `resample` this is what node attribution estimates to first order. Components are stacked
along the batch axis: a forward pass holds every canvas of a batch once for each of up to
`components_per_pass` components. `num_forward_passes` says how many passes that takes. A pass
begins at the first layer that it ablates, so on average half of the layers is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechshift.ablation.passes import ExampleSums, ablated_runs, check_examples, recorded_run
from mechshift.ablation.replacements import PositionMeans, Substitutes, position_means
from mechshift.ablation.settings import Replacement
from mechshift.denoising import Canvas, batch_canvases, example_clusters
from mechshift.errors import AblationError
from mechshift.graph import Graph
from mechshift.interventions import ChosenOutputs, recorded_streams
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class SingleAblations:
    """The metric of one model without each of its components, example by example."""

    graph: Graph
    replacement: Replacement
    metric_name: str
    metric: Float64[np.ndarray, "example component"]
    """Metric units, summed over steps; components are heads and MLPs in graph order."""
    clean_metric: Float64[np.ndarray, " example"]
    clusters: Int[np.ndarray, " example"]
    """Number of each example's cluster."""

    def __post_init__(self) -> None:
        assert self.metric.shape == (len(self.clean_metric), self.graph.num_sources - 1)

    @property
    def num_examples(self) -> int:
        return len(self.clean_metric)

    @property
    def drop(self) -> Float64[np.ndarray, "example component"]:
        """What ablating each component costs [metric units]; positive: it hurts."""
        return self.clean_metric[:, None] - self.metric

    def names(self) -> list[str]:
        """Of the components, such as `a0.h1` and `m2`."""
        return list(self.graph.source_names[1:])


def ablate_single_components(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    replacement: Replacement = "zero",
    mean_canvases: Sequence[Canvas] = (),
    components_per_pass: int = 16,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> SingleAblations:
    """Ablate every head and every MLP by itself.

    Args:
        model: changed by hooks that are gone afterwards.
        canvases: of every example of a pool, in any order.
        metric: a name in `denoising.METRICS`.
        replacement: what the component writes instead.
        mean_canvases: canvases of other examples, for the replacement `mean`.
        components_per_pass: components in one forward pass; it does not change a drop.
        batch_size: canvases of one batch; a pass holds up to this times `components_per_pass` rows.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AblationError: a missing example, fewer than one component in a pass, no means where they
            are needed, or a metric that is not finite.
    """
    num_examples, graph = check_examples(canvases), model.graph()
    passes = _component_passes(graph, components_per_pass)
    every_node = _nodes(graph, np.ones((1, graph.num_sources), dtype=bool))
    no_node = _nodes(graph, np.zeros((1, graph.num_sources), dtype=bool))
    means: PositionMeans | None = None
    if replacement == "mean":
        means = position_means(model, mean_canvases, every_node, batch_size=batch_size)
    clean = ExampleSums(num_examples)
    sums = [ExampleSums(num_examples) for _ in range(graph.num_sources - 1)]
    for batch in batch_canvases(model, canvases, batch_size):
        with recorded_streams(model.parts) as streams:
            clean_logits = recorded_run(model, batch, no_node, corrupted=False).logits
        clean.add(model, batch, metric, clean_logits, clean_logits)
        corrupted = None
        if replacement == "resample":
            corrupted = recorded_run(model, batch, every_node, corrupted=True).outputs
        substitutes = Substitutes(means=means, corrupted=corrupted)
        waiting = iter(sums)
        for chosen in passes:
            for logits in ablated_runs(model, batch, chosen, replacement, substitutes, streams):
                next(waiting).add(model, batch, metric, logits, clean_logits)
        if progress is not None:
            progress(batch.num_rows)
    return SingleAblations(
        graph=graph,
        replacement=replacement,
        metric_name=metric,
        metric=np.stack([of_component.metric for of_component in sums], axis=1),
        clean_metric=clean.metric,
        clusters=example_clusters(canvases),
    )


def num_forward_passes(graph: Graph, components_per_pass: int, replacement: Replacement) -> int:
    """Forward passes for each batch of canvases: clean, corrupted for `resample`, and ablated.

    `mean` takes one more for each batch of held-out canvases, once.
    """
    ablated = len(_component_passes(graph, components_per_pass))
    return 1 + (replacement == "resample") + ablated


def _component_passes(graph: Graph, components_per_pass: int) -> list[ChosenOutputs]:
    """One run for each component, so many in a pass."""
    if components_per_pass < 1:
        raise AblationError(f"components_per_pass is {components_per_pass}; it must be at least 1.")
    each = np.eye(graph.num_sources, dtype=bool)[1:]
    return [
        _nodes(graph, each[start : start + components_per_pass])
        for start in range(0, len(each), components_per_pass)
    ]


def _nodes(graph: Graph, nodes: Bool[np.ndarray, "run source"]) -> ChosenOutputs:
    no_neurons = np.zeros((len(nodes), graph.num_layers, 0), dtype=bool)
    return ChosenOutputs(graph=graph, nodes=nodes, neurons=no_neurons)
