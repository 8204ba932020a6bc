import pytest

from mechshift.errors import ConfigError
from mechshift.semantics.settings import SemanticsSettings


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("sequence_length", 2), ("context_radius", -1)]
)
def test_a_count_that_is_too_small_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be at least {value + 1}, not {value}"):
        SemanticsSettings(**{name: value})


@pytest.mark.parametrize("name", ["role_threshold", "level"])
def test_a_share_outside_zero_and_one_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} lies between 0 and 1, not 1.0"):
        SemanticsSettings(**{name: 1.0})
