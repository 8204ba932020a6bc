"""The explorer's record: every number against one computed another way, and the page's budget."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mechshift.attribution import EdgeScores
from mechshift.flat_records import from_flat, to_flat
from mechshift.graph import Graph
from mechshift.page.packed import unpacked
from mechshift.semantics import NO_TOKEN, LensReadings, LogitLens, Readouts
from mechshift.statistics import Estimates
from mechshift.testing.random_explorer import DREAM, random_explorer
from mechshift.topics import explorer_record
from mechshift.topics.attention import ATTENTION
from mechshift.topics.explorer import EXPLORER
from mechshift.topics.explorer_data import explorer_data, shortened_ranks
from mechshift.topics.explorer_record import (
    EXAMPLE_CODES,
    Explorer,
    conclude_explorer,
    example_levels,
    fitting,
    lens_tokens,
    ranks,
    rounded,
    sized,
    strongest,
)
from mechshift.topics.report_page import RunFacts, report
from mechshift.topics.single_ablations import SINGLE_ABLATIONS
from mechshift.topics.stability import STABILITY
from mechshift.topics.topic import KINDS, CheckpointScores, TaskResults

MODELS = list(KINDS)

DREAM_IN_SMALL = Graph(num_layers=3, num_heads=4, num_key_value_groups=2)


@pytest.fixture(scope="session")
def stored(results: dict[str, TaskResults], small_run: Path) -> Callable[[str], Any]:
    from mechshift.run.stored import RunTask

    return lambda task: RunTask(run=small_run, task=task)


def summed(scores: EdgeScores) -> np.ndarray:
    return scores.values.astype(np.float64).sum(axis=1)


@pytest.mark.parametrize("task", ["ioi", "infilling"])
@pytest.mark.parametrize("kind", MODELS)
def test_means_ranks_and_examples_are_those_of_the_scores(
    results: dict[str, TaskResults], stored: Callable[[str], Any], task: str, kind: str
) -> None:
    record = EXPLORER.of(results[task])
    scores = summed(stored(task).scores(kind))
    model = getattr(record, kind)
    mean = scores.mean(axis=0)
    np.testing.assert_allclose(model.score.value, mean[record.edges], rtol=1e-5, atol=1e-7)
    # An edge's rank is one more than how many are stronger, where no two are equally strong.
    strength = np.abs(mean)
    for place, edge in enumerate(record.edges[:200]):
        if strength[edge] > 0:
            assert model.rank[place] == 1 + (strength > strength[edge]).sum()
        else:
            assert model.rank[place] == 0
    exact = scores[:, record.edges[record.exemplary]].T
    part = model.examples.largest[:, None] / model.examples.levels
    assert (np.abs(model.examples.scores() - exact) <= part / 2 + 1e-6).all()


def test_of_a_small_graph_every_edge_is_kept_with_its_examples(ioi: TaskResults) -> None:
    record = EXPLORER.of(ioi)
    scored = (ioi.comparison.arm_scores != 0) | (ioi.comparison.mdm_scores != 0)
    assert record.edges.tolist() == np.flatnonzero(scored).tolist()
    assert record.exemplary.tolist() == list(range(len(record.edges)))
    assert record.example_size == record.size
    assert record.arm.examples.levels == 127


def test_circuits_fit_by_the_edges_that_they_have_together() -> None:
    ranked = [np.array([0, 1, 2, 3]), np.array([0, 1, 4, 5])]
    for most, size, edges in (
        (9, 4, [0, 1, 2, 3, 4, 5]),
        (6, 4, [0, 1, 2, 3, 4, 5]),
        (5, 3, [0, 1, 2, 4]),
        (3, 2, [0, 1]),
        (0, 1, [0]),
    ):
        found, kept = fitting(ranked, 100, most)
        assert (found, kept.tolist()) == (size, edges)


class Followed:
    """A stored task whose post-training was followed, with three checkpoints."""

    def __init__(self, of: Any) -> None:
        self.of = of
        graph = of.comparison().graph
        scores = np.random.default_rng(0).normal(size=(3, graph.num_edges)).astype(np.float32)
        self.scores_then = scores

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    def checkpoints(self) -> tuple[CheckpointScores, ...]:
        members = (("diffusion", 0), ("diffusion", 1600), ("control-2", 32))
        return tuple(
            CheckpointScores(training=training, step=step, scores=scores)
            for (training, step), scores in zip(members, self.scores_then, strict=True)
        )


def test_checkpoints_of_a_training_have_scores_of_their_own_edges(
    monkeypatch: pytest.MonkeyPatch, stored: Callable[[str], Any], infilling: TaskResults
) -> None:
    task = Followed(stored("infilling"))
    record = conclude_explorer(task)
    found = record.followed
    assert found is not None
    assert [(one.training, one.step) for one in found.checkpoints] == [
        ("diffusion", 0),
        ("diffusion", 1600),
        ("control: the ARM's own objective (training 2)", 32),
    ]
    assert found.places.tolist() == list(range(len(record.edges)))
    np.testing.assert_array_equal(found.scores, task.scores_then[:, record.edges])
    # Of a graph that is too large, every checkpoint's strongest edges are there, and the models'.
    monkeypatch.setattr(explorer_record, "LARGEST_SIZE", 40)
    record = conclude_explorer(task)
    found = record.followed
    assert found is not None
    size, followed = found.size, record.edges[found.places]
    tops = [*both_scores(infilling.comparison), *task.scores_then]
    wanted = {e for s in tops for e in np.argsort(-np.abs(s), kind="stable")[:size].tolist()}
    assert followed.tolist() == sorted(wanted) and 1 < size < 40 and len(wanted) <= 80
    np.testing.assert_array_equal(found.scores, task.scores_then[:, followed])
    arrays, values = unpacked(explorer_data(record, infilling))
    halves = arrays["checkpoints"]
    np.testing.assert_allclose(from_halves(halves), found.scores, rtol=1 / 256)
    assert values["checkpoints"][1] == {"training": "diffusion", "step": 1600}
    assert values["sizes"]["checkpoints"] == size


def test_a_run_without_a_trajectory_has_no_checkpoints(ioi: TaskResults) -> None:
    assert EXPLORER.of(ioi).followed is None
    _, values = unpacked(explorer_data(EXPLORER.of(ioi), ioi))
    assert values["checkpoints"] == [] and values["sizes"]["checkpoints"] == 0


def test_a_record_that_was_stored_before_there_were_checkpoints_reads_without() -> None:
    stored = to_flat(random_explorer(DREAM_IN_SMALL))
    assert from_flat(Explorer, stored).followed is None
    before = replace(stored, scalars={k: v for k, v in stored.scalars.items() if k != "followed"})
    assert before.scalars.keys() < stored.scalars.keys()
    assert from_flat(Explorer, before).followed is None
    again = from_flat(Explorer, to_flat(random_explorer(DREAM_IN_SMALL, num_checkpoints=3)))
    assert again.followed is not None and len(again.followed.checkpoints) == 3


@pytest.mark.parametrize("kind", MODELS)
def test_intervals_are_as_wide_as_clusters_scatter(
    infilling: TaskResults, stored: Callable[[str], Any], kind: str
) -> None:
    """Against the standard error of cluster means, in resamples of three clusters fewer."""
    record = EXPLORER.of(infilling)
    scores = stored("infilling").scores(kind)
    rows, clusters = summed(scores)[:, record.edges], np.asarray(scores.clusters)
    names = np.unique(clusters)
    assert len(names) >= 6
    mean = rows.mean(axis=0)
    pulls = np.stack([(rows[clusters == name] - mean).sum(axis=0) for name in names])
    error = np.sqrt((pulls**2).sum(axis=0) * len(names) / (len(names) - 3)) / len(rows)
    found = getattr(record, kind).score
    strong = error > np.median(error)
    ratio = (found.high - found.low)[strong] / (2 * 1.96 * error[strong])
    assert 0.75 < np.median(ratio) < 1.15
    assert (found.low <= found.value).all() and (found.value <= found.high).all()


@pytest.mark.parametrize("kind", MODELS)
def test_the_steps_of_an_edge_add_up_to_its_mean_score(infilling: TaskResults, kind: str) -> None:
    record = EXPLORER.of(infilling)
    model = getattr(record, kind)
    assert model.steps.codes.shape == (len(record.stepped), len(record.step_examples))
    half_part = model.steps.largest / model.steps.levels / 2
    gap = np.abs(model.steps.scores().sum(axis=1) - model.score.value[record.stepped])
    assert (gap <= half_part * len(record.step_examples) + 1e-5).all()
    assert record.step_examples[0] == infilling.comparison.num_examples


def test_steps_are_those_of_scores_that_are_kept_step_by_step(
    infilling: TaskResults, stored: Callable[[str], Any]
) -> None:
    """Whether a run kept every step, or sums over groups of examples, says the same."""
    scores = stored("infilling").scores("mdm")
    assert scores.step_sums is not None
    record = EXPLORER.of(infilling)
    edges = record.edges[record.stepped]
    expected = scores.step_sums[:, :, edges].sum(axis=0).T / len(scores.values)
    part = record.mdm.steps.largest[:, None] / record.mdm.steps.levels
    assert (np.abs(record.mdm.steps.scores() - expected) <= part / 2 + 1e-6).all()
    whole = replace(
        scores,
        values=np.repeat(scores.values, scores.step_sums.shape[1], axis=1),
        step_sums=None,
        step_groups=None,
    )
    means = explorer_record._step_means(whole, edges)
    np.testing.assert_allclose(means[:, 0], summed(scores).mean(axis=0)[edges], rtol=1e-4)


def test_a_large_graph_keeps_the_strongest_edges_of_either_model(
    monkeypatch: pytest.MonkeyPatch, stored: Callable[[str], Any], infilling: TaskResults
) -> None:
    monkeypatch.setattr(explorer_record, "LARGEST_SIZE", 50)
    monkeypatch.setattr(explorer_record, "STEP_CODES", 4 * len(infilling_steps(infilling)) * 20)
    monkeypatch.setattr(explorer_record, "EXAMPLE_CODES", 4 * 12 * 7)
    monkeypatch.setattr(explorer_record, "EXAMPLE_LEVELS", ((0, 127), (10**6, 31)))
    record = conclude_explorer(stored("infilling"))
    assert (record.size, record.step_size, record.example_size) == (50, 20, 7)
    for size, edges in (
        (50, record.edges),
        (20, record.edges[record.stepped]),
        (7, record.edges[record.exemplary]),
    ):
        compared = infilling.comparison
        tops = [np.argsort(-np.abs(s), kind="stable")[:size] for s in both_scores(compared)]
        assert edges.tolist() == sorted({*tops[0].tolist(), *tops[1].tolist()})


def infilling_steps(task: TaskResults) -> list[int]:
    return EXPLORER.of(task).step_examples.tolist()


def both_scores(compared: Any) -> tuple[np.ndarray, np.ndarray]:
    return compared.arm_scores, compared.mdm_scores


def test_rounding_by_hand() -> None:
    found = rounded(np.array([[1.0, -0.5, 0.06, 0.0], [0.0, 0.0, 0.0, 0.0]]), 10)
    assert found.codes.tolist() == [[10, -5, 1, 0], [0, 0, 0, 0]]
    assert found.largest.tolist() == [1.0078125, 0.0]  # the next number of eight bits
    np.testing.assert_allclose(found.scores()[0], np.array([1.0, -0.5, 0.1, 0.0]) * 1.0078125)


def test_ranks_and_unions_by_hand() -> None:
    graph = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
    assert graph.num_edges == 8
    first, second = np.array([3, 1, 0]), np.array([1, 6])
    assert ranks(first, graph).tolist() == [3, 2, 0, 1, 0, 0, 0, 0]
    assert strongest([first, second], 1).tolist() == [1, 3]
    assert strongest([first, second], 9).tolist() == [0, 1, 3, 6]
    assert strongest([first, second], 0).tolist() == []


def test_two_disjoint_circuits_fit_their_numbers() -> None:
    size = sized(EXAMPLE_CODES, 500)
    assert size == 1000 and 2 * size * 2 * 500 == EXAMPLE_CODES
    assert [example_levels(count) for count in (1, 500_000, 500_001, EXAMPLE_CODES)] == [
        127,
        127,
        31,
        6,
    ]


def test_lens_tokens_are_the_most_frequent_ones() -> None:
    top = np.array([[[7, 2], [1, 3]], [[2, 7], [3, 4]], [[2, 5], [3, 6]]])
    found = lens_tokens(lens_with(top))
    assert found.ids[0].tolist() == [2, 7, 5, NO_TOKEN, NO_TOKEN]
    np.testing.assert_allclose(found.share[0], [1, 2 / 3, 1 / 3, 0, 0])
    assert found.ids[1].tolist() == [3, 1, 4, 6, NO_TOKEN]


def lens_with(top: np.ndarray) -> LogitLens:
    count, sources, _ = top.shape
    blank = np.zeros((count, sources))
    read = LensReadings(rank=blank, log_prob=blank, entropy=blank, top_ids=top)
    whole = np.zeros(count, dtype=np.int64)
    readouts = Readouts(
        example=np.arange(count),
        cluster=whole,
        step=whole,
        target_position=whole,
        target_id=whole,
        distractor_id=whole,
    )
    graph = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
    return LogitLens(graph=graph, vocab_size=9, readouts=readouts, components=read, levels=read)


def test_ranks_beyond_the_page_are_said_in_thousands() -> None:
    shown = shortened_ranks(np.array([0, 1, 10_000, 10_001, 12_000, 935_747]), 10_000)
    assert shown.tolist() == [0, 1, 10_000, 11_000, 12_000, 936_000]
    assert shortened_ranks(np.array([60]), 50).tolist() == [1000]


def test_the_page_gets_what_other_topics_know_of_edges_and_nodes(infilling: TaskResults) -> None:
    record = EXPLORER.of(infilling)
    arrays, values = unpacked(explorer_data(record, infilling))
    stability = STABILITY.of(infilling)
    counts = dict(zip(stability.edges.tolist(), stability.mdm, strict=True))
    expected = [round(counts.get(e, 0.0) * stability.num_resamples) for e in record.edges.tolist()]
    assert arrays["mdm.resamples"].tolist() == expected and max(expected) > 0
    roles = ATTENTION.of(infilling)
    assert arrays["arm.roles.holds"].tolist() == roles.arm.holds.astype(int).tolist()
    single = SINGLE_ABLATIONS.of(infilling).single
    drops = from_halves(arrays["arm.ablation.value"])
    np.testing.assert_allclose(drops, single.arm.value, rtol=1.01 * 2**-8, atol=0)
    score = record.arm.score
    np.testing.assert_allclose(arrays["arm.score"], score.value, rtol=1.01 * 2**-16, atol=0)
    above = from_halves(arrays["arm.above"])
    np.testing.assert_allclose(above, score.high - score.value, rtol=1.01 * 2**-6, atol=0)
    np.testing.assert_array_equal(np.cumsum(arrays["edges"]), record.edges)
    steps = from_halves(arrays["arm.steps.largest"])
    np.testing.assert_array_equal(steps, record.arm.steps.largest)
    texts = dict(zip(record.token_ids.tolist(), record.token_texts, strict=True))
    first = record.mdm.tokens.ids[3, 0]
    assert values["tokens"]["mdm"][3][0][0] == texts[int(first)]
    assert set(values["neurons"]["arm"]) <= {"m0", "m1"}


def from_halves(halves: np.ndarray) -> np.ndarray:
    return (halves.astype(np.uint32) << 16).view(np.float32)


def test_stages_that_were_left_out_leave_their_facts_out(infilling: TaskResults) -> None:
    only = replace(infilling, records={"explorer": EXPLORER.of(infilling)})
    arrays, values = unpacked(explorer_data(EXPLORER.of(infilling), only))
    assert not {"lens", "roles", "ablation", "neurons", "resamples"} & values.keys()
    assert not any(name.startswith("arm.lens") for name in arrays)


def test_a_run_whose_components_were_not_analysed_has_a_record_too(
    stored: Callable[[str], Any],
) -> None:
    class Unanalysed:
        def __getattr__(self, name: str) -> Any:
            return getattr(stored("ioi"), name)

        def semantics(self, kind: str) -> None:
            return None

    record = conclude_explorer(Unanalysed())
    assert record.arm.tokens is None and record.token_texts == ()


@pytest.fixture(scope="module")
def large() -> Explorer:
    """A 7B graph's record as large as they come: disjoint circuits, several steps, a training."""
    return random_explorer(DREAM, num_steps=8, num_checkpoints=12)


def test_four_tasks_of_a_7b_graph_are_a_page_below_15_megabytes(
    large: Explorer, ioi: TaskResults, infilling: TaskResults, facts: RunFacts
) -> None:
    assert DREAM.num_edges == 935_747 and large.num_rows == 500
    assert large.example_size == large.circuit_size == 1000
    tasks = [
        replace(
            one,
            task=f"{one.task}-{copy}",
            comparison=replace(one.comparison, task=f"{one.task}-{copy}"),
            records={**one.records, "explorer": large},
        )
        for copy in (1, 2)
        for one in (ioi, infilling)
    ]
    page = report([replace(one, records=with_facts_of(DREAM, one.records)) for one in tasks], facts)
    assert page.page.count('class="explorer-data"') == 4
    assert len(page.page.encode()) < 15_000_000


def with_facts_of(graph: Graph, records: Any) -> dict[str, Any]:
    """With random facts of a large graph's nodes, which other topics draw too."""
    generator = np.random.default_rng(0)
    heads = (graph.num_layers, graph.num_heads)

    def estimates(*shape: int) -> Estimates:
        value = generator.uniform(size=shape)
        return Estimates(value=value, low=0.9 * value, high=1.1 * value, level=0.95)

    def lens(old: Any) -> Any:
        steps = len(old.num_examples)
        return replace(
            old,
            graph=graph,
            levels=estimates(steps, graph.num_layers + 1),
            components=estimates(steps, graph.num_sources),
        )

    def roles(old: Any) -> Any:
        num = len(old.roles)
        return replace(
            old,
            graph=graph,
            share=estimates(num, *heads),
            uniform=generator.uniform(size=(num, graph.num_layers)),
            excess=estimates(num, *heads),
            holds=generator.uniform(size=(num, *heads)) < 0.05,
        )

    single = records["single-ablations"]
    effects = [estimates(graph.num_sources - 1) for _ in MODELS]
    changed = {
        name: replace(records[name], arm=make(records[name].arm), mdm=make(records[name].mdm))
        for name, make in (("lens", lens), ("attention", roles))
    }
    large = replace(single.single, graph=graph, arm=effects[0], mdm=effects[1])
    return {**records, **changed, "single-ablations": replace(single, single=large)}
