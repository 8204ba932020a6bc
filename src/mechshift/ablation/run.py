"""All ablations of one model, as the settings ask for them.

1. Norms are measured on the canvases that means are taken over, which are of other examples than
   the ablations are measured on: so neither the neurons nor the controls are chosen on these.
2. The standard plans are made, with several draws of every control.
3. The plans are swept; and, where that is asked for, the model decodes under each.
4. Every head and every MLP is ablated by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mechshift.ablation._standard_plans import max_num_plans, standard_plans
from mechshift.ablation.decoded import DecodedAblations, decode_ablated, num_decodings
from mechshift.ablation.output_norms import measure_output_norms
from mechshift.ablation.settings import AblationSettings
from mechshift.ablation.single_components import SingleAblations, ablate_single_components
from mechshift.ablation.sweep import num_runs, sweep_ablations
from mechshift.ablation.table import AblationTable
from mechshift.circuits import Circuit
from mechshift.denoising import Canvas
from mechshift.graph import Graph, third_of_layers
from mechshift.models import LanguageModel
from mechshift.tasks import Example, PoolConfig, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoding:
    """Questions that a model answers by itself under every plan; several times a sweep's cost."""

    task: Task
    examples: tuple[Example, ...]
    """Those of the canvases that are swept."""
    pool: PoolConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationRun:
    """Effects of ablations on one model."""

    table: AblationTable
    decoded: DecodedAblations | None
    """None: not asked for."""
    single: SingleAblations


def run_ablations(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    circuit: Circuit | None,
    mean_canvases: Sequence[Canvas],
    metric: str,
    settings: AblationSettings,
    decoding: Decoding | None = None,
    progress: Callable[[int], None] | None = None,
) -> AblationRun:
    """Make the standard plans for a model and run them.

    Args:
        model: changed by hooks that are gone afterwards.
        canvases: those of every example that ablations are measured on.
        circuit: of this model; None: no plan for it.
        mean_canvases: canvases of other examples, for norms and for the replacement `mean`.
        metric: its name.
        settings: what is ablated, how, and with how many draws of a control.
        decoding: asks for the model's own answers too, under `zero` and `mean`.
        progress: called with the number of canvases, or of decoded examples, that one run has
            finished; the numbers add up to at most `max_num_runs`, and to less where draws of a
            control do not exist.

    Raises:
        AblationError: as `standard_plans`, `sweep_ablations`, `decode_ablated` and
            `ablate_single_components` do.
    """
    report = progress or (lambda _count: None)
    num_components = model.graph().num_sources - 1
    norms = measure_output_norms(model, mean_canvases, batch_size=settings.batch_size)
    standard = standard_plans(norms, circuit, settings)
    table = sweep_ablations(
        model,
        canvases,
        standard.plans,
        settings,
        metric=metric,
        mean_canvases=mean_canvases,
        progress=progress,
    )
    decoded: DecodedAblations | None = None
    if decoding is not None:
        decoded = decode_ablated(
            model,
            decoding.task,
            decoding.examples,
            standard.plans,
            settings,
            pool=decoding.pool,
            mean_canvases=mean_canvases,
            progress=progress,
        )
    single = ablate_single_components(
        model,
        canvases,
        metric=metric,
        replacement=settings.single_replacement,
        mean_canvases=mean_canvases,
        components_per_pass=1,  # so that a pass is as large as the settings allow, and no larger
        batch_size=settings.batch_size,
        progress=lambda count: report(count * num_components),
    )
    return AblationRun(
        table=replace(table, left_out=standard.left_out), decoded=decoded, single=single
    )


def max_num_runs(
    graph: Graph,
    canvases: Sequence[Canvas],
    settings: AblationSettings,
    *,
    with_circuit: bool,
    decoding: Decoding | None = None,
) -> int:
    """The most that `run_ablations` reports, known before any plan is made."""
    num_plans = max_num_plans(graph, settings, with_circuit=with_circuit)
    single = len(canvases) * (graph.num_sources - 1)
    swept = num_runs(canvases, num_plans, settings)
    if decoding is None:
        return swept + single
    return swept + single + num_decodings(len(decoding.examples), num_plans, settings)


def whole_passes(graph: Graph, settings: AblationSettings) -> float:
    """What `run_ablations` computes of one batch, without decoding, in passes through all layers.

    Each pass begins at the first layer that it ablates. Controls of the early third are taken to
    lie behind it, the others' anywhere. Clean and corrupted passes are whole, for the plans and
    for the single components.
    """
    plans = max_num_plans(graph, settings, with_circuit=True)
    early, middle, _ = (
        float(one.sum()) / graph.num_layers for one in third_of_layers(graph.num_layers)
    )
    controls = 2 * settings.num_control_draws * len(settings.kinds)
    spared = len(settings.kinds) * (early + (early + middle)) + controls * early
    single = (graph.num_heads + 1) * sum(range(1, graph.num_layers + 1)) / graph.num_layers
    return 2 + (plans - spared) * len(settings.replacements) + 2 + single
