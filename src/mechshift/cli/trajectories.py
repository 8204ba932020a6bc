"""The command that shows when, in a post-training, the circuits shift."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from mechshift.cli.stages import Unprefixed
from mechshift.comparison import ComparisonSettings
from mechshift.experiment import (
    AttributionSettings,
    PairOptions,
    TrajectorySettings,
    run_trajectory,
)
from mechshift.tasks import PoolConfig


def trajectory(
    folder: Positional[Path],
    models: Annotated[PairOptions, Unprefixed] = PairOptions(),
    tasks: tuple[str, ...] = (),
    steps: tuple[int, ...] = (),
    pool: PoolConfig = PoolConfig(),
    attribution: AttributionSettings = AttributionSettings(),
    comparison: ComparisonSettings = ComparisonSettings(),
    skip: tuple[Literal["flow"], ...] = (),
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Compare every checkpoint of a post-training with its parent, over training steps.

    When do the edges change, when does work move in depth, when does the old circuit cease to carry
    the task? --mdm is a folder that `mechshift posttrain` wrote: the final model, and in it
    checkpoints/step-000032 and so on; --continued-arm is another such folder, the control: the same
    parent trained on with its own objective on the same data. A checkpoint costs what a control
    costs in `mechshift run`, and one is loaded at a time. A killed call goes on where it stopped;
    checkpoints that came in between are added. Example:
    mechshift trajectory runs/training --arm my-arm --mdm my-mdm --continued-arm my-control

    Args:
        folder: where everything is written; that of a run of the same pair and pool can be shared.
        models: parent and trained models.
        tasks: names that `mechshift tasks` lists, or .jsonl files; by default the pair's own.
        steps: training steps of the checkpoints to measure, by default all; the ends are always.
        pool: which examples; parent and final model solve them.
        attribution: how edges are scored.
        comparison: circuit size, and how uncertain it is.
        skip: flow leaves out which way information flows, and saves about half of the time.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one.
        quiet: no progress bars.
    """
    settings = TrajectorySettings(
        models=models,
        tasks=tasks,
        steps=steps,
        pool=pool,
        attribution=attribution,
        comparison=comparison,
        skip=skip,
    )
    print(f"The page: {run_trajectory(folder, settings, device=device, quiet=quiet)}")
