"""The `mechshift` command: chooses the sub-command, and reports mistakes in one line.

Exit status 0: done; 2: the user can mend it, and one line on standard error says how; 128 and the
number of a signal (130 for Ctrl-C): stopped, and a second call goes on where this one was.

A sub-command is imported when it is chosen: torch and transformers take seconds, and neither help
nor a misspelt name needs them.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

import tyro

from mechshift.cli.help import short_help
from mechshift.cli.words import check_words
from mechshift.errors import MechshiftError
from mechshift.printable import printable

USER_ERROR = 2

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a terminal that goes away."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A sub-command, and where the function is whose signature are its options."""

    name: str
    module: str
    """Within `mechshift.cli`."""
    function: str
    summary: str
    """The first line of the function's docstring, which is not imported to be shown."""
    help: str | None = None
    """Name of a function of the module that gives the help; by default it is the docstring."""

    def add_to(self, app: tyro.extras.SubcommandApp) -> None:
        """Import the command, and offer it."""
        module = import_module(f"mechshift.cli.{self.module}")
        help = getattr(module, self.help)() if self.help else None
        app.command(name=self.name, help=help)(getattr(module, self.function))


def _stage(name: str, summary: str, *, help: str | None = None) -> Command:
    """A command of `cli/stages.py`, named as its function."""
    return Command(name=name, module="stages", function=name, summary=summary, help=help)


def _pages(name: str, summary: str) -> Command:
    """A command of `cli/pages.py`, named as its function."""
    return Command(name=name, module="pages", function=name, summary=summary)


COMMANDS = (
    _stage("run", "Compare the circuits of a pair, from examples to report.", help="run_help"),
    Command(
        name="plan",
        module="planning",
        function="plan",
        summary="Tell what a run with the same options will take: passes, FLOPs, memory, disk and"
        " time.",
    ),
    Command(
        name="doctor",
        module="doctor",
        function="doctor",
        summary="Examine a pair before the wait: load it, read a little with it, and print what was"
        " found.",
    ),
    _stage("pool", "Find examples that both models of a pair get right."),
    _stage("attribute", "Score every edge of both models on the pooled examples."),
    _stage("flow", "Trace between which positions of the text attributed information flows."),
    _stage(
        "analyse",
        "Read what the components of both models do: lenses, concentration, roles, neurons.",
    ),
    _stage(
        "explain",
        "Ask a language model for one sentence on when each described neuron fires; never part of"
        " run.",
    ),
    _stage("evaluate", "Run both models on their own, on each other's and on baseline circuits."),
    _stage(
        "ablate",
        "Measure what both models lose when some of their structures write something else.",
    ),
    _stage("compare", "Compare the two models' circuits: overlap and depth, with intervals."),
    _stage("sweep", "Compare the models with other numbers of denoising steps, all else equal."),
    _stage(
        "alternatives",
        "Run both models on other circuits than their own, to find as faithful ones.",
    ),
    _stage(
        "conclude",
        "Compute what a run shows: every topic's numbers, and every quantity with its resamples.",
    ),
    _stage("report", "Write the page that shows a run, and print where it is."),
    _stage(
        "export",
        "Write scores and circuits of a run for other tools, and print the names of the files.",
    ),
    _pages("index", "Write the page that lays several runs beside each other."),
    _pages("serve", "Show several runs in a browser, on this machine alone."),
    _pages(
        "figures",
        "Write every figure of a run or a trajectory, for a paper or for slides: SVG, PDF, PNG.",
    ),
    _pages("tables", "Write the tables of a run with their intervals: LaTeX, Markdown, CSV."),
    Command(
        name="pairs",
        module="pairs",
        function="pairs",
        summary="List the pairs that are known by name, or fetch one that needs no hub.",
    ),
    Command(
        name="tasks",
        module="listings",
        function="tasks",
        summary="List the tasks, or show and check examples of one task or .jsonl file.",
    ),
    Command(
        name="posttrain",
        module="training",
        function="train_model",
        summary="Train an ARM on, into a masked diffusion model or with its own objective.",
    ),
    Command(
        name="trajectory",
        module="trajectories",
        function="trajectory",
        summary="Compare every checkpoint of a post-training with its parent, over training steps.",
    ),
)


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end: unwound as by Ctrl-C, with nothing left half done."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


def main(
    words: Sequence[str] | None = None, *, imported: Callable[[], object] = lambda: None
) -> int:
    """Run one command line and return its exit status.

    Args:
        words: without the program's name; None: those that the shell gave.
        imported: called once the command's modules are imported, before it begins.
    """
    words = sys.argv[1:] if words is None else list(words)
    try:
        if words == ["--version"]:
            print(f"mechshift {version('mechshift')}")
        else:
            check_words(words)
            _run(words or ["--help"], imported)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk or a closed pipe shows itself here, not at exit
    except MechshiftError as error:
        return _refused(str(error))
    except BrokenPipeError:
        _forget_output()  # the reader, such as `head`, has what it wanted
        return 128 + signal.SIGPIPE
    except OSError as error:
        _forget_output()
        place = f" {error.filename}" if error.filename else ""
        return _refused(f"the system refuses{place}: {error.strerror or error}.")
    except KeyboardInterrupt as stop:
        signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
        name = "" if signum == signal.SIGINT else f" by {signal.Signals(signum).name}"
        print(f"mechshift: stopped{name}; the same command goes on from here.", file=sys.stderr)
        return 128 + signum
    return 0


def entry_point() -> None:
    """Run the shell's command line; called by the entry point in `mechshift.cli`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # A terminal that is not UTF-8 shows an escape where it lacks a letter.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    status = main(imported=_listen)
    for signum in SIGNALS:  # what is done is not stopped, and Python's own end takes a moment
        signal.signal(signum, signal.SIG_IGN)
    sys.exit(status)


def _listen() -> None:
    """From now on a signal unwinds the command, which says how to go on."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and so do we
            signal.signal(signum, _stop)


def _run(words: Sequence[str], imported: Callable[[], object]) -> None:
    app = tyro.extras.SubcommandApp()
    for command in COMMANDS:
        if command.name == words[0]:
            command.add_to(app)
        else:
            app.command(name=command.name, help=command.summary)(_not_chosen)
    imported()
    with short_help(words) as understood:
        app.cli(
            prog="mechshift",
            description="What changes inside a language model when an autoregressive model is"
            " post-trained into a masked diffusion model? Start with: mechshift run runs/first",
            args=understood,
        )


def _not_chosen() -> None:
    """What tyro lists in place of a command that was not imported."""
    raise AssertionError("only the chosen command runs.")


def _stop(signum: int, _frame: object) -> None:
    raise Stopped(signum)


def _refused(message: str) -> int:
    print(f"mechshift: {printable(message)}", file=sys.stderr)
    return USER_ERROR


def _forget_output() -> None:
    """Nothing more is written to a standard output that refuses, not at exit either."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
