"""The whole experiment: every stage in order, each skipped where its result is there already."""

from collections.abc import Sequence
from pathlib import Path

from mechshift.errors import ArtifactError, ConfigError
from mechshift.experiment.ablating import ablate_pair, check_num_examples
from mechshift.experiment.analysing import analyse_pair
from mechshift.experiment.comparing import compare_pair
from mechshift.experiment.controlling import ask_controls
from mechshift.experiment.evaluating import evaluate_pair
from mechshift.experiment.flow import trace_flow
from mechshift.experiment.pooling import make_pools, model_inputs
from mechshift.experiment.reporting import write_report
from mechshift.experiment.scoring import score_edges
from mechshift.experiment.settings import PairOptions, RunSettings
from mechshift.experiment.sharding import check_shards
from mechshift.experiment.stores import pool_manifests
from mechshift.experiment.sweeping import sweep_num_steps
from mechshift.locks import hold_folder
from mechshift.models import ModelPair
from mechshift.tasks import Task, find_tasks


def run_experiment(
    run: Path, settings: RunSettings | None = None, *, device: str = "auto", quiet: bool = False
) -> Path:
    """Compare the circuits of a pair on its tasks.

    A second call with the same settings goes on where a killed one stopped and ends with the same
    bytes.

    Args:
        run: the run folder; made if it is not there.
        settings: what to compare and how; by default the embedded pair on its four tasks.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`.
        quiet: no progress bars.

    Returns:
        The report.

    Raises:
        MechshiftError: one line on what is wrong and what to do; finished stages are kept. Also
            where another process runs in this folder.
    """
    settings = settings or RunSettings()
    tasks = find_tasks(settings.task_names())  # a bad name or file costs no wait for the models
    if "ablation" not in settings.skip:
        check_num_examples(settings.pool.num_held_out)
    check_shards(settings.pool.num_examples, settings.attribution.examples_per_shard)
    with hold_folder(run):
        return _run_stages(run, settings, tasks, device, quiet=quiet)


def _run_stages(
    run: Path, settings: RunSettings, tasks: Sequence[Task], device: str, *, quiet: bool
) -> Path:
    pair = settings.models.load(device, controls="controls" not in settings.skip)
    make_pools(run, pair, settings.models, tasks, settings.pool, quiet=quiet)
    score_edges(run, pair, settings.attribution, quiet=quiet)
    ask_controls(run, pair, quiet=quiet)
    if "flow" not in settings.skip:
        trace_flow(run, pair, settings.attribution, quiet=quiet)
    if "semantics" not in settings.skip:
        analyse_pair(run, pair, settings.semantics, quiet=quiet)
    evaluate_pair(
        run,
        pair,
        settings.evaluation,
        circuit_size=settings.comparison.circuit_size,
        quiet=quiet,
    )
    if "ablation" not in settings.skip:
        ablate_pair(
            run,
            pair,
            settings.ablation,
            circuit_size=settings.comparison.circuit_size,
            quiet=quiet,
        )
    compare_pair(run, settings.comparison, quiet=quiet)
    if "sweep" in settings.also:
        sweep_num_steps(run, pair, settings.sweep, quiet=quiet)
    return write_report(run)


def load_stored_pair(run: Path, device: str = "auto", *, controls: bool = False) -> ModelPair:
    """The two models whose pool a run folder holds, and their controls if asked for.

    Raises:
        ArtifactError: no pool, pools of different pairs, or weights or settings that have changed
            since.
    """
    manifests = pool_manifests(run)
    pairs = [manifest.config["pair"] for manifest in manifests.values()]
    if any(pair != pairs[0] for pair in pairs):
        raise ArtifactError(f"{run} holds pools of different pairs; use one run folder a pair.")
    try:
        options = PairOptions(**pairs[0])
    except TypeError as error:
        raise ConfigError(f"the pool in {run} names its pair in an unknown way: {error}.") from None
    pair = options.load(device, controls=controls)
    for task, manifest in manifests.items():
        for model in pair.models:
            for name, digest in model_inputs(model).items():
                if manifest.inputs.get(name) != digest:
                    what = "weights" if name == model.kind else "settings or the tokenizer"
                    raise ArtifactError(
                        f"the {what} of '{model.name}' are not those that made the pool of"
                        f" '{task}' in {run}; use another run folder."
                    )
    return pair
