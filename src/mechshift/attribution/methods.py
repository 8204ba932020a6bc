"""The methods that score edges, by name.

Every method is a function of a model and canvases with the keyword arguments of `EdgeMethod` and
options of its own, and returns `EdgeScores` of the same units and sign, so that one can stand in
for another.
"""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from mechshift.attribution._eap import eap
from mechshift.attribution._eap_ig import eap_ig
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.exact import exact_edge_scores
from mechshift.denoising import Canvas
from mechshift.errors import AttributionError
from mechshift.models import LanguageModel


@runtime_checkable
class EdgeMethod(Protocol):
    """Method of attribution: the arguments that all take; their own options have defaults."""

    def __call__(
        self,
        model: LanguageModel,
        canvases: Sequence[Canvas],
        *,
        metric: str,
        grouped: bool = ...,
        batch_size: int = ...,
        progress: Callable[[int], None] | None = ...,
    ) -> EdgeScores: ...


METHODS: dict[str, EdgeMethod] = {"eap": eap, "eap-ig": eap_ig, "exact": exact_edge_scores}


def method_options(method: str) -> dict[str, Any]:
    """The options that are this method's own, and their defaults.

    Raises:
        AttributionError: an unknown method.
    """
    if method not in METHODS:
        raise AttributionError(f"unknown method '{method}'; known: {', '.join(METHODS)}.")
    shared = signature(EdgeMethod.__call__).parameters
    return {
        name: parameter.default
        for name, parameter in signature(METHODS[method]).parameters.items()
        if name not in shared
    }


def check_options(method: str, options: Iterable[str]) -> None:
    """Refuse options that the method does not have.

    Raises:
        AttributionError: an unknown method or option.
    """
    known = method_options(method)
    for option in options:
        if option not in known:
            raise AttributionError(
                f"method '{method}' has no option '{option}'; it has: {', '.join(known)}."
            )


def attribute(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    method: str = "eap-ig",
    grouped: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> EdgeScores:
    """Score every edge of the model with the method of that name.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        metric: a name in `denoising.METRICS`.
        method: a name in `METHODS`.
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases in one batch; it does not change a score.
        progress: called with how many canvases more are finished.
        options: the method's own, for example `ig_steps` of `eap-ig`; see `method_options`.

    Raises:
        AttributionError: an unknown method or option, or what the method refuses.
    """
    check_options(method, options)
    return METHODS[method](
        model,
        canvases,
        metric=metric,
        grouped=grouped,
        batch_size=batch_size,
        progress=progress,
        **options,
    )
