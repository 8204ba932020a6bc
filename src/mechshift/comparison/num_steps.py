"""Sweep over numbers of denoising steps S: one task, compared with several, all else equal.

Tasks differ in their number of steps, so a difference between tasks may be one between numbers of
steps. Shifts in depth come twice: as in the other sweeps, with the distance that noise alone makes,
and cross-fitted (`depth.py`, 5), as the verdict takes them. With few steps an MDM has to guess
more, so its scores may be noisier, and only the latter do not take noise for a shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.comparison.comparisons import CircuitShift, Comparison
from mechshift.comparison.depth import SideProfiles
from mechshift.comparison.sweeps import DepthSweep, ShiftCurve
from mechshift.errors import ComparisonError
from mechshift.statistics import Estimate, Estimates


@dataclass(frozen=True, kw_only=True, eq=False)
class NumStepsSweep:
    """Overlap and depth of one task's circuits against the number of denoising steps."""

    task: str
    depth: DepthSweep
    """Its `points` are the numbers of steps, ascending."""

    source: Estimates
    """Cross-fitted shifts by the layer that writes an edge; axes `point` and `CROSS_FITTED`. NaN
    where a model's scores on one half of the examples do not carry over to the other."""

    destination: Estimates
    """The same by the layer that reads an edge."""

    overlap: Estimates
    """Jaccard of the two circuits; axis `point`."""

    ratio: Estimates
    """The same over its ceiling; NaN where a ceiling is 0."""

    noise_p: Float[np.ndarray, " point"]
    """P-value of: no less alike than the two models would be with one circuit."""

    effective_number: Estimates | None
    """MDM's minus ARM's effective number of components; above 0: the MDM is more distributed. None
    where it was not measured."""


def sweep_over_num_steps(
    comparisons: Mapping[int, Comparison | CircuitShift],
    effective_number: Mapping[int, Estimate] | None = None,
) -> NumStepsSweep:
    """Line up comparisons of one task that differ in their number of denoising steps.

    Args:
        comparisons: number of steps -> comparison of the models' scores at that schedule.
        effective_number: number of steps -> MDM's minus ARM's effective number of components, for
            the same numbers of steps.

    Raises:
        ComparisonError: there is none, or they differ in task, graph, circuit size, level or
            numbers of steps.
    """
    if not comparisons:
        raise ComparisonError("a sweep over numbers of steps needs at least one comparison.")
    points = sorted(comparisons)
    ordered = [comparisons[point] for point in points]
    _check_alike(ordered)
    if effective_number is not None and effective_number.keys() != comparisons.keys():
        raise ComparisonError(
            f"effective numbers of components at {sorted(effective_number)} steps do not belong to"
            f" comparisons at {points} steps."
        )
    first, level = ordered[0], ordered[0].settings.level
    depths = [one.circuit_depth for one in ordered]
    depth = DepthSweep(
        over="num_steps",
        points=np.array(points),
        source=_curve([one.source for one in depths], level),
        destination=_curve([one.destination for one in depths], level),
        circuit_sizes=np.array([one.circuit_size for one in ordered]),
        num_examples=np.array([one.num_examples for one in depths]),
        num_layers=first.graph.num_layers,
        num_resamples=first.settings.num_resamples,
        level=level,
        unit=depths[0].unit,
        notes=(),
    )
    overlaps = [(one.overlap, _position(one)) for one in ordered]
    return NumStepsSweep(
        task=first.task,
        depth=depth,
        source=Estimates.stack([one.source.cross_fitted for one in depths], level=level),
        destination=Estimates.stack([one.destination.cross_fitted for one in depths], level=level),
        overlap=Estimates.stack([one.edges.sel(at) for one, at in overlaps], level=level),
        ratio=Estimates.stack([one.ratio.sel(at) for one, at in overlaps], level=level),
        noise_p=np.array([one.noise_p[at] for one, at in overlaps]),
        effective_number=None
        if effective_number is None
        else Estimates.stack([effective_number[point] for point in points], level=level),
    )


def _check_alike(comparisons: Sequence[Comparison | CircuitShift]) -> None:
    def settings_of(one: Comparison | CircuitShift) -> dict[str, object]:
        return {
            "task": one.task,
            "graph": one.graph,
            "circuit size": one.circuit_size,
            "level": one.settings.level,
        }

    for name, expected in settings_of(comparisons[0]).items():
        found = {str(settings_of(one)[name]) for one in comparisons}
        if len(found) > 1:
            raise ComparisonError(
                f"comparisons of a sweep over numbers of steps must have one {name}, not"
                f" {sorted(found | {str(expected)})}."
            )


def _curve(sides: Sequence[SideProfiles], level: float) -> ShiftCurve:
    return ShiftCurve(
        early_share=Estimates.stack([side.thirds_shift.sel(0) for side in sides], level=level),
        centre_of_mass=Estimates.stack([side.centre_of_mass_shift for side in sides], level=level),
        distance=Estimates.stack([side.distance.value for side in sides], level=level),
        noise_distance=Estimates.stack([side.distance.noise for side in sides], level=level),
    )


def _position(comparison: Comparison | CircuitShift) -> int:
    """Of the circuit's size on the overlap curve."""
    index = comparison.overlap.index_of(comparison.circuit_size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    return index
