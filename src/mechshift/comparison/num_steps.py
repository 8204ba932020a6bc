"""Does the picture depend on how many denoising steps the MDM is given?

Tasks differ in their number of steps, so a difference between tasks may be one between numbers of
steps. Here one task is compared with several numbers of steps S, everything else equal.

Shifts in depth come twice: as in the other sweeps, with the distance that noise alone makes, and
cross-fitted (`depth.py`, 5), as the verdict takes them. With few steps an MDM has to guess more, so
its scores may be noisier, and only the latter do not take noise for a shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.comparison.circuit_shift import CircuitShift
from mechshift.comparison.comparison import Comparison
from mechshift.comparison.depth import SideProfiles
from mechshift.comparison.depth_shift import ShiftCurve
from mechshift.comparison.sweeps import DepthSweep
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
    first = ordered[0]
    depths = [one.circuit_depth for one in ordered]
    depth = DepthSweep(
        over="num_steps",
        points=np.array(points),
        source=_curve([one.source for one in depths]),
        destination=_curve([one.destination for one in depths]),
        circuit_sizes=np.array([one.circuit_size for one in ordered]),
        num_examples=np.array([one.num_examples for one in depths]),
        num_layers=first.graph.num_layers,
        num_resamples=first.settings.num_resamples,
        level=first.settings.level,
        unit=depths[0].unit,
        notes=(),
    )
    positions = [one.overlap.index_of(one.circuit_size) for one in ordered]
    return NumStepsSweep(
        task=first.task,
        depth=depth,
        source=_joined([one.source.cross_fitted for one in depths]),
        destination=_joined([one.destination.cross_fitted for one in depths]),
        overlap=_picked([one.overlap.edges for one in ordered], positions),
        ratio=_picked([one.overlap.ratio for one in ordered], positions),
        noise_p=np.array(
            [
                one.overlap.noise_p[position]
                for one, position in zip(ordered, positions, strict=True)
            ]
        ),
        effective_number=None
        if effective_number is None
        else _stacked([effective_number[point] for point in points]),
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


def _curve(sides: Sequence[SideProfiles]) -> ShiftCurve:
    return ShiftCurve(
        early_share=_picked([side.thirds_shift for side in sides], [0] * len(sides)),
        centre_of_mass=_stacked([side.centre_of_mass_shift for side in sides]),
        distance=_stacked([side.distance.value for side in sides]),
        noise_distance=_stacked([side.distance.noise for side in sides]),
    )


def _stacked(estimates: Sequence[Estimate]) -> Estimates:
    return Estimates(
        value=np.array([one.value for one in estimates]),
        low=np.array([one.interval.low for one in estimates]),
        high=np.array([one.interval.high for one in estimates]),
        level=estimates[0].interval.level,
    )


def _joined(estimates: Sequence[Estimates]) -> Estimates:
    return Estimates(
        value=np.stack([one.value for one in estimates]),
        low=np.stack([one.low for one in estimates]),
        high=np.stack([one.high for one in estimates]),
        level=estimates[0].level,
    )


def _picked(estimates: Sequence[Estimates], positions: Sequence[int | None]) -> Estimates:
    """One entry of each array; also where its interval is undefined."""
    parts = []
    for one, position in zip(estimates, positions, strict=True):
        assert position is not None  # overlap_sizes always measures the circuit's own size
        parts.append([one.value[position], one.low[position], one.high[position]])
    value, low, high = np.array(parts).T
    return Estimates(value=value, low=low, high=high, level=estimates[0].level)
