"""Accuracy of the answers that a model writes itself while structures are ablated.

The teacher-forced answers of a sweep hold the model to the example's own target, token by token.
Here it decodes as it does for the pool, with the ablation in force at every pass, and the task
judges the text. Only `zero` and `mean` have a meaning here: what is written so far is the
ablated model's own, and there is no corrupted run of it to take `resample` from.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Int

from mechshift.ablation.plans import AblationPlan
from mechshift.ablation.pooling import pooled_accuracy
from mechshift.ablation.replacements import PositionMeans, Substitutes, ablated, position_means
from mechshift.ablation.settings import AblationSettings, Replacement
from mechshift.ablation.sweep import check_plans, union
from mechshift.ablation.table import PlanLabels, plan_labels
from mechshift.denoising import Canvas
from mechshift.errors import AblationError
from mechshift.models import LanguageModel
from mechshift.statistics import Estimates, cluster_numbers
from mechshift.tasks import Example, PoolConfig, Task, answer


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedAblations:
    """Correctness of one model's own answers, plan by plan."""

    labels: PlanLabels
    replacements: tuple[str, ...]
    correct: Bool[np.ndarray, "plan replacement example"]
    clean_correct: Bool[np.ndarray, " example"]
    """Nothing ablated; all True on a pool of examples that this model gets right."""
    clusters: Int[np.ndarray, " example"]
    """Number of each example's cluster."""

    def accuracy(self, settings: AblationSettings) -> Estimates:
        """Share of right examples [group, replacement], draws of a control pooled (`pooling`)."""
        return pooled_accuracy(self.correct, self.clusters, self.labels, settings)


def decode_ablated(
    model: LanguageModel,
    task: Task,
    examples: tuple[Example, ...],
    plans: Sequence[AblationPlan],
    settings: AblationSettings,
    *,
    pool: PoolConfig,
    mean_canvases: Sequence[Canvas] = (),
    progress: Callable[[int], None] | None = None,
) -> DecodedAblations:
    """Decode every example under every plan, with each replacement of the settings but `resample`.

    Args:
        model: changed by hooks that are gone afterwards.
        task: judges the answers.
        examples: of a pool.
        plans: made for this model.
        settings: replacements and batch size.
        pool: says in which order and in how many steps an MDM decodes.
        mean_canvases: canvases of other examples, for the replacement `mean`.
        progress: called with the number of examples that one run has finished; the numbers add up
            to `num_decodings(len(examples), len(plans), settings)`.

    Raises:
        AblationError: no plan, plans of one name or of another architecture, no replacement but
            `resample`, or no means where they are needed.
    """
    check_plans(model, plans)
    replacements = decodable(settings)
    if not replacements:
        raise AblationError(
            "only 'resample' was asked for, which has no meaning while a model decodes; use 'zero'"
            " or 'mean'."
        )
    means: PositionMeans | None = None
    if "mean" in replacements:
        means = position_means(model, mean_canvases, union(plans), batch_size=settings.batch_size)

    def correct(ablation: AbstractContextManager[None]) -> Bool[np.ndarray, " example"]:
        with ablation:
            answers = answer(
                model, task, examples, pool, batch_size=settings.batch_size, progress=progress
            )
        return answers.correct

    substitutes = Substitutes(means=means)
    found = [
        correct(ablated(model, plan.structures.outputs(), replacement, substitutes))
        for plan, replacement in product(plans, replacements)
    ]
    shape = (len(plans), len(replacements), len(examples))
    return DecodedAblations(
        labels=plan_labels(plans),
        replacements=replacements,
        correct=np.stack(found).reshape(shape),
        clean_correct=correct(nullcontext()),
        clusters=cluster_numbers([example.cluster for example in examples]),
    )


def num_decodings(num_examples: int, num_plans: int, settings: AblationSettings) -> int:
    """Examples times runs over them: the total that `decode_ablated` reports."""
    return num_examples * (1 + num_plans * len(decodable(settings)))


def decodable(settings: AblationSettings) -> tuple[Replacement, ...]:
    """The replacements that have a meaning while a model decodes."""
    return tuple(name for name in settings.replacements if name != "resample")
