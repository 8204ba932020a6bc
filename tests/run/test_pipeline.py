import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest

from mechshift.artifacts import read_manifest, write_artifact
from mechshift.circuits import select_top_edges
from mechshift.cli.main import main
from mechshift.comparison import row_clusters
from mechshift.denoising import Schedule
from mechshift.errors import ArtifactError, EvaluationError
from mechshift.evaluation import discovery_folds, evaluate_circuits, random_curve
from mechshift.flat_records import record_files
from mechshift.run import (
    AttributionSettings,
    compare_pair,
    evaluate_pair,
    load_stored_pair,
    pool_table,
    run_experiment,
    score_edges,
    write_report,
)
from mechshift.run.analysis import store_analysis_plan
from mechshift.run.folders import KINDS
from mechshift.run.planning.stages import circuit_sizes_run
from mechshift.run.pools import pool_canvases
from mechshift.run.records import TaskPools
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.testing import files_of

WORDS = (
    "--tasks ioi infilling --pool.num-examples 12 --pool.num-held-out 10 --pool.seed 4"
    " --attribution.ig-steps 2 --attribution.chunk-size 4 --evaluation.fractions 0.01 0.1 1.0"
    " --comparison.num-resamples 50 --comparison.num-splits 10 --comparison.num-shuffles 5"
    " --semantics.ig-steps 1 --semantics.num-neurons 3 --semantics.num-contexts 2"
    " --semantics.num-sequences 10 --semantics.num-resamples 50"
    " --ablation.kinds heads --ablation.num-control-draws 1 --ablation.num-resamples 50"
    " --comparison.num-exchanges 20"
    " --device cpu --quiet"
).split()
"""The settings of the small experiment (conftest.py) on the command line."""

STAGES = ("pool", "attribution", "evaluation", "comparison", "semantics", "ablation")
"""Before the dot of such an option."""


ALWAYS_CONCLUDED = (
    "/pool",
    "/explorer",
    "/stability",
    "/spread",
    "/flow",
    "/lens",
    "/attention",
    "/neurons",
    "/faithfulness",
    "/examples",
    "/ablation",
    "/single-ablations",
    "/selection",
    "/wording",
)
CONCLUDED = {"ioi": (*ALWAYS_CONCLUDED, "/num-steps"), "infilling": ALWAYS_CONCLUDED}
"""Topics with a record of their own. A task of single tokens has its one number of steps; CPR and
CMD want MIB's ten sizes, which this run leaves out."""


def test_every_stage_leaves_a_folder_with_a_manifest(small_run):
    trained = ("arm-continued", "arm-continued-2", "arm-continued-3")
    seeds = ("mdm-other-seed", "mdm-other-seed-2")
    controls = tuple(f"/{name}" for name in ("arm-full", "mdm-causal", *trained, *seeds))
    folders = {str(path.parent.relative_to(small_run)) for path in small_run.rglob("manifest.json")}
    assert folders == {"analysis", "report"} | {
        f"{stage}/{task}{model}"
        for task in ("ioi", "infilling")
        for stage, models in (
            ("pool", ("",)),
            ("scores", ("/arm", "/mdm", *controls)),
            ("flow", ("/arm", "/mdm", *controls)),
            ("semantics", ("/arm", "/mdm")),
            ("faithfulness", ("/arm", "/mdm")),
            ("ablation", ("/arm", "/mdm")),
            ("comparison", ("/mdm", *controls)),
            ("controls", controls),
            ("quantities", ("/mdm", *controls)),
            ("conclusions", CONCLUDED[task]),
        )
        for model in models
    }


def test_both_models_are_scored_on_the_same_examples_and_steps(small_run):
    for task, num_steps in (("ioi", 1), ("infilling", 2)):
        arm, mdm = (RunTask(run=small_run, task=task).scores(kind) for kind in KINDS)
        assert arm.values.shape == mdm.values.shape == (12, 1, arm.graph.num_edges)
        assert arm.clean_metric.shape == mdm.clean_metric.shape == (12, num_steps)
        assert np.array_equal(arm.num_steps, mdm.num_steps)
        if num_steps == 1:
            assert arm.step_sums is None and mdm.step_sums is None
            continue
        for scores in (arm, mdm):  # both ways to add up a group's examples and steps
            for group, of_steps in enumerate(scores.step_sums):
                added = scores.values[scores.step_groups == group, 0].sum(axis=0)
                np.testing.assert_allclose(of_steps.sum(axis=0), added, rtol=1e-3, atol=1e-4)


def test_the_pooled_examples_are_those_that_both_models_get_right(small_run):
    pool = read_pool(small_run, "infilling", "discovery")
    right = pool.arm_correct & pool.mdm_correct
    chosen = [pool.candidate_ids[row] for row in np.flatnonzero(right)[:12]]
    assert [example.id for example in pool.examples] == chosen
    row = pool_table(small_run).row(0, named=True)
    assert (row["task"], row["split"], row["pool"]) == ("ioi", "discovery", 12)


def test_the_full_circuit_keeps_everything_in_both_models(small_run):
    for task in ("ioi", "infilling"):
        for model in KINDS:
            for metrics in RunTask(run=small_run, task=task).circuit_metrics(model).values():
                assert metrics.sizes[-1] == metrics.num_edges
                np.testing.assert_allclose(metrics.metric[-1], metrics.full, rtol=0, atol=1e-4)


def test_every_models_circuit_has_rivals_of_its_size(small_run):
    for task in ("ioi", "infilling"):
        size = RunTask(run=small_run, task=task).comparison().circuit_size
        for model in KINDS:
            own = RunTask(run=small_run, task=task).circuit_metrics(model)[model]
            baselines = RunTask(run=small_run, task=task).baselines(model)
            assert baselines.random.sizes.tolist() == [size] * 20
            assert baselines.activation.sizes.tolist() == [size]
            assert 0 <= baselines.num_forced[0] < size
            np.testing.assert_array_equal(baselines.random.full, own.full)
            kept = own.curve().faithfulness[own.sizes == size]
            draws = [draw.faithfulness[0] for draw in random_curve(baselines.random).draws]
            # Of a circuit that carries next to nothing a few may do so to the last digit.
            assert len(set(draws)) > 15 and kept > np.mean(draws)


def test_baselines_can_be_run_at_every_size_and_edges_be_ablated_by_means_or_zeros(
    small_run, small, tmp_path
):
    """The whole graph keeps everything whatever is ablated, and so do its only possible rivals."""
    pair = load_stored_pair(small_run, "cpu")
    resampled = RunTask(run=small_run, task="ioi").circuit_metrics("mdm")["mdm"]
    for ablation in ("mean", "zero"):
        run = tmp_path / ablation
        for stage in ("pool", "scores"):
            shutil.copytree(small_run / stage / "ioi", run / stage / "ioi")
        settings = replace(small.evaluation, ablation=ablation, baseline_sizes="all", num_random=2)
        evaluate_pair(run, pair, settings, quiet=True)
        manifest = read_manifest(run / "faithfulness" / "ioi" / "mdm")
        assert manifest.config["evaluation"]["ablation"] == ablation
        metrics = RunTask(run=run, task="ioi").circuit_metrics("mdm")["mdm"]
        np.testing.assert_array_equal(metrics.full, resampled.full)
        assert np.abs(metrics.empty - resampled.empty).max() > 0.1
        baselines = RunTask(run=run, task="ioi").baselines("mdm")
        sizes = metrics.sizes.tolist()
        assert baselines.random.sizes.tolist() == sizes * 2
        for whole in (metrics.metric[-1], *baselines.random.metric[len(sizes) - 1 :: len(sizes)]):
            np.testing.assert_allclose(whole, metrics.full, rtol=0, atol=1e-4)
        assert baselines.num_forced[-1] == sizes[-1]


def test_a_run_folder_is_held_by_one_run_at_a_time_and_keeps_no_trace_of_it(
    small_run, small, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    held = []

    def ask_for_it(*_arguments, **_options):
        held.append(sorted(path.name for path in run.iterdir()))
        again = partial(run_experiment, run, small, device="cpu", quiet=True)
        with ThreadPoolExecutor(1) as other:
            with pytest.raises(ArtifactError, match=r"run is in use by process \d+ on .* since"):
                other.submit(again).result()
        raise KeyboardInterrupt

    monkeypatch.setattr("mechshift.run.pipeline.write_pieces", ask_for_it)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(run, small, device="cpu", quiet=True)
    assert held == [[".lock", ".lock-holder.json", "analysis"]]
    assert [path.name for path in run.iterdir()] == ["analysis"]
    assert not list(small_run.glob(".*"))


def test_as_many_circuits_are_run_as_are_planned(small_run, small):
    for task in ("ioi", "infilling"):
        size = RunTask(run=small_run, task=task).comparison().circuit_size
        num_edges = RunTask(run=small_run, task=task).scores("arm").graph.num_edges
        sizes = small.evaluation.sizes(num_edges, size)
        for model in KINDS:
            baselines = RunTask(run=small_run, task=task).baselines(model)
            found = RunTask(run=small_run, task=task).rediscovery(model)
            assert found is not None
            stored = [
                *RunTask(run=small_run, task=task).circuit_metrics(model).values(),
                *(baselines.random, baselines.activation),
                *(*found.without_fold.values(), found.halves),
            ]
            run = np.concatenate([one.sizes for one in stored])
            planned = circuit_sizes_run(small.evaluation, sizes, size)
            assert sorted(run) == sorted(planned)


def test_circuits_found_anew_score_what_they_score_when_chosen_by_hand(small_run, small):
    """The MDM on the ARM's circuit without the third fold, and on its own of the second half."""
    pair = load_stored_pair(small_run, "cpu")
    arm, mdm = (RunTask(run=small_run, task="ioi").scores(kind) for kind in KINDS)
    folds = discovery_folds(row_clusters(arm), small.evaluation.seed)
    assert folds is not None
    size = RunTask(run=small_run, task="ioi").comparison().circuit_size
    by_hand = [
        select_top_edges(scores.graph, scores.values[kept].sum(axis=1).mean(axis=0), size)
        for scores, kept in ((arm, folds != 2), (mdm, folds >= 4))
    ]
    canvases = pool_canvases(read_pool(small_run, "ioi", "held-out"), pair.mdm)
    expected = evaluate_circuits(pair.mdm, canvases, by_hand, num_examples=10).metric
    found = RunTask(run=small_run, task="ioi").rediscovery("mdm")
    assert found is not None and found.num_clusters == len(np.unique(arm.clusters))
    np.testing.assert_allclose(found.without_fold["arm"].metric[2], expected[0], atol=1e-4)
    np.testing.assert_allclose(found.halves.metric[1], expected[1], atol=1e-4)
    assert 0 < found.shared_by_quarters["mdm"] < found.shared_by_halves["mdm"] < 1


def test_without_random_circuits_the_report_makes_no_claim_about_them(small_run, small, tmp_path):
    run = tmp_path / "run"
    for stage in ("pool", "scores", "comparison"):
        shutil.copytree(small_run / stage / "ioi", run / stage / "ioi")
    settings = replace(small.evaluation, num_random=0, rediscover=False)
    evaluate_pair(run, load_stored_pair(small_run, "cpu"), settings, quiet=True)
    page = write_report(run).read_text(encoding="utf-8")
    assert "better than random ones?" not in page
    assert "edges by activation" in page
    assert RunTask(run=run, task="ioi").rediscovery("mdm") is None
    assert "the interval leaves out the noise of discovery" in page
    whole = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "better than random ones?" in whole


def test_a_mean_that_does_not_exist_is_refused_before_any_circuit_is_run(
    small_run, small, tmp_path
):
    """Discovery examples cut to one; the held-out ones come in more shapes than that."""
    run = tmp_path / "run"
    for stage in ("pool", "scores"):
        shutil.copytree(small_run / stage / "infilling", run / stage / "infilling")
    pool = read_pool(run, "infilling", "discovery")
    manifest = read_manifest(run / "pool" / "infilling")
    shutil.rmtree(run / "pool")
    one = replace(
        pool,
        examples=pool.examples[:1],
        schedule=Schedule(commit_step=pool.schedule.commit_step[:1]),
    )
    held_out = read_pool(small_run, "infilling", "held-out")
    write_artifact(
        run / "pool" / "infilling",
        stage="pool",
        config=manifest.config,
        inputs=manifest.inputs,
        **vars(record_files(TaskPools(discovery=one, held_out=held_out))),
    )
    settings = replace(small.evaluation, ablation="mean")
    with pytest.raises(EvaluationError, match="no mean to ablate with: none of the examples"):
        evaluate_pair(run, load_stored_pair(run, "cpu"), settings, quiet=True)
    assert not (run / "faithfulness").exists()


def test_every_examples_metric_lies_beside_the_report(small_run):
    table = pl.read_parquet(small_run / "report" / "infilling-per-example.parquet")
    assert table.columns == [
        "model", "owner", "draw", "size", "example", "step", "metric", "full", "empty"
    ]  # fmt: skip
    metrics = RunTask(run=small_run, task="infilling").circuit_metrics("mdm")["arm"]
    rows = table.filter(pl.col("model") == "mdm", pl.col("owner") == "arm", pl.col("step") == 1)
    by_size = rows.sort("size", "example").partition_by("size", maintain_order=True)
    assert [part["size"][0] for part in by_size] == metrics.sizes.tolist()
    for part, metric in zip(by_size, metrics.metric, strict=True):
        assert part["example"].to_list() == list(range(10))
        assert part["metric"].to_list() == metric[:, 1].tolist()
    random = table.filter(pl.col("model") == "arm", pl.col("owner") == "random")
    assert sorted(random["draw"].unique()) == list(range(20))


def test_the_metric_of_the_full_model_is_the_one_that_attribution_saw(small_run):
    # The pools differ (discovery and held-out), the task does not: both are clearly solved.
    for kind in KINDS:
        scores = RunTask(run=small_run, task="ioi").scores(kind)
        metrics = RunTask(run=small_run, task="ioi").circuit_metrics(kind)["arm"]
        assert scores.clean_metric.mean() > 0 > scores.corrupted_metric.mean()
        assert metrics.full.mean() > 0 > metrics.empty.mean()


def test_the_report_shows_every_task_and_has_its_numbers_beside_it(small_run):
    page = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    for task in ("ioi", "infilling"):
        assert f'id="task-{task}"' in page
        overlap = (small_run / "report" / f"{task}-overlap.csv").read_text(encoding="utf-8")
        size = RunTask(run=small_run, task=task).comparison().circuit_size
        assert any(line.startswith(f"{size},") for line in overlap.splitlines())


def test_a_second_run_changes_no_byte(small_run, small):
    before = files_of(small_run)
    run_experiment(small_run, small, device="cpu", quiet=True)
    assert files_of(small_run) == before


def test_stage_by_stage_gives_the_same_bytes_as_all_at_once(small_run, small, tmp_path):
    """Of the task with a suffix and several steps, beside one on which each stage is done already.

    Given the plan of analysis, which `mechshift run` stores first and no stage does.
    """
    run = str(tmp_path / "run")
    store_analysis_plan(tmp_path / "run", small.comparison, small.tasks)
    for folder in small_run.glob("*/ioi"):
        shutil.copytree(folder, tmp_path / "run" / folder.relative_to(small_run))
    options = {name: [] for name in STAGES}
    tasks, rest = WORDS[:3], WORDS[3:-3]
    owner = None
    for word in rest:
        if word.startswith("--"):
            owner, _, name = word[2:].partition(".")
            word = f"--{name}"
        options[owner].append(word)
    device = ["--device", "cpu", "--quiet"]
    assert main(["pool", run, *tasks, *options["pool"], *device]) == 0
    assert main(["attribute", run, *options["attribution"], *device]) == 0
    assert main(["flow", run, *options["attribution"], *device]) == 0
    assert main(["analyse", run, *options["semantics"], *device]) == 0
    assert main(["evaluate", run, *options["evaluation"], *device]) == 0
    assert main(["ablate", run, *options["ablation"], *device]) == 0
    assert main(["compare", run, *options["comparison"], "--quiet"]) == 0
    assert main(["report", run]) == 0
    assert files_of(tmp_path / "run") == files_of(small_run)


def test_other_settings_in_the_same_folder_are_refused_and_nothing_is_lost(small_run, small):
    before = files_of(small_run)
    pair = load_stored_pair(small_run, "cpu")
    with pytest.raises(ArtifactError, match=r"made with other settings .*ig_steps: 2 there, 3 now"):
        score_edges(small_run, pair, AttributionSettings(ig_steps=3), quiet=True)
    with pytest.raises(ArtifactError, match="num_resamples: 50 there, 60 now"):
        compare_pair(small_run, replace(small.comparison, num_resamples=60), quiet=True)
    assert files_of(small_run) == before


@pytest.mark.parametrize(
    ("name", "what"), [("arm", "weights"), ("arm_settings", "settings or the tokenizer")]
)
def test_a_model_that_changed_since_the_pool_is_refused(small_run, tmp_path, name, what):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    path = run / "pool" / "ioi" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert name in manifest["inputs"]
    manifest["inputs"][name] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"the {what} of 'tiny-arm' are not those that made"):
        load_stored_pair(run, "cpu")


def test_a_report_is_written_again_in_place_of_an_old_one(small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "report" / "report.html").write_text("old")
    assert write_report(run).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert files_of(run) == files_of(small_run)


def test_a_task_file_of_ones_own_goes_through_every_stage(small, tmp_path):
    names = "Mary John Tom James Robert Michael William David Richard Joseph Thomas Daniel".split()
    path = tmp_path / "gifts.jsonl"
    lines = []
    for first, second in zip(names, names[1:] + names[:1], strict=True):
        for split, place in (("discovery", "store"), ("held-out", "park")):
            start = f"When {first} and {second} went to the {place},"
            lines.append(
                {
                    "prompt": f"{start} {second} gave a book to",
                    "corrupted_prompt": f"{start} {first} gave a book to",
                    "target": f" {first}",
                    "distractor": f" {second}",
                    "split": split,
                    "spans": {"IO": first},
                }
            )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    settings = replace(
        small,
        tasks=(str(path),),
        pool=replace(small.pool, num_examples=10),
        skip=("semantics",),
    )
    page = run_experiment(tmp_path / "run", settings, device="cpu", quiet=True)
    assert 'id="task-gifts"' in page.read_text(encoding="utf-8")
    flow = (page.parent / "gifts-span-flow.csv").read_text(encoding="utf-8")
    assert "mdm,scored,IO," in flow and not (page.parent / "gifts-neurons.csv").exists()
    assert "task_file" in read_manifest(tmp_path / "run" / "pool" / "gifts").inputs
