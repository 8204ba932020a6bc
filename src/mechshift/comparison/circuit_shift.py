"""How far is another model's circuit from the ARM's? The part of a comparison that controls need.

A control is there to hold a shift against, so what sums the shift up is measured on it, as in
`compare` and at the compared size alone, and the rest is not.
"""

from dataclasses import dataclass, replace

from mechshift.comparison.depth import DepthProfiles, depth_profile
from mechshift.comparison.overlap import OverlapCurve, overlap_curve
from mechshift.comparison.scores import Scores, check_same_examples, unit_of
from mechshift.comparison.settings import ComparisonSettings
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitShift:
    """The circuits of the ARM and another model on one task; fields call the other `mdm`."""

    task: str
    graph: Graph
    settings: ComparisonSettings
    overlap: OverlapCurve
    """At one size, that of the circuits."""
    circuit_depth: DepthProfiles

    @property
    def circuit_size(self) -> int:
        """Edges in each model's circuit."""
        return self.settings.circuit_size_in(self.graph.num_edges)


def circuit_shift(
    task: str,
    arm: Scores,
    other: Scores,
    settings: ComparisonSettings | None = None,
) -> CircuitShift:
    """Overlap and depth of two models' circuits.

    Raises:
        ComparisonError: the scores do not belong together, or nothing is scored.
        ConfigError: the circuit size exceeds the graph.
    """
    check_same_examples(arm, other)
    graph, unit, given = arm.graph, unit_of(arm), settings or ComparisonSettings()
    size = given.circuit_size_in(graph.num_edges)
    settings = replace(given, circuit_size=size, sizes=(size,))
    ours, theirs = (scores.values.sum(axis=1) for scores in (arm, other))
    return CircuitShift(
        task=task,
        graph=graph,
        settings=settings,
        overlap=overlap_curve(graph, ours, theirs, settings, unit=unit),
        circuit_depth=depth_profile(graph, ours, theirs, settings, scope="circuit", unit=unit),
    )
