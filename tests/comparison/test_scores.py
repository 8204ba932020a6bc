import numpy as np
import pytest

from mechshift.comparison.scores import check_scores
from mechshift.errors import ComparisonError


@pytest.mark.parametrize(
    ("arm", "mdm", "message"),
    [
        (np.ones((12, 4)), np.ones((12, 5)), r"\(12, 4\) and the MDM's \(12, 5\)"),
        (np.ones((9, 4)), np.ones((9, 4)), "9 examples are too few"),
        (np.ones((12, 4)), np.full((12, 4), np.nan), "the MDM's edge scores hold NaN"),
        (np.zeros((12, 4)), np.ones((12, 4)), "every edge score of the ARM is exactly zero"),
    ],
)
def test_scores_that_allow_no_comparison_are_refused(
    arm: np.ndarray, mdm: np.ndarray, message: str
) -> None:
    with pytest.raises(ComparisonError, match=message):
        check_scores(arm, mdm, "example")


def test_a_refusal_of_too_few_rows_says_what_they_are() -> None:
    with pytest.raises(ComparisonError, match="9 shards are too few .* at least 10 shards"):
        check_scores(np.ones((9, 4)), np.ones((9, 4)), "shard")
