from typing import get_args

import pytest

from mechshift.denoising import SAMPLERS, SamplerName, sampler_named
from mechshift.errors import DenoisingError


def test_the_names_of_the_type_are_the_names_of_the_samplers():
    assert get_args(SamplerName) == tuple(SAMPLERS)


def test_every_published_sampler_names_its_paper():
    published = [name for name in SAMPLERS if name not in ("confidence", "left-to-right", "random")]
    assert len(published) == 10
    assert all("(arXiv:" in sampler_named(name).source for name in published)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(DenoisingError, match="unknown order 'dream'; known: .*dream-entropy.*mdlm"):
        sampler_named("dream")
