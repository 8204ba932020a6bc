"""Record of the circuit explorer: the strongest edges of both models, and what is known of them.

1. Edges: the strongest `LARGEST_SIZE` of the ARM and of the MDM by |mean score|, all of a small
   graph. Of each edge both models' mean score with an interval over clusters of examples, and its
   rank among all edges of the graph.
2. Mean scores at each denoising step, of the strongest of these edges. An example without the step
   counts as 0 there, so that the steps of an edge add up to its mean score.
3. Mean scores at each checkpoint of the post-trainings that `mechshift trajectory` followed in the
   same run, of the strongest edges of both models and of every checkpoint.
4. Scores of every example (or shard of examples), of the edges in the models' circuits, and of as
   many others as a page can hold without coarser numbers.
5. The tokens that each component's lens names most often.

Steps and examples are rounded to whole parts of each edge's largest |score| (`Rounded`). They are
kept of fewer edges, and examples in coarser parts, where a page would grow too large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.attribution import EdgeScores
from mechshift.comparison import (
    Comparison,
    ComparisonSettings,
    Unit,
    drawn_together,
    row_clusters,
    top_edges,
)
from mechshift.flat_records import added_later
from mechshift.graph import Graph
from mechshift.page.packed import shortened
from mechshift.semantics import NO_TOKEN, LogitLens
from mechshift.statistics import Estimates, bootstrap_weights, centred_estimates
from mechshift.topics.topic import KINDS, CheckpointScores, StoredTask
from mechshift.topics.trajectory import training_title

LARGEST_SIZE = 10_000
"""Edges of each model in a large graph: ten published circuits."""

STEP_CODES = 75_000
"""Numbers at steps at most, of one task."""

CHECKPOINT_SCORES = 30_000
"""Scores at checkpoints at most, of one task."""

EXAMPLE_CODES = 2_000_000
"""Numbers of examples at most, of one task: two disjoint circuits of 1,000 edges in two models on
500 examples."""

STEP_LEVELS = 127

EXAMPLE_LEVELS = ((500_000, 127), (800_000, 31), (EXAMPLE_CODES, 6))
"""Up to how many numbers of examples -> the parts that the largest |score| of an edge is cut into.
Coarser ones compress better, so that four tasks of a 7B model stay a page that opens."""

SHOWN_TOKENS = 5
"""Tokens of each component's lens."""

COLUMNS = 4096
"""Edges whose resamples are held at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """Scores as whole numbers: score = code * largest / levels, off by half a part at most."""

    codes: Int[np.ndarray, "edge column"]
    """From -levels to levels, as int8."""
    largest: Float[np.ndarray, " edge"]
    """Of each edge over its columns: the largest |score| [metric units], or up to 1 % more, so that
    the page can hold it in two bytes; 0 where all are 0."""
    levels: int

    def scores(self) -> Float[np.ndarray, "edge column"]:
        """The scores that the codes stand for."""
        return self.codes * (self.largest.astype(np.float64) / self.levels)[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class LensTokens:
    """Tokens that each component's lens puts among its first few most often."""

    ids: Int[np.ndarray, "source token"]
    """Most often first; `NO_TOKEN` where a lens names fewer."""
    share: Float[np.ndarray, "source token"]
    """Of the readouts in which the lens puts the token there, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelEdges:
    """The explorer's edges in one model."""

    score: Estimates
    """Mean score of each edge [metric units]: summed over steps, mean of examples."""
    rank: Int[np.ndarray, " edge"]
    """Place by |mean score| among all edges of the graph, from 1 on; 0 where the score is 0."""
    steps: Rounded
    """[stepped edge, step]: mean score at each step."""
    examples: Rounded
    """[circuit edge, example]: score of each example, summed over steps."""
    tokens: LensTokens | None
    """None where components were not analysed."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose circuit can stand in the MDM's place."""

    training: str
    """As the page calls it."""
    step: int
    """Training steps since the parent."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FollowedEdges:
    """Edges over post-trainings."""

    checkpoints: tuple[Checkpoint, ...]
    """By training, then by step."""
    places: Int[np.ndarray, " followed_edge"]
    """Of the edges that have scores at checkpoints, in `Explorer.edges`."""
    size: int
    """Up to which K every edge of every checkpoint's circuit, and of both models', is here."""
    scores: Float[np.ndarray, "checkpoint followed_edge"]
    """Mean score of each edge [metric units], summed over denoising steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explorer:
    """The strongest edges of an ARM and an MDM on one task."""

    graph: Graph
    circuit_size: int
    unit: Unit
    """What a row of scores is."""
    num_rows: int
    num_clusters: int
    edges: Int[np.ndarray, " edge"]
    """Indices in `Graph` order, ascending."""
    size: int
    """Up to which K every edge of both models' circuits is here."""
    stepped: Int[np.ndarray, " stepped_edge"]
    """Places in `edges` of those with scores at steps; none where there is one step."""
    step_size: int
    """Up to which K, in the ranks of the sum over steps, every edge has scores at steps."""
    step_examples: Int[np.ndarray, " step"]
    """Examples that have each step."""
    exemplary: Int[np.ndarray, " circuit_edge"]
    """Places in `edges` of those with scores of examples."""
    example_size: int
    """Up to which K every edge has scores of examples; less than the circuits' size where examples
    are very many."""
    arm: ModelEdges
    mdm: ModelEdges
    token_ids: Int[np.ndarray, " token"]
    """Of the tokens that lenses name, ascending."""
    token_texts: tuple[str, ...]
    """Of each id; from the tokenizer, so not to be trusted."""
    followed: FollowedEdges | None = added_later()
    """None where no post-training was followed."""


def conclude_explorer(stored: StoredTask) -> Explorer:
    """The explorer's record of one task."""
    pair = {kind: stored.scores(kind) for kind in KINDS}
    comparison, semantics = stored.comparison(), {kind: stored.semantics(kind) for kind in KINDS}
    graph, num_rows = comparison.graph, len(pair["arm"].values)
    ranked = _ranked(comparison)
    size = min(LARGEST_SIZE, max(map(len, ranked)))
    num_steps = pair["arm"].clean_metric.shape[1]
    step_size = min(size, sized(STEP_CODES, num_steps)) if num_steps > 1 else 0
    example_size, exemplary = _edges_with_examples(ranked, size, comparison.circuit_size, num_rows)
    checkpoints = stored.checkpoints()
    followed_size, followed = followed_edges(
        ranked, [_order(graph, one.scores) for one in checkpoints], size
    )
    edges = np.union1d(strongest(ranked, size), followed)
    places = {
        name: np.searchsorted(edges, wanted)
        for name, wanted in (
            ("stepped", strongest(ranked, step_size)),
            ("exemplary", exemplary),
        )
    }
    means = (comparison.arm_scores, comparison.mdm_scores)
    models = [
        ModelEdges(
            score=_intervals(mean[edges], edges, pair[kind], stored.settings),
            rank=ranks(order, graph)[edges],
            steps=rounded(_step_means(pair[kind], edges[places["stepped"]]), STEP_LEVELS),
            examples=_of_examples(pair[kind], edges[places["exemplary"]]),
            tokens=None if of_model is None else lens_tokens(of_model.lens),
        )
        for (kind, of_model), mean, order in zip(semantics.items(), means, ranked, strict=True)
    ]
    ids = _named([one.tokens for one in models])
    texts = dict[int, str]()
    for kind, of_model in semantics.items():
        texts |= {} if of_model is None else stored.token_texts(kind)
    return Explorer(
        graph=graph,
        circuit_size=comparison.circuit_size,
        unit=comparison.unit,
        num_rows=num_rows,
        num_clusters=comparison.num_clusters,
        edges=edges,
        size=size,
        step_size=step_size,
        step_examples=(pair["arm"].num_steps[:, None] > np.arange(num_steps)).sum(axis=0),
        example_size=example_size,
        arm=models[0],
        mdm=models[1],
        token_ids=ids,
        token_texts=tuple(texts[token] for token in ids.tolist()),
        followed=_over_trainings(checkpoints, edges, followed, followed_size),
        **places,
    )


def _over_trainings(
    checkpoints: Sequence[CheckpointScores],
    edges: Int[np.ndarray, " edge"],
    followed: Int[np.ndarray, " followed_edge"],
    size: int,
) -> FollowedEdges | None:
    if not checkpoints:
        return None
    return FollowedEdges(
        checkpoints=tuple(
            Checkpoint(training=training_title(one.training), step=one.step) for one in checkpoints
        ),
        places=np.searchsorted(edges, followed),
        size=size,
        scores=np.stack([one.scores[followed] for one in checkpoints]),
    )


def sized(num_codes: int, num_columns: int) -> int:
    """Size of two disjoint circuits whose edges have so many numbers in two models."""
    return num_codes // (4 * num_columns)


def _ranked(comparison: Comparison) -> list[Int[np.ndarray, " _edge"]]:
    """Each model's edges that have a score, strongest first."""
    return [
        _order(comparison.graph, scores)
        for scores in (comparison.arm_scores, comparison.mdm_scores)
    ]


def _order(graph: Graph, scores: Float[np.ndarray, " edge"]) -> Int[np.ndarray, " _edge"]:
    return top_edges(graph, scores, graph.num_edges)


def followed_edges(
    ranked: Sequence[Int[np.ndarray, " _edge"]],
    at_checkpoints: Sequence[Int[np.ndarray, " _edge"]],
    size: int,
) -> tuple[int, Int[np.ndarray, " edge"]]:
    """The circuits whose scores at all checkpoints a page can hold.

    Args:
        ranked: of both models, edges strongest first.
        at_checkpoints: the same of each checkpoint.
        size: of a circuit at most.

    Returns:
        As `fitting`; without checkpoints no edges.
    """
    if not at_checkpoints:
        return 0, np.zeros(0, dtype=np.int64)
    most = min(CHECKPOINT_SCORES // len(at_checkpoints), 2 * LARGEST_SIZE)
    return fitting([*ranked, *at_checkpoints], size, most)


def _edges_with_examples(
    ranked: Sequence[Int[np.ndarray, " _edge"]], size: int, circuit_size: int, num_rows: int
) -> tuple[int, Int[np.ndarray, " edge"]]:
    """Those of the circuits, or more if all of them can be held in the finest parts."""
    finest, _ = EXAMPLE_LEVELS[0]
    more, edges = fitting(ranked, size, finest // (2 * num_rows))
    if more >= circuit_size:
        return more, edges
    most = min(circuit_size, sized(EXAMPLE_CODES, num_rows))
    return most, strongest(ranked, most)


def fitting(
    ranked: Sequence[Int[np.ndarray, " _edge"]], size: int, most: int
) -> tuple[int, Int[np.ndarray, " edge"]]:
    """The largest circuits, of a series of sizes, that together have at most so many edges.

    What circuits share counts once, so how large they can be depends on how alike they are.

    Args:
        ranked: of each model, edges strongest first.
        size: of a circuit at most.
        most: edges of all circuits together.

    Returns:
        Edges of each circuit, 1 at least, and the edges of all of them, ascending.
    """
    size = max(1, min(size, max(map(len, ranked))))
    while len(edges := strongest(ranked, size)) > most and size > 1:
        size = size * 9 // 10
    return size, edges


def strongest(ranked: Sequence[Int[np.ndarray, " _edge"]], size: int) -> Int[np.ndarray, " edge"]:
    """Edges of the circuits of one size in either model, ascending."""
    return np.unique(np.concatenate([edges[:size] for edges in ranked])).astype(np.int64)


def ranks(order: Int[np.ndarray, " ranked"], graph: Graph) -> Int[np.ndarray, " graph_edge"]:
    """Place of each edge from 1 on; 0 where it has no score."""
    rank = np.zeros(graph.num_edges, dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def _rows(scores: EdgeScores, edges: Int[np.ndarray, " edge"]) -> Float[np.ndarray, "row edge"]:
    """Scores of some edges, summed over steps.

    Rows may lie in a file, and all of them would not fit into memory: they are read one at a time.
    """
    return np.stack([row[:, edges].sum(axis=0, dtype=np.float64) for row in scores.values])


def _of_examples(scores: EdgeScores, edges: Int[np.ndarray, " edge"]) -> Rounded:
    rows = _rows(scores, edges)
    return rounded(rows.T, example_levels(2 * rows.size))


def _intervals(
    mean: Float[np.ndarray, " edge"],
    edges: Int[np.ndarray, " edge"],
    scores: EdgeScores,
    settings: ComparisonSettings,
) -> Estimates:
    """Mean scores with bootstrap intervals over clusters, some edges at a time."""
    rows, value = _rows(scores, edges), mean.astype(np.float64)
    drawn = drawn_together(row_clusters(scores))
    weights = bootstrap_weights(drawn, settings.num_resamples, settings.seed)
    low, high = np.empty((2, len(value)))
    for start in range(0, len(value), COLUMNS):
        part = slice(start, start + COLUMNS)
        found = centred_estimates(value[part], weights @ rows[:, part], level=settings.level)
        low[part], high[part] = found.low, found.high
    return Estimates(value=value, low=low, high=high, level=settings.level)


def _step_means(
    scores: EdgeScores, edges: Int[np.ndarray, " edge"]
) -> Float[np.ndarray, "edge step"]:
    """Sum of each step's scores over the number of all rows."""
    stored = scores.values if scores.step_sums is None else scores.step_sums
    total = np.zeros((stored.shape[1], len(edges)))
    if len(edges):
        for row in stored:
            total += row[:, edges]
    return total.T / len(scores.values)


def rounded(scores: Float[np.ndarray, "edge column"], levels: int) -> Rounded:
    """Scores in parts of each edge's largest |score|."""
    # Half a part of 2^-7 more before rounding, so that no score lies beyond.
    largest = shortened(np.abs(scores).max(axis=1, initial=0.0) * (1 + 2**-8), 7)
    part = np.where(largest > 0, largest.astype(np.float64) / levels, 1.0)
    codes = np.clip(np.rint(scores / part[:, None]), -levels, levels).astype(np.int8)
    return Rounded(codes=codes, largest=largest, levels=levels)


def example_levels(num_codes: int) -> int:
    """Parts for so many numbers of examples."""
    return next(levels for most, levels in EXAMPLE_LEVELS if num_codes <= most)


def lens_tokens(lens: LogitLens) -> LensTokens:
    """The tokens most often among the first of each component's lens; ties to the lower id."""
    top = lens.components.top_ids
    num_readouts, num_sources, _ = top.shape
    ids = np.full((num_sources, SHOWN_TOKENS), NO_TOKEN, dtype=np.int64)
    share = np.zeros((num_sources, SHOWN_TOKENS))
    for source in range(num_sources):
        found, counts = np.unique(top[:, source], return_counts=True)
        first = np.argsort(-counts, kind="stable")[:SHOWN_TOKENS]
        ids[source, : len(first)] = found[first]
        share[source, : len(first)] = counts[first] / num_readouts
    return LensTokens(ids=ids, share=share)


def _named(models: list[LensTokens | None]) -> Int[np.ndarray, " token"]:
    """Ids of all tokens, ascending."""
    named = [np.unique(one.ids) for one in models if one is not None]
    ids = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *named]))
    return ids[ids != NO_TOKEN]
