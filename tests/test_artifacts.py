"""Run folders: whole or absent, the same bytes twice, and refused when they are of other inputs."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mechshift.artifacts import (
    Artifact,
    artifact_hash,
    file_hash,
    is_current,
    read_artifact,
    read_manifest,
    write_artifact,
)
from mechshift.errors import ArtifactError

CONFIG = {"num_examples": 200, "task": {"name": "ioi", "seed": 0}, "device": None}
INPUTS = {"pool": "ab12"}


def write(folder: Path, **changes: Any) -> Artifact:
    settings: dict[str, Any] = {
        "stage": "scores",
        "config": CONFIG,
        "inputs": INPUTS,
        "arrays": {
            "values": np.arange(12, dtype=np.float32).reshape(3, 4),
            "num_steps": np.array([1, 2, 3]),
        },
        "tables": {"dropped": pl.DataFrame({"id": ["a", "b"], "reason": ["arm", None]})},
        "texts": {"examples.jsonl": '{"id": "é"}\n'},
    }
    write_artifact(folder, **(settings | changes))
    return read_artifact(folder, stage=(settings | changes)["stage"])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "run" / "scores" / "ioi")
    artifact = read_artifact(tmp_path / "run" / "scores" / "ioi", stage="scores")
    assert sorted(artifact.arrays) == ["num_steps", "values"]
    np.testing.assert_array_equal(artifact.arrays["values"], np.arange(12).reshape(3, 4))
    assert artifact.arrays["values"].dtype == np.float32
    table = pl.read_parquet(tmp_path / "run" / "scores" / "ioi" / "dropped.parquet")
    assert table.rows() == [("a", "arm"), ("b", None)]
    assert artifact.texts == {"examples.jsonl": '{"id": "é"}\n'}
    assert artifact.manifest.config == CONFIG
    assert artifact.manifest.inputs == INPUTS
    assert set(artifact.manifest.versions) == {
        "mechshift",
        "numpy",
        "python",
        "torch",
        "transformers",
    }


@given(
    npst.arrays(
        dtype=st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int8, np.bool_]),
        shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    st.booleans(),
)
def test_any_numeric_array_keeps_its_bytes_shape_and_dtype(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, transpose: bool
) -> None:
    array = array.T if transpose else array
    folder = tmp_path_factory.mktemp("run") / "x"
    kept = write(folder, arrays={"x": array}).arrays["x"]
    assert (kept.shape, kept.dtype) == (array.shape, array.dtype)
    assert kept.tobytes() == array.tobytes()


def test_the_same_inputs_give_the_same_bytes_in_any_order_and_chunking(tmp_path: Path) -> None:
    table = pl.DataFrame({"edge": range(3000), "task": ["ioi", "greater_than", "ioi"] * 1000})
    arrays = {"a": np.ones(3), "b": np.zeros(2)}
    write(tmp_path / "first", tables={"t": table}, arrays=arrays)
    write(
        tmp_path / "second",
        tables={"t": pl.concat([table[:700], table[700:]], rechunk=False)},
        arrays=dict(reversed(arrays.items())),
        config=dict(reversed(CONFIG.items())),
    )
    assert content(tmp_path / "first") == content(tmp_path / "second")
    assert artifact_hash(tmp_path / "first") == artifact_hash(tmp_path / "second")


def test_the_manifest_is_sorted_json_that_lists_each_other_file(tmp_path: Path) -> None:
    write(tmp_path / "x")
    text = (tmp_path / "x" / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert list(manifest) == sorted(manifest)
    assert manifest["files"] == {
        path.name: file_hash(path)
        for path in (tmp_path / "x").iterdir()
        if path.name != "manifest.json"
    }
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    "change",
    [
        {"config": CONFIG | {"num_examples": 100}},
        {"inputs": {"pool": "cd34"}},
        {"arrays": {"values": np.zeros(1)}},
    ],
)
def test_the_hash_of_a_folder_follows_settings_inputs_and_results(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write(tmp_path / "x")
    write(tmp_path / "y", **change)
    assert artifact_hash(tmp_path / "x") != artifact_hash(tmp_path / "y")


def test_a_finished_stage_is_current_and_a_missing_or_empty_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    settings: dict[str, Any] = {"stage": "scores", "config": CONFIG, "inputs": INPUTS}
    assert not is_current(folder, **settings)
    folder.mkdir()
    assert not is_current(folder, **settings)
    write(folder)
    assert is_current(folder, **settings)


def test_a_config_with_tuples_is_current_after_its_trip_through_json(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"stage": "s", "config": {"sizes": (1, 2), "no": {}}, "inputs": {}}
    write_artifact(tmp_path / "x", **settings)
    assert is_current(tmp_path / "x", **settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stage": "pool"}, r'stage: "scores" there, "pool" now'),
        ({"inputs": {"pool": "cd34"}}, r'inputs\.pool: "ab12" there, "cd34" now'),
        ({"config": CONFIG | {"num_examples": 9}}, r"config\.num_examples: 200 there, 9 now"),
        ({"config": CONFIG | {"task": {"name": "ioi", "seed": 1}}}, r"config\.task\.seed: 0 there"),
        ({"config": CONFIG | {"steps": None}}, r"config\.steps: absent there, null now"),
    ],
)
def test_results_of_other_settings_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    write(tmp_path / "x")
    settings: dict[str, Any] = {"stage": "scores", "config": CONFIG, "inputs": INPUTS} | change
    with pytest.raises(ArtifactError, match=named + ".*Choose another run folder") as refusal:
        is_current(tmp_path / "x", **settings)
    assert "\n" not in str(refusal.value)
    before = content(tmp_path / "x")
    with pytest.raises(ArtifactError, match=named):
        write(tmp_path / "x", **change)
    assert content(tmp_path / "x") == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_results_of_another_version_are_not_continued_but_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x")
    monkeypatch.setattr("mechshift.artifacts._version", lambda name: "99.0")
    with pytest.raises(ArtifactError, match=r'versions\.torch: .* there, "99\.0" now'):
        is_current(tmp_path / "x", stage="scores", config=CONFIG, inputs=INPUTS)
    assert read_artifact(tmp_path / "x", stage="scores").arrays["values"].shape == (3, 4)


def test_writing_the_same_results_again_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "x")
    before = content(tmp_path / "x")
    write(tmp_path / "x")
    assert content(tmp_path / "x") == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_other_results_from_the_same_settings_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x")
    with pytest.raises(ArtifactError, match=r"files\.arrays\.safetensors"):
        write(tmp_path / "x", arrays={"values": np.zeros(1)})


def test_a_folder_that_no_stage_wrote_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("mine")
    with pytest.raises(ArtifactError, match="holds no manifest.json"):
        write(tmp_path / "x")
    assert content(tmp_path / "x") == {"thesis.tex": b"mine"}


def test_a_file_in_the_way_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ArtifactError, match="cannot write .*x: Not a directory"):
        write(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_gives_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ArtifactError, match="No space left on device; free the disk"):
        write(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


WRITES = """
import sys
from pathlib import Path
from mechshift.disk import partial_folder
with partial_folder(Path(sys.argv[1])) as partial:
    print(partial, flush=True)
    input()
"""


def test_what_another_folder_or_a_running_process_has_begun_is_left_alone(tmp_path: Path) -> None:
    """Whether it runs is told by its lock, not by its number, which another host may have too."""
    command = [sys.executable, "-c", WRITES, str(tmp_path / "x")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        begun = Path(running.stdout.readline().decode().strip())
        other = tmp_path / ".xy.partial-0-abc"
        other.mkdir()
        write(tmp_path / "x")
        assert begun.exists()
        running.kill()
    assert begun.exists(), "it had no time to tidy up"
    write(tmp_path / "x")
    assert not begun.exists()
    assert other.exists()


def test_what_no_lock_tells_of_is_left_until_it_is_a_week_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _how: int) -> None:
        raise OSError(9, "Bad file descriptor")  # what NFS says of a folder

    monkeypatch.setattr("fcntl.flock", refuse)
    for name, days in (("new", 6.9), ("old", 7.1)):
        (tmp_path / f".x.partial-{name}").mkdir()
        then = time.time() - days * 24 * 3600
        os.utime(tmp_path / f".x.partial-{name}", (then, then))
    write(tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.partial-new", "x"]


def test_a_changed_file_is_noticed_when_read_and_when_continued(tmp_path: Path) -> None:
    write(tmp_path / "x")
    (tmp_path / "x" / "examples.jsonl").write_text("{}")
    with pytest.raises(ArtifactError, match=r"examples\.jsonl was changed after it was written"):
        read_artifact(tmp_path / "x", stage="scores")
    with pytest.raises(ArtifactError, match=r"examples\.jsonl was changed after it was written"):
        is_current(tmp_path / "x", stage="scores", config=CONFIG, inputs=INPUTS)


@pytest.mark.parametrize(("folder", "beside"), [("r[1]", "r1"), ("t*", "t1"), ("q?", "q1")])
def test_a_folder_whose_name_reads_as_a_pattern_gives_its_own_files(
    tmp_path: Path, folder: str, beside: str
) -> None:
    for number, name in enumerate((folder, beside)):
        write(tmp_path / name, arrays={"values": np.array([number])}, texts={"own": name})
    artifact = read_artifact(tmp_path / folder, stage="scores")
    assert artifact.texts == {"own": folder} and artifact.arrays["values"].tolist() == [0]


def test_a_folder_whose_name_reads_as_a_pattern_is_read_where_nothing_matches_it(
    tmp_path: Path,
) -> None:
    assert write(tmp_path / "run[1]").texts == {"examples.jsonl": '{"id": "é"}\n'}


def test_a_text_is_that_of_the_bytes_that_were_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "scores")
    path = tmp_path / "scores" / "examples.jsonl"
    read = Path.read_bytes

    def read_then_exchange(self: Path) -> bytes:
        content = read(self)
        if self == path:
            path.write_text("another")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_exchange)
    artifact = read_artifact(tmp_path / "scores", stage="scores")
    assert artifact.texts == {"examples.jsonl": '{"id": "é"}\n'}


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_arrays_of_types_that_numpy_lacks_are_refused(tmp_path: Path, dtype: str) -> None:
    """They are none of ours, whatever hash they have."""
    folder = tmp_path / "x"
    write(folder, arrays={"values": np.arange(4, dtype=np.uint16)})
    path = folder / "arrays.safetensors"
    size = {"BF16": 2}.get(dtype, 1)
    header = {"values": {"dtype": dtype, "shape": [8 // size], "data_offsets": [0, 8]}}
    stated = json.dumps(header).encode()
    path.write_bytes(len(stated).to_bytes(8, "little") + stated + bytes(8))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["arrays.safetensors"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"holds 'values' as {dtype}, which no stage"):
        read_artifact(folder, stage="scores")


@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b", "../x", ""])
def test_a_manifest_that_names_no_file_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x")
    path = tmp_path / "x" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = "0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="names files outside its folder|is missing"):
        read_artifact(tmp_path / "x", stage="scores")


def test_an_array_that_was_written_to_after_its_hash_was_checked_is_refused(
    tmp_path: Path,
) -> None:
    artifact = write(tmp_path / "scores")
    path = tmp_path / "scores" / "arrays.safetensors"
    path.write_bytes(path.read_bytes())
    with pytest.raises(ArtifactError, match="was written to while it was being read"):
        artifact.arrays["values"]


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x")
    (tmp_path / "x" / "dropped.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"dropped\.parquet is missing; delete"):
        read_artifact(tmp_path / "x", stage="scores")


def test_a_folder_of_another_stage_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x")
    with pytest.raises(ArtifactError, match="by stage 'scores', not 'pool'; give the folder of"):
        read_artifact(tmp_path / "x", stage="pool")


def test_a_missing_folder_says_that_the_stage_has_not_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run that stage first"):
        read_artifact(tmp_path / "absent", stage="pool")
    with pytest.raises(ArtifactError, match="run that stage first"):
        artifact_hash(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "manifest.json: not valid JSON: .*; delete .* and run again"),
        ("[]", "manifest.json: expected `object`, got `array`; delete"),
        ("{}", "has format version None"),
        ('{"format_version": 99}', "has format version 99, and this mechshift reads 2"),
        ('{"format_version": 2, "colour": 2}', "unknown key 'colour'; known are"),
        ('{"format_version": 2}', "the key 'stage' is missing"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path)


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "x")
    path = tmp_path / "x" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"]["../secret"] = "0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"names files outside its folder: '\.\./secret'"):
        read_manifest(tmp_path / "x")


def test_an_unknown_array_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no array 'scores'; there are: num_steps, values"):
        write(tmp_path / "x").arrays["scores"]


def test_text_in_an_array_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="only numbers are kept in arrays"):
        write(tmp_path / "x", arrays={"names": np.array(["a"])})
    assert list(tmp_path.iterdir()) == []
