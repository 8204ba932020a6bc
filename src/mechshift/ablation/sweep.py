"""A sweep of ablations: the metric of every example under each plan and replacement.

For each batch of canvases:

1. one pass on the clean tokens, which also gives the norms of what is removed, and one on the
   corrupted tokens, whose outputs `resample` takes;
2. one pass for each plan and replacement, on the clean tokens with the plan's outputs replaced; it
   begins at the first layer that the plan touches.

Plans that change little and much cost the same, and so does every draw of a control.
`num_runs` counts them. The means of
`mean` take one more pass over the held-out canvases, before all else.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from mechshift.ablation.output_norms import NormSums, removed_outputs
from mechshift.ablation.passes import (
    ExampleSums,
    ablated_runs,
    check_examples,
    recorded_run,
)
from mechshift.ablation.plans import AblationPlan
from mechshift.ablation.replacements import PositionMeans, Substitutes, position_means
from mechshift.ablation.settings import AblationSettings
from mechshift.ablation.structures import inventory_of
from mechshift.ablation.table import AblationTable, plan_labels
from mechshift.denoising import Canvas, batch_canvases, example_clusters
from mechshift.errors import AblationError
from mechshift.interventions import ChosenOutputs, recorded_streams
from mechshift.models import LanguageModel


def sweep_ablations(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    plans: Sequence[AblationPlan],
    settings: AblationSettings,
    *,
    metric: str,
    mean_canvases: Sequence[Canvas] = (),
    progress: Callable[[int], None] | None = None,
) -> AblationTable:
    """Run every plan under every replacement of the settings.

    Args:
        model: changed by hooks that are gone afterwards.
        canvases: of every example of a pool, in any order.
        plans: made for this model.
        settings: replacements and batch size.
        metric: a name in `denoising.METRICS`.
        mean_canvases: canvases of other examples, for the replacement `mean`.
        progress: called with the number of canvases that one run has finished; the numbers add up
            to `num_runs(canvases, len(plans), settings)`.

    Raises:
        AblationError: no plan, plans of one name or of another architecture, a missing example, no
            means where they are needed, or a metric that is not finite.
    """
    num_examples = check_examples(canvases)
    check_plans(model, plans)
    together = union(plans)
    means: PositionMeans | None = None
    if "mean" in settings.replacements:
        means = position_means(model, mean_canvases, together, batch_size=settings.batch_size)
    report = progress or (lambda _count: None)
    runs = list(product(plans, settings.replacements))
    clean, corrupted, *of_runs = (ExampleSums(num_examples) for _ in range(2 + len(runs)))
    norms = NormSums(model)
    everything = norms.inventory.everything().outputs()
    for batch in batch_canvases(model, canvases, settings.batch_size):
        with recorded_streams(model.parts) as streams:
            on_clean = recorded_run(model, batch, everything, corrupted=False)
        norms.add(on_clean.outputs, batch.attention_mask)
        clean_logits = on_clean.logits
        del on_clean  # its outputs take as much memory as all that the runs below read
        clean.add(model, batch, metric, clean_logits, clean_logits)
        on_corrupted = recorded_run(model, batch, together, corrupted=True)
        corrupted.add(model, batch, metric, on_corrupted.logits, clean_logits)
        report(2 * batch.num_rows)
        substitutes = Substitutes(means=means, corrupted=on_corrupted.outputs)
        for (plan, replacement), sums in zip(runs, of_runs, strict=True):
            chosen = plan.structures.outputs()
            (logits,) = ablated_runs(model, batch, chosen, replacement, substitutes, streams)
            sums.add(model, batch, metric, logits, clean_logits)
            report(batch.num_rows)
    shape = (len(plans), len(settings.replacements), num_examples)
    return AblationTable(
        labels=plan_labels(plans),
        replacements=settings.replacements,
        metric_name=metric,
        metric=np.stack([sums.metric for sums in of_runs]).reshape(shape),
        correct=np.stack([sums.correct for sums in of_runs]).reshape(shape),
        clean_metric=clean.metric,
        clean_correct=clean.correct,
        corrupted_metric=corrupted.metric,
        clusters=example_clusters(canvases),
        removed=removed_outputs(model, norms.norms(), [plan.structures for plan in plans]),
    )


def num_runs(canvases: Sequence[Canvas], num_plans: int, settings: AblationSettings) -> int:
    """Canvases times passes over them: the total that `sweep_ablations` reports."""
    return len(canvases) * (2 + num_plans * len(settings.replacements))


def union(plans: Sequence[AblationPlan]) -> ChosenOutputs:
    """All that any plan ablates."""
    masks = [plan.structures.mask for plan in plans]
    return plans[0].structures.inventory.choose(np.any(masks, axis=0)).outputs()


def check_plans(model: LanguageModel, plans: Sequence[AblationPlan]) -> None:
    """Refuse plans that cannot be run on this model.

    Raises:
        AblationError: none, two of one name, or one for another architecture.
    """
    if not plans:
        raise AblationError("there is nothing to ablate: no plan was given.")
    names = [plan.name for plan in plans]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise AblationError(f"several plans are called {repeated}; give each a name of its own.")
    inventory = inventory_of(model)
    for plan in plans:
        if plan.structures.inventory != inventory:
            raise AblationError(
                f"the plan '{plan.name}' is for {plan.structures.inventory}, and '{model.name}' has"
                f" {inventory}; plan for the model that is ablated."
            )
