"""What checks types and shapes of the package's functions while tests run."""

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import beartype

Checked = TypeVar("Checked", bound=Callable[..., Any])


def typechecker(function: Checked) -> Checked:
    """`beartype`, but not of functions inside others.

    These are made anew with each call of the outer one, and making a check takes longer than most
    of them run: it was a third of the suite's time. What goes into the outer one is checked, and
    what comes out of it.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
