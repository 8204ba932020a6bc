"""Data of the circuit explorer on the page: its record, and what other topics know of its nodes.

Arrays by name, in safetensors (`page.packed`), and JSON values with texts. Nothing is computed
here: records are put beside each other. Numbers are shortened to what a reader sees of them:
scores, intervals and facts of nodes to a few bits, ranks beyond the explorer's edges to thousands.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int
from markupsafe import Markup

from mechshift.graph import Graph
from mechshift.page.packed import packed, shortened, upper_halves
from mechshift.semantics import NO_TOKEN
from mechshift.statistics import Estimates
from mechshift.topics.attention import ATTENTION
from mechshift.topics.explorer_record import Explorer, LensTokens, ModelEdges
from mechshift.topics.lens import LENS
from mechshift.topics.neurons import NEURONS, NeuronView, neurons_views, visible_text
from mechshift.topics.single_ablations import SINGLE_ABLATIONS
from mechshift.topics.stability import STABILITY
from mechshift.topics.steps import UNITS
from mechshift.topics.topic import TaskResults

Arrays = dict[str, np.ndarray]

NEURONS_OF_MLP, CONTEXTS_OF_NEURON = 3, 2
"""Neurons of a model that one MLP shows, and contexts of each."""

SCORE_BITS, BOUND_BITS = 15, 5
"""Bits of mean scores, right to 1 in 65,536, and of how far their intervals reach, right to 2 %.
Facts of nodes are right to 0.4 %."""


def explorer_data(record: Explorer, task: TaskResults) -> Markup:
    """One task as the page's explorer reads it."""
    models = {"arm": record.arm, "mdm": record.mdm}
    arrays: Arrays = {
        "edges": np.diff(record.edges, prepend=0).astype(np.uint32),  # distances compress better
        "stepped": record.stepped.astype(np.uint32),
        "followed": np.zeros(0, dtype=np.uint32),
        "exemplary": record.exemplary.astype(np.uint32),
    }
    for model, of_model in models.items():
        arrays |= _named(model, _edge_arrays(of_model, record.size))
    values: dict[str, Any] = {
        "task": task.task,
        "graph": _graph_values(record.graph),
        "circuitSize": record.circuit_size,
        "sizes": {
            "sum": record.size,
            "steps": record.step_size,
            "checkpoints": 0,
            "examples": record.example_size,
        },
        "levels": {"steps": record.arm.steps.levels, "examples": record.arm.examples.levels},
        "stepExamples": record.step_examples.tolist(),
        "checkpoints": [],
        "unit": record.unit,
        "numRows": record.num_rows,
        "numClusters": record.num_clusters,
        "level": record.arm.score.level,
        "metric": task.metric,
        "metricUnit": UNITS.get(task.metric, "metric units"),
        "tokens": _token_values(record),
    }
    for add in (_checkpoints, _stability, _lens, _roles, _ablations, _neurons):
        add(record, task, arrays, values)
    return packed(arrays, values)


def _named(prefix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _graph_values(graph: Graph) -> dict[str, int]:
    return {
        "layers": graph.num_layers,
        "heads": graph.num_heads,
        "groups": graph.num_key_value_groups,
        "edges": graph.num_edges,
    }


def _edge_arrays(model: ModelEdges, size: int) -> Arrays:
    return {
        "score": shortened(model.score.value, SCORE_BITS),
        "below": upper_halves(model.score.value - model.score.low, BOUND_BITS),
        "above": upper_halves(model.score.high - model.score.value, BOUND_BITS),
        "rank": shortened_ranks(model.rank, size),
        "steps": model.steps.codes,
        "steps.largest": upper_halves(model.steps.largest),
        "examples": model.examples.codes,
        "examples.largest": upper_halves(model.examples.largest),
    }


def shortened_ranks(rank: Int[np.ndarray, " edge"], size: int) -> np.ndarray:
    """Ranks up to `size` as they are, others as the next thousand, which compresses."""
    thousand = -(-rank // 1000) * 1000
    return np.where(rank > size, np.maximum(thousand, size + 1), rank).astype(np.uint32)


def _estimates(name: str, estimates: Estimates) -> Arrays:
    bounds = {"value": estimates.value, "low": estimates.low, "high": estimates.high}
    return {f"{name}.{part}": upper_halves(array) for part, array in bounds.items()}


def _token_values(record: Explorer) -> dict[str, list[list[list[Any]]]]:
    """Model -> for each source the tokens that its lens names, with their shares."""
    texts = dict(zip(record.token_ids.tolist(), record.token_texts, strict=True))

    def of_model(tokens: LensTokens | None) -> list[list[list[Any]]]:
        if tokens is None:
            return []
        return [
            [
                [visible_text(texts[token]), round(share, 3)]
                for token, share in zip(ids, shares, strict=True)
                if token != NO_TOKEN
            ]
            for ids, shares in zip(tokens.ids.tolist(), tokens.share.tolist(), strict=True)
        ]

    return {"arm": of_model(record.arm.tokens), "mdm": of_model(record.mdm.tokens)}


def _checkpoints(
    record: Explorer, task: TaskResults, arrays: Arrays, values: dict[str, Any]
) -> None:
    """Scores over post-trainings."""
    found = record.followed
    if found is None:
        return
    arrays["followed"] = found.places.astype(np.uint32)
    arrays["checkpoints"] = upper_halves(found.scores)
    values["sizes"]["checkpoints"] = found.size
    values["checkpoints"] = [
        {"training": one.training, "step": one.step} for one in found.checkpoints
    ]


def _stability(record: Explorer, task: TaskResults, arrays: Arrays, values: dict[str, Any]) -> None:
    """In how many resamples each edge is in the circuits."""
    found = STABILITY.of(task)
    if found is None:
        return
    values["resamples"] = found.num_resamples
    place = np.searchsorted(record.edges, found.edges)
    inside = place < len(record.edges)
    inside[inside] = record.edges[place[inside]] == found.edges[inside]
    for model, shares in (("arm", found.arm), ("mdm", found.mdm)):
        counts = np.zeros(len(record.edges), dtype=np.uint32)
        counts[place[inside]] = np.rint(shares[inside] * found.num_resamples)
        arrays[f"{model}.resamples"] = counts


def _lens(record: Explorer, task: TaskResults, arrays: Arrays, values: dict[str, Any]) -> None:
    found = LENS.of(task)
    if found is None:
        return
    values["lens"] = {"reading": found.arm.reading}
    for model, profile in (("arm", found.arm), ("mdm", found.mdm)):
        arrays |= _estimates(f"{model}.lens", profile.components)


def _roles(record: Explorer, task: TaskResults, arrays: Arrays, values: dict[str, Any]) -> None:
    found = ATTENTION.of(task)
    if found is None:
        return
    values["roles"] = {
        "names": [role.replace("_", " ") for role in found.arm.roles],
        "threshold": found.arm.threshold,
    }
    for model, roles in (("arm", found.arm), ("mdm", found.mdm)):
        arrays |= _estimates(f"{model}.roles", roles.excess)
        arrays[f"{model}.roles.holds"] = roles.holds.astype(np.uint8)


def _ablations(record: Explorer, task: TaskResults, arrays: Arrays, values: dict[str, Any]) -> None:
    found = SINGLE_ABLATIONS.of(task)
    if found is None:
        return
    single = found.single
    values["ablation"] = {"replacement": single.replacement, "metric": single.metric_name}
    for model, drops in (("arm", single.arm), ("mdm", single.mdm)):
        arrays |= _estimates(f"{model}.ablation", drops)


def _neurons(record: Explorer, task: TaskResults, arrays: Arrays, values: dict[str, Any]) -> None:
    found = NEURONS.of(task)
    if found is None:
        return
    values["neurons"] = {}
    for model, view in zip(("arm", "mdm"), neurons_views(found, num_neurons=None), strict=True):
        by_mlp: dict[str, list[dict[str, Any]]] = {}
        for neuron in view.rows:
            of_mlp = by_mlp.setdefault(neuron.name.partition(".")[0], [])
            if len(of_mlp) < NEURONS_OF_MLP:
                of_mlp.append(_neuron_values(neuron))
        values["neurons"][model] = by_mlp


def _neuron_values(neuron: NeuronView) -> dict[str, Any]:
    return {
        "name": neuron.name,
        "score": f"{neuron.score.text} {neuron.score.interval}".strip(),
        "contexts": [
            [one.before, one.token, one.after] for one in neuron.contexts[:CONTEXTS_OF_NEURON]
        ],
        "promotes": list(neuron.promoted),
        "sentence": "" if neuron.sentence is None else neuron.sentence.text,
    }
