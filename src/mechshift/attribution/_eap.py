"""Edge attribution patching: an edge's score from one gradient.

    score(u -> v) = sum over positions of  < D_u , d(-metric) / d in_v >

with the gradient at the clean input, which estimates what corrupting this edge alone costs, or at
the corrupted one, which estimates what restoring it alone gains. Each is EAP-IG with one step: of
rule `right` at the clean input, of rule `left` at the corrupted one. Three forward passes at most
and one backward pass for each denoising step, so the cheapest method and the least faithful.

`kl` is flat at the clean input (`metrics.negative_kl`), so this method explains it at the corrupted
input only.

Source: Syed, Rager, Conmy 2023, arXiv:2310.10348.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

from mechshift.attribution.edge_gradients import score_edges_at
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.gim import gim_attention
from mechshift.attribution.path import CLEAN, CORRUPTED
from mechshift.denoising import COMPARED_WITH_CLEAN, Canvas
from mechshift.errors import AttributionError
from mechshift.models import LanguageModel

End = Literal["clean", "corrupted"]

ENDS: dict[str, float] = {"clean": CLEAN, "corrupted": CORRUPTED}
"""Place of each end on the path."""


def gradient_point(gradient_at: str, metric: str) -> float:
    """Where on the path this metric's only gradient is taken.

    Raises:
        AttributionError: an unknown end, or one where the metric is flat.
    """
    if gradient_at not in ENDS:
        raise AttributionError(
            f"no gradient is taken at '{gradient_at}'; known: {', '.join(ENDS)}."
        )
    if gradient_at == "clean" and metric in COMPARED_WITH_CLEAN:
        raise AttributionError(
            f"the gradient of '{metric}' is zero at the clean input, so every edge would score 0;"
            " use gradient_at='corrupted', or EAP-IG."
        )
    return ENDS[gradient_at]


def eap(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    gradient_at: End = "clean",
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
        gradient_at: the input whose gradient is taken.
        gim: gradients of attention follow GIM's rules, with its authors' values (`gim_attention`).
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases in one forward pass; it does not change a score.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: as `eap_ig`; also a metric that is flat where its gradient is asked for.
    """
    with gim_attention(model) if gim else nullcontext():
        return score_edges_at(
            (gradient_point(gradient_at, metric),),
            model,
            canvases,
            metric=metric,
            grouped=grouped,
            batch_size=batch_size,
            progress=progress,
        )
