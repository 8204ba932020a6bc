import pytest

from mechshift.denoising import Trace, TraceStep, trace_schedule
from mechshift.errors import DenoisingError


def trace(num_targets, num_steps, *steps):
    return Trace(
        sampler="by hand",
        num_steps=num_steps,
        num_targets=num_targets,
        steps=tuple(
            TraceStep(step=step, positions=positions, tokens=(7,) * len(positions), remasked=again)
            for step, positions, again in steps
        ),
    )


def test_steps_that_commit_nothing_are_dropped_from_the_schedule_and_kept_in_the_trace():
    made = trace(4, 6, (1, (2,), ()), (3, (0,), ()), (5, (1, 3), ()))
    assert made.num_committed == [0, 1, 0, 1, 0, 2]
    assert made.last_commits == [3, 5, 1, 5]
    assert trace_schedule([made]).commit_step.tolist() == [[1, 2, 0, 2]]


def test_the_last_commit_counts_where_a_position_was_masked_again():
    # Step 0 wrote position 1 only, and lost it: it is no token's step.
    made = trace(3, 4, (0, (1,), ()), (1, (0, 2), (1,)), (3, (1,), ()))
    assert made.num_committed == [1, 2, 0, 1]
    assert made.last_commits == [1, 3, 1]
    assert trace_schedule([made]).commit_step.tolist() == [[0, 1, 0]]


def test_a_token_that_was_written_over_counts_at_the_later_step():
    made = trace(2, 3, (0, (0, 1), ()), (2, (0,), ()))
    assert trace_schedule([made]).commit_step.tolist() == [[1, 0]]


def test_traces_of_different_length_share_a_schedule():
    schedule = trace_schedule(
        [trace(1, 1, (0, (0,), ())), trace(2, 2, (0, (1,), ()), (1, (0,), ()))]
    )
    assert schedule.commit_step.tolist() == [[0, -1], [1, 0]]
    assert trace_schedule([]).commit_step.shape == (0, 0)


def test_a_trace_that_leaves_a_mask_is_refused():
    with pytest.raises(DenoisingError, match=r"by hand left the target positions \[0, 2\] masked"):
        trace(3, 2, (0, (0, 1), ()), (1, (), (0,)))
