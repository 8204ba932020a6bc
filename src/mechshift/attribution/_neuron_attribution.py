"""Neuron attribution: a score for each dimension of what a node writes.

A neuron is one component of a node's output in the residual stream, as in EAP-IG's neuron level:
`input`, each head's z times its slice of the output projection, and each MLP's output have d_model
of them each. With o_u the output of node u, and D_u its corrupted minus its clean value:

    score(u, j) = mean over points of  sum over positions of  D_u[j] * d(-metric) / d o_u[j]

The sum over j is the node's score (`node_attribution`).

All heads of a layer write to the same place, so they share one gradient, that of the residual
stream behind the attention. Their outputs are made for one layer and batch at a time and summed
over positions at once: [row, head, position, d_model] is the largest array.

A basis of the residual stream is a choice: a neuron's score says how much of the node's effect its
coordinate carries, not that the coordinate has a meaning of its own.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution._node_attribution import written_to
from mechshift.attribution.collecting import collect_along_paths
from mechshift.attribution.node_scores import NeuronScores
from mechshift.attribution.output_gradients import OutputGradients
from mechshift.attribution.path import InputPath, path_points
from mechshift.attribution.source_differences import write_heads
from mechshift.denoising import Canvas
from mechshift.graph import Graph
from mechshift.models import LanguageModel


def neuron_attribution(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    points: Sequence[float] = path_points("left", 5),
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> NeuronScores:
    """Score every neuron of the model on every example and denoising step.

    Arguments and errors are those of `node_attribution`.
    """
    graph = model.graph()
    collector = collect_along_paths(
        lambda path: _score_batch(path, points, graph),
        (graph.num_sources, model.parts.d_model),
        model,
        canvases,
        metric=metric,
        grouped=True,
        batch_size=batch_size,
        progress=progress,
    )
    return NeuronScores(graph=graph, **collector.collected())


def _score_batch(
    path: InputPath, points: Sequence[float], graph: Graph
) -> Float[Tensor, "row slot source d_model"]:
    gradients = OutputGradients(path.batch.num_slots, select=written_to)
    path.add_gradients(points, gradients)
    differences = path.differences
    first = gradients.total(0)
    scores = first.new_empty((*first.shape[:2], graph.num_sources, first.shape[-1]))

    def products(
        written: Float[Tensor, "row node position d_model"], index: int
    ) -> Float[Tensor, "slot row node d_model"]:
        return torch.einsum("bnpd,sbpd->sbnd", written, gradients.total(index))

    scores[:, :, :1] = products(differences.embedding[:, None], 0)
    for index, layer in enumerate(path.model.parts.layers):
        head, mlp = graph.head_source(index), graph.mlp_source(index)
        heads = write_heads(differences.z[index], layer, path.model.parts.num_heads)
        scores[:, :, head:mlp] = products(heads, 1 + 2 * index)
        scores[:, :, mlp : mlp + 1] = products(differences.mlp[index][:, None], 2 + 2 * index)
    return scores.div_(-len(points)).transpose(0, 1)
