"""The `mechshift` command: one sub-command a stage."""

import os
import signal
from importlib import import_module


def entry_point() -> None:
    """What the installed `mechshift` script and `python -m mechshift` call.

    Imports take seconds, and nothing is half done meanwhile: so Ctrl-C ends the process at once and
    without a word, until `mechshift.cli.main` listens to signals itself.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Not SIG_DFL, in whose place polars puts a handler of its own, which does nothing.
        signal.signal(signal.SIGINT, _end)
    import_module("mechshift.cli.main").entry_point()


def _end(signum: int, _frame: object) -> None:
    os._exit(128 + signum)
