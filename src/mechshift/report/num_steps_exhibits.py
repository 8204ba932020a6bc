"""The figure of how the models differ with other numbers of denoising steps."""

from mechshift.figures import num_steps_sweep, num_steps_sweep_table
from mechshift.report.exhibit import Exhibit
from mechshift.report.records import TaskReport


def num_steps_exhibits(task: TaskReport) -> list[Exhibit]:
    """None if the task was not swept over numbers of steps."""
    sweep = task.num_steps
    if sweep is None:
        return []
    return [
        Exhibit(
            name="num-steps",
            figure=num_steps_sweep(sweep),
            table=num_steps_sweep_table(sweep),
            reading="The same examples, with the same answers, filled in by the MDM in fewer or"
            " more steps. A shift that keeps its sign along the whole axis does not come from the"
            " number of steps. The ARM is the same at every point: it has no steps, and its score"
            " is a sum over the answer's tokens.",
        )
    ]
