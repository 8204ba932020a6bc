"""A run of two tasks, made from random scores: `countdown` has three steps, `ioi` one."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.attribution import EdgeScores
from mechshift.comparison import Comparison, ComparisonSettings, compare
from mechshift.figures import FaithfulnessSeries, MetricSample
from mechshift.graph import Graph
from mechshift.report import BaselineComparison, PoolSummary, ReportInput, RunFacts, TaskReport
from mechshift.statistics import Estimate, Interval

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
SETTINGS = ComparisonSettings(
    sizes=(10, 30),
    num_resamples=40,
    num_splits=10,
    num_splits_per_resample=2,
    num_shuffles=10,
    num_exchanges=20,
)


def random_scores(seed: int, num_steps: int) -> EdgeScores:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=GRAPH.num_edges)
    values = truth + 0.3 * generator.normal(size=(12, num_steps, GRAPH.num_edges))
    clean, corrupted, input_score = generator.normal(size=(3, 12, num_steps))
    return EdgeScores(
        graph=GRAPH,
        values=values,
        num_steps=np.full(12, num_steps),
        clean_metric=clean,
        corrupted_metric=corrupted,
        input_score=input_score,
    )


def faithfulness_series(comparison: Comparison) -> tuple[FaithfulnessSeries, ...]:
    """0.9 on the own circuit and 0.5 on the other's at the circuit's size, 1 on the whole graph."""
    return tuple(
        FaithfulnessSeries(
            model=model,
            circuit=circuit,
            sizes=np.array([comparison.circuit_size, GRAPH.num_edges]),
            faithfulness=np.array([0.9 if model == circuit else 0.5, 1.0]),
            low=np.array([0.8 if model == circuit else 0.4, 1.0]),
            high=np.array([0.95 if model == circuit else 0.6, 1.0]),
            level=0.95,
            num_examples=12,
            num_edges=GRAPH.num_edges,
        )
        for model in ("arm", "mdm")
        for circuit in ("arm", "mdm")
    )


def baseline_series(comparison: Comparison) -> tuple[FaithfulnessSeries, ...]:
    """At the circuit's size: 0.3 on random circuits, nothing on edges by activation."""
    return tuple(
        FaithfulnessSeries(
            model=model,
            circuit=circuit,
            sizes=np.array([comparison.circuit_size]),
            faithfulness=np.array([value]),
            low=np.array([value]),
            high=np.array([2 * value]),
            level=0.95,
            num_examples=12,
            num_edges=GRAPH.num_edges,
        )
        for model in ("arm", "mdm")
        for circuit, value in (("random", 0.3), ("activation", 0.0))
    )


def baseline_comparisons() -> tuple[BaselineComparison, ...]:
    return tuple(
        BaselineComparison(
            model=model,
            advantage=Estimate(value=0.6, interval=Interval(low=0.2, high=0.7, level=0.95)),
            num_draws=5,
            num_forced=4,
            num_live_by_activation=2,
        )
        for model in ("arm", "mdm")
    )


@pytest.fixture(scope="session")
def pool() -> PoolSummary:
    return PoolSummary(
        num_candidates=20,
        num_arm_correct=18,
        num_mdm_correct=15,
        num_both_correct=14,
        pool_size=12,
        dropped={"right but not needed": 2},
    )


@pytest.fixture(scope="session")
def countdown(pool: PoolSummary) -> TaskReport:
    comparison = compare("countdown", random_scores(0, 3), random_scores(1, 3), SETTINGS)
    return TaskReport(
        comparison=comparison,
        pool=pool,
        faithfulness=faithfulness_series(comparison) + baseline_series(comparison),
        baselines=baseline_comparisons(),
        metric_samples=tuple(
            MetricSample(model=model, condition=condition, values=np.arange(12.0))
            for model in ("arm", "mdm")
            for condition in ("full", "own", "other", "empty")
        ),
        metric="log_prob",
        description="Reach the number.",
        example="3 4 7:",
    )


@pytest.fixture(scope="session")
def ioi(pool: PoolSummary) -> TaskReport:
    comparison = compare("ioi", random_scores(2, 1), random_scores(3, 1), SETTINGS)
    return TaskReport(comparison=comparison, pool=pool, faithfulness=(), metric="logit_diff")


@pytest.fixture(scope="session")
def facts() -> RunFacts:
    return RunFacts(
        arm_name="tiny-arm",
        mdm_name="tiny-mdm",
        seed=7,
        attribution={"method": "eap-ig", "ig_steps": 5, "rule": "left", "gim": False},
        config={"comparison": {"circuit_size": None}},
        versions={"python": "3.11.9", "numpy": "2.4.6"},
        model_hashes={"tiny-arm": "9f" * 32, "tiny-mdm": "3c" * 32},
        not_done=("No control was trained.",),
    )


@pytest.fixture(scope="session")
def report(facts: RunFacts, countdown: TaskReport, ioi: TaskReport) -> ReportInput:
    return ReportInput(facts=facts, tasks=(countdown, ioi))


@pytest.fixture(scope="session")
def hostile(report: ReportInput) -> ReportInput:
    """Every text that a run can bring along tries to leave its place."""
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    task = report.tasks[0]
    return ReportInput(
        title=attack,
        facts=replace(
            report.facts,
            arm_name=attack,
            mdm_name=attack,
            config={attack: attack},
            versions={attack: attack, "numpy": attack},
            model_hashes={attack: attack, "tiny-mdm": attack},
            not_done=(attack,),
        ),
        tasks=(
            replace(
                task,
                comparison=replace(task.comparison, task=attack),
                pool=replace(task.pool, dropped={attack: 1}),
                metric=attack,
                description=attack,
                example=attack,
            ),
        ),
    )
