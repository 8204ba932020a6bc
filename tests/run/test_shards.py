"""A run in shards of examples, on the embedded pair, beside the same scores of single examples."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.artifacts import read_manifest
from mechshift.attribution import average_over_shards, source_scores
from mechshift.cli.main import main
from mechshift.errors import ConfigError
from mechshift.run import (
    AttributionSettings,
    SweepSettings,
    export_circuits,
    load_stored_pair,
    run_experiment,
    score_edges,
)
from mechshift.run.folders import KINDS, sweep_folder
from mechshift.run.scores import check_shards, possible_shards
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig

TASK = "infilling"
IN_SHARDS = AttributionSettings(method="eap", chunk_size=6, examples_per_shard=4)
WORDS = ["--method", "eap", "--chunk-size", "6", "--examples-per-shard", "4", "--no-controls"]


@pytest.fixture(scope="module")
def sharded(small, tmp_path_factory):
    """Every stage that looks at scores, with ten shards of four examples."""
    run = tmp_path_factory.mktemp("sharded") / "run"
    settings = replace(
        small,
        tasks=(TASK,),
        pool=PoolConfig(num_examples=40, num_held_out=10),
        attribution=IN_SHARDS,
        evaluation=replace(small.evaluation, fractions=(0.1,), num_random=1),
        comparison=replace(small.comparison, num_resamples=20, num_splits=4, num_exchanges=10),
        skip=("flow", "ablation", "controls"),
        also=("sweep",),
        sweep=SweepSettings(num_steps=(1,)),
    )
    run_experiment(run, settings, device="cpu", quiet=True)
    return run


@pytest.fixture(scope="module")
def by_example(sharded, tmp_path_factory):
    """The same pool, scored example by example in the same chunks."""
    run = tmp_path_factory.mktemp("by-example") / "run"
    shutil.copytree(sharded / "pool", run / "pool")
    settings = AttributionSettings(
        method="eap", steps="each", chunk_size=IN_SHARDS.examples_per_chunk
    )
    score_edges(run, load_stored_pair(run, "cpu"), settings, quiet=True)
    return run


def hashes_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_stored_shards_are_the_means_of_what_is_stored_of_single_examples(sharded, by_example):
    for kind in KINDS:
        expected = average_over_shards(RunTask(run=by_example, task=TASK).scores(kind), 4)
        found = RunTask(run=sharded, task=TASK).scores(kind)
        assert (found.examples_per_shard, found.num_examples) == (4, 40)
        for name in ("by_source", "num_steps", "clean_metric", "input_score"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(found.values[:, 0], expected.values.sum(axis=1))
        for group, of_steps in enumerate(found.step_sums):
            of_group = expected.values[found.step_groups == group].sum(axis=0, dtype=np.float64)
            np.testing.assert_allclose(of_steps, of_group, rtol=1e-5, atol=1e-7)


def test_nodes_are_analysed_example_by_example(sharded, by_example):
    for kind in KINDS:
        expected = source_scores(RunTask(run=by_example, task=TASK).scores(kind))
        np.testing.assert_array_equal(
            RunTask(run=sharded, task=TASK).semantics(kind).node_scores, expected
        )


def test_the_pair_and_its_sweep_are_compared_by_shards(sharded):
    comparison = RunTask(run=sharded, task=TASK).comparison()
    assert (comparison.unit, comparison.num_examples, comparison.examples_per_shard) == (
        "shard", 10, 4,
    )  # fmt: skip
    assert comparison.step_sweep.num_examples.tolist() == [10, 10]
    overlap = RunTask(run=sharded, task=TASK).swept()[1].shift.overlap
    assert (overlap.unit, overlap.num_examples) == ("shard", 10)
    stored = read_manifest(sweep_folder(sharded, TASK, 1) / "mdm").config
    assert stored["attribution"]["examples_per_shard"] == 4


def test_the_report_says_what_its_intervals_rest_on(sharded):
    page = (sharded / "report" / "report.html").read_text(encoding="utf-8")
    assert "shards of 4 of them" in page and "Shards of examples" in page
    assert "averaged over 4 consecutive examples" in page and "with these 10 shards" in page
    assert "n = 10 shards" in page
    assert "n = 40 shards" not in page
    assert '"examples_per_shard": 4' in page.replace("&#34;", '"')


def test_an_export_holds_the_means_over_examples(sharded, by_example, tmp_path):
    export_circuits(sharded, tmp_path, format="safetensors", models=("mdm",))
    assert len(list(tmp_path.iterdir())) == 2
    mean, expected = (
        RunTask(run=run, task=TASK).scores("mdm").mean() for run in (sharded, by_example)
    )
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_shards_of_another_size_are_refused_in_the_same_folder(sharded, capsys):
    words = ["attribute", str(sharded), "--method", "eap", "--examples-per-shard", "2"]
    assert main([*words, "--device", "cpu", "--quiet"]) == 2
    assert "examples_per_shard: 4 there, 2 now" in capsys.readouterr().err


def test_shards_that_do_not_divide_the_pool_are_one_line_and_nothing_is_written(
    sharded, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(sharded / "pool", run / "pool")
    words = ["attribute", str(run), "--examples-per-shard", "3", "--device", "cpu", "--quiet"]
    assert main(words) == 2
    message = (
        "mechshift: a pool of 40 examples cannot be scored in shards of 3: the last one would hold"
        " 1 and count as much as the others. examples_per_shard can be 1, 2, 4.\n"
    )
    assert capsys.readouterr().err == message
    assert not (run / "scores").exists()


def test_a_run_whose_shards_are_too_few_is_refused_before_a_model_is_loaded(tmp_path, capsys):
    words = ["--pool.num-examples", "40", "--attribution.examples-per-shard", "8"]
    assert main(["run", str(tmp_path / "run"), *words, "--arm", "nowhere", "--mdm", "nowhere"]) == 2
    message = (
        "in shards of 8: these are 5, and fewer than 10 do not say how certain a comparison is"
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("num_examples", "sizes"),
    [(500, [1, 2, 4, 5, 10, 20, 25, 50]), (200, [1, 2, 4, 5, 8, 10, 20]), (97, [1]), (12, [1])],
)
def test_a_pool_can_be_cut_into_ten_equal_shards_or_more(num_examples, sizes):
    assert possible_shards(num_examples) == sizes
    for size in sizes:
        check_shards(num_examples, size)
        assert num_examples % size == 0 and (size == 1 or num_examples // size >= 10)
    with pytest.raises(ConfigError, match=rf"can be {', '.join(map(str, sizes))}\."):
        check_shards(num_examples, max(sizes) + 1)


@pytest.mark.parametrize(
    ("chunk", "shard", "rounded"), [(50, 1, 50), (50, 20, 60), (3, 20, 20), (40, 20, 40)]
)
def test_chunks_are_rounded_up_to_whole_shards(chunk, shard, rounded):
    settings = AttributionSettings(chunk_size=chunk, examples_per_shard=shard)
    assert settings.examples_per_chunk == rounded
    assert settings.manifest_config()["examples_per_shard"] == shard


def test_a_shard_holds_an_example_at_least():
    with pytest.raises(ConfigError, match="examples_per_shard must be at least 1, not 0"):
        AttributionSettings(examples_per_shard=0)


def test_what_every_held_out_example_scored_is_still_told_example_by_example(sharded):
    table = pl.read_parquet(sharded / "report" / f"{TASK}-per-example.parquet")
    assert sorted(table["example"].unique()) == list(range(10))
