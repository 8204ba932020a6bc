"""How many passes does a method of attribution take for a batch of canvases?"""

from dataclasses import dataclass

from mechshift.attribution import (
    CLEAN,
    CORRUPTED,
    METHODS,
    method_options,
    num_forward_passes,
    path_points,
)
from mechshift.attribution._eap import ENDS
from mechshift.denoising import COMPARED_WITH_CLEAN
from mechshift.graph import Graph
from mechshift.run.settings import AttributionSettings


@dataclass(frozen=True, kw_only=True)
class MethodPasses:
    """The passes over one batch of canvases."""

    num_points: int
    """Points of the path at which gradients are taken; 0: a method without gradients."""
    forward: int
    """Calls of the decoder on the clean or corrupted batch, those at the points among them."""
    intervened: int = 0
    """Further calls, each with the batch repeated for up to `edges_per_pass` changed edges."""
    edges_per_pass: int = 0
    gim: bool = False
    """Whether attention is GIM's."""

    def backward(self, num_slots: int) -> int:
        """Backward passes: one for each point and scored step."""
        return self.num_points * num_slots


def method_passes(settings: AttributionSettings, metric: str, graph: Graph) -> MethodPasses:
    """The passes of the method that the settings name."""
    options = method_options(settings.method) | settings.options()
    reference = int(metric in COMPARED_WITH_CLEAN)
    if settings.method == "exact":
        return MethodPasses(
            num_points=0,
            forward=2 + reference,
            intervened=num_forward_passes(graph, options["edges_per_pass"]) - 2,
            edges_per_pass=options["edges_per_pass"],
        )
    if settings.method == "eap-ig":
        points = path_points(options["rule"], options["ig_steps"])
    else:
        # Settings refuse names that are not methods.
        assert settings.method == "eap", f"plan knows not all of {', '.join(METHODS)}"
        points = (ENDS[options["gradient_at"]],)
    other_ends = {CORRUPTED, CLEAN} - set(points)
    return MethodPasses(
        num_points=len(points),
        forward=len(points) + len(other_ends) + reference,
        gim=options["gim"],
    )
