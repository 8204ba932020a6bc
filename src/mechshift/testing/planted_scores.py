"""Pairs of edge scores whose difference is known, because it was put there.

A circuit of attention heads is written down as edge scores, and the MDM's is made from it by one
change that leaves everything else as it was. Examples are the circuit plus noise, so that a
comparison has something to be certain about, or not.

- `identical`: nothing changes but the metric's unit, which must not matter.
- `moved`: every head sits two layers earlier. Centre of mass -2 layers, profiles 2 layers apart.
- `rewired`: the other heads of the same layers do the work. No edge is shared; depth stays.
- `distributed`: what one head did, all heads of its layer do in equal parts. Depth stays, every
  edge of the ARM's circuit is still used, and no head stands out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.attribution import EdgeScores
from mechshift.errors import ConfigError
from mechshift.graph import Graph

PLANTS = ("identical", "moved", "rewired", "distributed")

LAYERS_MOVED = 2
MDM_UNIT = 3.0
"""The MDM's metric is in another unit than the ARM's, as a probability is than a logit."""

NUM_LAYERS, NUM_HEADS = 6, 2

CIRCUIT = (
    ("input", "a2.h0<v>", 2.0),
    ("input", "a2.h1<q>", -1.0),
    ("a2.h0", "a3.h1<k>", 3.0),
    ("a2.h1", "a3.h1<q>", 1.5),
    ("a2.h0", "a4.h1<v>", -2.0),
    ("a3.h1", "a4.h1<q>", 4.0),
    ("a3.h1", "a5.h0<v>", 2.5),
    ("a4.h1", "a5.h0<k>", 1.2),
    ("a4.h1", "logits", 3.5),
    ("a5.h0", "logits", 5.0),
)
"""Source, destination and score [metric units] of the ARM's circuit; all else is zero."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Scatter of an example's scores around the circuit, in the ARM's units."""

    own: float = 1.0
    """Standard deviation on every edge, drawn for each model by itself."""

    shared: float = 0.0
    """Standard deviation on every edge of what an example does to both models alike."""

    mdm_factor: float = 1.0
    """By how much the MDM's own noise is larger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedPair:
    """Scores of two models, and the circuits that they scatter around."""

    arm: EdgeScores
    mdm: EdgeScores
    arm_circuit: Float[np.ndarray, " edge"]
    """The ARM's score of every edge without noise [its metric's units]."""
    mdm_circuit: Float[np.ndarray, " edge"]


def planted_pair(
    plant: str, *, num_examples: int = 60, noise: Noise | None = None, seed: int = 0
) -> PlantedPair:
    """Two models of one kind of difference, scored on the same examples in one step.

    Raises:
        ConfigError: no such plant.
    """
    if plant not in PLANTS:
        raise ConfigError(f"no planted pair '{plant}'; known: {', '.join(PLANTS)}.")
    graph = Graph(num_layers=NUM_LAYERS, num_heads=NUM_HEADS, num_key_value_groups=NUM_HEADS)
    arm = _circuit(graph, "identical")
    mdm = _circuit(graph, plant)
    noise = noise or Noise()
    generator = np.random.default_rng(seed)
    shape = (num_examples, graph.num_edges)
    both = noise.shared * generator.normal(size=shape)
    of_arm = noise.own * generator.normal(size=shape)
    of_mdm = noise.own * noise.mdm_factor * generator.normal(size=shape)
    return PlantedPair(
        arm=_edge_scores(graph, arm + both + of_arm),
        mdm=_edge_scores(graph, MDM_UNIT * (mdm + both + of_mdm)),
        arm_circuit=arm,
        mdm_circuit=MDM_UNIT * mdm,
    )


def _circuit(graph: Graph, plant: str) -> Float[np.ndarray, " edge"]:
    scores = np.zeros(graph.num_edges)
    for source, destination, score in CIRCUIT:
        sources, destinations = _changed(source, plant), _changed(destination, plant)
        for one in sources:
            for other in destinations:
                edge = graph.edge_index(f"{one}->{other}")
                scores[edge] += score / (len(sources) * len(destinations))
    return scores


def _changed(node: str, plant: str) -> list[str]:
    """Where the MDM does what the ARM does at this node or node input."""
    if plant == "identical" or not node.startswith("a"):
        return [node]
    place, _, kind = node.partition("<")
    layer, head = (int(number) for number in place[1:].split(".h"))
    if plant == "moved":
        places = [(layer - LAYERS_MOVED, head)]
    elif plant == "rewired":
        places = [(layer, (head + 1) % NUM_HEADS)]
    else:
        places = [(layer, other) for other in range(NUM_HEADS)]
    suffix = f"<{kind}" if kind else ""
    return [f"a{to_layer}.h{to_head}{suffix}" for to_layer, to_head in places]


def _edge_scores(graph: Graph, values: Float[np.ndarray, "example edge"]) -> EdgeScores:
    """One step; what `input` sends explains the metric by construction."""
    from_input = values[:, graph.edge_source == 0].sum(axis=1, keepdims=True)
    return EdgeScores(
        graph=graph,
        values=values[:, None],
        num_steps=np.ones(len(values), dtype=int),
        clean_metric=from_input,
        corrupted_metric=np.zeros_like(from_input),
        input_score=from_input,
    )
