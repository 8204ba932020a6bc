"""How often are verdicts wrong, and how often do they decide, where the truth is known?

Draws pools of two models' edge scores whose circuits, depth and spread are known, measures them
with the functions of a run, and counts for every verdict, and for the rule that it replaced, false
decisions, right ones, bias, and how often the interval holds the truth. Every pool is written to a
file, and those that stand there are not drawn again. docs/validity.md holds the table.

Scores that a run has stored are split too: one half of the examples against the other, as if they
were two models'. These have one circuit, whatever it is.

    python benchmarks/calibration.py --help
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import ndtri
from scipy.stats import binom

from mechshift.attribution import EdgeScores
from mechshift.comparison import (
    ComparisonSettings,
    depth_profile,
    noise_free_overlap,
    overlap_curve,
    weight_likeness,
)
from mechshift.comparison.scores import Scores, row_clusters, summed_over_steps
from mechshift.flat_records import read_record
from mechshift.graph import Graph, third_of_layers
from mechshift.models import Kind
from mechshift.run.folders import SCORES, member_title, scores_folder
from mechshift.run.store import pool_manifests, scored_members
from mechshift.semantics import (
    SemanticsSettings,
    concentration_shift,
    noise_free_number,
    resample_magnitudes,
)
from mechshift.semantics._noise_free_number import number_of
from mechshift.statistics import (
    ROUNDING,
    Estimate,
    Interval,
    bootstrap_weights,
    centred_estimate,
    holm,
    num_clusters,
)
from mechshift.testing import TrainingKinds, additive_runs, simulated_trainings
from mechshift.testing.training_kinds import QUANTITY
from mechshift.topics.causes import alike, cause, further, trainings_of_kinds
from mechshift.topics.decisions import (
    HOME_ADVANTAGE,
    MIN_CLUSTERS,
    TOO_NOISY,
    by_sign,
    decides,
    edges_changed,
    noise_free_structure,
    p_of_decision,
    structure,
    weights_kept,
)
from mechshift.topics.other_circuit import rediscovered
from mechshift.topics.spread import caution
from mechshift.topics.topic import KINDS, MemberResults
from mechshift.topics.trainings import Trainings, trainings_difference

GRAPH = Graph(num_layers=6, num_heads=3, num_key_value_groups=3)

NUM_HELD_OUT = 100

VERDICTS = ("structure", "depth", "specialisation", "inheritance")
"""Rules of the verdict; the others are read beside it, or are those that were replaced."""

TASKS_OF_RUN = 4
"""Pools that are taken for the tasks of one run."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Two models, and how their examples scatter."""

    num_examples: int = 200
    circuit_share: float = 0.1
    """Of all edges, those in a circuit."""
    tails: float = 0.0
    """Degrees of freedom of Student's t of which |effects| are; 0: log-normal."""
    overlap: float = 1.0
    """True Jaccard of the two circuits."""
    background: float = 1.0
    """Correlation of the two models' weaker edges, by rank."""
    noise: float = 4.0
    """Scatter of an example in an edge of median effect, in median effects."""
    mdm_factor: float = 1.0
    """By how much the MDM's scatter is larger."""
    floor: bool = False
    """Whether all edges scatter alike; else by the power 0.8 of their effect, as real scores do."""
    num_clusters: int = 0
    """Into which examples fall; 0: every example is its own."""
    correlation: float = 0.0
    """Of the scatter within a cluster."""
    swaps: int = 0
    """Pairs of an early and a late edge that trade their effects in the MDM."""
    power: float = 1.0
    """To which the MDM's effects are raised; below 1 its work is more distributed."""


SCENARIOS = {
    "one circuit": Scenario(),
    "one circuit, noise x 1.5": Scenario(mdm_factor=1.5),
    "one circuit, noise x 3": Scenario(mdm_factor=3.0),
    "one circuit, noise x 6": Scenario(mdm_factor=6.0),
    "one circuit, noise x 3 in the ARM": Scenario(noise=12.0, mdm_factor=1 / 3),
    "one circuit, noise with a floor, x 2": Scenario(floor=True, mdm_factor=2.0),
    "one circuit, effects t of 2": Scenario(tails=2.0),
    "one circuit, effects t of 1.5": Scenario(tails=1.5),
    "one circuit, effects t of 3, noise x 2": Scenario(tails=3.0, mdm_factor=2.0),
    "one circuit, 60 examples": Scenario(num_examples=60),
    "one circuit, 500 examples": Scenario(num_examples=500),
    "one circuit, K = 1 %": Scenario(circuit_share=0.01),
    "one circuit, 50 clusters at .6": Scenario(num_clusters=50, correlation=0.6),
    "one circuit, 26 clusters at .3": Scenario(num_clusters=26, correlation=0.3),
    "one circuit, 26 clusters at .6": Scenario(num_clusters=26, correlation=0.6),
    "overlap 0": Scenario(overlap=0.0, background=0.5),
    "overlap .1": Scenario(overlap=0.1, background=0.5),
    "overlap .3": Scenario(overlap=0.3, background=0.5),
    "overlap .3, nearly equal background": Scenario(overlap=0.3, background=0.95),
    "overlap .3, unrelated background": Scenario(overlap=0.3, background=0.0),
    "overlap .3, noise x 3, 500 examples": Scenario(
        overlap=0.3, background=0.95, mdm_factor=3.0, num_examples=500
    ),
    "overlap .6": Scenario(overlap=0.6, background=0.5),
    "circuit alike, background half": Scenario(background=0.5),
    "5 swaps in depth": Scenario(swaps=5),
    "20 swaps in depth": Scenario(swaps=20),
    "effects to the power .9": Scenario(power=0.9),
    "effects to the power .7": Scenario(power=0.7),
}
"""Pools of two models' scores; by default what docs/validity.md shows."""

SHIFT = 8.0
"""Of trainings with diffusion and without it that do not differ, in standard deviations of one
training's number; where they differ, those without do not shift."""

TRAININGS = {
    f"{num} trainings a side, sd {sd:g}, {words}": TrainingKinds(
        num_trainings=num,
        training_sd=sd,
        with_diffusion=with_diffusion * np.hypot(1.0, sd),
        without=without * np.hypot(1.0, sd),
        kind_share=kind_share,
        training_sd_without=sd_without,
    )
    for words, with_diffusion, without, kind_share, sd_without in (
        ("no difference", SHIFT, SHIFT, 0.4, None),
        ("no difference, own noise alone", SHIFT, SHIFT, 0.0, None),
        ("a small shift, no difference", 2.0, 2.0, 0.4, None),
        ("no shift at all", 0.0, 0.0, 0.4, None),
        ("no shift at all, MDMs alone scatter", 0.0, 0.0, 0.4, 0.0),
        ("half without", SHIFT, SHIFT / 2, 0.4, None),
        ("difference 2", 2.0, 0.0, 0.4, None),
        ("difference 4", 4.0, 0.0, 0.4, None),
    )
    for num in (3, 4, 6)
    for sd in (0.0, 1.0, 3.0)
}
"""Trainings with diffusion and without it; standard deviation between trainings in standard errors
of one over examples."""


@dataclass(frozen=True)
class Options:
    """By default what docs/validity.md shows."""

    file: Path = Path("calibration.jsonl")
    """Where every pool is written, and read again."""
    scenarios: tuple[str, ...] = ()
    """Words that a scenario's name holds; none: all."""
    run: Path | None = None
    """A run folder whose scores are split against themselves, beside the scenarios."""
    num_pools: int = 20
    resamples: int = 200
    processes: int = 2
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one rule made of one pool."""

    verdict: str
    right: str
    """What the verdict is if it decides."""
    value: float
    truth: float
    covers: bool | None
    """Whether the interval holds the truth; None where there is none."""
    p: float | None
    """Of the decision (`decisions.p_of_decision`); None where there is no number."""

    @property
    def decided(self) -> bool:
        return decides(self.verdict)

    @property
    def false(self) -> bool:
        return self.decided and self.verdict != self.right


def main(options: Options) -> None:
    """Draw what is missing, and print what became of it."""
    chosen = [
        name
        for name in (*SCENARIOS, *TRAININGS, *tables_of(options.run))
        if not options.scenarios or any(words in name for words in options.scenarios)
    ]
    done = read(options.file)
    keys = [(name, options.seed + pool) for name in chosen for pool in range(options.num_pools)]
    missing = [key for key in keys if key not in done]
    with options.file.open("a") as file:
        drawn = zip(missing, draw(options, missing), strict=True)
        for key, found in track(drawn, total=len(missing)):
            line = {name: vars(reading) for name, reading in found.items()}
            file.write(json.dumps([*key, line]) + "\n")
            file.flush()
            done[key] = found
    pools = {name: [done[key] for key in keys if key[0] == name] for name in chosen}
    console = Console(width=150)
    console.print(table_of(pools))
    of_scores = {name: found for name, found in pools.items() if name not in TRAININGS}
    if of_scores:
        console.print(table_of_runs(of_scores, options.level))


def draw(options: Options, keys: Sequence[tuple[str, int]]) -> Iterator[dict[str, Reading]]:
    """These pools in their order."""
    work = partial(pool_of, options)
    if options.processes == 1:
        yield from map(work, keys)
        return
    with ProcessPoolExecutor(options.processes) as processes:
        yield from processes.map(work, keys)


def read(file: Path) -> dict[tuple[str, int], dict[str, Reading]]:
    """Scenario and seed -> what every rule made of that pool."""
    if not file.exists():
        return {}
    lines = (json.loads(line) for line in file.read_text().splitlines())
    return {
        (name, seed): {rule: Reading(**found) for rule, found in rules.items()}
        for name, seed, rules in lines
    }


def table_of(pools: dict[str, list[dict[str, Reading]]]) -> Table:
    """One row for each scenario and rule; * where false decisions exceed chance at 5 %."""
    table = Table()
    for column in (
        "scenario",
        "rule",
        "false",
        "right",
        "not decided",
        "truth",
        "bias",
        "coverage",
    ):
        table.add_column(column)
    for name, of_scenario in pools.items():
        for rule in of_scenario[0]:
            readings = [found[rule] for found in of_scenario]
            table.add_row(name, rule, *cells(readings))
    return table


def table_of_runs(pools: dict[str, list[dict[str, Reading]]], level: float) -> Table:
    """Runs of four tasks: in how many is some verdict false, by itself and corrected for all?"""
    table = Table(title=f"runs of {TASKS_OF_RUN} tasks with {len(VERDICTS)} verdicts each")
    for column in ("scenario", "some false", "corrected", "right", "corrected"):
        table.add_column(column)
    for name, of_scenario in pools.items():
        num_runs = len(of_scenario) // TASKS_OF_RUN
        counts = np.zeros(4, dtype=int)
        for run in range(num_runs):
            tasks = of_scenario[run * TASKS_OF_RUN : (run + 1) * TASKS_OF_RUN]
            readings = [found[rule] for found in tasks for rule in VERDICTS]
            p = holm(np.array([np.nan if one.p is None else one.p for one in readings]))
            kept = [one for one, of_one in zip(readings, p, strict=True) if of_one <= 1 - level]
            for place, some in enumerate((readings, kept)):
                false = sum(one.false for one in some)
                right = sum(one.decided for one in some) - false
                counts[[place, 2 + place]] += [false > 0, right]
        some_false = (f"{count} of {num_runs}" for count in counts[:2])
        table.add_row(name, *some_false, *map(str, counts[2:]))
    return table


def cells(readings: Sequence[Reading]) -> Iterable[str]:
    """False and right decisions and none, truth, bias and coverage."""
    num = len(readings)
    false = sum(one.false for one in readings)
    right = sum(one.decided for one in readings) - false
    more_than_chance = "*" if false > binom.ppf(0.99, num, 0.05) else ""
    defined = [one for one in readings if np.isfinite(one.value)]
    covers = [one.covers for one in readings if one.covers is not None]
    yield f"{false} of {num}{more_than_chance}"
    yield str(right)
    yield str(num - false - right)
    yield f"{np.mean([one.truth for one in readings]):.2f}"
    yield f"{np.mean([one.value - one.truth for one in defined]):+.3f}" if defined else "none"
    yield f"{np.mean(covers):.2f} of {len(covers)}" if covers else "none"


def pool_of(options: Options, key: tuple[str, int]) -> dict[str, Reading]:
    """What every rule makes of one pool of a scenario."""
    name, seed = key
    if name in TRAININGS:
        return cause_readings(TRAININGS[name], options, seed)
    if name in SCENARIOS:
        pool = planted_pool(name, options, seed)
    else:
        pool = split_pool(stored_scores(tables_of(options.run)[name]), options, seed)
    return readings_of(pool)


def readings_of(pool: "Pool") -> dict[str, Reading]:
    """What every rule, old and new, makes of a pool; of few clusters no verdict is decided."""
    readings = {
        **overlap_readings(pool),
        **spread_readings(pool),
        **depth_readings(pool),
        **inheritance_readings(pool),
    }
    if num_clusters(pool.clusters) < MIN_CLUSTERS:
        readings |= {
            rule: replace(readings[rule], verdict="not decided", p=None) for rule in VERDICTS
        }
    return readings


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Two models' scores [example, edge], and the effects that they scatter around."""

    graph: Graph
    effects: tuple[np.ndarray, np.ndarray]
    scores: tuple[np.ndarray, np.ndarray]
    clusters: np.ndarray
    held_out: np.ndarray
    """What every edge contributes to the MDM's metric [example, edge], on other examples."""
    settings: ComparisonSettings


def planted_pool(name: str, options: Options, seed: int) -> Pool:
    """Scores drawn as the scenario of this name says."""
    scenario = SCENARIOS[name]
    generator = np.random.default_rng([seed, len(name), scenario.num_examples])
    effects = effects_of(scenario, generator)
    clusters = clusters_of(scenario)
    arm, mdm = (
        scores_of(scenario, effect, factor, clusters, generator)
        for effect, factor in zip(effects, (1.0, scenario.mdm_factor), strict=True)
    )
    return Pool(
        graph=GRAPH,
        effects=effects,
        scores=(arm, mdm),
        clusters=clusters,
        held_out=held_out_of(scenario, effects[1], generator),
        settings=settings_for(size_of(scenario), options, seed),
    )


def settings_for(size: int, options: Options, seed: int) -> ComparisonSettings:
    """Of a comparison at one circuit size."""
    return ComparisonSettings(
        circuit_size=size,
        sizes=(size,),
        num_resamples=options.resamples,
        num_splits=20,
        num_shuffles=1,
        num_exchanges=1,
        level=options.level,
        seed=seed,
    )


@cache
def tables_of(run: Path | None) -> Mapping[str, Path]:
    """Name of a scenario -> folder of the scores of one model on one task."""
    if run is None:
        return {}
    return {
        f"{task}: {member_title(member)} against itself": scores_folder(run, task, member)
        for task in pool_manifests(run)
        for member in scored_members(run, task)
    }


@cache
def stored_scores(folder: Path) -> Scores:
    return read_record(EdgeScores, folder, stage=SCORES)


def split_pool(scores: Scores, options: Options, seed: int) -> Pool:
    """Scores of one model, two fifths of its clusters against two others, the last held out.

    Clusters of both sides are paired, and as many examples taken of one as of the other.
    """
    table, clusters = summed_over_steps(scores), row_clusters(scores)
    order = np.random.default_rng(seed).permutation(np.unique(clusters))
    num = 2 * len(order) // 5
    pairs = [
        [np.flatnonzero(clusters == cluster) for cluster in pair]
        for pair in zip(order[:num], order[num : 2 * num], strict=True)
    ]
    sizes = [min(map(len, pair)) for pair in pairs]
    arm, mdm = (
        table[np.concatenate([pair[side][:size] for pair, size in zip(pairs, sizes, strict=True)])]
        for side in range(2)
    )
    effects = table.mean(axis=0)
    held_out = table[np.isin(clusters, order[2 * num :])]
    return Pool(
        graph=scores.graph,
        effects=(effects, effects),
        scores=(arm, mdm),
        clusters=np.repeat(np.arange(num), sizes),
        held_out=held_out * np.sign(effects),
        settings=settings_for(
            ComparisonSettings().circuit_size_in(scores.graph.num_edges), options, seed
        ),
    )


def size_of(scenario: Scenario) -> int:
    """Edges in a circuit."""
    return max(1, round(scenario.circuit_share * GRAPH.num_edges))


def effects_of(scenario: Scenario, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Effects of both models [edge], whose circuits overlap exactly as they should.

    What the MDM's circuit lost has changed places with any weaker edges. The other weaker edges
    keep their effects in another order, the less like the ARM's the lower the correlation is.
    """
    num_edges, size = GRAPH.num_edges, size_of(scenario)
    if scenario.tails:
        arm = np.abs(generator.standard_t(scenario.tails, size=num_edges)) + 1e-9
    else:
        arm = np.exp(1.5 * generator.normal(size=num_edges))
    order = np.argsort(-arm)
    num_shared = round(2 * scenario.overlap * size / (1 + scenario.overlap))
    left = generator.choice(order[:size], size - num_shared, replace=False)
    joined = generator.choice(order[size:], size - num_shared, replace=False)
    mdm = arm.copy()
    rest = np.setdiff1d(order[size:], joined)
    place = ndtri((np.argsort(np.argsort(arm[rest])) + 0.5) / len(rest))
    mixed = scenario.background * place
    mixed += np.sqrt(1 - scenario.background**2) * generator.normal(size=len(rest))
    mdm[rest] = np.sort(arm[rest])[np.argsort(np.argsort(mixed))]
    mdm[left], mdm[joined] = arm[joined], arm[left]
    swap_in_depth(mdm, scenario.swaps, generator)
    signs = generator.choice([-1.0, 1.0], size=num_edges)
    return signs * arm, signs * mdm**scenario.power


def swap_in_depth(effects: np.ndarray, swaps: int, generator: np.random.Generator) -> None:
    """Late edges of the circuit trade their effects with any early ones, in place."""
    layers = GRAPH.source_layer[GRAPH.edge_source]
    strong = np.argsort(-effects)[: len(effects) // 10]
    late = strong[layers[strong] >= 4][:swaps]
    others = np.setdiff1d(np.flatnonzero((layers >= 0) & (layers < 2)), strong)
    early = generator.choice(others, len(late), replace=False)
    effects[late], effects[early] = effects[early].copy(), effects[late].copy()


def clusters_of(scenario: Scenario) -> np.ndarray:
    """Of each example."""
    if not scenario.num_clusters:
        return np.arange(scenario.num_examples)
    return np.arange(scenario.num_examples) % scenario.num_clusters


def scores_of(
    scenario: Scenario,
    effects: np.ndarray,
    factor: float,
    clusters: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Scores [example, edge] that scatter around the effects by Student's t of 3."""
    median = np.median(np.abs(effects))
    relative = np.ones(len(effects)) if scenario.floor else (np.abs(effects) / median) ** 0.8
    drawn = generator.standard_t(3, size=(len(clusters), len(effects))) / np.sqrt(3)
    if scenario.correlation:
        shared = generator.standard_t(3, size=(clusters.max() + 1, len(effects))) / np.sqrt(3)
        drawn = np.sqrt(1 - scenario.correlation) * drawn
        drawn += np.sqrt(scenario.correlation) * shared[clusters]
    return effects + scenario.noise * factor * median * relative * drawn


def held_out_of(
    scenario: Scenario, effects: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """What every edge contributes to the MDM's metric [example, edge], on 100 held-out examples."""
    alone = replace(scenario, correlation=0.0)
    return scores_of(alone, np.abs(effects), 1.0, np.arange(NUM_HELD_OUT), generator)


def overlap_readings(pool: Pool) -> dict[str, Reading]:
    """Structure, whether edges changed, and weights; structure also by the ratio to the ceiling."""
    settings, size = pool.settings, pool.settings.circuit_size_in(pool.graph.num_edges)
    tops = [set(np.argsort(-np.abs(effects))[:size].tolist()) for effects in pool.effects]
    truth = len(tops[0] & tops[1]) / len(tops[0] | tops[1])
    arm, mdm = pool.effects
    cosine = float(arm @ mdm / np.linalg.norm(arm) / np.linalg.norm(mdm))
    found = noise_free_overlap(
        *pool.scores, size, clusters=pool.clusters, level=settings.level, seed=settings.seed
    )
    weights = bootstrap_weights(pool.clusters, settings.num_resamples, settings.seed)
    likeness = weight_likeness(*pool.scores, weights, clusters=pool.clusters, level=settings.level)
    ratio = overlap_curve(pool.graph, *pool.scores, settings, clusters=pool.clusters).ratio.at(0)
    right = structure(exactly(truth))
    return {
        "structure": reading(
            lambda overlap: noise_free_structure(replace(found, overlap=overlap)),
            right,
            found.overlap,
            truth,
        ),
        "structure, ratio to ceiling": reading(structure, right, ratio, truth),
        "edges changed": reading(
            lambda overlap: edges_changed(replace(found, overlap=overlap)),
            "yes" if truth < 1 else "no",
            found.overlap,
            truth,
        ),
        "weights": reading(
            lambda cosine: weights_kept(replace(likeness, likeness=cosine)),
            "kept" if cosine > 0.9 else "changed",
            likeness.likeness,
            cosine,
        ),
    }


def spread_readings(pool: Pool) -> dict[str, Reading]:
    """Specialisation without noise, and by the entropy of |mean score|."""
    settings = SemanticsSettings(
        num_resamples=pool.settings.num_resamples,
        level=pool.settings.level,
        seed=pool.settings.seed,
    )
    arm, mdm = (by_component(pool.graph, scores) for scores in pool.scores)
    effects = np.concatenate([by_component(pool.graph, effects[None]) for effects in pool.effects])
    truth = float(np.diff(number_of(effects))[0])
    found = noise_free_number(arm, mdm, settings, clusters=pool.clusters)
    by_spread = partial(by_sign, above="more distributed", below="sharper", missing="undefined")
    magnitudes = [resample_magnitudes(scores, pool.clusters, settings) for scores in (arm, mdm)]
    old = concentration_shift(*magnitudes, level=settings.level).shift.effective_number
    old_truth = concentration_shift(
        *(resample_magnitudes(np.tile(row, (10, 1)), 10, settings) for row in effects)
    ).shift.effective_number.value
    cautious = "not decided" if caution(found) else ""
    right, old_right = by_spread(exactly(truth)), by_spread(exactly(old_truth))
    return {
        "specialisation": reading(
            lambda shift: cautious or by_spread(shift), right, found.shift, truth
        ),
        "specialisation, entropy": reading(by_spread, old_right, old, old_truth),
    }


def by_component(graph: Graph, scores: np.ndarray) -> np.ndarray:
    """Sum of each head's and MLP's outgoing edges [row, component]."""
    sums = np.zeros((len(scores), graph.num_sources))
    np.add.at(sums.T, graph.edge_source, scores.T)
    return sums[:, 1:]


def depth_readings(pool: Pool) -> dict[str, Reading]:
    """Depth, cross-fitted."""
    size = pool.settings.circuit_size_in(pool.graph.num_edges)
    arm, mdm = (early_share(pool.graph, effects, size) for effects in pool.effects)
    truth = mdm - arm
    profiles = depth_profile(pool.graph, *pool.scores, pool.settings, clusters=pool.clusters)
    found = profiles.source.cross_fitted_shift("early")
    decide = partial(by_sign, above="front-loaded", below="back-loaded", missing=TOO_NOISY)
    return {"depth": reading(decide, decide(exactly(truth)), found, truth)}


def inheritance_readings(pool: Pool) -> dict[str, Reading]:
    """Whether the ARM's circuit serves the MDM, whose metric adds up over edges.

    And the same by an interval over held-out examples alone.
    """
    settings, size = pool.settings, pool.settings.circuit_size_in(pool.graph.num_edges)
    magnitudes = [np.abs(effects) for effects in pool.effects]
    kept = [magnitudes[1][np.argsort(-one)[:size]].sum() for one in magnitudes]
    truth = float((kept[0] - kept[1]) / magnitudes[1].sum())
    scores: dict[Kind, np.ndarray] = dict(zip(("arm", "mdm"), pool.scores, strict=True))
    runs = additive_runs(
        pool.graph, scores, pool.held_out, size, clusters=pool.clusters, seed=settings.seed
    )
    found = rediscovered(runs.metrics, runs.rediscovery, "mdm", settings)
    arms, own = (
        runs.metrics[kind]
        .curve()
        .resampled(num_resamples=settings.num_resamples, seed=settings.seed)[:, 0]
        for kind in KINDS
    )
    assert found.minus_own.estimate is not None
    fixed = centred_estimate(found.minus_own.estimate.value, arms - own, level=settings.level)
    right = "no longer suffices" if truth < -HOME_ADVANTAGE else "suffices"
    by_held_out = partial(by_sign, above="serves it better", below="no longer suffices")

    def decide(minus_own: Estimate | None) -> str:
        """At the level of this one's interval."""
        at_level = found if minus_own is None else found.at_level(minus_own.interval.level)
        return at_level.decides(suffices="suffices", falls_short="no longer suffices")

    return {
        "inheritance": reading(decide, right, found.minus_own.estimate, truth),
        "inheritance, held-out alone": reading(
            by_held_out, by_held_out(exactly(truth)), fixed, truth
        ),
    }


def cause_readings(kinds: TrainingKinds, options: Options, seed: int) -> dict[str, Reading]:
    """The cause of a shift over trainings, and by two rules with less noise in the interval.

    The first holds trainings fixed. The second draws them again, with replacement, as examples are.
    Nothing is decided where the MDM's own shift is not.
    """
    drawn = simulated_trainings(
        kinds, seed=seed, num_resamples=options.resamples, level=options.level
    )
    members = (drawn.mdm, *drawn.controls)
    found = trainings_of_kinds({one.name: one.measured[QUANTITY] for one in members})
    one, other = (kind for kind in found if kind is not None)
    difference = trainings_difference(one, other)
    own = drawn.mdm.estimate(QUANTITY)
    assert difference is not None and own is not None
    also = f"also without diffusion ({kinds.num_trainings} trainings)"
    right = also if kinds.with_diffusion == kinds.without else "diffusion's"
    truth = kinds.with_diffusion - kinds.without

    def decide(found: Estimate | None) -> str:
        """At the level of the interval."""
        assert found is not None
        if not own.at_level(found.interval.level).excludes(0.0) or own.value * one.mean <= 0:
            return "not decided"
        if alike(found, one.mean):
            return also
        return "diffusion's" if further(found, one.mean) else "not decided"

    statement = cause(QUANTITY, drawn.mdm, drawn.controls)
    explained = own.excludes(0.0)
    by_rule = Reading(
        verdict=statement.verdict if explained else "not decided",
        right=right,
        value=difference.estimate.value,
        truth=truth,
        covers=difference.estimate.interval.contains(truth),
        p=statement.p,
    )
    again = trainings_drawn_again(members, (one, other), options, seed)
    return {
        "cause": by_rule,
        "cause, trainings held fixed": reading(decide, right, difference.examples, truth),
        "cause, trainings drawn again": reading(decide, right, again, truth),
    }


def trainings_drawn_again(
    members: Sequence[MemberResults],
    kinds: tuple[Trainings, Trainings],
    options: Options,
    seed: int,
) -> Estimate:
    """The difference of means, with trainings drawn with replacement on each resample."""
    generator = np.random.default_rng([seed, 2])
    draws = {one.name: one.measured[QUANTITY].draws for one in members}
    means = []
    for kind in kinds:
        rows = np.array([draws[name] for name in kind.names])
        drawn = generator.integers(len(rows), size=(rows.shape[1], len(rows)))
        means.append(rows[drawn, np.arange(rows.shape[1])[:, None]].mean(axis=1))
    value = kinds[0].mean - kinds[1].mean
    return centred_estimate(value, means[0] - means[1], level=options.level)


def early_share(graph: Graph, effects: np.ndarray, size: int) -> float:
    """Share of the circuit's effects that early layers write, of all that layers write."""
    circuit = np.argsort(-np.abs(effects))[:size]
    layer, strength = graph.source_layer[graph.edge_source[circuit]], np.abs(effects[circuit])
    early = np.flatnonzero(third_of_layers(graph.num_layers)[0])
    return float(strength[np.isin(layer, early)].sum() / strength[layer >= 0].sum())


def exactly(truth: float) -> Estimate:
    """The truth as an estimate without doubt; what is 0 but for rounding is 0."""
    value = 0.0 if abs(truth) < ROUNDING else truth
    return Estimate(value=value, interval=Interval(low=value, high=value, level=0.95))


def reading(
    decide: Callable[[Estimate | None], str], right: str, found: Estimate | None, truth: float
) -> Reading:
    """What a rule makes of a number."""
    p = None
    if found is not None:
        p = p_of_decision(lambda errors: decide(found.reaching(errors)), found.interval.level)
    return Reading(
        verdict=decide(found),
        right=right,
        value=float("nan") if found is None else found.value,
        truth=truth,
        covers=None if found is None else found.interval.contains(truth),
        p=p,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
