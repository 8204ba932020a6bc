"""Edge attribution patching with integrated gradients on inputs (EAP-IG).

For an edge u -> v, with D_u the corrupted minus the clean output of u, and e', e the corrupted and
clean embeddings:

    score(u -> v) = mean over k of  sum over positions of  < D_u , d(-metric) / d in_v at e_k >,
    e_k = e' + a_k (e - e')

It is the first-order estimate of what corrupting this edge alone costs, with the gradient averaged
along the path from the corrupted to the clean input. `path` runs it, `edge_gradients` turns
gradients into scores.

Source: Hanna et al. 2024, arXiv:2403.17806; `left` is the rule of their published code.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from mechshift.attribution.edge_gradients import score_edges_at
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.gim import gim_attention
from mechshift.attribution.path import Rule, path_points
from mechshift.denoising import Canvas
from mechshift.models import LanguageModel


def eap_ig(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    ig_steps: int = 5,
    rule: Rule = "left",
    gim: bool = False,
    grouped: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> EdgeScores:
    """Score every edge of the model on every example and denoising step.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        metric: a name in `denoising.METRICS`.
        ig_steps: points on the path; 5 as in MIB, arXiv:2504.13151.
        rule: `left` includes the corrupted input, `right` the clean one, `midpoint` neither.
        gim: gradients of attention follow GIM's rules, with its authors' values (`gim_attention`).
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases in one forward pass; it does not change a score.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: bad settings, no canvases, a missing example or step, a batch that does
            not fit in memory, or scores that are not finite.
    """
    with gim_attention(model) if gim else nullcontext():
        return score_edges_at(
            path_points(rule, ig_steps),
            model,
            canvases,
            metric=metric,
            grouped=grouped,
            batch_size=batch_size,
            progress=progress,
        )
