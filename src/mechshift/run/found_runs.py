"""Run folders below a folder, found and read for a list: each as a line, whatever its state.

A folder is a run if a stage that begins one left something in it. Runs lie at most `MAX_DEPTH`
folders deep; links and hidden folders are not followed, so nothing outside is listed. What cannot
be read is listed with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from mechshift.artifacts import MANIFEST_NAME, Manifest, is_written, read_manifest, setting_in
from mechshift.errors import ArtifactError, MechshiftError
from mechshift.flat_records import read_record
from mechshift.run.analysis import analysis_folder
from mechshift.run.conclusions import conclusion_inputs
from mechshift.run.folders import (
    CONCLUSIONS,
    KINDS,
    POOL,
    QUANTITIES,
    REPORT,
    TRAJECTORY,
    conclusion_folder,
    pool_folder,
    quantities_folder,
)
from mechshift.run.reporting import report_page
from mechshift.run.store import (
    pool_manifests,
    scored_graph,
    scored_metric,
    stored_comparison_settings,
    stored_name,
)
from mechshift.run.trajectory_reporting import PAGE_NAME
from mechshift.topics.pool import POOL as POOL_TOPIC
from mechshift.topics.pool import PoolSummary
from mechshift.topics.registry import VERDICTS_NAME, StoredVerdicts, read_verdicts, rules
from mechshift.topics.run_list import ListedRun, ListedTask, RunList
from mechshift.topics.topic import MemberResults

MAX_DEPTH = 3
"""Folders below the given one in which runs are looked for."""

NOT_FINISHED = "not finished: it has no report yet"
OVER_TRAINING = "a post-training, checkpoint by checkpoint"
STALE = "its report is older than its conclusions; run `mechshift report` again"
OTHER_RULES = "decided by the rules of another version; `mechshift report` decides anew"


def open_runs(*folders: Path | str) -> RunList:
    """Every run in these folders; see `run_list` for what is known of each.

    Args:
        folders: run folders, or folders that hold some, at most `MAX_DEPTH` deep.

    Raises:
        ArtifactError: one is no folder, or there is no run in any.
    """
    found = find_runs([Path(folder) for folder in folders])
    if not found:
        shown = ", ".join(map(str, folders))
        raise ArtifactError(f"there is no run in {shown}; `mechshift run` makes one.")
    listed = [listed_run(name, path) for name, path in found.items()]
    # Parents in the order in which their first run is named.
    order = list(dict.fromkeys(one.parent for one in listed if one.tasks))
    return RunList(
        runs=tuple(sorted(listed, key=lambda one: order.index(one.parent) if one.tasks else 10**9))
    )


def find_runs(folders: Sequence[Path]) -> Mapping[str, Path]:
    """Name -> folder of every run, by name; with several folders, names begin with theirs.

    Raises:
        ArtifactError: one is no folder.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ArtifactError(f"{folder} is no folder; give one that holds runs.")
        whole = folder.resolve()
        for path in _below(whole, MAX_DEPTH):
            inside = path.relative_to(whole).parts
            first = () if inside and len(folders) == 1 else (whole.name,)
            name = "/".join((*first, *inside))
            if found.get(name, path) != path:
                name = f"{name} ({path})"
            if path not in found.values():
                found[name] = path
    return found


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Runs at most so deep, in the order of their names."""
    if _is_run(folder):
        yield folder
        return
    if depth == 0:
        return
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return  # another user's, say
    for child in children:
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            yield from _below(child, depth - 1)


def _is_run(folder: Path) -> bool:
    return (
        is_written(analysis_folder(folder))
        or is_written(folder / REPORT)
        or any((folder / POOL).glob(f"*/{MANIFEST_NAME}"))
    )


def listed_run(name: str, run: Path) -> ListedRun:
    """A run as it is listed; whatever is wrong with it is said in the record."""
    listed = ListedRun(name=name, path=run)
    try:
        listed = _with_models(listed)
        if is_written(run / REPORT):
            return _with_verdicts(listed)
        if is_written(run / TRAJECTORY):
            page = run / TRAJECTORY / PAGE_NAME
            return replace(listed, page=page, written=_written(page), problem=OVER_TRAINING)
        return replace(listed, problem=NOT_FINISHED)
    except MechshiftError as error:
        return replace(listed, problem=_line(str(error)))
    except OSError as error:
        return replace(listed, problem=_line(f"{error.filename}: {error.strerror}"))


def _line(text: str) -> str:
    return " ".join(text.split())


def _with_models(listed: ListedRun) -> ListedRun:
    """With the names of the pair; a run that is not scored yet has none."""
    run, pools = listed.path, pool_manifests(listed.path)
    task, pool = next(iter(pools.items()))
    listed = replace(listed, parent=pool.inputs.get("arm", ""))
    given = setting_in(pool, pool_folder(run, task), "pair", dict[str, Any])
    try:
        names = {
            kind: _place_name(given.get(kind)) or stored_name(run, task, kind) for kind in KINDS
        }
    except ArtifactError:
        return listed  # not scored
    return replace(listed, arm_name=names["arm"], mdm_name=names["mdm"])


def _place_name(place: object) -> str:
    """Of a model that was given by its folder or hub id: the last part, which tells it apart."""
    return Path(place).name if isinstance(place, str) else ""


def _with_verdicts(listed: ListedRun) -> ListedRun:
    """With what its report says, and the quantities that stand behind it."""
    run = listed.path
    manifest, stored = read_manifest(run / REPORT), read_verdicts(run / REPORT / VERDICTS_NAME)
    tasks = tuple(_task(run, task, stored, manifest) for task in stored.tasks)
    known = {rule.axis: rule.words for rule in rules()}
    page = report_page(run)
    return replace(
        listed,
        page=page,
        written=_written(page),
        tasks=tasks,
        note="" if dict(stored.rules) == known else OTHER_RULES,
    )


def _task(run: Path, task: str, stored: StoredVerdicts, report: Manifest) -> ListedTask:
    if any(report.inputs.get(name) != sha for name, sha in conclusion_inputs(run, task).items()):
        raise ArtifactError(f"{STALE}.")
    pool = read_record(
        PoolSummary, conclusion_folder(run, task, POOL_TOPIC.name), stage=CONCLUSIONS
    )
    member = read_record(MemberResults, quantities_folder(run, task, "mdm"), stage=QUANTITIES)
    settings = stored_comparison_settings(run, task)
    return ListedTask(
        verdict=stored.verdict(task),
        measured={name: one.estimate for name, one in member.measured.items()},
        metric=scored_metric(run, task),
        num_examples=pool.pool_size,
        num_clusters=pool.num_clusters,
        circuit_size=settings.circuit_size_in(scored_graph(run, task, "arm").num_edges),
    )


def _written(page: Path) -> date:
    """The day on which a page was written; a manifest holds no time, so that bytes are the same."""
    return datetime.fromtimestamp(page.stat().st_mtime, tz=UTC).date()
