"""Trainings of two kinds: means, spreads and the interval of their difference, solved by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.causes import contrast
from mechshift.topics.topic import Measured
from mechshift.topics.trainings import Trainings, trainings_difference


def measured(value: float, *draws: float) -> Measured:
    """A number with these draws; its interval matters only where the test says so."""
    interval = Interval(low=value - 1, high=value + 1, level=0.95)
    return Measured(estimate=Estimate(value=value, interval=interval), draws=np.array(draws))


def errors_of(level: float) -> float:
    """Standard errors of a normal distribution that an interval of this level reaches."""
    return float(norm.ppf((1 + level) / 2))


def trainings(*numbers: Measured) -> Trainings:
    found = Trainings.of({f"training-{place}": one for place, one in enumerate(numbers)})
    assert found is not None
    return found


def test_the_variance_of_training_is_what_examples_do_not_explain() -> None:
    """Of 1 and 5 it is 8. Draws that part by 2 and -2 explain 2 of it; that part together, none."""
    apart = trainings(measured(1.0, 2.0, 0.0), measured(5.0, 4.0, 6.0))
    assert apart.mean == 3.0
    assert apart.draws.tolist() == [3.0, 3.0]
    assert apart.sample_variance == 8.0
    assert apart.variance_of_examples == 2.0
    assert apart.training_variance == 6.0
    assert apart.training_sd == pytest.approx(6**0.5)
    assert apart.example_error == 1.0
    together = trainings(measured(1.0, 2.0, 0.0), measured(5.0, 6.0, 4.0))
    assert (together.variance_of_examples, together.training_variance) == (0.0, 8.0)


def test_a_variance_of_training_is_never_below_nothing() -> None:
    found = trainings(measured(1.0, 3.0, -1.0), measured(1.5, -0.5, 3.5))
    assert found.sample_variance < found.variance_of_examples
    assert found.training_variance == 0.0


def test_without_noise_of_examples_the_interval_is_that_of_welchs_test() -> None:
    """1, 2, 3 against 0, 0, 0, 0: a mean difference of 2, its variance 1/3, two degrees."""
    one = trainings(*(measured(value, value, value) for value in (1.0, 2.0, 3.0)))
    other = trainings(*[measured(0.0, 0.0, 0.0)] * 4)
    found = trainings_difference(one, other)
    assert found is not None
    assert found.examples.interval == Interval(low=2.0, high=2.0, level=0.95)
    assert found.training_variance == pytest.approx(1 / 3)
    assert found.degrees_of_freedom == pytest.approx(2.0)
    for level in (0.95, 0.99):
        reach = student(2).ppf((1 + level) / 2) * 3**-0.5
        interval = found.reaching(errors_of(level)).interval
        assert (interval.low, interval.high) == pytest.approx((2 - reach, 2 + reach))
        assert interval.level == pytest.approx(level)
    assert found.estimate == found.reaching(errors_of(0.95))


def test_degrees_of_freedom_follow_satterthwaite() -> None:
    """Sample variances 1 and 4 of three each, none explained: (5/3)^2 / (1/18 + 16/18)."""
    one = trainings(*(measured(value, value, value) for value in (1.0, 2.0, 3.0)))
    other = trainings(*(measured(value, value, value) for value in (-2.0, 0.0, 2.0)))
    found = trainings_difference(one, other)
    assert found is not None
    assert found.training_variance == pytest.approx(5 / 3)
    assert found.degrees_of_freedom == pytest.approx((5 / 3) ** 2 / (17 / 18))


def drawn(value: float, seed: int, num_draws: int = 300) -> Measured:
    """A number whose interval is made from its draws."""
    draws = value + np.random.default_rng(seed).normal(size=num_draws)
    rows = np.concatenate([[value], draws])[:, None]
    return Measured(estimate=Estimates.from_rows(rows).at(0), draws=draws)


def test_identical_trainings_add_no_variance() -> None:
    """The interval is that of one model against one, at every level."""
    mdm, arm = drawn(2.0, 0), drawn(0.5, 1)
    found = trainings_difference(trainings(*[mdm] * 3), trainings(*[arm] * 4))
    alone = contrast(mdm, arm)
    assert found is not None and alone is not None
    assert found.training_variance == 0.0
    assert found.degrees_of_freedom == float("inf")
    for level in (0.9, 0.95, 0.999):
        one, other = found.reaching(errors_of(level)), alone.at_level(level)
        assert one.value == pytest.approx(other.value)
        assert one.interval.low == pytest.approx(other.interval.low)
        assert one.interval.high == pytest.approx(other.interval.high)


def test_what_both_kinds_share_over_examples_cancels() -> None:
    shared = np.random.default_rng(3).normal(size=300)
    one = trainings(*(measured(value, *(value + shared)) for value in (2.0, 2.0, 2.0)))
    other = trainings(*(measured(value, *(value + shared)) for value in (0.5, 0.5, 0.5)))
    found = trainings_difference(one, other)
    assert found is not None
    interval = found.estimate.interval
    assert (interval.low, interval.high) == pytest.approx((1.5, 1.5))
    assert one.example_error == pytest.approx(shared.std())


def test_a_wider_spread_or_fewer_trainings_widen_the_interval() -> None:
    arms = trainings(*(drawn(0.0, seed) for seed in range(10, 13)))

    def width(*values: float) -> float:
        found = trainings_difference(
            trainings(*(drawn(value, seed) for seed, value in enumerate(values))), arms
        )
        assert found is not None
        interval = found.estimate.interval
        return interval.high - interval.low

    near, far = (8.0, 10.0, 12.0), (2.0, 10.0, 18.0)
    assert width(*near) < width(*far)
    assert width(*far, *far) < width(*far)


def test_a_single_model_that_no_training_made_adds_its_examples_alone() -> None:
    one = trainings(*(measured(value, value, value) for value in (1.0, 2.0, 3.0)))
    found = trainings_difference(one, trainings(measured(0.0, 0.0, 0.0)))
    assert found is not None
    assert found.training_variance == pytest.approx(1 / 3)
    assert found.degrees_of_freedom == pytest.approx(2.0)


def test_what_is_undefined_or_may_not_decide_does_not_count() -> None:
    sound = measured(1.0, 1.0, 2.0)
    given = {
        "undefined": Measured(reason="no circuit"),
        "sound": sound,
        "cautious": replace(sound, caution="too unlike in noise"),
        "no draws": replace(sound, draws=None),
    }
    found = Trainings.of(given)
    assert found is not None
    assert found.names == ("sound",)
    assert Trainings.of({"undefined": given["undefined"]}) is None


def test_a_resample_without_a_number_widens_the_interval_and_too_many_leave_none() -> None:
    """One training is undefined in 5 of 1,000 resamples, or in 30."""
    arms = trainings(*(drawn(0.0, seed, 1000) for seed in (1, 2, 3)))

    def interval(num_undefined: int) -> Interval | None:
        mdm = drawn(1.0, 4, 1000)
        assert mdm.draws is not None
        mdm.draws[:num_undefined] = np.nan
        found = trainings_difference(trainings(mdm, drawn(1.0, 5, 1000), drawn(1.0, 6, 1000)), arms)
        return None if found is None else found.examples.interval

    whole, some = interval(0), interval(5)
    assert whole is not None and some is not None
    assert some.high - some.low > whole.high - whole.low
    assert interval(30) is None


def test_examples_and_trainings_add_up_as_a_root_of_squares() -> None:
    """The means differ by 2; seeds have a variance of 1, of which three leave a third."""
    shared = np.linspace(-1.0, 4.0, 401)
    one = trainings(*(measured(value, *(value + shared)) for value in (1.0, 2.0, 3.0)))
    other = trainings(measured(0.0, *np.zeros(401)))
    found = trainings_difference(one, other)
    assert found is not None
    low, high = found.examples.interval.low, found.examples.interval.high
    assert found.degrees_of_freedom == pytest.approx(2.0)
    of_trainings = student(2).ppf(0.975) * 3**-0.5
    interval = found.estimate.interval
    assert interval.low == pytest.approx(2 - ((2 - low) ** 2 + of_trainings**2) ** 0.5)
    assert interval.high == pytest.approx(2 + ((high - 2) ** 2 + of_trainings**2) ** 0.5)
    # At another level either part reaches as far as its own distribution does.
    wider = found.reaching(errors_of(0.99))
    examples = found.examples.at_level(0.99).interval
    of_trainings = student(2).ppf(0.995) * 3**-0.5
    assert wider.interval.high == pytest.approx(
        2 + ((examples.high - 2) ** 2 + of_trainings**2) ** 0.5
    )
