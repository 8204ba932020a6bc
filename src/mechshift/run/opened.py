"""A run folder, opened in Python: its tasks, verdicts, figures and tables, read when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import plotly.graph_objects as go
import polars as pl

from mechshift.artifacts import is_written
from mechshift.errors import ArtifactError
from mechshift.page.elements import Exhibit
from mechshift.run.folders import quantities_folder
from mechshift.run.pools import pool_table
from mechshift.run.store import pool_manifests
from mechshift.run.stored import RunTask
from mechshift.summaries import html_table
from mechshift.topics.registry import TOPICS, Verdict, glance, verdicts
from mechshift.topics.run_list import VERDICT_COLUMNS, verdict_rows
from mechshift.topics.topic import TaskResults


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """The verdicts of a run: what is decided on every task, corrected for all of them together."""

    by_task: Mapping[str, Verdict]

    def __getitem__(self, task: str) -> Verdict:
        return self.by_task[task]

    def to_frame(self) -> pl.DataFrame:
        """A row a statement: task, axis, verdict, number with its interval, p-values, sentence."""
        return pl.DataFrame(list(verdict_rows(self.by_task.values())), schema=VERDICT_COLUMNS)

    def __repr__(self) -> str:
        count = sum(len(verdict.statements) for verdict in self.by_task.values())
        return f"Verdicts({count} statements on {', '.join(self.by_task)})"

    def _repr_html_(self) -> str:
        """A row an axis and a column a task, for notebooks; the sentence shows at a verdict."""
        axes = dict.fromkeys(
            one.axis for verdict in self.by_task.values() for one in verdict.statements
        )
        rows = [
            [escape(axis), *(_cell(verdict, axis) for verdict in self.by_task.values())]
            for axis in axes
        ]
        return html_table(["", *map(escape, self.by_task)], rows)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A run, finished or not; made by `open_run`. Nothing in the folder is changed.

    What is read is read once, so open a run again that has gone on since.
    """

    path: Path

    @cached_property
    def tasks(self) -> Mapping[str, RunTask]:
        """Each task by name, in the run's order: its pool, scores, flow and comparison as records.

        Raises:
            ArtifactError: the run has no pool yet.
        """
        return {task: RunTask(run=self.path, task=task) for task in pool_manifests(self.path)}

    @cached_property
    def _results(self) -> dict[str, TaskResults]:
        return {}

    def results(self, task: str) -> TaskResults:
        """Every number that was concluded on a task, and each topic's record by name.

        Raises:
            ArtifactError: no such task, or nothing was concluded on it yet.
        """
        self._check_task(task)
        if task not in self._results:
            if not self._is_concluded(task):
                raise ArtifactError(
                    f"{self.path} holds no conclusions on '{task}'; run `mechshift report"
                    f" {self.path}`, or finish the run first."
                )
            self._results[task] = self.tasks[task].results()
        return self._results[task]

    def verdicts(self) -> Verdicts:
        """What is decided on each task.

        Raises:
            ArtifactError: a task is not concluded yet.
        """
        decided = verdicts([self.results(task) for task in self.tasks])
        return Verdicts(by_task={one.task: one for one in decided})

    def exhibit(self, name: str, task: str) -> Exhibit:
        """A figure of the report with its table and how to read it, by the name of its CSV file.

        Raises:
            ArtifactError: no such figure, and the message lists those that there are.
        """
        results, known = self.results(task), []
        for topic in TOPICS:
            for one in topic.exhibits(results):
                if one.name == name:
                    return one
                known.append(one.name)
        raise ArtifactError(f"no figure '{name}' of '{task}'; there are {', '.join(known)}.")

    def figure(self, name: str, task: str) -> go.Figure:
        """The same as a figure of plotly, which a notebook draws.

        Raises:
            ArtifactError: see `exhibit`.
        """
        return self.exhibit(name, task).figure.to_plotly()

    def glance(self) -> go.Figure:
        """The figure of the whole pair: every task's quantities.

        Raises:
            ArtifactError: a task is not concluded yet.
        """
        return glance([self.results(task) for task in self.tasks]).to_plotly()

    def to_frame(self) -> pl.DataFrame:
        """Both splits of each task: accuracies, candidates tried, pool size, what was dropped.

        Raises:
            ArtifactError: the run has no pool yet.
        """
        return pool_table(self.path)

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise ArtifactError(
                f"{self.path} has no task '{task}'; it has {', '.join(self.tasks)}."
            )

    @property
    def is_concluded(self) -> bool:
        """Whether there are conclusions on any task; a trajectory alone has none."""
        return any(self._is_concluded(task) for task in self.tasks)

    def _is_concluded(self, task: str) -> bool:
        return is_written(quantities_folder(self.path, task, "mdm"))

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """Tasks and their pools, for notebooks, and whether they are concluded."""
        pools = self.to_frame().select("task", "split", "ARM", "MDM", "tried", "pool")
        rows = [
            [
                *(f"{one:.2f}" if isinstance(one, float) else escape(str(one)) for one in row),
                "yes" if self._is_concluded(row[0]) else "not yet",
            ]
            for row in pools.rows()
        ]
        header = [*map(escape, pools.columns), "concluded"]
        return f"<p>{escape(str(self.path))}</p>{html_table(header, rows)}"


def open_run(run: Path | str) -> RunFolder:
    """Open a run folder, to read what is in it.

    Raises:
        ArtifactError: it is no folder, or has no pool yet.
    """
    path = Path(run)
    if not path.is_dir():
        raise ArtifactError(f"{path} is no folder; give one that `mechshift run` has written.")
    opened = RunFolder(path=path)
    assert opened.tasks  # refuses a folder that is no run
    return opened


def _cell(verdict: Verdict, axis: str) -> str:
    """The verdicts on one axis; causes are as many as there are shifts to explain."""
    found = [one for one in verdict.statements if one.axis == axis]
    return "; ".join(
        f'<span title="{escape(one.sentence)}">{escape(one.verdict)}</span>' for one in found
    )
