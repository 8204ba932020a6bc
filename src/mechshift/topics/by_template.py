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
from mechshift.comparison import (
    BRIEF,
    VALUE,
    CircuitShift,
    ComparisonSettings,
    Effort,
    Groups,
    Regrouped,
    circuit_shift,
    regrouped,
)
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

NUM_GROUPS = 32
"""Random groups of examples on which every quantity is measured, in dealings of as many groups as
there are templates, at least two: their dispersion is then known to a quarter."""

NUM_DEALINGS_OF_METRICS = 50
"""The same of metrics on held-out examples, which cost next to nothing."""

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
    by_chance: float
    """Mean dispersion of the number over random groups of examples [unit²]
    (`comparison.variance_split`); NaN where it is known of no two of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateExamples:
    """Numbers of the examples of a split that are written in each template."""

    num_examples: Int[np.ndarray, " template"]
    num_clusters: Int[np.ndarray, " template"]
    num_units: int
    """That are dealt into random groups."""


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
class MemberOnExamples:
    """The MDM on some examples, held against the ARM (`StoredMember`)."""

    task: str
    settings: ComparisonSettings
    scored: tuple[EdgeScores, EdgeScores]
    flows: tuple[PositionFlow, PositionFlow] | None
    effort: Effort = BRIEF
    name: str = "mdm"

    def on(
        self, examples: Int[np.ndarray, " _"], settings: ComparisonSettings, effort: Effort
    ) -> "MemberOnExamples":
        """On fewer of them, by their places."""
        arm, mdm = self.scored
        flows = None
        if self.flows is not None:
            arm_flow, mdm_flow = self.flows
            flows = arm_flow.of_examples(examples), mdm_flow.of_examples(examples)
        return replace(
            self,
            settings=settings,
            scored=(arm.of_examples(examples), mdm.of_examples(examples)),
            flows=flows,
            effort=effort,
        )

    @property
    def clusters(self) -> Int[np.ndarray, " example"]:
        """Number of each example's cluster."""
        arm, _ = self.scored
        return np.arange(arm.num_examples) if arm.clusters is None else arm.clusters

    @cached_property
    def _shift(self) -> CircuitShift:
        return circuit_shift(self.task, *self.scored, self.settings, effort=self.effort)

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
    dealings = max(2, NUM_GROUPS // len(templates))
    dealt, tested_dealt = (
        regrouped(of_templates, pool.clusters, num_dealings, stored.settings.seed)
        for of_templates, pool, num_dealings in (
            (places, discovery, dealings),
            (tested_places, held_out, NUM_DEALINGS_OF_METRICS),
        )
    )
    return Wording(
        templates=tuple(templates),
        discovery=_counts(places, discovery.clusters, dealt),
        held_out=_counts(tested_places, held_out.clusters, tested_dealt),
        quantities=quantities_by_template(_whole(stored), places, dealt, quantities)
        if several
        else (),
        faithfulness=_faithfulness(stored, tested_places, tested_dealt) if several else (),
    )


def _whole(stored: StoredTask) -> MemberOnExamples:
    arm, mdm = (stored.flow(kind) for kind in KINDS)
    return MemberOnExamples(
        task=stored.task,
        settings=stored.settings,
        scored=(stored.scores("arm"), stored.scores("mdm")),
        flows=None if arm is None or mdm is None else (arm, mdm),
    )


def _counts(
    places: Sequence[Int[np.ndarray, " _"]], clusters: Int[np.ndarray, " example"], dealt: Regrouped
) -> TemplateExamples:
    return TemplateExamples(
        num_examples=np.array([len(of_template) for of_template in places]),
        num_clusters=np.array([num_clusters(clusters[of_template]) for of_template in places]),
        num_units=dealt.num_units,
    )


def quantities_by_template(
    member: MemberOnExamples,
    places: Sequence[Int[np.ndarray, " _"]],
    dealt: Regrouped,
    quantities: Sequence[Quantity],
) -> tuple[WordedQuantity, ...]:
    """Every quantity on each template's examples, and on random groups its value alone.

    Args:
        member: the MDM on all examples.
        places: of the examples of each template.
        dealt: random groups.
        quantities: those that may be measured by template are.
    """
    shown = [one for one in quantities if one.by_template]
    settings = member.settings
    num_resamples = max(MIN_RESAMPLES, settings.num_resamples // len(places))
    few = replace(
        settings,
        num_resamples=min(settings.num_resamples, num_resamples),
        num_exchanges=1,
        num_shuffles=1,
    )
    value = replace(few, num_resamples=1)
    by_template = _measured(member, shown, places, few, BRIEF)
    by_dealing = [_measured(member, shown, groups, value, VALUE) for groups in dealt.places]
    return tuple(
        WordedQuantity(
            name=one.name,
            unit=one.unit,
            neutral=one.neutral,
            at_a_glance=one.at_a_glance,
            on_all=None,
            by_template=tuple(by_template[one.name]),
            by_chance=_by_chance(
                by_template[one.name],
                [
                    (of_dealing[one.name], groups)
                    for of_dealing, groups in zip(by_dealing, dealt.places, strict=True)
                ],
            ),
        )
        for one in shown
    )


def _by_chance(
    by_template: Sequence[Measured],
    by_dealing: Sequence[tuple[Sequence[Measured], Sequence[Int[np.ndarray, " _"]]]],
) -> float:
    """Mean dispersion over dealings, of the groups in place of templates that are known."""
    known = np.array([one.scatter is not None for one in by_template])
    found = []
    for measured, groups in by_dealing:
        dispersed = Groups(
            values=np.where(known, values_of(measured), np.nan),
            num_examples=np.array([len(of_group) for of_group in groups]),
        ).known
        if len(dispersed.values) > 1:
            found.append(dispersed.dispersion)
    return float(np.mean(found)) if found else float("nan")


def values_of(measured: Sequence[Measured]) -> Float64[np.ndarray, " group"]:
    """Values before they were brought into their range; NaN where there is none."""
    return np.array([np.nan if one.scatter is None else one.scatter.value for one in measured])


def _measured(
    member: MemberOnExamples,
    shown: Sequence[Quantity],
    places: Sequence[Int[np.ndarray, " _"]],
    settings: ComparisonSettings,
    effort: Effort,
) -> dict[str, list[Measured]]:
    """Every quantity on groups of examples; the scores of one group are copied at a time."""
    found: dict[str, list[Measured]] = {one.name: [] for one in shown}
    for of_group in places:
        count = num_clusters(member.clusters[of_group])
        few = Measured(reason=too_few_clusters(count))
        enough = count >= MIN_TEMPLATE_CLUSTERS
        on_group = member.on(of_group, settings, effort) if enough else None
        for one in shown:
            found[one.name].append(few if on_group is None else measure_on_some(one, on_group))
    return found


def measure_on_some(quantity: Quantity, member: MemberOnExamples) -> Measured:
    """A quantity without its draws; few examples may leave it undefined, and the reason says so."""
    try:
        return _without_draws(quantity.measure(member))
    except (ComparisonError, SemanticsError) as error:
        return Measured(reason=str(error))


def _without_draws(measured: Measured) -> Measured:
    return replace(measured, draws=None, scatter=measured.scattered())


def _faithfulness(
    stored: StoredTask, places: Sequence[Int[np.ndarray, " _"]], dealt: Regrouped
) -> tuple[WordedQuantity, ...]:
    """What the MDM keeps on both circuits, and the difference, on each template's examples."""
    metrics = stored.circuit_metrics("mdm")
    size = stored.settings.circuit_size_in(metrics["mdm"].num_edges)
    pair = [metrics_of_size(metrics[owner], size) for owner in KEPT]
    own, other = pair
    if own is None or other is None:
        return ()
    on_all = _kept(own, other, stored.settings)

    def kept(groups: Sequence[Int[np.ndarray, " _"]], settings: ComparisonSettings) -> list[Kept]:
        return [
            _kept(own.of_examples(of_group), other.of_examples(of_group), settings)
            for of_group in groups
        ]

    value = replace(stored.settings, num_resamples=1)
    by_template = kept(places, stored.settings)
    by_dealing = [(kept(groups, value), groups) for groups in dealt.places]
    return tuple(
        WordedQuantity(
            name=name,
            unit="faithfulness",
            neutral=0.0 if name == DIFFERENCE else 1.0,
            at_a_glance=True,
            on_all=on_all[name],
            by_template=tuple(one[name] for one in by_template),
            by_chance=_by_chance(
                [one[name] for one in by_template],
                [([one[name] for one in found], groups) for found, groups in by_dealing],
            ),
        )
        for name in (*KEPT.values(), DIFFERENCE)
    )


Kept = dict[str, Measured]
"""Faithfulness by the names in `KEPT`, and their difference."""


def _kept(own: CircuitMetrics, other: CircuitMetrics, settings: ComparisonSettings) -> Kept:
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
