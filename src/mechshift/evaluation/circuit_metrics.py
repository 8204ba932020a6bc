"""Metrics of circuits, example by example and step by step.

For each batch of canvases: one plain forward pass on the clean tokens (the full model), one run
that says what ablated edges carry (the empty circuit; see `ablations`), whose activations are kept,
and one sparse pass for each circuit. Circuits found in one model can be run in the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechshift.circuits import Circuit
from mechshift.denoising import (
    Canvas,
    CanvasBatch,
    batch_canvases,
    example_clusters,
    readout_logits,
    score_readouts,
)
from mechshift.errors import CircuitError, EvaluationError
from mechshift.evaluation._corrupted_cache import corrupted_cache
from mechshift.evaluation._faithfulness import FaithfulnessCurve
from mechshift.evaluation.ablations import Ablation
from mechshift.evaluation.circuit_plan import plan_circuit
from mechshift.evaluation.circuit_run import run_circuit
from mechshift.models import LanguageModel
from mechshift.summaries import Summarised


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CircuitMetrics(Summarised):
    """The metric of several circuits of one graph, of the full model and of the empty circuit.

    Steps that an example does not have hold 0, so that sums over steps are right.
    """

    sizes: Int[np.ndarray, " size"]
    """Edges of each circuit, in the order given."""
    live_sizes: Int[np.ndarray, " size"]
    """Of these, the edges that are not dangling."""
    num_edges: int
    """Edges of the whole graph."""
    metric: Float64[np.ndarray, "size example step"]
    """Every edge outside the circuit ablated [metric units]."""
    full: Float64[np.ndarray, "example step"]
    """The unchanged model on the clean example."""
    empty: Float64[np.ndarray, "example step"]
    """Every edge ablated; under resampling the unchanged model on the corrupted example."""
    num_steps: Int[np.ndarray, " example"]
    clusters: Int[np.ndarray, " example"] | None = None
    """Number of each example's cluster; None: every example is a cluster of its own."""

    def facts(self) -> dict[str, object]:
        """What was run, and what the full model and the empty circuit score."""
        return {
            "circuits": len(self.sizes),
            "edges in them": f"{self.sizes.min(initial=0):,} to {self.sizes.max(initial=0):,}",
            "examples": len(self.num_steps),
            "metric, full model": f"{self.full.sum(axis=1).mean():.3g}",
            "metric, no edge": f"{self.empty.sum(axis=1).mean():.3g}",
        }

    def subset(self, circuits: slice) -> "CircuitMetrics":
        """The same for some of the circuits, by position."""
        return replace(
            self,
            sizes=self.sizes[circuits],
            live_sizes=self.live_sizes[circuits],
            metric=self.metric[circuits],
        )

    def of_examples(self, examples: Int[np.ndarray, " some"]) -> "CircuitMetrics":
        """The same for some of the examples, by their places."""
        return replace(
            self,
            metric=self.metric[:, examples],
            full=self.full[examples],
            empty=self.empty[examples],
            num_steps=self.num_steps[examples],
            clusters=None if self.clusters is None else self.clusters[examples],
        )

    def curve(self, step: int | None = None) -> FaithfulnessCurve:
        """Faithfulness against size: of all steps together, or of one step.

        One step's curve covers the examples that have this step.

        Raises:
            EvaluationError: sizes that do not ascend, or a step that no example has.
        """
        if step is not None and not 0 <= step < self.num_steps.max():
            raise EvaluationError(
                f"there is no step {step}; the examples have steps 0 to {self.num_steps.max() - 1}."
            )
        rows = self.num_steps > (0 if step is None else step)
        steps = slice(None) if step is None else slice(step, step + 1)
        return FaithfulnessCurve(
            sizes=self.sizes,
            live_sizes=self.live_sizes,
            num_edges=self.num_edges,
            metric=self.metric[:, rows, steps].sum(axis=-1),
            full=self.full[rows, steps].sum(axis=-1),
            empty=self.empty[rows, steps].sum(axis=-1),
            clusters=None if self.clusters is None else self.clusters[rows],
        )


def evaluate_circuits(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    circuits: Sequence[Circuit],
    *,
    num_examples: int,
    metric: str = "logit_diff",
    ablation: Ablation = corrupted_cache,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> CircuitMetrics:
    """Run every circuit on every canvas.

    Args:
        model: the model to run, which need not be the one that the circuits were found in.
        canvases: of every example of the pool, in any order.
        circuits: of one graph, which must be that of the model, grouped or ungrouped.
        num_examples: rows of the pool.
        metric: a name in `denoising.METRICS`.
        ablation: what edges outside a circuit carry; by default their corrupted value.
        batch_size: canvases in one pass; changes time and memory, not results.
        progress: called with the number of canvases that one run has finished; the numbers add
            up to `num_runs(canvases, circuits)`.

    Raises:
        CircuitError: a circuit of another architecture, or circuits of different graphs.
        EvaluationError: no canvas for some example, or an ablation that has no mean for it.
    """
    _check_canvases(canvases, num_examples)
    if len({circuit.graph for circuit in circuits}) > 1:
        raise CircuitError("the circuits belong to different graphs; evaluate each graph's apart.")
    plans = [plan_circuit(model, circuit) for circuit in circuits]
    table = np.zeros((2 + len(plans), num_examples, _num_steps(canvases)))
    report = progress or (lambda _count: None)
    for batch in batch_canvases(model, canvases, batch_size):
        clean = _clean_logits(model, batch)
        _enter(table[0], batch, score_readouts(metric, clean, batch, clean))
        cache = ablation(model, batch)
        _enter(table[1], batch, score_readouts(metric, cache.logits, batch, clean))
        report(2 * batch.num_rows)
        for row, plan in zip(table[2:], plans, strict=True):
            logits = run_circuit(model, cache, plan)
            _enter(row, batch, score_readouts(metric, logits, batch, clean))
            report(batch.num_rows)
    return CircuitMetrics(
        sizes=np.array([circuit.num_edges for circuit in circuits], dtype=np.int64),
        live_sizes=np.array([plan.num_live_edges for plan in plans], dtype=np.int64),
        num_edges=circuits[0].graph.num_edges if circuits else model.graph().num_edges,
        metric=table[2:],
        full=table[0],
        empty=table[1],
        num_steps=_steps_by_example(canvases, num_examples),
        clusters=example_clusters(canvases),
    )


def num_runs(canvases: Sequence[Canvas], circuits: Sequence[Circuit]) -> int:
    """Canvases times passes over them: the total that `evaluate_circuits` reports."""
    return len(canvases) * (2 + len(circuits))


@torch.no_grad()
def _clean_logits(model: LanguageModel, batch: CanvasBatch) -> Float[Tensor, "readout vocab"]:
    hidden = model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return readout_logits(model, hidden, batch)


def _enter(
    table: Float64[np.ndarray, "example step"],
    batch: CanvasBatch,
    scores: Float[Tensor, "batch slot"],
) -> None:
    """Write the scores of a batch to the cells of their examples and steps."""
    rows, slots = np.nonzero(batch.step >= 0)
    values = scores.double().cpu().numpy()[rows, slots]
    if not np.isfinite(values).all():
        example = int(batch.example[rows[~np.isfinite(values)][0]])
        raise EvaluationError(
            f"the metric of example {example} is not a finite number; load the model in float32."
        )
    table[batch.example[rows], batch.step[rows, slots]] = values


def _num_steps(canvases: Sequence[Canvas]) -> int:
    return 1 + max(readout.step for canvas in canvases for readout in canvas.readouts)


def _steps_by_example(canvases: Sequence[Canvas], num_examples: int) -> Int[np.ndarray, " example"]:
    steps = np.zeros(num_examples, dtype=np.int64)
    for canvas in canvases:
        last = max(readout.step for readout in canvas.readouts)
        steps[canvas.example] = max(steps[canvas.example], last + 1)
    return steps


def _check_canvases(canvases: Sequence[Canvas], num_examples: int) -> None:
    found = {canvas.example for canvas in canvases}
    if found != set(range(num_examples)) or not found:
        raise EvaluationError(
            f"the canvases cover {len(found)} examples and the pool has {num_examples}; build"
            " canvases for every example of the pool, and give it at least one."
        )
