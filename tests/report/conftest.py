"""A run of two tasks, made from random scores: `countdown` has three steps, `ioi` one."""

from dataclasses import replace

import numpy as np
import pytest
from mechshift.figures import FaithfulnessSeries, MetricSample
from mechshift.report import (
    BaselineComparison,
    ModelSemantics,
    OtherCircuit,
    PoolSummary,
    ReportInput,
    RunFacts,
    TaskReport,
    TaskSemantics,
)

from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.comparison import (
    Comparison,
    ComparisonSettings,
    DirectionOfFlow,
    compare,
    direction_of_flow,
)
from mechshift.denoising import GENERAL_SPANS
from mechshift.graph import Graph
from mechshift.semantics import (
    NO_TOKEN,
    AttentionRoles,
    Contexts,
    LensProfile,
    LensReadings,
    LogitLens,
    Neurons,
    Readouts,
    ScoredLens,
    SemanticsSettings,
    SemanticsShift,
    alignment_shift,
    concentration_shift,
    resample_magnitudes,
)
from mechshift.statistics import Estimate, Estimates, Interval

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
SETTINGS = ComparisonSettings(
    sizes=(10, 30),
    num_resamples=40,
    num_splits=10,
    num_splits_per_resample=2,
    num_shuffles=10,
    num_exchanges=20,
)
READ = SemanticsSettings(num_resamples=40, role_threshold=0.25)


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


def other_circuits() -> tuple[OtherCircuit, ...]:
    """0.4 less than on the own circuit."""
    less = Estimate(value=-0.4, interval=Interval(low=-0.5, high=-0.25, level=0.95))
    return tuple(OtherCircuit(model=model, difference=less) for model in ("arm", "mdm"))


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


def random_flow(seed: int, right_to_left: float) -> PositionFlow:
    """Three steps; so much of what flows by direction goes from right to left."""
    generator = np.random.default_rng(seed)
    arrays = {
        name: generator.exponential(size=(12, 3, *shape))
        for name, shape in part_shapes(GRAPH.num_layers, 1 + len(GENERAL_SPANS)).items()
    }
    shares = np.array([right_to_left, 0.0, 1 - right_to_left])
    arrays["by_direction"] = np.broadcast_to(shares, arrays["by_direction"].shape)
    return PositionFlow(
        spans=("IO", *GENERAL_SPANS),
        num_steps=np.full(12, 3),
        clean_metric=np.zeros((12, 3)),
        corrupted_metric=np.zeros((12, 3)),
        **arrays,
    )


def random_estimates(seed: int, *shape: int) -> Estimates:
    value = np.random.default_rng(seed).uniform(0.1, 0.9, size=shape)
    return Estimates(value=value, low=value - 0.05, high=value + 0.1, level=0.95)


def model_semantics(seed: int) -> ModelSemantics:
    """Two neurons, which fire on token 1 between 0 and 2; the second has one context only."""
    roles, heads = ("induction", "name_mover"), (GRAPH.num_layers, GRAPH.num_heads)
    holds = np.zeros((2, *heads), dtype=bool)
    holds[0, 1, 0] = True
    return ModelSemantics(
        lens=LensProfile(
            graph=GRAPH,
            reading="probability",
            levels=random_estimates(seed, 3, GRAPH.num_layers + 1),
            components=random_estimates(seed + 1, 3, GRAPH.num_sources),
            num_examples=np.full(3, 12),
            level=0.95,
        ),
        roles=AttentionRoles(
            graph=GRAPH,
            roles=roles,
            share=random_estimates(seed + 2, 2, *heads),
            uniform=np.full((2, GRAPH.num_layers), 0.05),
            excess=random_estimates(seed + 3, 2, *heads),
            holds=holds,
            threshold=0.3,
            num_samples=np.array([32, 12]),
            level=0.95,
        ),
        neurons=Neurons(
            layer=np.array([0, 0]),
            index=np.array([5, 3 + seed]),
            direction=np.array([1, -1]),
            score=random_estimates(seed + 4, 2),
            share=np.array([0.25, 0.125]),
            selectivity=Estimates(
                value=np.array([0.5, np.nan]),
                low=np.array([0.4, np.nan]),
                high=np.array([0.6, np.nan]),
                level=0.95,
            ),
            contexts=Contexts(
                example=np.array([[0, 1], [2, 3]]),
                token_ids=np.array([[[0, 1, 2], [NO_TOKEN, 1, 2]], [[0, 1, NO_TOKEN], [0, 1, 2]]]),
                rates=np.array([[[0, 2, 1], [0, 1, 0]], [[0, 3, 0], [0, 0, 0]]], dtype=float),
            ),
            promoted_ids=np.array([[1, 2], [2, 0]]),
            suppressed_ids=np.array([[0, 2], [1, 0]]),
            num_scored=1234,
        ),
    )


def random_scored_lens(seed: int) -> ScoredLens:
    generator = np.random.default_rng(seed)

    def readings(places: int) -> LensReadings:
        return LensReadings(
            rank=generator.integers(1, 50, size=(12, places)).astype(float),
            log_prob=-generator.exponential(size=(12, places)),
            entropy=generator.uniform(size=(12, places)),
            top_ids=np.zeros((12, places, 1), dtype=int),
        )

    same = np.zeros(12, dtype=int)
    return ScoredLens(
        lens=LogitLens(
            graph=GRAPH,
            vocab_size=50,
            readouts=Readouts(
                example=np.arange(12),
                step=same,
                target_position=same,
                target_id=same,
                distractor_id=same,
            ),
            components=readings(GRAPH.num_sources),
            levels=readings(GRAPH.num_layers + 1),
        ),
        scores=generator.normal(size=(12, GRAPH.num_sources)),
    )


@pytest.fixture(scope="session")
def flow() -> DirectionOfFlow:
    """A quarter of the MDM's flow, and none of the ARM's, goes from right to left."""
    return direction_of_flow(random_flow(0, 0.0), random_flow(1, 0.25), SETTINGS)


@pytest.fixture(scope="session")
def semantics() -> TaskSemantics:
    lenses = [random_scored_lens(seed) for seed in (0, 1)]
    magnitudes = [resample_magnitudes(one.scores[:, 1:], READ) for one in lenses]
    return TaskSemantics(
        arm=model_semantics(0),
        mdm=model_semantics(1),
        shift=SemanticsShift(
            concentration=concentration_shift(*magnitudes),
            alignment=alignment_shift(*lenses, READ),
        ),
        tokens={0: "When", 1: " Mary", 2: "\n"},
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
def countdown(pool: PoolSummary, flow: DirectionOfFlow, semantics: TaskSemantics) -> TaskReport:
    comparison = compare("countdown", random_scores(0, 3), random_scores(1, 3), SETTINGS)
    return TaskReport(
        comparison=comparison,
        pool=pool,
        faithfulness=faithfulness_series(comparison) + baseline_series(comparison),
        other_circuits=other_circuits(),
        baselines=baseline_comparisons(),
        metric_samples=tuple(
            MetricSample(model=model, condition=condition, values=np.arange(12.0))
            for model in ("arm", "mdm")
            for condition in ("full", "own", "other", "empty")
        ),
        flow=flow,
        semantics=semantics,
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
        flow={"metric": "log_prob", "ig_steps": 9, "rule": "right"},
        semantics=READ,
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
                flow=replace(task.flow, spans=(attack, *task.flow.spans[1:])),
                semantics=replace(task.semantics, tokens=dict.fromkeys(range(3), attack)),
                metric=attack,
                description=attack,
                example=attack,
            ),
        ),
    )
