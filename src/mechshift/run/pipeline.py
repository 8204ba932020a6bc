"""A whole run: every stage in order, each skipped where its result is there already."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mechshift.artifacts import setting_in
from mechshift.errors import ArtifactError, ConfigError
from mechshift.locks import hold_folder
from mechshift.models import ModelPair
from mechshift.run.analysis import store_analysis_plan
from mechshift.run.folders import CONTROLS, pool_folder
from mechshift.run.pair_options import PairOptions, find_devices
from mechshift.run.pools import pair_inputs
from mechshift.run.processes import Processes
from mechshift.run.reporting import report_page
from mechshift.run.settings import ClusterOptions, RunSettings
from mechshift.run.stage import Given, write_pieces
from mechshift.run.stages import STAGES
from mechshift.run.store import pool_manifests
from mechshift.run.workers import Engine, WorkerPool
from mechshift.tasks import load_tasks


def run_experiment(
    run: Path | str,
    settings: RunSettings | None = None,
    *,
    device: str = "auto",
    devices: int | Literal["auto"] | None = None,
    cluster: ClusterOptions | None = None,
    quiet: bool = False,
) -> Path:
    """Compare the circuits of a pair on its tasks.

    A second call with the same settings goes on where a killed one stopped and ends with the same
    bytes.

    Args:
        run: the run folder; made if it is not there.
        settings: what to compare and how; by default the embedded pair on its four tasks.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`.
        devices: how many work at once, each in a process with its own copy of the models; `auto`:
            every GPU, and on a cluster all that it has room for; by default one, or `auto` on a
            cluster. Of a script that is run, the call must stand under
            `if __name__ == "__main__":` where they are several.
        cluster: where the processes are, if not on this machine.
        quiet: no progress bars.

    Returns:
        The report.

    Raises:
        MechshiftError: one line on what is wrong and what to do; finished stages are kept. Also
            where another process runs in this folder.
    """
    run, settings = Path(run), settings or RunSettings()
    tasks = load_tasks(settings.task_names())  # a bad name or file costs no wait for the models
    stages = [stage for stage in STAGES if stage.is_wanted(settings)]
    for stage in stages:
        if stage.check is not None:
            stage.check(settings)
    cluster = cluster or ClusterOptions()
    if cluster.address is None:
        named = find_devices(device, 1 if devices is None else devices)
    else:
        named = ()
        _check_ray()
    with hold_folder(run):
        if len(named) == 1:
            pair = settings.models.load(named[0], controls=CONTROLS not in settings.skip)
            store_analysis_plan(run, settings.comparison, tuple(task.name for task in tasks))
            given = Given(run=run, pair=pair, tasks=tasks, settings=settings)
            for stage in stages:
                assert stage.pieces is not None
                write_pieces(run, stage, stage.pieces(given), quiet=quiet)
        else:
            engine: Engine
            if named:
                engine = Processes(run, settings, named)
            else:
                engine = _actors(run, settings, cluster, device, devices, quiet)
            with WorkerPool(engine, quiet=quiet) as workers:
                workers.load()
                store_analysis_plan(run, settings.comparison, tuple(task.name for task in tasks))
                for stage in stages:
                    workers.write(stage)
    return report_page(run)


def _check_ray() -> None:
    if find_spec("ray") is None:
        raise ConfigError(
            "--cluster needs the package ray; run `pip install 'mechshift[cluster]'` on every"
            " machine of the cluster."
        )


def _actors(
    run: Path,
    settings: RunSettings,
    cluster: ClusterOptions,
    device: str,
    devices: int | Literal["auto"] | None,
    quiet: bool,
) -> Engine:
    from mechshift.run.cluster import Actors  # ray is an extra

    number = "auto" if devices is None else devices
    return Actors(run, settings, cluster, device=device, num_workers=number, quiet=quiet)


def load_stored_pair(run: Path, device: str = "auto", *, controls: bool = False) -> ModelPair:
    """The two models whose pool a run folder holds, and their controls if asked for.

    Raises:
        ArtifactError: no pool, pools of different pairs, or weights or settings that have changed
            since.
    """
    manifests = pool_manifests(run)
    options, *others = (
        setting_in(manifest, pool_folder(run, task), "pair", PairOptions)
        for task, manifest in manifests.items()
    )
    if any(one != options for one in others):
        raise ArtifactError(f"{run} holds pools of different pairs; use one run folder a pair.")
    pair = options.load(device, controls=controls)
    for task, manifest in manifests.items():
        for model in pair.models:
            for name, digest in pair_inputs(model).items():
                if manifest.inputs.get(name) != digest:
                    what = "weights" if name == model.kind else "settings or the tokenizer"
                    raise ArtifactError(
                        f"the {what} of '{model.name}' are not those that made the pool of"
                        f" '{task}' in {run}; use another run folder."
                    )
    return pair
