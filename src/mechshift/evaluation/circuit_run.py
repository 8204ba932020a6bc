"""A circuit run: the model in which only a circuit's edges carry the clean example.

Every destination reads its corrupted residual stream plus, summed over its in-circuit parents,
the parent's output in this run minus its corrupted output. All edges are exact at once, and one
pass suffices, because a parent's output is known before its readers need it:

1. The difference of `input` is clean minus corrupted embedding.
2. Layer by layer, for the live heads only: sum the parents' differences into each distinct input,
   norm it once, project the heads that read it, patch them into the corrupted queries, keys and
   values, and run the stock attention on them. A head's difference is its change in z times its
   slice of the output projection (whose bias cancels). A norm behind that projection divides by
   one number for all heads, that of their z in this run; a head that is not live stays as it was.
3. A live MLP's difference is its output on the summed and normed input minus its corrupted output.
4. The final norm and the unembedding read the `logits` destination at the scored positions.

Definition: Hanna et al. 2024, arXiv:2403.17806 (`evaluate_graph` of EAP-IG). In half precision
"exact" means up to the rounding of the model's own dtype. The parts must be on one device.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising import readout_hidden
from mechshift.evaluation._corrupted_cache import CorruptedCache
from mechshift.evaluation.circuit_plan import CircuitPlan, HeadProjection, LayerPlan
from mechshift.graph import KEY, QUERY
from mechshift.interventions import LayerRecording
from mechshift.interventions.patched_projections import Arguments, Heads, attend
from mechshift.models import LanguageModel, LayerParts

Differences = Float[Tensor, "live_source batch position d_model"]
"""Output in this run minus corrupted output, of each live source; filled in layer by layer."""


@torch.no_grad()
def run_circuit(
    model: LanguageModel, cache: CorruptedCache, plan: CircuitPlan
) -> Float[Tensor, "readout vocab"]:
    """Logits of the circuit at the scored positions of the cache's batch."""
    if plan.num_live_sources == 0:
        return cache.logits
    shape = (plan.num_live_sources, *cache.input_difference.shape)
    differences = cache.input_difference.new_empty(shape)
    differences[0] = cache.input_difference
    for layer, layer_plan, corrupted, arguments in zip(
        model.parts.layers,
        plan.layers,
        cache.activations.layers,
        cache.attention_arguments,
        strict=True,
    ):
        _run_heads(layer, layer_plan, corrupted, arguments, differences)
        _run_mlp(layer, layer_plan, corrupted, differences)
    return _read_logits(model, cache, plan, differences)


def _run_heads(
    layer: LayerParts,
    plan: LayerPlan,
    corrupted: LayerRecording,
    arguments: Arguments,
    differences: Differences,
) -> None:
    """Fill in the differences of a layer's live heads."""
    num_live = len(plan.heads)
    if num_live == 0:
        return
    residual = _summed(corrupted.attention_input, plan.parents, differences)
    normed = layer.attention_norm(residual)
    by_head = (-1, plan.head_dim)
    query = corrupted.query.unflatten(-1, by_head)[:, :, plan.heads]
    key = corrupted.key.unflatten(-1, by_head)[:, :, plan.key_value_heads]
    value = corrupted.value.unflatten(-1, by_head)[:, :, plan.key_value_heads]
    for projection in plan.projections:
        patched = {QUERY: query, KEY: key}.get(projection.kind, value)
        patched[:, :, projection.positions] = _project(layer, projection, normed, plan.head_dim)
    z = corrupted.z.unflatten(-1, by_head).clone()
    z[:, :, plan.heads] = attend(layer, query, key, value, arguments)
    heads = layer.head_map
    by_layer = heads.scaled(z.flatten(-2)) - heads.scaled(corrupted.z)
    change = by_layer.unflatten(-1, by_head)[:, :, plan.heads]
    head_weights = heads.weight.unflatten(-1, by_head)[:, plan.heads]
    differences[plan.num_before : plan.num_before + num_live] = torch.einsum(
        "bphd,mhd->hbpm", change, head_weights
    )


def _project(
    layer: LayerParts,
    projection: HeadProjection,
    normed: Float[Tensor, "distinct batch position d_model"],
    head_dim: int,
) -> Heads:
    """Queries, keys or values of the heads that read some inputs; an entry per patched head."""
    linear = {QUERY: layer.query, KEY: layer.key}.get(projection.kind, layer.value)
    weight = linear.weight.unflatten(0, (-1, head_dim))[projection.heads].flatten(1, 2)
    by_input = torch.bmm(normed[projection.distinct].flatten(1, 2), weight.mT)
    if linear.bias is not None:
        bias = linear.bias.unflatten(0, (-1, head_dim))[projection.heads]
        by_input += bias.flatten(1, 2)[:, None]
    # [input, token, head and d_head] -> [patched, token, d_head]
    by_head = by_input.unflatten(-1, (-1, head_dim)).transpose(1, 2).flatten(0, 1)
    return by_head[projection.copies].movedim(0, 1).unflatten(0, normed.shape[1:3])


def _run_mlp(
    layer: LayerParts, plan: LayerPlan, corrupted: LayerRecording, differences: Differences
) -> None:
    """Fill in the difference of a layer's MLP if it is live."""
    if plan.mlp_parents is None:
        return
    (residual,) = _summed(corrupted.mlp_input, plan.mlp_parents, differences)
    differences[plan.mlp_parents.shape[1]] = layer.run_mlp(residual) - corrupted.mlp_output


def _read_logits(
    model: LanguageModel, cache: CorruptedCache, plan: CircuitPlan, differences: Differences
) -> Float[Tensor, "readout vocab"]:
    batch = cache.batch
    corrupted = readout_hidden(cache.activations.final_input, batch)
    scored = differences[:, batch.readout_row, batch.readout_position]
    (residual,) = _summed(corrupted, plan.logits_parents, scored)
    return model.parts.unembedding(model.parts.final_norm(residual))


def _summed(
    corrupted: Float[Tensor, "*shape d_model"],
    parents: Float[Tensor, "distinct before"],
    differences: Float[Tensor, "live_source *shape d_model"],
) -> Float[Tensor, "distinct *shape d_model"]:
    """What each distinct destination reads, from the differences of the sources before it."""
    before = differences[: parents.shape[1]].flatten(1)
    return torch.addmm(corrupted.flatten(), parents, before).unflatten(1, corrupted.shape)
