"""Ablations are stored as they were made, on the examples and with the circuit that were meant."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from mechshift.ablation import run_ablations
from mechshift.artifacts import read_manifest, write_artifact
from mechshift.circuits import select_top_edges
from mechshift.errors import AblationError, ArtifactError
from mechshift.flat_records import record_files, to_flat
from mechshift.run import RunSettings, ablate_pair, compare_pair, load_stored_pair, run_experiment
from mechshift.run.folders import KINDS
from mechshift.run.pools import pool_canvases
from mechshift.run.records import TaskPools
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig
from mechshift.topics.ablation import ABLATION
from mechshift.topics.single_ablations import SINGLE_ABLATIONS


@pytest.fixture(scope="module")
def pair(small_run):
    return load_stored_pair(small_run, "cpu")


@pytest.fixture
def scored(small_run, tmp_path):
    """A copy of one task's pool and scores, and nothing else."""
    for stage in ("pool", "scores"):
        shutil.copytree(small_run / stage / "ioi", tmp_path / "run" / stage / "ioi")
    return tmp_path / "run"


def test_what_is_read_back_is_the_models_own_circuit_on_held_out_examples(small_run, small, pair):
    scores = RunTask(run=small_run, task="infilling").scores("mdm")
    expected = run_ablations(
        pair.mdm,
        pool_canvases(read_pool(small_run, "infilling", "held-out"), pair.mdm),
        circuit=select_top_edges(scores.graph, scores.mean(), 111),
        mean_canvases=pool_canvases(read_pool(small_run, "infilling", "discovery"), pair.mdm),
        metric="logit_diff",
        settings=small.ablation,
    )
    found, wanted = (
        to_flat(RunTask(run=small_run, task="infilling").ablations("mdm")),
        to_flat(expected),
    )
    assert json.dumps(found.scalars) == json.dumps(wanted.scalars)
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)


def test_only_the_first_examples_are_asked_where_so_many_are_asked_for(
    scored, small_run, small, pair
):
    """The held-out examples are made the 12 for discovery, and the other way round."""
    pools = {split: read_pool(small_run, "ioi", split) for split in ("discovery", "held-out")}
    exchanged = TaskPools(
        discovery=replace(pools["held-out"], split="discovery"),
        held_out=replace(pools["discovery"], split="held-out"),
    )
    manifest = read_manifest(scored / "pool" / "ioi")
    shutil.rmtree(scored / "pool" / "ioi")
    write_artifact(
        scored / "pool" / "ioi",
        stage="pool",
        config=manifest.config,
        inputs=manifest.inputs,
        **vars(record_files(exchanged)),
    )
    metrics = {}
    for number in (10, None):
        shutil.rmtree(scored / "ablation", ignore_errors=True)
        ablate_pair(scored, pair, replace(small.ablation, num_examples=number), quiet=True)
        found = RunTask(run=scored, task="ioi").ablations("arm")
        metrics[number] = found.table.metric
        assert found.single.num_examples == found.table.num_examples == (number or 12)
    np.testing.assert_allclose(metrics[None][..., :10], metrics[10], rtol=0, atol=1e-4)


def test_a_model_that_answers_by_itself_is_right_on_its_pool_until_it_is_ablated(
    scored, small_run, small, pair
):
    shutil.copytree(small_run / "faithfulness" / "ioi", scored / "faithfulness" / "ioi")
    ablate_pair(scored, pair, replace(small.ablation, decode=True), quiet=True)
    for kind in KINDS:
        decoded = RunTask(run=scored, task="ioi").ablations(kind).decoded
        assert decoded is not None and decoded.clean_correct.all()
        assert not decoded.correct.all()
        assert RunTask(run=small_run, task="ioi").ablations(kind).decoded is None
    compare_pair(scored, small.comparison, quiet=True)
    reported = ABLATION.conclude(RunTask(run=scored, task="ioi"))
    assert reported is not None and reported.mdm_answers is not None
    early = reported.mdm_answers.plans.index("early heads")
    assert reported.mdm_answers.accuracy.value[early, 0] == decoded.correct[0, 0].mean()


def test_agreement_is_between_held_out_drops_and_the_edges_out_of_each_component(small_run):
    reported = SINGLE_ABLATIONS.conclude(RunTask(run=small_run, task="ioi"))
    assert reported is not None
    scores = RunTask(run=small_run, task="ioi").scores("mdm")
    graph, mean = scores.graph, scores.values.sum(axis=1).mean(axis=0)
    outgoing = [mean[graph.edge_source == node].sum() for node in range(1, graph.num_sources)]
    drops = RunTask(run=small_run, task="ioi").ablations("mdm").single.drop.mean(axis=0)
    expected = spearmanr(drops, outgoing).statistic
    assert reported.mdm_agreement.value == pytest.approx(expected, abs=1e-3)


def test_the_report_shows_what_was_ablated_and_its_verdict_rests_on_it(small_run):
    page = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "Do early heads matter more to the MDM?" in page
    assert "Ablation of structures" in page and '"ablation": {' in page.replace("&#34;", '"')
    table = pl.read_csv(small_run / "report" / "ioi-ablation-zero.csv")
    found = RunTask(run=small_run, task="ioi").ablations("arm").table
    row = table.row(by_predicate=(pl.col("model") == "arm") & (pl.col("plan") == "early heads"))
    drop = (found.clean_metric - found.metric[0, 0]).mean()
    assert row[table.columns.index("metric_drop")] == pytest.approx(drop)
    verdicts = json.loads((small_run / "report" / "verdicts.json").read_text())
    assert "not measured" not in json.dumps(
        [one for one in statements(verdicts) if one["axis"] == "intervention"]
    )


def statements(verdicts):
    """Every statement in a tree of JSON."""
    if isinstance(verdicts, dict):
        if "axis" in verdicts:
            yield verdicts
        verdicts = list(verdicts.values())
    if isinstance(verdicts, list):
        for part in verdicts:
            yield from statements(part)


def test_other_settings_are_refused_and_another_batch_size_is_not(small_run, small, pair):
    ablate_pair(small_run, pair, replace(small.ablation, batch_size=3), quiet=True)
    with pytest.raises(ArtifactError, match="num_control_draws: 1 there, 2 now"):
        ablate_pair(small_run, pair, replace(small.ablation, num_control_draws=2), quiet=True)


def test_too_few_held_out_examples_are_refused_before_any_model_is_loaded(tmp_path):
    settings = RunSettings(pool=PoolConfig(num_held_out=9))
    with pytest.raises(AblationError, match="9 held-out examples are too few .* --skip ablation"):
        run_experiment(tmp_path / "run", settings, device="cpu", quiet=True)
    assert not (tmp_path / "run").exists()
