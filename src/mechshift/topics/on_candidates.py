"""Numbers on all candidates: the quantities of the MDM and the controls where selection is undone.

For the topic `selection`. A quantity is measured on sums of blocks of candidates
(`comparison.candidates`) by the function that measures it anywhere (`topic.Quantity`): on common
examples, on the others, and on all candidates, and on each of these without every block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from mechshift.comparison import (
    Candidates,
    Population,
    delete_a_block,
    shard_clusters,
)
from mechshift.statistics import Estimate, cluster_numbers, num_clusters, share_correct
from mechshift.tasks import CommonPool
from mechshift.topics.blocked_scores import BlockedPair, FlowSums, block_sums, flow_sums
from mechshift.topics.by_template import (
    MIN_TEMPLATE_CLUSTERS,
    MemberOnExamples,
    measure_on_some,
)
from mechshift.topics.decisions import MIN_CLUSTERS, too_few_clusters
from mechshift.topics.topic import KINDS, Measured, Quantity, StoredTask

POPULATIONS: tuple[Population, ...] = ("common", "others", "all")


@dataclass(frozen=True, kw_only=True)
class OnCandidates:
    """One quantity of one member; numbers may lie beyond its range (`in_range`)."""

    name: str
    unit: str
    neutral: float | None
    at_a_glance: bool
    """Whether it has a panel."""
    common: Measured
    """On the examples that both models solve, from the same blocks as the others; what the run says
    of them stands elsewhere (`TaskResults.mdm`)."""
    others: Measured
    """On the candidates that not both models solve."""
    on_all: Measured
    """On all candidates."""
    difference: Measured
    """On all candidates minus on common examples; blocks are left out of both."""


@dataclass(frozen=True, kw_only=True)
class MemberOnCandidates:
    """All quantities of one member."""

    quantities: tuple[OnCandidates, ...]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Who was asked, what both models solve, and what that makes of the numbers."""

    num_candidates: int
    """Discovery candidates that both models were asked."""
    solved: Mapping[str, int]
    """How many `both`, `only the ARM`, `only the MDM` and `neither` solve."""
    share: Estimate
    """Of the candidates that both models solve."""
    sampled: Mapping[str, int]
    """The same counts of the sample that was scored of those that not both solve."""
    num_clusters: int
    """Of this sample."""
    members: Mapping[str, MemberOnCandidates]
    """Of the MDM and each control; empty where both models solve all candidates."""

    @property
    def num_others(self) -> int:
        """Candidates that not both models solve."""
        return self.num_candidates - self.solved["both"]

    @property
    def num_sampled(self) -> int:
        """Of these, those that were scored."""
        return sum(self.sampled.values())


def measure_on_candidates(stored: StoredTask, quantities: Sequence[Quantity]) -> Selection | None:
    """Every quantity of the MDM and the controls on all candidates.

    Args:
        stored: what earlier stages stored of a task.
        quantities: of members; those that noise makes another number are left out.

    Returns:
        None where no sample was kept, or it was not scored.
    """
    pool, scored = stored.pool("discovery"), stored.others()
    if pool.others is None or (pool.others.examples and not {*KINDS} <= {*scored}):
        return None
    solved_by = _solved_by(pool)
    tried = cluster_numbers(pool.candidate_clusters)
    names = [name for name in scored if name != "arm"]
    shown = [one for one in quantities if one.by_template]
    members = {}
    if names:
        per_shard = stored.scores("arm").examples_per_shard
        candidates = candidates_of(pool, per_shard)
        blocks = candidates.dealt(stored.settings.seed)
        arm = block_sums(blocks, stored.scores("arm"), scored["arm"])
        traced = stored.other_flows()

        def flow_of(name: str) -> FlowSums | None:
            common = stored.flow(name)
            if common is None or name not in traced:
                return None
            return flow_sums(blocks, common, traced[name], per_shard)

        arm_flow = flow_of("arm")
        for name in names:
            own, own_flow = block_sums(blocks, stored.scores(name), scored[name]), flow_of(name)
            on_blocks = BlockedPair(
                name=name,
                blocks=blocks,
                arm=arm,
                other=own,
                flows=None if arm_flow is None or own_flow is None else (arm_flow, own_flow),
                settings=stored.settings,
            )
            members[name] = MemberOnCandidates(
                quantities=tuple(quantities_on_candidates(on_blocks, candidates, shown))
            )
    return Selection(
        num_candidates=len(pool.candidate_ids),
        solved=_counts(solved_by),
        share=share_correct(pool.both_correct, tried, stored.settings.level),
        sampled=_counts(solved_by[pool.others.places]),
        num_clusters=num_clusters(tried[pool.others.places]) if pool.others.examples else 0,
        members=members,
    )


SOLVED_BY = ("neither", "only the MDM", "only the ARM", "both")


def _solved_by(pool: CommonPool) -> np.ndarray:
    """Place in `SOLVED_BY` of each candidate."""
    return 2 * pool.arm_correct.astype(np.int64) + pool.mdm_correct


def _counts(solved_by: np.ndarray) -> dict[str, int]:
    counts = np.bincount(solved_by, minlength=len(SOLVED_BY)).tolist()
    return dict(zip(SOLVED_BY, counts, strict=True))


def candidates_of(pool: CommonPool, examples_per_shard: int = 1) -> Candidates:
    """Who was asked, and in which clusters the rows of scores are.

    Args:
        pool: with a sample of the candidates that not both models solve.
        examples_per_shard: of the common examples' scores; clusters that share a shard become one.
    """
    assert pool.others is not None
    clusters = cluster_numbers(pool.candidate_clusters)
    place = {name: number for number, name in enumerate(pool.candidate_ids)}
    common = clusters[[place[example.id] for example in pool.examples]]
    rows = common
    if examples_per_shard > 1:
        rows = shard_clusters(common, examples_per_shard)
        joined = dict(
            zip(common.tolist(), np.repeat(rows, examples_per_shard).tolist(), strict=True)
        )
        first = int(rows.max()) + 1
        clusters = np.array([joined.get(one, first + one) for one in clusters.tolist()])
    return Candidates(
        both_correct=pool.both_correct,
        clusters=clusters,
        common=rows,
        others=clusters[pool.others.places],
    )


def quantities_on_candidates(
    pair: BlockedPair, candidates: Candidates, shown: Sequence[Quantity]
) -> list[OnCandidates]:
    """Every quantity on all populations, with intervals from leaving out blocks.

    Nothing is measured where common examples are of fewer clusters than a template needs; on the
    others where their sample is of too few to decide anything; and on all candidates neither then,
    unless the sample holds all of the others.
    """
    common, others = (
        num_clusters(one) if len(one) else 0 for one in (candidates.common, candidates.others)
    )
    few: dict[Population, str] = {}
    if others < MIN_CLUSTERS:
        few["others"] = too_few_clusters(others)
        if not candidates.all_scored:
            few["all"] = too_few_clusters(others)
    if common < MIN_TEMPLATE_CLUSTERS:
        few = dict.fromkeys(POPULATIONS, too_few_clusters(common))
    found: dict[str, dict[Population, Measured]] = {one.name: {} for one in shown}
    without: dict[str, dict[Population, np.ndarray]] = {one.name: {} for one in shown}
    for population in POPULATIONS:
        if reason := few.get(population):
            for one in shown:
                found[one.name][population] = Measured(reason=reason)
            continue
        whole = _measured(pair.on(population, None), shown)
        left = [
            _measured(pair.on(population, block), shown) for block in range(pair.blocks.num_blocks)
        ]
        for one in shown:
            values = np.array([_value(measured[one.name]) for measured in left])
            without[one.name][population] = values
            found[one.name][population] = _with_interval(
                whole[one.name], values, pair.settings.level
            )
    return [
        OnCandidates(
            name=one.name,
            unit=one.unit,
            neutral=one.neutral,
            at_a_glance=one.at_a_glance,
            common=found[one.name]["common"],
            others=found[one.name]["others"],
            on_all=found[one.name]["all"],
            difference=_difference(found[one.name], without[one.name], pair.settings.level),
        )
        for one in shown
    ]


def _measured(member: MemberOnExamples | None, shown: Sequence[Quantity]) -> dict[str, Measured]:
    if member is None:
        return {one.name: Measured(reason="no example is scored") for one in shown}
    return {one.name: measure_on_some(one, member) for one in shown}


def on_all_of(common: Measured, one: OnCandidates, limits: tuple[float, float] | None) -> Measured:
    """A quantity on all candidates, as what the run says of common examples plus the difference.

    So two numbers on a page differ by what the candidates make of them, and not by how blocks were
    dealt; the interval is as wide as that on blocks.

    Args:
        common: on common examples, from single examples.
        one: the same, from blocks.
        limits: of its range.
    """
    base, found, more = common.scattered(), one.on_all.estimate, one.difference.estimate
    if base is None or found is None or more is None:
        return in_range(one.on_all, limits)
    moved = base.value + more.value - found.value
    interval = replace(
        found.interval, low=found.interval.low + moved, high=found.interval.high + moved
    )
    estimate = Estimate(value=found.value + moved, interval=interval)
    return in_range(replace(one.on_all, estimate=estimate), limits)


def in_range(measured: Measured, limits: tuple[float, float] | None) -> Measured:
    """A number whose value and interval lie in its range, which chance may leave."""
    found = measured.estimate
    if found is None or limits is None:
        return measured
    value, low, high = (
        min(max(one, limits[0]), limits[1])
        for one in (found.value, found.interval.low, found.interval.high)
    )
    interval = replace(found.interval, low=low, high=high)
    return replace(measured, estimate=Estimate(value=value, interval=interval))


def _value(measured: Measured) -> float:
    """Before it is brought into its range; NaN where there is none."""
    return float("nan") if measured.scatter is None else measured.scatter.value


def _with_interval(
    whole: Measured, without: Float64[np.ndarray, " block"], level: float
) -> Measured:
    """A number with the interval that leaving out blocks gives."""
    if whole.estimate is None:
        return whole
    found = delete_a_block(_value(whole), without, level)
    if found is None:
        return Measured(reason="undefined without some of the examples")
    return replace(whole, estimate=found, scatter=None)


def _difference(
    found: Mapping[Population, Measured],
    without: Mapping[Population, np.ndarray],
    level: float,
) -> Measured:
    """On all candidates minus on common examples."""
    for population in ("all", "common"):
        if found[population].estimate is None:
            return Measured(reason=found[population].reason)
    on_all, common = found["all"].estimate, found["common"].estimate
    if on_all is None or common is None:
        return Measured(reason=found["all"].reason or found["common"].reason)
    more = on_all.value - common.value
    estimate = delete_a_block(more, without["all"] - without["common"], level)
    assert estimate is not None  # both were defined without every block
    return Measured(estimate=estimate)
