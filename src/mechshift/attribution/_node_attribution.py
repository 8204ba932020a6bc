"""Node attribution patching: a score for each node, whichever nodes read it.

For a node u that writes to the residual stream, with D_u its corrupted minus its clean output:

    score(u) = mean over points of  sum over positions of  < D_u , d(-metric) / d out_u >

It is the first-order estimate of what corrupting this node alone costs. The gradient is taken at
the node's *output*, for MLPs too; the gradient at an MLP's input belongs to the edges into it, and
published code that multiplied it with the MLP's output difference could get the sign wrong
(EAP-IG, issue 22).

Everything that reads u reads it through an edge, so score(u) is the sum of the EAP-IG scores of
the edges out of u at the same points, exactly. It costs less: what reads a head's output also reads
the rest of the stream behind the attention, so all heads of a layer share the gradient there. Taken
back through the output projection it has d_head numbers a head, as z has; nothing is ungrouped, and
no destination is looked at.

`path` runs the points: `path_points` gives those of integrated gradients, and one alone takes the
plain gradient there, for example (`CLEAN`,).

Source: NAP and NAP-IG of MIB, arXiv:2504.13151.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import collect_along_paths
from mechshift.attribution.node_scores import NodeScores
from mechshift.attribution.output_gradients import OutputGradients
from mechshift.attribution.path import InputPath, path_points
from mechshift.denoising import Canvas
from mechshift.interventions import Recording
from mechshift.models import LanguageModel


def node_attribution(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    points: Sequence[float] = path_points("left", 5),
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> NodeScores:
    """Score every node of the model on every example and denoising step.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        metric: a name in `denoising.METRICS`.
        points: where on the path gradients are taken, from 0, corrupted, to 1, clean.
        batch_size: canvases in one forward pass; it does not change a score.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: no canvases, a missing example or step, a batch that does not fit in
            memory, or scores that are not finite.
    """
    graph = model.graph()
    collector = collect_along_paths(
        lambda path: _score_batch(path, points),
        (graph.num_sources,),
        model,
        canvases,
        metric=metric,
        grouped=True,
        batch_size=batch_size,
        progress=progress,
    )
    return NodeScores(graph=graph, **collector.collected())


def _score_batch(path: InputPath, points: Sequence[float]) -> Float[Tensor, "row slot source"]:
    gradients = OutputGradients(path.batch.num_slots, select=written_to)
    path.add_gradients(points, gradients)
    differences, num_heads = path.differences, path.model.parts.num_heads
    blocks = [_inner_products(differences.embedding, gradients.total(0), 1)]
    for index, layer in enumerate(path.model.parts.layers):
        behind_heads, at_mlp = (gradients.total(2 * index + place) for place in (1, 2))
        at_z = behind_heads @ layer.head_map.weight.to(behind_heads.dtype)
        blocks += [
            _inner_products(differences.z[index], at_z, num_heads),
            _inner_products(differences.mlp[index], at_mlp, 1),
        ]
    return torch.cat(blocks, dim=-1).div_(-len(points))


def _inner_products(
    difference: Float[Tensor, "row position d"],
    gradient: Float[Tensor, "slot row position d"],
    nodes: int,
) -> Float[Tensor, "row slot nodes"]:
    """Of the outputs of so many nodes, which stand side by side."""
    products = (difference * gradient).unflatten(-1, (nodes, -1))
    return products.sum(dim=(2, 4)).transpose(0, 1)


def written_to(record: Recording) -> list[Tensor]:
    """What the gradient is taken at: the embeddings; the stream behind attention; MLP outputs."""
    per_layer = (
        tensor for layer in record.layers for tensor in (layer.mlp_input, layer.mlp_output)
    )
    return [record.embedding, *per_layer]
