"""The commands that show several runs, and that write one run's figures and tables for a paper.

What they do is imported when it is done: help and wrong options need neither torch nor a run.
"""

import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from mechshift.errors import ArtifactError
from mechshift.page.browser import find_browser
from mechshift.page.figure_files import FigureFormat, StyleName, WidthName


def index(folders: Positional[tuple[Path, ...]], out: Path | None = None) -> None:
    """Write the page that lays several runs beside each other.

    It lists every run with its pair, tasks and date, has a table of their verdicts and a forest
    plot of each number, and leads to each run's own report. Runs that are not finished, or that
    cannot be read, are listed with the reason. The page is one file that needs no network, and two
    CSV files beside it hold all verdicts and quantities. Example: mechshift index runs

    Args:
        folders: run folders, or folders that hold some, at most three deep.
        out: folder of index.html; by default the folder that is given, if it is one.
    """
    print(_run_package(folders).write_index(folders, out))


def serve(folders: Positional[tuple[Path, ...]], port: int = 8765, open: bool = False) -> None:
    """Show several runs in a browser, on this machine alone.

    The page of `mechshift index`, made anew at each visit, and the reports that it leads to.
    Nothing is written, no other machine is answered, and nothing is shown but the files of finished
    reports. Ctrl-C ends it. Example: mechshift serve runs

    Args:
        folders: run folders, or folders that hold some, at most three deep.
        port: where it listens, on 127.0.0.1; 0: any that is free.
        open: show the page in this machine's browser.
    """
    with _run_package(folders).runs_server(folders, port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"Runs at {address} until Ctrl-C", flush=True)
        if open:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):  # nothing is left half done, so nothing is to be said
            server.serve_forever()


def figures(
    folder: Positional[Path],
    format: tuple[FigureFormat, ...] = ("svg", "pdf", "png"),
    style: StyleName = "paper",
    width: WidthName | None = None,
    out: Path | None = None,
    task: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    browser: Path | None = None,
    quiet: bool = False,
) -> None:
    """Write every figure of a run or a trajectory, for a paper or for slides: SVG, PDF, PNG.

    Without titles, which a caption says: captions.md holds them. PNG has 400 dots an inch. The
    figures are those of the report and of the trajectory's page, so what draws them there draws
    here: Chromium or Chrome, which must be installed; no network is needed.
    Example: mechshift figures runs/first --format pdf --only overlap depth glance

    Args:
        folder: a run folder with a report, or a trajectory, or both.
        format: svg, pdf, png, or several.
        style: paper: black on white, text 7 to 8 points high; slides: 254 mm wide, text 13 points
            high, on no ground.
        width: of a paper: column (default): 85 mm, panels below each other; page: 174 mm, panels
            side by side.
        out: where the files go; by default the folder `figures` in the run.
        task: some of the run's tasks; by default all.
        only: some figures, by the names of the CSV files beside the pages, such as overlap or
            ioi-overlap; those of a trajectory begin with trajectory-.
        browser: the program of Chromium or Chrome; by default the one that is installed.
        quiet: no progress bar.
    """
    program = find_browser(browser)  # before the run is read
    written = _run_package([folder], "run").write_figures(
        folder,
        format,
        out=out,
        style=style,
        width=width,
        tasks=task,
        only=only,
        browser=program,
        quiet=quiet,
    )
    print("\n".join(map(str, written)))


def tables(
    folder: Positional[Path],
    format: tuple[Literal["latex", "markdown", "csv"], ...] = ("latex", "markdown", "csv"),
    out: Path | None = None,
) -> None:
    """Write the tables of a run with their intervals: LaTeX, Markdown, CSV.

    Verdicts, numbers, tests over tasks, and each task's controls. LaTeX needs the package booktabs;
    CSV has every digit where the run keeps it. Example: mechshift tables runs/first --format latex

    Args:
        folder: a run folder with a report.
        format: latex, markdown, csv, or several.
        out: where the files go; by default the folder `tables` in the run.
    """
    written = _run_package([folder], "run").write_tables(folder, format, out)
    print("\n".join(map(str, written)))


def _run_package(folders: Sequence[Path], what: Literal["runs", "run"] = "runs") -> Any:
    """`mechshift.run`, once it is worth its seconds: the folders are there.

    Raises:
        ArtifactError: one is not.
    """
    for folder in folders:
        if not folder.is_dir():
            holds = (
                "one that holds runs" if what == "runs" else "one that `mechshift run` has written"
            )
            raise ArtifactError(f"{folder} is no folder; give {holds}.")
    return import_module("mechshift.run")
