"""What a verdict on one task is based on."""

from dataclasses import dataclass

from mechshift.ablation import AblationComparison
from mechshift.comparison import CircuitShift, Comparison, DirectionOfFlow
from mechshift.semantics import ConcentrationShift
from mechshift.statistics import Estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlEvidence:
    """A control, held against the ARM as the MDM is."""

    name: str
    """One of `models.CONTROLS`."""

    accuracy: Estimate
    """Share of the held-out examples that both models of the pair solve and this one too."""

    shift: CircuitShift
    concentration: ConcentrationShift
    direction: DirectionOfFlow | None = None
    """None where flow was not measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """The measurements of a pair on one task. None: not measured."""

    comparison: Comparison
    concentration: ConcentrationShift
    direction: DirectionOfFlow | None = None
    inheritance: Estimate | None = None
    """Faithfulness of the MDM on the ARM's circuit minus that on its own, at the compared size."""

    ablation: AblationComparison | None = None
    controls: tuple[ControlEvidence, ...] = ()

    @property
    def shift(self) -> Comparison:
        """What a control has a `CircuitShift` for."""
        return self.comparison
