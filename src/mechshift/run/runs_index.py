"""The page of several runs as a file: `index.html` beside the runs, and its tables as CSV.

It needs no network and no server: it names each run's report by its place relative to itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mechshift.artifacts import explained_refusal
from mechshift.disk import write_whole
from mechshift.errors import ArtifactError, ConfigError
from mechshift.page.formats import csv_text
from mechshift.run.found_runs import open_runs
from mechshift.topics.run_list import ListedRun
from mechshift.topics.runs_page import GENERATOR, runs_page

INDEX_NAME = "index.html"
VERDICTS_TABLE, QUANTITIES_TABLE = "runs-verdicts.csv", "runs-quantities.csv"


def write_index(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of the runs in these folders, in place of an earlier one.

    Args:
        folders: run folders, or folders that hold some.
        out: folder of the page; by default the only one of `folders`.

    Returns:
        The page; the tables of all verdicts and quantities lie beside it.

    Raises:
        ArtifactError: there is no run, or the page's place holds something else.
        ConfigError: several folders, and no place for the page.
    """
    if out is None:
        if len(folders) != 1:
            raise ConfigError(
                f"{len(folders)} folders are given; say with --out where the page goes."
            )
        out = folders[0]
    listed = open_runs(*folders)
    page = out / INDEX_NAME
    _check_ours(page)
    here = out.resolve()

    def link(run: ListedRun) -> str:
        assert run.page is not None
        return quote(Path(os.path.relpath(run.page.resolve(), here)).as_posix())

    texts = {
        VERDICTS_TABLE: csv_text(listed.verdicts()),
        QUANTITIES_TABLE: csv_text(listed.quantities()),
        INDEX_NAME: runs_page(listed, link),
    }
    with explained_refusal(page):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(out / name, text)
    return page


def _check_ours(page: Path) -> None:
    """Refuse to write over a page that this command did not make."""
    if page.exists() or page.is_symlink():
        try:
            with page.open("rb") as file:
                ours = GENERATOR.encode() in file.read(2**16)
        except OSError:
            ours = False
        if not ours:
            raise ArtifactError(
                f"{page} is not a page of mechshift; give another folder with --out, or move it."
            )
