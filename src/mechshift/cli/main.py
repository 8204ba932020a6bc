"""The `mechshift` command: chooses the sub-command, and reports mistakes in one line.

Exit status 0: done; 2: the user can mend it, and one line on standard error says how; 130: stopped
by the user, and a second call goes on where this one was.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

import tyro

from mechshift.cli import listings, pairs, planning, stages, training, trajectories
from mechshift.errors import MechshiftError

USER_ERROR, INTERRUPTED = 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Args:
        words: without the program's name; None: those that the shell gave.
    """
    words = sys.argv[1:] if words is None else list(words)
    if words == ["--version"]:
        print(f"mechshift {version('mechshift')}")
        return 0
    try:
        _app().cli(
            prog="mechshift",
            description="What changes inside a language model when an autoregressive model is"
            " post-trained into a masked diffusion model? Start with: mechshift run runs/first",
            args=words or ["--help"],
        )
    except MechshiftError as error:
        print(f"mechshift: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("mechshift: stopped; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    return 0


def entry_point() -> None:
    """What the installed `mechshift` script calls."""
    sys.exit(main())


def _app() -> tyro.extras.SubcommandApp:
    app = tyro.extras.SubcommandApp()
    commands: tuple[tuple[str, Callable[..., None]], ...] = (
        ("run", stages.run),
        ("plan", planning.plan),
        ("pool", stages.pool),
        ("attribute", stages.attribute),
        ("flow", stages.flow),
        ("analyse", stages.analyse),
        ("explain", stages.explain),
        ("evaluate", stages.evaluate),
        ("ablate", stages.ablate),
        ("compare", stages.compare),
        ("sweep", stages.sweep),
        ("conclude", stages.conclude),
        ("report", stages.report),
        ("export", stages.export),
        ("pairs", pairs.pairs),
        ("tasks", listings.tasks),
        ("posttrain", training.train_model),
        ("trajectory", trajectories.trajectory),
    )
    for name, command in commands:
        help = stages.run_help() if command is stages.run else None
        app.command(name=name, help=help)(command)
    return app
