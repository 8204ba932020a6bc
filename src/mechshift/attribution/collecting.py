"""Collection of batches' scores into one record in pool order.

A batch holds canvases of similar length, from any examples and steps. Its rows and slots are sorted
back to examples and steps here, for every attribution method; `collect_along_paths` goes through
the batches of all methods that take gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.path import CLEAN, CORRUPTED, InputPath, input_path
from mechshift.denoising import Canvas, CanvasBatch, batch_canvases, example_clusters
from mechshift.errors import AttributionError
from mechshift.graph import Graph
from mechshift.models import LanguageModel


def chunk_canvases(canvases: Sequence[Canvas], num_examples: int) -> list[list[Canvas]]:
    """Cut canvases, in pool order, into chunks that hold `num_examples` whole examples each.

    Scoring chunk by chunk and joining with `concatenate_scores` gives the scores of all, so a
    chunk can be saved before the next is begun.
    """
    if num_examples < 1:
        raise AttributionError(f"a chunk of {num_examples} examples is impossible; use at least 1.")
    by_example: dict[int, list[Canvas]] = {}
    for canvas in canvases:
        by_example.setdefault(canvas.example, []).append(canvas)
    groups = list(by_example.values())
    return [
        [canvas for group in groups[start : start + num_examples] for canvas in group]
        for start in range(0, len(groups), num_examples)
    ]


class ScoreCollector:
    """Fills arrays of scores and metrics, batch by batch."""

    def __init__(self, canvases: Sequence[Canvas], dtype: torch.dtype, *axes: int) -> None:
        """Start with zeros for the examples of `canvases`, a run of consecutive pool rows.

        Args:
            canvases: of all examples.
            dtype: the model's.
            axes: sizes of the axes of one step's score, for example the number of edges.

        Raises:
            AttributionError: no canvases, or a pool row or a step is missing between the first and
                the last.
        """
        steps = steps_by_example(canvases)
        self._first_example = min(steps)
        shape = (len(steps), max(steps.values()))
        float_type = score_dtype(dtype)
        self.num_steps: Int[np.ndarray, " example"] = np.array(
            [steps[row] for row in sorted(steps)]
        )
        self.clusters: Int[np.ndarray, " example"] = example_clusters(canvases)
        self.values: Float[np.ndarray, "example step *axes"] = np.zeros(
            (*shape, *axes), dtype=float_type
        )
        self.clean_metric: Float64[np.ndarray, "example step"] = np.zeros(shape)
        self.corrupted_metric: Float64[np.ndarray, "example step"] = np.zeros(shape)

    def add(
        self,
        batch: CanvasBatch,
        scores: Float[Tensor, "batch slot *axes"],
        *,
        clean_metric: Float[Tensor, "batch slot"],
        corrupted_metric: Float[Tensor, "batch slot"],
    ) -> None:
        """Add a batch's scores and metrics where their examples and steps belong.

        Raises:
            AttributionError: a score is infinite or not a number.
        """
        finite = scores.isfinite().flatten(1).all(dim=1).cpu().numpy()
        if not finite.all():
            raise AttributionError(
                f"the scores of example {batch.example[~finite].min()} (pool row) are not finite:"
                " the model's activations overflow on it; load the model in float32 or bfloat16."
            )
        on_host = scores.cpu().numpy()
        clean, corrupted = (one.double().cpu().numpy() for one in (clean_metric, corrupted_metric))
        # One after the other: canvases of one example may count as one step (`as_one_step`).
        for row, slot in zip(*np.nonzero(batch.step >= 0), strict=True):
            cell = batch.example[row] - self._first_example, batch.step[row, slot]
            self.values[cell] += on_host[row, slot]
            self.clean_metric[cell] += clean[row, slot]
            self.corrupted_metric[cell] += corrupted[row, slot]

    def collected(self) -> dict[str, Any]:
        """What every record of scores holds beside its graph, once every batch has been added."""
        return {
            "values": self.values,
            "clusters": self.clusters,
            "num_steps": self.num_steps,
            "clean_metric": self.clean_metric,
            "corrupted_metric": self.corrupted_metric,
        }

    def edge_scores(self, graph: Graph) -> EdgeScores:
        """The record of edges, once every batch has been added."""
        from_input = np.flatnonzero(graph.edge_source == 0)
        input_score = self.values[..., from_input].sum(axis=-1, dtype=np.float64)
        return EdgeScores(graph=graph, input_score=input_score, **self.collected())


def collect_along_paths(
    score: Callable[[InputPath], Float[Tensor, "batch slot *axes"]],
    axes: tuple[int, ...],
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    grouped: bool,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> ScoreCollector:
    """Score every batch along its path; `axes` are the sizes of one step's score."""
    collector = ScoreCollector(canvases, model.dtype, *axes)
    for batch in batch_canvases(model, canvases, batch_size):
        with input_path(model, batch, metric, grouped=grouped) as path:
            scores = score(path)
            clean, corrupted = path.end_metric(CLEAN), path.end_metric(CORRUPTED)
        collector.add(batch, scores, clean_metric=clean, corrupted_metric=corrupted)
        if progress is not None:
            progress(batch.num_rows)
    return collector


def score_dtype(dtype: torch.dtype) -> str:
    """Type of the scores of a model of some type."""
    return "float64" if dtype == torch.float64 else "float32"


def steps_by_example(canvases: Sequence[Canvas]) -> dict[int, int]:
    """Number of denoising steps of each example.

    Raises:
        AttributionError: no canvases, or an example or step is missing.
    """
    if not canvases:
        raise AttributionError("there is nothing to score: no canvases were given.")
    steps: dict[int, set[int]] = {}
    for canvas in canvases:
        steps.setdefault(canvas.example, set()).update(r.step for r in canvas.readouts)
    missing = set(range(min(steps), max(steps) + 1)) - set(steps)
    if missing:
        raise AttributionError(
            f"canvases of examples {min(steps)} to {max(steps)} lack example"
            f" {min(missing)}; score consecutive examples."
        )
    for example, found in steps.items():
        if len(found) <= max(found):
            missing = set(range(max(found))) - found
            raise AttributionError(
                f"the canvases of example {example} lack step {min(missing)} of"
                f" {max(found) + 1}; score all canvases of an example together."
            )
    return {example: len(found) for example, found in steps.items()}
