"""Edge scores of a pool in one call, for notebooks and scripts.

A run does the same in chunks of examples, which it saves on the way.
"""

from collections.abc import Callable
from typing import Any

from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.methods import attribute
from mechshift.denoising import build_canvases
from mechshift.models import LanguageModel
from mechshift.tasks import CommonPool, Task, encode_pool


def attribute_pool(
    model: LanguageModel,
    task: Task,
    pool: CommonPool,
    *,
    metric: str | None = None,
    method: str = "eap-ig",
    grouped: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> EdgeScores:
    """Score every edge of a model on the examples of a pool, in the pool's denoising steps.

    Args:
        model: either of the pair, or any other that reads the pool's tokens.
        task: whose pool it is.
        pool: as `build_pool` gives it.
        metric: a name in `denoising.METRICS`; by default the task's.
        method: a name in `METHODS`.
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases in one batch; it does not change a score.
        progress: called with how many canvases more are finished.
        options: the method's own, for example `ig_steps` of `eap-ig`.

    Raises:
        AttributionError: an unknown method or option, or what the method refuses.
        TaskError: the model's tokenizer cannot express the examples.
    """
    canvases = build_canvases(model, encode_pool(task, pool.examples, model), pool.schedule)
    return attribute(
        model,
        canvases,
        metric=metric or task.metric,
        method=method,
        grouped=grouped,
        batch_size=batch_size,
        progress=progress,
        **options,
    )
