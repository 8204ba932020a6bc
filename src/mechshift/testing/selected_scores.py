"""Pairs of edge scores of candidates that each model solves by its own scores.

For tests and benchmarks of what a choice of examples does. The strength of the early layers varies
from example to example, in each model by itself; a model solves an example where they are strong in
it. On all candidates the two models' mean scores are those that were planted, equal ones by
default. On the examples that both solve, the early layers of the model that solves less look
stronger than the other's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri

from mechshift.attribution import EdgeScores
from mechshift.comparison import Candidates
from mechshift.graph import Graph, third_of_layers
from mechshift.models import Kind

NOISE_POWER = 0.8
"""An edge's scores scatter by this power of its effect, as real ones do."""


@dataclass(frozen=True, kw_only=True)
class SolvedByScore:
    """Two models, how their examples scatter, and how many each solves."""

    num_examples: int = 200
    """That both models solve, and that are scored."""
    num_others: int = 50
    """Of the candidates that not both solve, those that are scored at most."""
    accuracy: Mapping[Kind, float]
    """Share of the candidates that each model solves, by the strength of its early layers."""
    by_strength: float = 0.8
    """Correlation of that strength with what decides whether an example is solved; 0: luck alone
    does."""
    strength: float = 0.5
    """Standard deviation of the factor by which early layers are stronger in an example."""
    noise: float = 4.0
    """Scatter of an example in an edge of median effect, in median effects."""
    moved: float = 1.0
    """Factor of the MDM's early layers on all candidates; 1: the two models are equal."""
    cluster_size: int = 2
    """Candidates that share the strength of early layers and all that decides."""
    graph: Graph = Graph(num_layers=6, num_heads=3, num_key_value_groups=3)


@dataclass(frozen=True, kw_only=True, eq=False)
class SelectedPair:
    """Scores of two models on common examples and on a sample of the others."""

    common: Mapping[Kind, EdgeScores]
    others: Mapping[Kind, EdgeScores]
    candidates: Candidates
    truth: Mapping[Kind, EdgeScores]
    """Mean scores on all candidates there could be, on every one of a few rows."""


def selected_pair(settings: SolvedByScore, seed: int) -> SelectedPair:
    """One pool: candidates are drawn in rounds until enough are solved by both models."""
    generator = np.random.default_rng(seed)
    graph = settings.graph
    effect = np.exp(generator.normal(size=graph.num_edges))
    layer = graph.source_layer[graph.edge_source]
    early = (layer >= 0) & third_of_layers(graph.num_layers)[0][layer]
    effects: dict[Kind, Float[np.ndarray, " edge"]] = {
        "arm": effect,
        "mdm": np.where(early, settings.moved * effect, effect),
    }
    strength, solved = _candidates(settings, generator)
    both = solved["arm"] & solved["mdm"]
    common = np.flatnonzero(both)[: settings.num_examples]
    missed = generator.permutation(np.flatnonzero(~both))[: settings.num_others]
    clusters = np.arange(len(both)) // settings.cluster_size

    def scored(kind: Kind, chosen: Int[np.ndarray, " example"]) -> EdgeScores:
        own = effects[kind]
        factor = 1 + settings.strength * strength[kind][chosen, None] * early
        scatter = settings.noise * own**NOISE_POWER
        values = own * factor + scatter * generator.normal(size=(len(chosen), graph.num_edges))
        return _edge_scores(graph, values, clusters[chosen])

    return SelectedPair(
        common={kind: scored(kind, common) for kind in effects},
        others={kind: scored(kind, missed) for kind in effects},
        candidates=Candidates(
            both_correct=both,
            clusters=clusters,
            common=clusters[common],
            others=clusters[missed],
        ),
        truth={
            kind: _edge_scores(graph, np.tile(own, (12, 1)), np.arange(12))
            for kind, own in effects.items()
        },
    )


def _candidates(
    settings: SolvedByScore, generator: np.random.Generator
) -> tuple[dict[Kind, Float[np.ndarray, " candidate"]], dict[Kind, Bool[np.ndarray, " candidate"]]]:
    """Strength of early layers in each candidate, and whether it is solved, for each model."""
    kinds = tuple(settings.accuracy)
    strengths: list[Float[np.ndarray, "model=2 candidate"]] = []
    solved: list[Bool[np.ndarray, "model=2 candidate"]] = []
    luck = (1 - settings.by_strength**2) ** 0.5
    while sum(int(one.all(axis=0).sum()) for one in solved) < settings.num_examples:
        shape = len(kinds), -(-settings.num_examples // settings.cluster_size)
        drawn, deciding = generator.normal(size=(2, *shape))
        deciding = settings.by_strength * drawn + luck * deciding
        least = -ndtri(np.array([settings.accuracy[kind] for kind in kinds]))
        strengths.append(np.repeat(drawn, settings.cluster_size, axis=1))
        solved.append(np.repeat(deciding > least[:, None], settings.cluster_size, axis=1))
    found, right = np.concatenate(strengths, axis=1), np.concatenate(solved, axis=1)
    return dict(zip(kinds, found, strict=True)), dict(zip(kinds, right, strict=True))


def _edge_scores(
    graph: Graph, values: Float[np.ndarray, "example edge"], clusters: Int[np.ndarray, " example"]
) -> EdgeScores:
    metric = values[:, graph.edge_source == 0].sum(axis=1, keepdims=True)
    return EdgeScores(
        graph=graph,
        values=values[:, None].astype(np.float32),
        clusters=clusters,
        num_steps=np.ones(len(values), dtype=np.int64),
        clean_metric=metric,
        corrupted_metric=np.zeros_like(metric),
        input_score=metric,
    )
