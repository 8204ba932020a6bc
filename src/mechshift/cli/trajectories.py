"""The command that shows when, in a post-training, the circuits shift."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from mechshift.run import TrajectorySettings, run_trajectory
from mechshift.run.settings import Unprefixed


def trajectory(
    folder: Positional[Path],
    settings: Annotated[TrajectorySettings, Unprefixed] = TrajectorySettings(),
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Compare every checkpoint of a post-training with its parent, over training steps.

    When do the edges change, when does work move in depth, when does the old circuit cease to carry
    the task? --mdm is a folder that `mechshift posttrain` wrote: the final model, and in it
    checkpoints/step-000032 and so on; --continued-arm is another such folder, the control: the same
    parent trained on with its own objective on the same data. A checkpoint costs what a control
    costs in `mechshift run`, and one is loaded at a time. A killed call goes on where it stopped;
    checkpoints that came in between are added. With --follow trainings may go on: checkpoints are
    measured as they appear, until all trainings have ended. Example:
    mechshift trajectory runs/training --arm my-arm --mdm my-mdm --continued-arm my-control

    Args:
        folder: where everything is written; that of a run of the same pair and pool can be shared.
        settings: what is measured, and how.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    print(f"The page: {run_trajectory(folder, settings, device=device, quiet=quiet)}")
