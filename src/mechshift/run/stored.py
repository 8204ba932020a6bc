"""Stored results of a run, record by record: of one task, and of one member on it.

Topics read them (`topics.topic.StoredTask`), the report, and whoever opened the run in Python.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from mechshift.ablation import AblationRun
from mechshift.artifacts import is_written
from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import CircuitShift, Comparison, ComparisonSettings, circuit_shift
from mechshift.evaluation import AlternativeRuns, Baselines, CircuitMetrics, Rediscovery
from mechshift.flat_records import read_record
from mechshift.models import Kind
from mechshift.run.folders import (
    ABLATION,
    ALTERNATIVES,
    ANSWERS,
    COMPARISON,
    CONCLUSIONS,
    CONTROLS,
    CROSSED,
    EXPLANATIONS,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POINTS,
    QUANTITIES,
    SCORES,
    SEMANTICS,
    SWEEP,
    ablation_folder,
    alternatives_folder,
    answers_folder,
    comparison_folder,
    conclusion_folder,
    control_folder,
    crossed_folder,
    explanations_folder,
    faithfulness_folder,
    flow_folder,
    others_flow_folder,
    others_folder,
    quantities_folder,
    scores_folder,
    semantics_folder,
    sweep_folder,
)
from mechshift.run.pools import pooled_task
from mechshift.run.records import CircuitRuns, ComponentReadings, Solved
from mechshift.run.store import (
    read_point,
    read_pool,
    scored_members,
    scored_metric,
    stage_settings,
    stored_comparison_settings,
    swept_num_steps,
)
from mechshift.semantics import Explanations, Semantics
from mechshift.statistics import Estimate, cluster_numbers, share_correct
from mechshift.tasks import CommonPool, Split
from mechshift.topics.registry import TOPICS
from mechshift.topics.topic import CheckpointScores, MemberResults, SweepPoint, TaskResults
from mechshift.topics.trajectory import training_place


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """One task of a run folder (`topics.topic.StoredTask`)."""

    run: Path
    task: str

    @cached_property
    def settings(self) -> ComparisonSettings:
        return stored_comparison_settings(self.run, self.task)

    def pool(self, split: Split) -> CommonPool:
        return read_pool(self.run, self.task, split)

    def comparison(self) -> Comparison:
        folder = comparison_folder(self.run, self.task)
        return read_record(Comparison, folder, stage=COMPARISON)

    @cached_property
    def _read_scores(self) -> dict[str, EdgeScores]:
        """They are hashed when they are read, and so read once."""
        return {}

    def scores(self, member: str) -> EdgeScores:
        if member not in self._read_scores:
            folder = scores_folder(self.run, self.task, member)
            self._read_scores[member] = read_record(EdgeScores, folder, stage=SCORES)
        return self._read_scores[member]

    def others(self) -> Mapping[str, EdgeScores]:
        return {
            name: read_record(EdgeScores, folder, stage=SCORES)
            for name, folder in self._written(others_folder)
        }

    def other_flows(self) -> Mapping[str, PositionFlow]:
        return {
            name: read_record(PositionFlow, folder, stage=FLOW)
            for name, folder in self._written(others_flow_folder)
        }

    def _written(self, folder_of: Callable[[Path, str, str], Path]) -> Iterator[tuple[str, Path]]:
        """Each member that was scored and has such a folder."""
        for member in scored_members(self.run, self.task):
            folder = folder_of(self.run, self.task, member)
            if is_written(folder):
                yield member, folder

    def flow(self, member: str) -> PositionFlow | None:
        folder = flow_folder(self.run, self.task, member)
        return read_record(PositionFlow, folder, stage=FLOW) if is_written(folder) else None

    def semantics(self, kind: Kind) -> Semantics | None:
        if not is_written(semantics_folder(self.run, self.task, kind)):
            return None
        return self._components(kind).semantics

    def token_texts(self, kind: Kind) -> Mapping[int, str]:
        return {int(token): text for token, text in self._components(kind).tokens.items()}

    def _components(self, kind: Kind) -> ComponentReadings:
        folder = semantics_folder(self.run, self.task, kind)
        return read_record(ComponentReadings, folder, stage=SEMANTICS)

    def explanations(self, kind: Kind) -> Explanations | None:
        folder = explanations_folder(self.run, self.task, kind)
        return read_record(Explanations, folder, stage=EXPLANATIONS) if is_written(folder) else None

    def circuit_metrics(self, kind: Kind) -> Mapping[Kind, CircuitMetrics]:
        by_owner = self._circuit_runs(kind).by_owner
        return {owner: by_owner[owner] for owner in KINDS}

    def baselines(self, kind: Kind) -> Baselines:
        baselines = self._circuit_runs(kind).baselines
        assert baselines is not None  # only those of checkpoints have none
        return baselines

    def rediscovery(self, kind: Kind) -> Rediscovery | None:
        return self._circuit_runs(kind).rediscovery

    def _circuit_runs(self, kind: Kind) -> CircuitRuns:
        folder = faithfulness_folder(self.run, self.task, kind)
        return read_record(CircuitRuns, folder, stage=FAITHFULNESS)

    def ablations(self, kind: Kind) -> AblationRun | None:
        folder = ablation_folder(self.run, self.task, kind)
        return read_record(AblationRun, folder, stage=ABLATION) if is_written(folder) else None

    def alternatives(self, kind: Kind) -> AlternativeRuns | None:
        folder = alternatives_folder(self.run, self.task, kind)
        if not is_written(folder):
            return None
        return read_record(AlternativeRuns, folder, stage=ALTERNATIVES)

    def swept(self) -> Mapping[int, SweepPoint]:
        return {
            steps: read_record(
                SweepPoint, sweep_folder(self.run, self.task, steps) / "shift", stage=SWEEP
            )
            for steps in swept_num_steps(self.run, self.task)
        }

    def checkpoints(self) -> tuple[CheckpointScores, ...]:
        folders = (self.run / POINTS / self.task).glob("[!.]*")  # a hidden one is being written
        points = [
            read_point(self.run, self.task, folder.name) for folder in folders if is_written(folder)
        ]
        points.sort(key=lambda point: (training_place(point.training), point.step))
        return tuple(
            CheckpointScores(training=point.training, step=point.step, scores=point.scores)
            for point in points
        )

    def stage_settings(self, name: str) -> Mapping[str, Any] | None:
        return stage_settings(self.run, self.task).get(name)

    def members(self) -> list[str]:
        """The MDM, and the controls that were scored, compared and asked."""
        controls = [
            name
            for name in scored_members(self.run, self.task)[2:]
            if is_written(control_folder(self.run, self.task, name))
            and is_written(comparison_folder(self.run, self.task, name))
        ]
        return ["mdm", *controls]

    def results(self) -> TaskResults:
        """What was concluded.

        Raises:
            ArtifactError: nothing was concluded, or it is damaged.
        """
        measured = [
            read_record(
                MemberResults, quantities_folder(self.run, self.task, name), stage=QUANTITIES
            )
            for name in self.members()
        ]
        pool = self.pool("discovery")
        example = pool.examples[0]
        return TaskResults(
            task=self.task,
            metric=scored_metric(self.run, self.task),
            description=pooled_task(self.task, pool).summary,
            example=f"{example.prompt}⟨{example.target}⟩{example.suffix}",
            comparison=self.comparison(),
            mdm=measured[0],
            controls=tuple(measured[1:]),
            records={
                topic.name: read_record(topic.record_type, folder, stage=CONCLUSIONS)
                for topic in TOPICS
                if topic.record_type is not None
                and is_written(folder := conclusion_folder(self.run, self.task, topic.name))
            },
        )


@dataclass(frozen=True, kw_only=True)
class RunMember:
    """One member of a run on one task (`topics.topic.StoredMember`)."""

    of: RunTask
    name: str

    @property
    def settings(self) -> ComparisonSettings:
        return self.of.settings

    @cached_property
    def _shift(self) -> Comparison | CircuitShift:
        if self.name == "mdm":
            return self.of.comparison()
        folder = comparison_folder(self.of.run, self.of.task, self.name)
        return read_record(CircuitShift, folder, stage=COMPARISON)

    def shift(self) -> Comparison | CircuitShift:
        return self._shift

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        return self.of.scores("arm"), self.of.scores(self.name)

    def flow(self) -> tuple[PositionFlow, PositionFlow] | None:
        arm, own = self.of.flow("arm"), self.of.flow(self.name)
        return None if arm is None or own is None else (arm, own)

    def crossed(self) -> Mapping[str, CircuitMetrics] | None:
        return None

    def accuracy(self) -> Estimate | None:
        if not is_written(control_folder(self.of.run, self.of.task, self.name)):
            return None
        clusters = self.of.pool("held-out").clusters
        return share_correct(self.solved(), clusters, self.settings.level)

    def solved(self) -> Bool[np.ndarray, " example"]:
        """Which held-out examples of the pool a control solves.

        Raises:
            ArtifactError: it was not asked, or what it answered is damaged.
        """
        folder = control_folder(self.of.run, self.of.task, self.name)
        return read_record(Solved, folder, stage=CONTROLS).correct


@dataclass(frozen=True, kw_only=True)
class RunCheckpoint(RunMember):
    """A checkpoint of a post-training, held against its parent.

    Its scores may be deleted once it is measured, so its shift is not stored by itself.
    """

    with_flow: bool
    compared: ComparisonSettings

    @property
    def settings(self) -> ComparisonSettings:
        return self.compared

    @cached_property
    def _own_shift(self) -> CircuitShift:
        return circuit_shift(self.of.task, *self.scores(), self.compared)

    def shift(self) -> Comparison | CircuitShift:
        return self._own_shift

    def flow(self) -> tuple[PositionFlow, PositionFlow] | None:
        return super().flow() if self.with_flow else None

    def crossed(self) -> Mapping[str, CircuitMetrics] | None:
        folder = crossed_folder(self.of.run, self.of.task, self.name)
        return read_record(CircuitRuns, folder, stage=CROSSED).by_owner

    def accuracy(self) -> Estimate | None:
        tried = cluster_numbers(self.of.pool("held-out").candidate_clusters)
        return share_correct(self.solved(), tried, self.settings.level)

    def solved(self) -> Bool[np.ndarray, " example"]:
        """Which it solves of the held-out examples that were tried for the pool.

        Raises:
            ArtifactError: it was not asked, or what it answered is damaged.
        """
        folder = answers_folder(self.of.run, self.of.task, self.name)
        return read_record(Solved, folder, stage=ANSWERS).correct
