"""The other model's circuit: what a model keeps of its behaviour on it, against its own circuit.

For the topic `faithfulness`, whose rule inheritance this is. How the intervals are made stands in
`evaluation.inheritance`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mechshift.comparison import ComparisonSettings
from mechshift.evaluation import NUM_FOLDS, CircuitMetrics, Rediscovery, inheritance
from mechshift.models import Kind
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED
from mechshift.page.theme import MODEL_NAMES
from mechshift.statistics import centred_estimate
from mechshift.topics.decisions import MIN_CLUSTERS, serves
from mechshift.topics.topic import Measured, StoredTask

OTHER: dict[Kind, Kind] = {"arm": "mdm", "mdm": "arm"}


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherCircuit:
    """Faithfulness of one model on the other's circuit of the compared size."""

    minus_own: Measured
    """Minus what it keeps on its own. Held-out examples vary and those for discovery, unless a
    caution says that these do not."""
    minus_half: Measured
    """Minus what it keeps on its own circuits from half of the discovery examples. A caution says
    why these are no measure of what noise costs the other's circuit."""
    half_minus_own: float | None
    """What its own circuit loses (below 0) where it is found on half of the examples."""

    def decides(self, *, suffices: str, falls_short: str) -> str:
        """Words for a circuit that serves as the own one does, or no longer."""
        if self.minus_own.estimate is None:
            return NOT_MEASURED
        half = self.minus_half.estimate
        if self.minus_own.caution or half is None or self.half_minus_own is None:
            return NOT_DECIDED
        decided = serves(
            self.minus_own.estimate,
            half,
            self.half_minus_own,
            suffices=suffices,
            falls_short=falls_short,
        )
        return NOT_DECIDED if decided == falls_short and self.minus_half.caution else decided

    def at_level(self, level: float) -> "OtherCircuit":
        """With the intervals of another level."""
        own, half = (
            replace(one, estimate=None if one.estimate is None else one.estimate.at_level(level))
            for one in (self.minus_own, self.minus_half)
        )
        return replace(self, minus_own=own, minus_half=half)

    @property
    def caution(self) -> str:
        """Why nothing is decided, or no shortfall; empty where something may be."""
        return self.minus_own.caution or self.minus_half.caution


def other_circuit(stored: StoredTask, model: Kind, size: int) -> OtherCircuit:
    """Measure one model on both models' circuits of this size.

    Raises:
        EvaluationError: faithfulness, or its interval, is undefined.
    """
    metrics = {
        owner: metrics_of_size(one, size) for owner, one in stored.circuit_metrics(model).items()
    }
    own, other = metrics[model], metrics[OTHER[model]]
    if own is None or other is None:
        return _not_measured(Measured(reason=f"no circuit of {size:,} edges was run"))
    pair: dict[Kind, CircuitMetrics] = {model: own, OTHER[model]: other}
    found = stored.rediscovery(model)
    if found is None:
        return _not_measured(_held_out_alone(pair, model, stored))
    return rediscovered(pair, found, model, stored.settings)


def rediscovered(
    metrics: Mapping[Kind, CircuitMetrics],
    found: Rediscovery,
    model: Kind,
    settings: ComparisonSettings,
) -> OtherCircuit:
    """Measure one model on both models' circuits, with those found on parts of the examples.

    Raises:
        EvaluationError: faithfulness, or its interval, is undefined.
    """
    served = inheritance(
        metrics,
        found,
        model,
        level=settings.level,
        num_resamples=settings.num_resamples,
        seed=settings.seed,
    )
    return OtherCircuit(
        minus_own=Measured(
            estimate=served.other_minus_own, caution=_few_clusters(found.num_clusters)
        ),
        minus_half=Measured(
            estimate=served.other_minus_half,
            caution=f"the {MODEL_NAMES[OTHER[model]]}'s circuit is noisier than the"
            f" {MODEL_NAMES[model]}'s from half of the examples"
            if served.other_is_noisier
            else "",
        ),
        half_minus_own=served.half_minus_own,
    )


def metrics_of_size(metrics: CircuitMetrics, size: int) -> CircuitMetrics | None:
    """Those of the one circuit of this size."""
    places = np.flatnonzero(metrics.sizes == size)
    return metrics.subset(slice(places[0], places[0] + 1)) if len(places) else None


def _held_out_alone(
    metrics: Mapping[Kind, CircuitMetrics], model: Kind, stored: StoredTask
) -> Measured:
    """The difference with an interval that holds both circuits fixed."""
    settings = stored.settings
    own, other = (metrics[owner].curve() for owner in (model, OTHER[model]))
    resampled = [
        one.resampled(num_resamples=settings.num_resamples, seed=settings.seed)[:, 0]
        for one in (own, other)
    ]
    draws = resampled[1] - resampled[0]
    value = float(other.faithfulness[0] - own.faithfulness[0])
    evaluation = stored.stage_settings("evaluation")
    assert evaluation is not None  # the metrics came from its folder
    return Measured(
        estimate=centred_estimate(value, draws, level=settings.level),
        draws=draws,
        caution="the interval leaves out the noise of discovery: "
        + (
            f"the examples are in fewer than {NUM_FOLDS} clusters"
            if evaluation["rediscover"]
            else "no circuit was found on parts of the examples"
        ),
    )


def _not_measured(minus_own: Measured) -> OtherCircuit:
    """Without circuits found on parts of the discovery examples."""
    return OtherCircuit(
        minus_own=minus_own,
        minus_half=Measured(reason="no circuit was found on half of the discovery examples"),
        half_minus_own=None,
    )


def _few_clusters(num_clusters: int) -> str:
    """Why so few clusters of discovery examples decide nothing; empty where they are enough."""
    if num_clusters >= MIN_CLUSTERS:
        return ""
    return f"the circuits rest on {num_clusters} clusters of discovery examples"
