"""The pool of one task: which examples were scored, how both models do on them, how scores add up.

For readers who ask what the numbers were measured on before they read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mechshift.comparison import Comparison
from mechshift.errors import ReportError
from mechshift.page.elements import Definition, Part
from mechshift.page.formats import Cell, percentage_cell
from mechshift.statistics import Estimate, cluster_numbers, num_clusters, share_correct
from mechshift.topics.topic import HeadlineRow, StoredTask, TaskResults, Topic


@dataclass(frozen=True, kw_only=True)
class PoolSummary:
    """Numbers behind the common-correct pool of one task."""

    num_candidates: int
    """Examples that both models were asked."""
    num_arm_correct: int
    num_mdm_correct: int
    num_both_correct: int
    pool_size: int
    """Examples that were scored."""
    num_clusters: int
    """Clusters of these; below `MIN_CLUSTERS` no verdict is decided."""
    held_out_size: int
    """Examples on which circuits are tested."""
    num_held_out_clusters: int
    arm_accuracy: Estimate
    """Share of the candidates that the ARM gets right."""
    mdm_accuracy: Estimate
    dropped: Mapping[str, int]
    """Further reasons why examples were left out, and how many each removed."""

    def __post_init__(self) -> None:
        correct = (self.num_arm_correct, self.num_mdm_correct)
        if self.num_candidates < 1 or not (
            0 <= self.pool_size <= self.num_both_correct <= min(correct)
            and max(correct) <= self.num_candidates
        ):
            raise ReportError(
                f"a pool of {self.pool_size} from {self.num_both_correct} examples that both"
                f" models got right, {self.num_arm_correct} (ARM) and {self.num_mdm_correct} (MDM)"
                f" of {self.num_candidates}, does not add up."
            )


@dataclass(frozen=True, kw_only=True)
class PoolRow:
    """A line of the pool's table."""

    name: str
    count: str
    share: Cell | None = None


def pool_rows(pool: PoolSummary, comparison: Comparison) -> tuple[PoolRow, ...]:
    """From the examples that were tried to those that were scored."""
    return (
        PoolRow(name="examples tried", count=f"{pool.num_candidates:,}"),
        PoolRow(
            name="ARM correct",
            count=f"{pool.num_arm_correct:,}",
            share=percentage_cell(pool.arm_accuracy),
        ),
        PoolRow(
            name="MDM correct",
            count=f"{pool.num_mdm_correct:,}",
            share=percentage_cell(pool.mdm_accuracy),
        ),
        PoolRow(name="both correct", count=f"{pool.num_both_correct:,}"),
        *(PoolRow(name=reason, count=f"{count:,}") for reason, count in pool.dropped.items()),
        PoolRow(name="in the pool", count=f"{pool.pool_size:,}"),
        PoolRow(name="clusters of these", count=f"{pool.num_clusters:,}"),
        *_shard_rows(comparison),
        PoolRow(name="held-out examples", count=f"{pool.held_out_size:,}"),
        PoolRow(name="clusters of these", count=f"{pool.num_held_out_clusters:,}"),
    )


def _shard_rows(comparison: Comparison) -> tuple[PoolRow, ...]:
    if comparison.unit == "example":
        return ()
    name = f"shards of {comparison.examples_per_shard} of them"
    return (PoolRow(name=name, count=f"{comparison.num_examples:,}"),)


def _conclude(stored: StoredTask) -> PoolSummary:
    pool, held_out = stored.pool("discovery"), stored.pool("held-out")
    tried = cluster_numbers(pool.candidate_clusters)
    both = pool.arm_correct & pool.mdm_correct
    return PoolSummary(
        num_candidates=len(pool.candidate_ids),
        num_arm_correct=int(pool.arm_correct.sum()),
        num_mdm_correct=int(pool.mdm_correct.sum()),
        num_both_correct=int(both.sum()),
        pool_size=len(pool.examples),
        num_clusters=num_clusters(pool.clusters),
        held_out_size=len(held_out.examples),
        num_held_out_clusters=num_clusters(held_out.clusters),
        arm_accuracy=share_correct(pool.arm_correct, tried),
        mdm_accuracy=share_correct(pool.mdm_correct, tried),
        dropped=pool.dropped,
    )


def _summary(task: TaskResults) -> PoolSummary:
    summary = POOL.of(task)
    assert summary is not None  # there is no run without a pool
    return summary


def _parts(task: TaskResults) -> tuple[Part, ...]:
    rows = pool_rows(_summary(task), task.comparison)
    return (Part(template="pool.html.j2", content={"rows": rows}),)


def _size_cell(task: TaskResults) -> Cell:
    size, whole = task.comparison.circuit_size, task.comparison.graph.num_edges
    return Cell(text=f"{size:,}", interval=f"of {whole:,}")


POOL: Topic[PoolSummary] = Topic(
    name="pool",
    title="Examples",
    record_type=PoolSummary,
    conclude=_conclude,
    headline_name="Behaviour",
    headline=(
        HeadlineRow(
            name="ARM accuracy",
            explanation="greedy, left to right",
            cell=lambda task: percentage_cell(_summary(task).arm_accuracy),
        ),
        HeadlineRow(
            name="MDM accuracy",
            explanation="greedy, denoising",
            cell=lambda task: percentage_cell(_summary(task).mdm_accuracy),
        ),
        HeadlineRow(
            name="Pool",
            explanation="examples that both get right, scored",
            cell=lambda task: Cell(
                text=f"{_summary(task).pool_size:,}",
                interval=f"in {_summary(task).num_clusters:,} clusters",
            ),
        ),
        HeadlineRow(
            name="Circuit size K",
            explanation="edges, of all edges of the graph",
            cell=_size_cell,
        ),
    ),
    parts=_parts,
    terms=(
        Definition(
            term="ARM and MDM",
            meaning="An autoregressive model writes left to right. A masked diffusion model fills"
            " in masked positions and sees both sides of them. This MDM was trained on from the"
            " ARM's weights, so both have the same layers and heads.",
        ),
        Definition(
            term="Clean and corrupted",
            meaning="Every prompt has a twin in which the one fact that determines the answer is"
            " exchanged. The metric says how strongly the model prefers the right answer.",
        ),
    ),
)
