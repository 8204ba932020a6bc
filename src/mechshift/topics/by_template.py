"""Numbers by template: the MDM's quantities and faithfulness on the examples of each wording.

For the topic `wording`. A quantity is measured on some of the examples by the function that
measures it on all of them (`topic.Quantity`), with fewer resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int

from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import BRIEF, CircuitShift, ComparisonSettings, circuit_shift
from mechshift.errors import ComparisonError, EvaluationError, SemanticsError
from mechshift.evaluation import CircuitMetrics
from mechshift.models import Kind
from mechshift.statistics import Estimate, num_clusters, percentile_interval
from mechshift.topics.decisions import too_few_clusters
from mechshift.topics.other_circuit import metrics_of_size
from mechshift.topics.topic import KINDS, Measured, Quantity, StoredTask

MIN_TEMPLATE_CLUSTERS = 10
"""Clusters of a template's examples below which nothing is measured on them. Below `MIN_CLUSTERS`
nothing is decided, as everywhere."""

MIN_RESAMPLES = 100
"""Resamples for each template, or all that were asked for: their standard deviation is known to
7 %. More, so that all templates together take as many as one comparison."""

UNNAMED = "(unnamed)"
"""Examples of a task file that names the templates of others."""

KEPT: dict[Kind, str] = {"mdm": "MDM on its own circuit", "arm": "MDM on the ARM's circuit"}
"""Owner of a circuit -> what the MDM keeps on it."""

DIFFERENCE = "ARM's circuit minus its own"


@dataclass(frozen=True, kw_only=True)
class WordedQuantity:
    """One quantity of the MDM, template by template."""

    name: str
    unit: str
    neutral: float | None
    at_a_glance: bool
    """Whether it has a panel."""
    on_all: Measured | None
    """On all examples; None where `TaskResults.mdm` has it."""
    by_template: tuple[Measured, ...]
    """In the order of the templates; with `scatter` in place of draws."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateExamples:
    """How many examples of a split are written in each template."""

    num_examples: Int[np.ndarray, " template"]
    num_clusters: Int[np.ndarray, " template"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Wording:
    """The MDM's numbers by template."""

    templates: tuple[str, ...]
    """Names, sorted."""
    discovery: TemplateExamples
    held_out: TemplateExamples
    quantities: tuple[WordedQuantity, ...]
    """Measured on the examples for discovery; none where there is one template."""
    faithfulness: tuple[WordedQuantity, ...]
    """Measured on the held-out examples; none as above, or where no circuit of the size was run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberOnTemplate:
    """The MDM on the examples of one template, held against the ARM (`StoredMember`)."""

    task: str
    settings: ComparisonSettings
    scored: tuple[EdgeScores, EdgeScores]
    flows: tuple[PositionFlow, PositionFlow] | None
    name: str = "mdm"

    @cached_property
    def _shift(self) -> CircuitShift:
        return circuit_shift(self.task, *self.scored, self.settings, effort=BRIEF)

    def shift(self) -> CircuitShift:
        return self._shift

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        return self.scored

    def flow(self) -> tuple[PositionFlow, PositionFlow] | None:
        return self.flows

    def crossed(self) -> None:
        return None

    def accuracy(self) -> None:
        return None


def measure_by_template(stored: StoredTask, quantities: Sequence[Quantity]) -> Wording | None:
    """The MDM's numbers by template.

    Args:
        stored: what earlier stages stored of a task.
        quantities: of members; those that may be measured by template are.

    Returns:
        None where no example names its template, or scores are means over shards of examples.
    """
    discovery, held_out = stored.pool("discovery"), stored.pool("held-out")
    found = np.array([one.template or UNNAMED for one in discovery.examples])
    tested = np.array([one.template or UNNAMED for one in held_out.examples])
    templates = sorted({*found.tolist()})
    if templates == [UNNAMED] or stored.scores("arm").examples_per_shard > 1:
        return None
    places, tested_places = (
        [np.flatnonzero(names == template) for template in templates] for names in (found, tested)
    )
    several = len(templates) > 1
    return Wording(
        templates=tuple(templates),
        discovery=_counts(places, discovery.clusters),
        held_out=_counts(tested_places, held_out.clusters),
        quantities=_quantities(stored, places, quantities) if several else (),
        faithfulness=_faithfulness(stored, tested_places) if several else (),
    )


def _counts(
    places: Sequence[Int[np.ndarray, " _"]], clusters: Int[np.ndarray, " example"]
) -> TemplateExamples:
    return TemplateExamples(
        num_examples=np.array([len(of_template) for of_template in places]),
        num_clusters=np.array([num_clusters(clusters[of_template]) for of_template in places]),
    )


def _quantities(
    stored: StoredTask,
    places: Sequence[Int[np.ndarray, " _"]],
    quantities: Sequence[Quantity],
) -> tuple[WordedQuantity, ...]:
    """Every quantity on each template's examples; one template's scores are copied at a time."""
    shown = [one for one in quantities if one.by_template]
    settings = stored.settings
    settings = replace(
        settings,
        num_resamples=min(
            settings.num_resamples, max(MIN_RESAMPLES, settings.num_resamples // len(places))
        ),
        num_exchanges=1,
        num_shuffles=1,
    )
    arm, mdm = (stored.scores(kind) for kind in KINDS)
    arm_flow, mdm_flow = (stored.flow(kind) for kind in KINDS)
    measured = []
    for of_template in places:
        count = num_clusters(_clusters(arm)[of_template])
        if count < MIN_TEMPLATE_CLUSTERS:
            measured.append([Measured(reason=too_few_clusters(count))] * len(shown))
            continue
        flows = None
        if arm_flow is not None and mdm_flow is not None:
            flows = arm_flow.of_examples(of_template), mdm_flow.of_examples(of_template)
        member = MemberOnTemplate(
            task=stored.task,
            settings=settings,
            scored=(arm.of_examples(of_template), mdm.of_examples(of_template)),
            flows=flows,
        )
        measured.append([_measure(one, member) for one in shown])
    return tuple(
        WordedQuantity(
            name=one.name,
            unit=one.unit,
            neutral=one.neutral,
            at_a_glance=one.at_a_glance,
            on_all=None,
            by_template=of_quantity,
        )
        for one, of_quantity in zip(shown, zip(*measured, strict=True), strict=True)
    )


def _clusters(scores: EdgeScores) -> Int[np.ndarray, " example"]:
    return np.arange(scores.num_examples) if scores.clusters is None else scores.clusters


def _measure(quantity: Quantity, member: MemberOnTemplate) -> Measured:
    """Few examples may leave a circuit without depth, or a component without a score."""
    try:
        return _without_draws(quantity.measure(member))
    except (ComparisonError, SemanticsError) as error:
        return Measured(reason=str(error))


def _without_draws(measured: Measured) -> Measured:
    return replace(measured, draws=None, scatter=measured.scattered())


def _faithfulness(
    stored: StoredTask, places: Sequence[Int[np.ndarray, " _"]]
) -> tuple[WordedQuantity, ...]:
    """What the MDM keeps on both circuits, and the difference, on each template's examples."""
    metrics = stored.circuit_metrics("mdm")
    size = stored.settings.circuit_size_in(metrics["mdm"].num_edges)
    pair = [metrics_of_size(metrics[owner], size) for owner in KEPT]
    own, other = pair
    if own is None or other is None:
        return ()
    on_all = _kept(own, other, stored.settings)
    by_template = [
        _kept(own.of_examples(of_template), other.of_examples(of_template), stored.settings)
        for of_template in places
    ]
    return tuple(
        WordedQuantity(
            name=name,
            unit="faithfulness",
            neutral=0.0 if name == DIFFERENCE else 1.0,
            at_a_glance=True,
            on_all=on_all[name],
            by_template=tuple(one[name] for one in by_template),
        )
        for name in (*KEPT.values(), DIFFERENCE)
    )


def _kept(
    own: CircuitMetrics, other: CircuitMetrics, settings: ComparisonSettings
) -> dict[str, Measured]:
    """Faithfulness of one circuit each, over held-out examples alone."""
    names = (*KEPT.values(), DIFFERENCE)
    clusters = np.arange(len(own.full)) if own.clusters is None else own.clusters
    count = num_clusters(clusters)
    if count < MIN_TEMPLATE_CLUSTERS:
        return dict.fromkeys(names, Measured(reason=too_few_clusters(count)))
    try:
        values, draws = [], []
        for metrics in (own, other):
            curve = metrics.curve()
            values.append(float(curve.faithfulness[0]))
            drawn = curve.resampled(num_resamples=settings.num_resamples, seed=settings.seed)
            draws.append(drawn[:, 0])
    except EvaluationError as error:
        return dict.fromkeys(names, Measured(reason=str(error)))
    values.append(values[1] - values[0])
    draws.append(draws[1] - draws[0])
    return {
        name: _estimated(value, of_name, settings.level)
        for name, value, of_name in zip(names, values, draws, strict=True)
    }


def _estimated(value: float, draws: Float64[np.ndarray, " resample"], level: float) -> Measured:
    interval = percentile_interval(draws, level)
    return _without_draws(Measured(estimate=Estimate(value=value, interval=interval), draws=draws))
