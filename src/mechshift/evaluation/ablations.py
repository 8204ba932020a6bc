"""Ablations: what the edges outside a circuit carry instead of the clean example."""

from collections.abc import Callable, Sequence
from typing import Literal

from mechshift.denoising import Canvas, CanvasBatch
from mechshift.evaluation._corrupted_cache import CorruptedCache, corrupted_cache
from mechshift.evaluation._mean_outputs import mean_outputs
from mechshift.evaluation.constant_cache import zero_cache
from mechshift.models import LanguageModel

Ablation = Callable[[LanguageModel, CanvasBatch], CorruptedCache]
"""Content of ablated edges in a batch: `corrupted_cache`, `zero_cache` or `MeanOutputs.cache`."""

AblationName = Literal["resample", "mean", "zero"]
"""Content of an ablated edge: its source's output on the corrupted prompt, its mean over other
prompts, or nothing."""


def find_ablation(
    name: AblationName,
    model: LanguageModel,
    *,
    canvases: Sequence[Canvas],
    mean_over: Sequence[Canvas],
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Ablation:
    """The ablation of that name, ready for `evaluate_circuits`.

    Args:
        name: `resample`, `mean` or `zero`.
        model: the model in which circuits will be run.
        canvases: what will be evaluated.
        mean_over: other examples; only `mean` runs them.
        batch_size: canvases in one pass of `mean`.
        progress: told of the passes of `mean`; see `mean_outputs`.

    Raises:
        EvaluationError: `mean`, and the two sets of examples do not correspond by position.
    """
    if name == "resample":
        return corrupted_cache
    if name == "zero":
        return zero_cache
    means = mean_outputs(
        model, mean_over, needed_by=canvases, batch_size=batch_size, progress=progress
    )
    return means.cache
