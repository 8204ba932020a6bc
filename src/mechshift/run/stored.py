"""Stored results of a run as topics read them: of one task, and of one member on it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mechshift.ablation import AblationRun
from mechshift.artifacts import is_written
from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import CircuitShift, Comparison, ComparisonSettings, circuit_shift
from mechshift.evaluation import AlternativeRuns, Baselines, CircuitMetrics, Rediscovery
from mechshift.models import Kind
from mechshift.run.folders import (
    EXPLANATIONS,
    POINTS,
    ablation_folder,
    alternatives_folder,
    control_folder,
    explanations_folder,
    flow_folder,
    others_flow_folder,
    others_folder,
    scores_folder,
    semantics_folder,
)
from mechshift.run.store import (
    read_ablations,
    read_alternatives,
    read_answers,
    read_baselines,
    read_circuit_metrics,
    read_comparison,
    read_control_answers,
    read_control_shift,
    read_crossed,
    read_flow,
    read_point,
    read_pool,
    read_record,
    read_rediscovery,
    read_scores,
    read_semantics,
    read_sweep_point,
    read_token_texts,
    scored_members,
    stage_settings,
    stored_comparison_settings,
    swept_num_steps,
)
from mechshift.semantics import Explanations, Semantics
from mechshift.statistics import Estimate, cluster_numbers, share_correct
from mechshift.tasks import CommonPool, Split
from mechshift.topics.topic import CheckpointScores, SweepPoint
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
        return read_comparison(self.run, self.task)

    @cached_property
    def _read_scores(self) -> dict[str, EdgeScores]:
        """They are hashed when they are read, and so read once."""
        return {}

    def scores(self, member: str) -> EdgeScores:
        if member not in self._read_scores:
            folder = scores_folder(self.run, self.task, member)
            self._read_scores[member] = read_scores(folder)
        return self._read_scores[member]

    def others(self) -> Mapping[str, EdgeScores]:
        return {name: read_scores(folder) for name, folder in self._written(others_folder)}

    def other_flows(self) -> Mapping[str, PositionFlow]:
        return {name: read_flow(folder) for name, folder in self._written(others_flow_folder)}

    def _written(self, folder_of: Callable[[Path, str, str], Path]) -> Iterator[tuple[str, Path]]:
        """Each member that was scored and has such a folder."""
        for member in scored_members(self.run, self.task):
            folder = folder_of(self.run, self.task, member)
            if is_written(folder):
                yield member, folder

    def flow(self, member: str) -> PositionFlow | None:
        folder = flow_folder(self.run, self.task, member)
        return read_flow(folder) if is_written(folder) else None

    def semantics(self, kind: Kind) -> Semantics | None:
        if not is_written(semantics_folder(self.run, self.task, kind)):
            return None
        return read_semantics(self.run, self.task, kind)

    def token_texts(self, kind: Kind) -> Mapping[int, str]:
        return read_token_texts(self.run, self.task, kind)

    def explanations(self, kind: Kind) -> Explanations | None:
        folder = explanations_folder(self.run, self.task, kind)
        return read_record(Explanations, folder, stage=EXPLANATIONS) if is_written(folder) else None

    def circuit_metrics(self, kind: Kind) -> Mapping[Kind, CircuitMetrics]:
        return read_circuit_metrics(self.run, self.task, kind)

    def baselines(self, kind: Kind) -> Baselines:
        return read_baselines(self.run, self.task, kind)

    def rediscovery(self, kind: Kind) -> Rediscovery | None:
        return read_rediscovery(self.run, self.task, kind)

    def ablations(self, kind: Kind) -> AblationRun | None:
        if not is_written(ablation_folder(self.run, self.task, kind)):
            return None
        return read_ablations(self.run, self.task, kind)

    def alternatives(self, kind: Kind) -> AlternativeRuns | None:
        if not is_written(alternatives_folder(self.run, self.task, kind)):
            return None
        return read_alternatives(self.run, self.task, kind)

    def swept(self) -> Mapping[int, SweepPoint]:
        return {
            steps: read_sweep_point(self.run, self.task, steps)
            for steps in swept_num_steps(self.run, self.task)
        }

    def checkpoints(self) -> tuple[CheckpointScores, ...]:
        folders = (self.run / POINTS / self.task).glob("*")
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
        return read_control_shift(self.of.run, self.of.task, self.name)

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
        solved = read_control_answers(self.of.run, self.of.task, self.name)
        return share_correct(solved, self.of.pool("held-out").clusters, self.settings.level)


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
        return read_crossed(self.of.run, self.of.task, self.name)

    def accuracy(self) -> Estimate | None:
        solved = read_answers(self.of.run, self.of.task, self.name)
        tried = cluster_numbers(self.of.pool("held-out").candidate_clusters)
        return share_correct(solved, tried, self.settings.level)
