"""What was concluded from a small real run of the embedded pair: every topic's records at once.

Made once for all workers of a test run, by the functions that a user's run calls.
"""

import numpy as np
import pytest

from mechshift.graph import Graph
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.topic import Measured, TaskResults
from mechshift.topics.trajectory import Trajectory, TrajectoryPoint


@pytest.fixture(scope="session")
def results(small_run) -> dict[str, TaskResults]:
    """Task -> its results: `ioi` has one denoising step, `infilling` several."""
    from mechshift.experiment.concluding import conclude_run, task_results

    conclude_run(small_run, quiet=True)
    return {task: task_results(small_run, task) for task in ("ioi", "infilling")}


@pytest.fixture(scope="session")
def ioi(results) -> TaskResults:
    return results["ioi"]


@pytest.fixture(scope="session")
def infilling(results) -> TaskResults:
    return results["infilling"]


GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=1)


@pytest.fixture(scope="session")
def make_trajectory():
    """A trajectory of a task by its name; after 32 steps its MDM's own circuit is undefined.

    By hand, because nothing of a real one is needed but its shape: checkpoints would have to be
    scored for minutes.
    """

    def make(task: str) -> Trajectory:
        points = [_trajectory_point("diffusion", 0)]
        points.append(_trajectory_point("diffusion", 32, missing=("own circuit",)))
        points += [_trajectory_point("diffusion", step) for step in (64, 1000)]
        points += [_trajectory_point("control", step) for step in (0, 32, 500)]
        return Trajectory(
            task=task,
            graph=GRAPH,
            circuit_size=20,
            parent_scores=np.random.default_rng(1).normal(size=GRAPH.num_edges),
            points=tuple(points),
            num_examples=12,
            num_held_out=10,
            num_asked=14,
            level=0.95,
        )

    return make


def _trajectory_point(training, step, *, missing=()) -> TrajectoryPoint:
    """Random numbers; those that are missing have a reason with markup in it."""
    generator = np.random.default_rng(step + len(training))
    tracked = tracked_quantities()
    values = generator.uniform(0.2, 0.8, size=len(tracked)).tolist()
    measured = {
        one.name: Measured(
            estimate=Estimate(value=v, interval=Interval(low=v - 0.1, high=v + 0.2, level=0.95))
        )
        for one, v in zip(tracked, values, strict=True)
    }
    reason = Measured(reason="full and empty score alike <b>here</b>")
    share = generator.dirichlet(np.ones(4))
    return TrajectoryPoint(
        training=training,
        step=step,
        measured=measured | dict.fromkeys(missing, reason),
        share=Estimates(value=share, low=share - 0.01, high=share + 0.01, level=0.95),
        scores=generator.normal(size=GRAPH.num_edges),
    )
