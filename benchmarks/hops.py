"""How many files does a number pass, from the command that is typed to its place on the page?

For whoever follows one number through the code: which files must be opened, and which of them once
for all numbers. `mechshift run` is done on a random pair of two layers, and looked at as it runs.

Rule of counting:

1. A number's way is a list of steps: a table is read, circuits are chosen, a ratio is taken, the
   record is written, read and drawn. Each step is a function that takes or gives the number, or
   what it is made of (`WAYS`).
2. A file counts if one of its functions is at work, in any thread, when a step of the number is
   done: the step itself, and all that called it, up to the command. The template that shows it
   counts too.
3. Left out is what runs a model or attributes scores (`LEFT_OUT`): the way begins where a stage
   asks for that, and goes on with what it gives.

    python benchmarks/hops.py [--steps]
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import filter as matching
from fnmatch import fnmatchcase
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

import tyro
from small_commands import WHOLE, small_commands

import mechshift
from mechshift.cli.main import main as run_command

SOURCE = Path(mechshift.__file__).parent

LEFT_OUT = ("attribution", "denoising", "interventions", "models", "tasks")
"""Packages whose files do not count."""

COMMON = "every number"


@dataclass(frozen=True)
class Options:
    steps: bool = False
    """Print the files of each step too."""


@dataclass(frozen=True)
class Step:
    """Something that is done to a number on its way. Functions are patterns of MODULE:NAME."""

    what: str
    function: str
    """As `comparison/*:mask_jaccard`; of a method with its class."""
    within: str = "*"
    """Functions that must all be at work around it, with blanks between them."""
    beside: str = ""
    """Functions in which the same is done to other numbers."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Argument -> pattern of its text, or of the name of its type."""


@dataclass(frozen=True)
class Way:
    """The steps of a number, in their order."""

    number: str
    steps: tuple[Step, ...]
    templates: tuple[str, ...]


TAKEN_APART, PUT_TOGETHER = "*:to_flat", "*:from_flat"
WRITTEN, READ = "*:write_artifact", "*:read_artifact"


def _stored(what: str, record: str, folder: str) -> tuple[Step, ...]:
    """A record is written, and read again for the report."""
    report = "run/reporting:_files"
    return (
        Step(f"{what}: taken apart", TAKEN_APART, given={"record": record}),
        Step(f"{what}: written", WRITTEN, given={"folder": folder}),
        Step(f"{what}: read", READ, report, given={"folder": folder}),
        Step(f"{what}: put together", PUT_TOGETHER, report, given={"record_type": record}),
    )


def _shown(figure: str, anchor: str) -> tuple[Step, ...]:
    """A figure is drawn, and put on the page."""
    return (
        Step("figure", figure),
        Step("curves", "page/*:scatter", figure),
        Step("intervals", "page/*:band", figure),
        Step("look of the figure", "page/*:finish", figure),
        Step("figure on the page", "page/*:figure_view", given={"anchor": anchor}),
        Step("table beside the page", "page/*:csv_text", "topics/*:report"),
        Step("page", "page/*:render_page", "topics/*:report"),
    )


HALVES, SWEEP = "comparison/*:MeasuredPair.on_halves", "comparison/*:sweep_over_*"
CURVE, SHARE = "comparison/*:overlap_curve", "topics/*:_measure_share"
COMPARED, CIRCUITS = "run/comparisons:*.compute", "run/*:_circuits"
OTHERS = f"{SWEEP} comparison/*:noise_free_* comparison/*:circuit_stability"
MODEL, RESAMPLED = "topics/*:_of_model", "topics/*:_resampled"
OTHER = "topics/*:other_circuit *:random_curve *:RandomCurve.*"
HEADLINE = "topics/*:headline"
RUN = "evaluation/*:evaluate_circuits"

WAYS = (
    Way(
        "overlap over ceiling",
        (
            Step("scores: read", READ, COMPARED, given={"folder": "*/scores/*"}),
            Step("summed over steps", "comparison/*:summed_over_steps", "comparison/*:compare"),
            Step("halves of the examples", "statistics/*:split_halves", COMPARED, SWEEP),
            Step("weights of the halves", "comparison/*:halved", HALVES, SWEEP),
            Step("scores of a model", "comparison/*:Source.take", HALVES, SWEEP),
            Step("mean scores", "comparison/*:mean_scores", HALVES, SWEEP),
            Step("rows go to threads", "comparison/*:in_order", HALVES, SWEEP),
            Step("circuits", "comparison/*:circuits_of", "comparison/*:_of_block", OTHERS),
            Step("shared edges", "comparison/*:mask_jaccard", "*:Measures.__call__", SWEEP),
            Step("of all halvings", "comparison/*:Likeness.of", CURVE),
            Step("ratio", "comparison/*:_ratio", CURVE),
            Step("interval", "statistics/*:Estimates.from_rows", CURVE),
            *_stored("comparison", "Comparison", "*/comparison/*/mdm"),
            *_shown("topics/*:overlap_curve", "*-overlap"),
        ),
        ("task.html.j2",),
    ),
    Way(
        "right-to-left share",
        (
            Step("traced", "attribution/*:position_flow"),
            Step("flow: written", WRITTEN, given={"folder": "*/flow/*/mdm"}),
            Step("flow: read", READ, SHARE),
            Step("flow: put together", PUT_TOGETHER, SHARE),
            Step("resamples", "statistics/*:bootstrap_weights", SHARE),
            Step("share", "comparison/*:share_rows", SHARE),
            Step("interval", "statistics/*:Estimates.from_rows", SHARE),
            *_stored("quantities", "MemberResults", "*/quantities/*/mdm"),
            Step("statement", "topics/*:Statement.of", "topics/*:_direction"),
            Step("verdict", "topics/*:by_side", "topics/*:_direction"),
            Step("number in words", "page/*:estimate_cell", "topics/*:_direction"),
            Step("correction", "topics/*:_corrected"),
            Step(
                "row of the table at the top",
                "page/*:estimate_cell",
                f"{HEADLINE} topics/flow:_cell",
            ),
            *_shown("topics/*:right_to_left", "*-right-to-left"),
        ),
        ("report.html.j2", "task.html.j2"),
    ),
    Way(
        "the MDM's faithfulness on the ARM's circuit",
        (
            Step("scores: read", READ, CIRCUITS, given={"folder": "*/scores/*"}),
            Step("circuit", "circuits/*:select_top_edges", CIRCUITS),
            Step("circuits are run", RUN),
            Step("one circuit", "evaluation/*:run_circuit", RUN),
            Step("content of other edges", "evaluation/*:corrupted_cache", RUN),
            Step("metrics: taken apart", TAKEN_APART, given={"record": "CircuitRuns"}),
            Step("metrics: written", WRITTEN, given={"folder": "*/faithfulness/*/mdm"}),
            Step("metrics: read", READ, MODEL, OTHER),
            Step("metrics: put together", PUT_TOGETHER, MODEL, OTHER),
            Step("curve", "evaluation/*:CircuitMetrics.curve", MODEL, OTHER),
            Step("faithfulness", "evaluation/*:FaithfulnessCurve.faithfulness", RESAMPLED, OTHER),
            Step("resamples", "statistics/*:bootstrap_weights", RESAMPLED, OTHER),
            Step("interval", "statistics/*:percentile_estimates", MODEL, OTHER),
            *_stored("conclusion", "Faithfulness", "*/conclusions/*/faithfulness"),
            Step("row at the top", "page/*:entry_cell", f"{HEADLINE} topics/faithfulness:_cell.*"),
            *_shown("topics/*:faithfulness_curves", "*-faithfulness"),
        ),
        ("report.html.j2", "task.html.j2"),
    ),
)


class Watched:
    """Which files were at work when each step of each number was done."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], list[str]] = {}
        self._steps: dict[CodeType, list[tuple[Way, Step]]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at every call of this thread and of those that it starts."""
        threading.setprofile(self._look)
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        for way, step in self._steps_of(frame.f_code):
            if not _is_given(frame, step.given):
                continue
            stack = list(_stack(frame))
            around = [name_of(code) for code in stack]
            if not all(matching(around, one) for one in step.within.split()):
                continue
            if any(matching(around, one) for one in step.beside.split()):
                continue
            files = self.found.setdefault((way.number, step.what), [])
            for code in reversed(stack):
                file = _file(code)
                if file is not None and file not in files:
                    files.append(file)

    def _steps_of(self, code: CodeType) -> list[tuple[Way, Step]]:
        """Those that this function is."""
        if code not in self._steps:
            name = name_of(code)
            self._steps[code] = [
                (way, step)
                for way in WAYS
                for step in way.steps
                if name and fnmatchcase(name, step.function)
            ]
        return self._steps[code]


@cache
def name_of(code: CodeType) -> str:
    """Module and qualified name of a function; empty of what is none of ours."""
    file = _own_file(code)
    return "" if file is None else f"{file.removesuffix('.py')}:{code.co_qualname}"


def _stack(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _is_given(frame: FrameType, given: Mapping[str, str]) -> bool:
    for name, pattern in given.items():
        value = frame.f_locals.get(name)
        if isinstance(value, type):
            text = value.__name__
        else:
            text = str(value) if isinstance(value, str | Path) else type(value).__name__
        if not fnmatchcase(text, pattern):
            return False
    return True


def _own_file(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    return path.relative_to(SOURCE).as_posix() if path.is_relative_to(SOURCE) else None


def _file(code: CodeType) -> str | None:
    """The file of a piece of code, if it counts."""
    file = _own_file(code)
    if file is None or file.split("/")[0] in LEFT_OUT or not file.endswith(".py"):
        return None
    return file


def files_of(way: Way, watched: Watched) -> list[str]:
    """The files of a number, in the order in which it passes them."""
    several = [watched.found.get((way.number, step.what), []) for step in way.steps]
    for step, files in zip(way.steps, several, strict=True):
        assert files, f"{way.number}: nothing does the step `{step.what}` ({step.function})"
    templates = [f"page/templates/{name}" for name in way.templates]
    return list(dict.fromkeys([*(file for one in several for file in one), *templates]))


def watch_a_run(folder: Path) -> Watched:
    """Do every stage of a run on a small random pair, and look at it."""
    watched, command = Watched(), small_commands(folder)["run"]
    command.begin(folder / WHOLE)
    with redirect_stdout(StringIO()), watched.watching():
        status = run_command(list(command.words(folder / WHOLE)))
    assert status == 0, f"the run ended with status {status}"
    return watched


def main(options: Options) -> None:
    """Print each number's files: those of every number first, then its own."""
    with TemporaryDirectory() as folder:
        watched = watch_a_run(Path(folder))
    found = {way.number: files_of(way, watched) for way in WAYS}
    common = set.intersection(*map(set, found.values()))
    in_order = [file for file in next(iter(found.values())) if file in common]
    print(f"{COMMON}: {len(common)} files\n  " + "\n  ".join(in_order))
    for way in WAYS:
        own = [file for file in found[way.number] if file not in common]
        print(f"{way.number}: {len(own)} files of its own, {len(found[way.number])} in all")
        print("  " + "\n  ".join(own))
        if options.steps:
            for step in way.steps:
                files = watched.found[way.number, step.what]
                print(f"    {step.what} ({step.function}): {' > '.join(files)}")


if __name__ == "__main__":
    main(tyro.cli(Options))
