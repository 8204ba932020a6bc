"""The check of types and shapes that the package's functions have while tests run.

jaxtyping's import hook puts `jaxtyping.jaxtyped` on every function and dataclass, and that makes
two checks of each at once: of 3,000 functions, in every worker, though a worker calls some hundreds
of them, and some of these ten thousand times in a test. `checked` takes its place (conftest.py): it
makes one check, when a function is first called, and makes use of it as often as `ALWAYS` says.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation

ALWAYS, ONE_IN = 32, 16
"""The first calls of a function in a test are all checked, and of the others one in so many: what
a test does a thousand times it does with the same few types and shapes."""

num_tests = 0
"""That were begun in this process."""

jaxtyped = jaxtyping.jaxtyped
"""That of the library. Within `jaxtyped("context")` an axis's name has one size."""


def begin_test() -> None:
    """Check the next calls of every function, however often it was called before."""
    global num_tests
    num_tests += 1


def checked(decorated: Any = None, *, typechecker: object = None) -> Any:
    """Check what goes into a function, or a dataclass, and what comes out, by beartype.

    Not of functions inside others. These are made anew with each call of the outer one, and making
    a check takes longer than most of them run: it was a third of the suite's time. What goes into
    the outer one is checked, and what comes out of it.
    """
    if decorated is None:
        return checked
    if decorated == "context":  # as the package calls it itself
        return jaxtyped(decorated)
    if inspect.isclass(decorated):
        made = vars(decorated).get("__init__")
        # One that is written out, and not made by dataclasses, is checked as any function is.
        if dataclasses.is_dataclass(decorated) and made and not hasattr(made, "__wrapped__"):
            decorated.__init__ = checked(made)  # type: ignore[misc]
        return decorated
    return decorated if "<locals>" in decorated.__qualname__ else _checked_function(decorated)


def _checked_function(function: Callable[..., Any]) -> Callable[..., Any]:
    check: Callable[..., Any] | None = None
    test = num_calls = 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal check, test, num_calls
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        if test != num_tests:
            test, num_calls = num_tests, 0
        num_calls += 1
        with jaxtyped("context"):
            if num_calls > ALWAYS and num_calls % ONE_IN:
                return function(*args, **kwargs)
            if check is None:
                check = _check_of(function)
            try:
                return check(*args, **kwargs)
            except BeartypeCallHintViolation as error:
                if not getattr(error, "__notes__", None):
                    error.add_note(f"in a call of {function.__qualname__}{_shapes(args, kwargs)}")
                raise

    return call


def _check_of(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(function):
        # beartype would look at what goes in when the first value is asked for, among the axes of
        # whoever asks.
        return jaxtyped(function, typechecker=beartype)
    return beartype(function)


def _shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    named = [*enumerate(args), *kwargs.items()]
    return "".join(f", {name}: {tuple(x.shape)}" for name, x in named if hasattr(x, "shape"))
