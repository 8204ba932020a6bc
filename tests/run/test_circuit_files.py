"""What is exported is what the run holds, and what is read back is evaluated as the run did."""

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.circuits.formats import (
    read_circuit,
    read_graphml_scores,
    read_mib_scores,
    read_safetensors_scores,
    write_safetensors_circuit,
)
from mechshift.cli.main import main
from mechshift.errors import ArtifactError, CircuitError
from mechshift.graph import Graph
from mechshift.run import evaluate_files, export_circuits, load_stored_pair
from mechshift.run.folders import KINDS
from mechshift.run.stored import RunTask

READ_SCORES = {
    "mib-json": (".json", read_mib_scores),
    "graphml": (".graphml", read_graphml_scores),
    "safetensors": (".safetensors", read_safetensors_scores),
}


@pytest.mark.parametrize("name", READ_SCORES)
def test_every_format_holds_the_mean_scores_and_the_top_edges_of_the_run(name, small_run, tmp_path):
    suffix, read = READ_SCORES[name]
    written = export_circuits(small_run, tmp_path, format=name, tasks=["ioi"], circuit_size=60)
    expected = [f"ioi-{m}-{part}{suffix}" for m in KINDS for part in ("scores", "circuit")]
    assert [path.name for path in written] == expected
    for kind in KINDS:
        scores = RunTask(run=small_run, task="ioi").scores(kind)
        np.testing.assert_array_equal(
            read(tmp_path / f"ioi-{kind}-scores{suffix}").scores, scores.mean()
        )
        circuit = read_circuit(tmp_path / f"ioi-{kind}-circuit{suffix}")
        assert circuit.names() == select_top_edges(scores.graph, scores.mean(), 60).names()


def test_all_tasks_and_models_are_exported_at_the_size_that_was_compared(small_run, tmp_path):
    written = export_circuits(small_run, tmp_path / "new" / "folder", format="safetensors")
    circuits = [path for path in written if "circuit" in path.name]
    assert len(written) == 2 * len(circuits) == 2 * 2 * 2
    size = RunTask(run=small_run, task="ioi").comparison().circuit_size
    assert {read_circuit(path).num_edges for path in circuits} == {size}


def test_the_command_prints_what_it_wrote(small_run, tmp_path, capsys):
    words = ["--format", "safetensors", "--task", "infilling", "--model", "mdm"]
    assert main(["export", str(small_run), str(tmp_path), *words]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [
        str(tmp_path / f"infilling-mdm-{part}.safetensors") for part in ("scores", "circuit")
    ]
    assert sorted(map(str, tmp_path.iterdir())) == sorted(printed)


def test_a_task_that_the_run_lacks_is_refused(small_run, tmp_path):
    with pytest.raises(ArtifactError, match="has no task 'chess'; it has ioi, infilling"):
        export_circuits(small_run, tmp_path, format="graphml", tasks=["chess"])


@pytest.mark.parametrize(
    ("place", "message"),
    [("file", "cannot write in .*: File exists"), ("file/deep", "cannot write in .*: Not a dir")],
)
def test_a_file_in_the_way_is_named_before_the_models_are_loaded(
    tmp_path, monkeypatch, place, message
):
    monkeypatch.setattr("mechshift.run.circuit_files.pool_manifests", lambda run: {"ioi": None})
    monkeypatch.setattr("mechshift.run.circuit_files._writer", lambda *_: pytest.fail("a wait"))
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        export_circuits(tmp_path / "run", tmp_path / place, format="mib-json")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mechshift.run.circuit_files.pool_manifests", lambda run: {"ioi": None})
    monkeypatch.setattr("mechshift.disk.TemporaryFile", full)
    with pytest.raises(ArtifactError, match="cannot write in .*: No space left on device; choose"):
        export_circuits(tmp_path / "run", tmp_path / "out", format="mib-json")


def test_an_exported_circuit_is_as_faithful_as_the_run_found_it(small_run, small, tmp_path):
    export_circuits(small_run, tmp_path, format="graphml", tasks=["ioi"])
    files = [tmp_path / f"ioi-{owner}-circuit.graphml" for owner in KINDS]
    pair = load_stored_pair(small_run, "cpu")
    table = evaluate_files(small_run, pair, files, small.evaluation, quiet=True)
    assert len(table) == 2 * 2 * 2
    size = RunTask(run=small_run, task="ioi").comparison().circuit_size
    rows = [row for row in table.iter_rows(named=True) if row["task"] == "ioi"]
    for row, (model, owner) in zip(
        rows, [(model, owner) for model in KINDS for owner in KINDS], strict=True
    ):
        metrics = RunTask(run=small_run, task="ioi").circuit_metrics(model)[owner]
        at = metrics.sizes == size
        assert (row["model"], row["file"]) == (model.upper(), f"ioi-{owner}-circuit.graphml")
        assert (row["edges"], row["live"]) == (size, metrics.live_sizes[at][0])
        assert row["faithfulness"] == pytest.approx(metrics.curve().faithfulness[at][0], abs=1e-6)
        assert row["low"] < row["faithfulness"] < row["high"]


def test_evaluating_a_file_prints_a_table_and_leaves_the_run_alone(small_run, tmp_path, capsys):
    export_circuits(small_run, tmp_path, format="safetensors", tasks=["ioi"], models=["arm"])
    before = sorted(small_run.rglob("*"))
    path = str(tmp_path / "ioi-arm-circuit.safetensors")
    words = ["--circuit", path, "--ablation", "zero", "--device", "cpu", "--quiet"]
    assert main(["evaluate", str(small_run), *words]) == 0
    shown = capsys.readouterr().out
    assert "faithfulness" in shown and shown.count("ioi-arm-circuit.safetensors") == 4
    assert sorted(small_run.rglob("*")) == before


def test_a_circuit_of_another_architecture_is_refused_by_file_before_any_model_runs(
    small_run, small, tmp_path, monkeypatch
):
    monkeypatch.setattr("mechshift.run.circuit_files.run_groups", None)
    graph = Graph(num_layers=2, num_heads=3, num_key_value_groups=3)
    path = tmp_path / "other.safetensors"
    write_safetensors_circuit(path, select_top_edges(graph, np.ones(graph.num_edges), 5))
    pair = load_stored_pair(small_run, "cpu")
    with pytest.raises(
        CircuitError, match=r"other\.safetensors: a circuit of 2 layers, 3 heads and 3"
    ):
        evaluate_files(small_run, pair, [path], small.evaluation, quiet=True)
