import pytest

from mechshift.denoising import Contrast
from mechshift.errors import DenoisingError


def test_an_empty_target_is_refused(example):
    with pytest.raises(DenoisingError, match="'e' of task 't' has an empty target"):
        example(target=())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"corrupted_prefix_ids": (1,)}, "corrupted prefix .* has 1 tokens .* has 2"),
        ({"corrupted_suffix_ids": (1,)}, "corrupted suffix .* has 1 tokens .* has 0"),
        ({"distractor_ids": (1, 2, 3)}, "distractor .* has 3 tokens .* has 2"),
        ({"contrasts": ()}, "list of contrasts .* has 0 tokens .* has 2"),
    ],
)
def test_parts_of_different_length_are_refused_with_both_lengths(example, overrides, message):
    with pytest.raises(DenoisingError, match=message):
        example(**overrides)


def test_a_token_that_is_both_right_and_wrong_is_refused():
    with pytest.raises(DenoisingError, match=r"\[2\] are both right and wrong"):
        Contrast(positive=(1, 2), negative=(2, 3))
