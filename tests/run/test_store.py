"""What a run folder of before, or a damaged one, is answered with."""

import json
import shutil
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mechshift.artifacts import ARRAYS_NAME, MANIFEST_NAME, file_hash, write_artifact
from mechshift.attribution import EdgeScores
from mechshift.cli.main import main
from mechshift.comparison import Comparison
from mechshift.errors import ArtifactError, ModelError
from mechshift.flat_records import read_record, record_files
from mechshift.run import AttributionSettings, PairOptions
from mechshift.run.folders import KINDS, POOL, SCORES, pool_folder, scores_folder
from mechshift.run.pipeline import load_stored_pair
from mechshift.run.records import CircuitRuns, ComponentReadings, TaskPools
from mechshift.run.store import (
    pool_manifests,
    read_pool,
    scored_graph,
    scored_metric,
    stage_settings,
    stored_name,
)
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig


def test_a_run_folder_of_before_is_one_line_that_says_what_to_do(small_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(small_run / "pool", run / "pool")
    for task in ("ioi", "infilling"):
        path = run / "pool" / task / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(manifest | {"format_version": 1}), encoding="utf-8")
    for command in ("attribute", "compare", "report", "sweep"):
        assert main([command, str(run)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "has format version 1, and this mechshift reads 2; use the mechshift that" in line
        assert "or delete the folder and run again." in line


def test_a_folder_without_the_values_of_its_record_is_refused(tmp_path):
    write_artifact(tmp_path / "pool", stage=POOL, config={}, inputs={}, arrays={"x": np.zeros(2)})
    with pytest.raises(ArtifactError, match="holds no values.json, so another version of"):
        read_record(TaskPools, tmp_path / "pool", stage=POOL)


def test_a_pool_is_read_as_it_was_stored_and_its_text_can_be_read_by_people(small_run, tmp_path):
    pools = {split: read_pool(small_run, "infilling", split) for split in ("discovery", "held-out")}
    record = TaskPools(discovery=pools["discovery"], held_out=pools["held-out"])
    write_artifact(
        pool_folder(tmp_path, "infilling"),
        stage=POOL,
        config={},
        inputs={},
        **vars(record_files(record)),
    )
    again = read_pool(tmp_path, "infilling", "held-out")
    assert again.examples == pools["held-out"].examples and again.split == "held-out"
    assert again.candidate_ids == pools["held-out"].candidate_ids
    assert again.mdm_completions == pools["held-out"].mdm_completions
    np.testing.assert_array_equal(again.arm_correct, pools["held-out"].arm_correct)
    values = json.loads((pool_folder(tmp_path, "infilling") / "values.json").read_text())
    first = pools["discovery"].examples[0]
    assert values["discovery.examples"][0]["prompt"] == first.prompt
    assert values["discovery.examples"][0]["spans"] == {
        name: list(span) for name, span in first.spans.items()
    }


def test_all_circuits_of_one_model_share_its_full_and_its_empty_run(small_run):
    for kind in KINDS:
        metrics = RunTask(run=small_run, task="ioi").circuit_metrics(kind)
        baselines = RunTask(run=small_run, task="ioi").baselines(kind)
        for one in (metrics["mdm"], baselines.random, baselines.activation):
            np.testing.assert_array_equal(one.full, metrics["arm"].full)
            np.testing.assert_array_equal(one.empty, metrics["arm"].empty)


def test_scores_in_shards_keep_what_each_node_was_attributed(small_run, tmp_path):
    scores = RunTask(run=small_run, task="ioi").scores("arm")
    by_source = np.ones((12, scores.graph.num_sources), dtype=np.float32)
    sharded = replace(
        scores, values=scores.values[::4].copy(), examples_per_shard=4, by_source=by_source
    )
    write_artifact(
        tmp_path / "arm", stage="scores", config={}, inputs={}, **vars(record_files(sharded))
    )
    again = read_record(EdgeScores, tmp_path / "arm", stage=SCORES)
    assert (again.examples_per_shard, again.graph) == (4, scores.graph)
    np.testing.assert_array_equal(again.by_source, by_source)
    np.testing.assert_array_equal(again.values, scores.values[::4])


ODD = [None, [], ["x"], {}, {"a": 1}, "x", 0, -1, 1.5, float("inf"), True]


def manifests(run):
    """Write a pool and the scores of its ARM, by their manifests alone; gives their settings."""
    settings = {
        pool_folder(run, "ioi"): {
            "task": "ioi",
            "position": 0,
            "pair": asdict(PairOptions()),
            "pool": asdict(PoolConfig()),
        },
        scores_folder(run, "ioi", "arm"): {
            "model": "a model",
            "graph": {"num_layers": 1, "num_heads": 2, "num_key_value_groups": 1},
            "attribution": AttributionSettings(metric="kl").manifest_config(),
        },
    }
    for folder, stage in zip(settings, (POOL, SCORES), strict=True):
        write_artifact(folder, stage=stage, config=settings[folder], inputs={})
    return settings


READERS = (
    pool_manifests,
    lambda run: load_stored_pair(run, "cpu"),
    lambda run: scored_metric(run, "ioi"),
    lambda run: scored_graph(run, "ioi", "arm"),
    lambda run: stored_name(run, "ioi", "arm"),
    lambda run: stage_settings(run, "ioi"),
)


class Loads(Exception):
    """What stands in for loading models, which begins where all settings have been read."""


def load_nothing(*_arguments, **_options):
    raise Loads


def test_a_manifest_with_anything_at_any_setting_is_read_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(PairOptions, "load", load_nothing)
    settings = manifests(tmp_path)
    refused = 0
    for folder, config in settings.items():
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        places = [(key, None) for key in config]
        places += [
            (key, one) for key in config if isinstance(config[key], dict) for one in config[key]
        ]
        for (key, inner), value in product(places, ODD):
            own = value if inner is None else {**config[key], inner: value}
            path.write_text(json.dumps(manifest | {"config": {**config, key: own}}))
            for read in READERS:
                try:
                    read(tmp_path)
                except ArtifactError as refusal:
                    refused += 1
                    assert str(refusal).isprintable() and len(str(refusal)) < 1000
                except (Loads, ModelError):
                    pass
        path.write_text(json.dumps(manifest))
    assert refused > 500


def test_a_setting_of_another_type_is_named_with_file_key_and_what_was_expected(tmp_path):
    folder, _ = manifests(tmp_path)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["pool"]["num_examples"] = "many"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError) as refusal:
        stage_settings(tmp_path, "ioi")
    assert str(refusal.value) == (
        f"{path}, config.pool: num_examples: expected `int`, got `str`; delete {folder} and run"
        " again."
    )
    del manifest["config"]["position"]
    path.write_text(json.dumps(manifest))
    assert main(["report", str(tmp_path)]) == 2


def arrays_and_hash_of(folder, arrays):
    """Write other arrays into a stored folder, whose manifest then says their hash."""
    save_file(arrays, folder / ARRAYS_NAME)
    path = folder / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"][ARRAYS_NAME] = file_hash(folder / ARRAYS_NAME)
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("stage", "place", "record_type", "name", "axis"),
    [
        ("pool", "pool/ioi", TaskPools, "discovery.arm_correct", 0),
        ("pool", "pool/ioi", TaskPools, "held_out.schedule.commit_step", 0),
        ("scores", "scores/ioi/mdm", EdgeScores, "values", 2),
        ("scores", "scores/ioi/mdm", EdgeScores, "clusters", 0),
        ("semantics", "semantics/ioi/mdm", ComponentReadings, "semantics.node_scores", 1),
        ("semantics", "semantics/ioi/mdm", ComponentReadings, "semantics.direct.components", 1),
        ("semantics", "semantics/ioi/mdm", ComponentReadings, "semantics.lens.levels.rank", 0),
        ("semantics", "semantics/ioi/mdm", ComponentReadings, "semantics.roles.holds", 2),
        ("comparison", "comparison/ioi/mdm", Comparison, "overlap.edges.low", 0),
        ("comparison", "comparison/ioi/mdm", Comparison, "agreement.sizes", 0),
        ("faithfulness", "faithfulness/ioi/mdm", CircuitRuns, "by_owner.arm.metric", 1),
        ("faithfulness", "faithfulness/ioi/mdm", CircuitRuns, "baselines.num_forced", 0),
    ],
)
def test_arrays_of_a_right_hash_and_a_wrong_axis_are_one_line(
    small_run, tmp_path, stage, place, record_type, name, axis
):
    """As where a folder was edited, or written by a version that meant another axis."""
    folder = tmp_path / "stored"
    shutil.copytree(small_run / place, folder)
    read_record(record_type, folder, stage=stage)
    arrays = load_file(folder / ARRAYS_NAME)
    kept = np.ascontiguousarray(np.delete(arrays[name], -1, axis))
    arrays_and_hash_of(folder, arrays | {name: kept})
    with pytest.raises(ArtifactError, match="; delete its folder and run its stage again") as said:
        read_record(record_type, folder, stage=stage)
    assert "\n" not in str(said.value)
