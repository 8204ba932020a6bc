"""Figures and tables of a run as files for a paper, and the folders that they are written to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mechshift.artifacts import explained_refusal, is_written
from mechshift.disk import write_whole
from mechshift.errors import ConfigError
from mechshift.page.browser import find_browser
from mechshift.page.figure import Figure
from mechshift.page.figure_files import (
    FigureFormat,
    StyleName,
    WidthName,
    open_press,
    sheet_of,
)
from mechshift.page.formats import csv_text
from mechshift.page.html import check_file_names, task_slug
from mechshift.page.printed_tables import latex_table, markdown, markdown_table
from mechshift.progress import progress_bar
from mechshift.run.folders import TRAJECTORY
from mechshift.run.opened import RunFolder, open_run
from mechshift.run.trajectory_reporting import read_trajectories
from mechshift.topics.paper_tables import PaperTable, paper_tables
from mechshift.topics.registry import TOPICS, glance, tracked_quantities
from mechshift.topics.trajectory_curves import trajectory_figure
from mechshift.topics.trajectory_page import CURVES_READING, trajectory_exhibits

FIGURES, TABLES = "figures", "tables"
"""Folders of a run where they go, unless another place is given."""

CAPTIONS_NAME = "captions.md"

TABLE_FORMATS: Mapping[str, tuple[str, Callable[[PaperTable], str]]] = {
    "latex": (".tex", lambda table: latex_table(table.printed)),
    "markdown": (".md", lambda table: markdown_table(table.printed)),
    "csv": (".csv", lambda table: csv_text(table.numbers)),
}
"""Format -> ending of its files, and what writes a table in it."""


def write_tables(run: Path, formats: Sequence[str], out: Path | None = None) -> list[Path]:
    """Write every table of a run in each format.

    Args:
        run: a run that was concluded.
        formats: of `TABLE_FORMATS`.
        out: folder of the files; by default `tables` in the run.

    Raises:
        ArtifactError: nothing was concluded, or the folder cannot be written.
    """
    opened, out = open_run(run), out or run / TABLES
    tables = paper_tables([opened.results(task) for task in opened.tasks])
    written = []
    with explained_refusal(out):
        out.mkdir(parents=True, exist_ok=True)
        for table in tables:
            for name in dict.fromkeys(formats):
                suffix, text_of = TABLE_FORMATS[name]
                path = out / f"{table.printed.name}{suffix}"
                write_whole(path, text_of(table))
                written.append(path)
    return written


def write_figures(
    run: Path,
    formats: Sequence[FigureFormat],
    *,
    out: Path | None = None,
    style: StyleName = "paper",
    width: WidthName | None = None,
    tasks: Sequence[str] = (),
    only: Sequence[str] = (),
    browser: Path | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Draw every figure of a run into files, and write their captions beside them.

    Args:
        run: a run that was concluded, or whose trajectory was written; or both.
        formats: svg, pdf, png.
        out: folder of the files; by default `figures` in the run.
        style: paper or slides.
        width: of a paper: of a column, or of a page; by default a column.
        tasks: some of the run's; by default all.
        only: some of the figures, by the names of the report's CSV files; by default all.
        browser: the program that draws; by default the one that is installed.
        quiet: no progress bar.

    Raises:
        ArtifactError: nothing was concluded, or the folder cannot be written.
        ConfigError: there is no browser, no such figure, or a width of slides.
        ReportError: the browser fails.
    """
    sheet, program = sheet_of(style, width), find_browser(browser)
    opened, out = open_run(run), out or run / FIGURES
    figures = _chosen(dict(_figures(opened, tasks)), only)
    written = []
    with explained_refusal(out):
        out.mkdir(parents=True, exist_ok=True)
        with (
            open_press(program) as press,
            progress_bar("draw figures", len(figures), quiet=quiet) as advance,
        ):
            for stem, (figure, _) in figures.items():
                made = press.files(figure, tuple(dict.fromkeys(formats)), sheet)
                for name, content in made.items():
                    path = out / f"{stem}.{name}"
                    write_whole(path, content)
                    written.append(path)
                advance(1)
        captions = out / CAPTIONS_NAME
        write_whole(captions, "".join(_caption(stem, *one) for stem, one in figures.items()))
    return [*written, captions]


Drawn = tuple[Figure, str]
"""A figure, and how to read it."""


def _figures(opened: RunFolder, tasks: Sequence[str]) -> Iterator[tuple[str, Drawn]]:
    """Stem of the file -> figure: that of the whole pair, those of each task, the trajectory's."""
    has_trajectory = is_written(opened.path / TRAJECTORY)
    if opened.is_concluded or not has_trajectory:
        yield from _report_figures(opened, tasks)
    if has_trajectory:
        yield from _trajectory_figures(opened.path, tasks)


def _report_figures(opened: RunFolder, tasks: Sequence[str]) -> Iterator[tuple[str, Drawn]]:
    results = {task: opened.results(task) for task in tasks or opened.tasks}
    check_file_names(list(results))
    yield "glance", (glance(list(results.values())), "")
    for task, found in results.items():
        for topic in TOPICS:
            for exhibit in topic.exhibits(found):
                yield f"{task_slug(task)}-{exhibit.name}", (exhibit.figure, exhibit.reading)


def _trajectory_figures(run: Path, tasks: Sequence[str]) -> Iterator[tuple[str, Drawn]]:
    found = {one.task: one for one in read_trajectories(run)}
    for task in tasks:
        if task not in found:
            raise ConfigError(f"the trajectory of {run} has no task '{task}': {', '.join(found)}.")
    chosen = [found[task] for task in tasks or found]
    check_file_names([one.task for one in chosen])
    yield "trajectory", (trajectory_figure(chosen, tracked_quantities()), CURVES_READING)
    for trajectory in chosen:
        for exhibit in trajectory_exhibits(trajectory):
            stem = f"trajectory-{task_slug(trajectory.task)}-{exhibit.name}"
            yield stem, (exhibit.figure, exhibit.reading)


def _chosen(figures: Mapping[str, Drawn], only: Sequence[str]) -> Mapping[str, Drawn]:
    """Those whose name, with or without the task's, is asked for."""
    if not only:
        return figures
    found = {
        stem: one
        for stem, one in figures.items()
        if any(stem == name or stem.endswith(f"-{name}") for name in only)
    }
    for name in only:
        if not any(stem == name or stem.endswith(f"-{name}") for stem in figures):
            raise ConfigError(f"no figure '{name}'; there are {', '.join(figures)}.")
    return found


def _caption(stem: str, figure: Figure, reading: str) -> str:
    title = figure.layout["title"]
    sentences = f"{title['text']}: {title['subtitle']['text']}. {reading}"
    return f"**{markdown(stem)}** {markdown(sentences.strip())}\n\n"
