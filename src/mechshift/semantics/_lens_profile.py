"""The lens profile: at which depth and step, and in which component, the answer appears.

One reading of the lenses (`alignment.READINGS`), averaged over examples for each denoising step.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mechshift.errors import SemanticsError
from mechshift.graph import Graph
from mechshift.semantics._alignment import READINGS
from mechshift.semantics._logit_lens import LogitLens
from mechshift.semantics.readouts import examples_by_step, mean_by_step
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Estimates


@dataclass(frozen=True, kw_only=True, eq=False)
class LensProfile:
    """One reading of all lenses, by denoising step."""

    graph: Graph
    reading: str
    """`log10_rank` or `probability` of the target, or `entropy` of the distribution [nats]."""
    levels: Estimates
    """[step, level]: of the residual stream before each layer and, last, of the prediction."""
    components: Estimates
    """[step, source]: of what each component writes."""
    num_examples: Int[np.ndarray, " step"]
    """Examples that have each step; below 10 there is no interval."""
    level: float


def lens_profile(
    lens: LogitLens, settings: SemanticsSettings, *, reading: str = "probability"
) -> LensProfile:
    """Means over examples of one reading, by step.

    Raises:
        SemanticsError: an unknown reading.
    """
    if reading not in READINGS:
        raise SemanticsError(f"unknown lens reading '{reading}'; known: {', '.join(READINGS)}.")
    read = READINGS[reading]
    bounds = (0.0, 1.0) if reading == "probability" else (0.0, np.inf)
    return LensProfile(
        graph=lens.graph,
        reading=reading,
        levels=mean_by_step(read(lens.levels), lens.readouts, settings, bounds=bounds),
        components=mean_by_step(read(lens.components), lens.readouts, settings, bounds=bounds),
        num_examples=examples_by_step(lens.readouts),
        level=settings.level,
    )
