"""The driver, on stages that count: what is there is left alone, and what is missing is made."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mechshift.artifacts import read_manifest
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import ArtifactError
from mechshift.flat_records import Files, read_record
from mechshift.locks import hold_folder
from mechshift.run.stage import ChunkedWork, Piece, Stage, Work, is_written_as, write_pieces
from mechshift.testing import random_examples, random_language_model

COUNT = Stage(name="count", command="count", about="counts")
PAGE = Stage(name="page", command="page", about="writes", remade="always")


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """A record of one array."""

    values: np.ndarray


def count_piece(folder, made, *, seed=0, value=1.0):
    """A piece that notes in `made` that it was made."""

    def compute(advance):
        made.append(folder.name)
        advance(1)
        return Numbers(values=np.array([value]))

    return Piece(
        folder=folder,
        config={"seed": seed},
        inputs={"pool": "abc"},
        prepare=lambda: Work(title="count", total=1, compute=compute),
    )


def read(folder, stage="count"):
    return read_record(Numbers, folder, stage=stage).values.tolist()


def test_a_piece_is_made_once_and_its_manifest_says_from_what(tmp_path):
    made: list[str] = []
    for _ in range(2):
        write_pieces(tmp_path, COUNT, [count_piece(tmp_path / "one", made)], quiet=True)
    assert made == ["one"] and read(tmp_path / "one") == [1.0]
    manifest = read_manifest(tmp_path / "one")
    assert (manifest.stage, manifest.config) == ("count", {"seed": 0})
    assert manifest.inputs == {"pool": "abc"}


def test_what_is_there_is_not_even_prepared(tmp_path):
    write_pieces(tmp_path, COUNT, [count_piece(tmp_path / "one", [])], quiet=True)

    def refuse():
        raise AssertionError("prepared")

    piece = Piece(
        folder=tmp_path / "one", config={"seed": 0}, inputs={"pool": "abc"}, prepare=refuse
    )
    assert is_written_as(COUNT, piece)
    write_pieces(tmp_path, COUNT, [piece], quiet=True)


def test_other_settings_are_refused_and_what_is_there_is_kept(tmp_path):
    made: list[str] = []
    write_pieces(tmp_path, COUNT, [count_piece(tmp_path / "one", made)], quiet=True)
    other = count_piece(tmp_path / "one", made, seed=1, value=2.0)
    with pytest.raises(ArtifactError, match=r"other settings \(config.seed: 0 there, 1 now\)"):
        write_pieces(tmp_path, COUNT, [other], quiet=True)
    assert made == ["one"] and read(tmp_path / "one") == [1.0]


def test_pieces_that_were_finished_before_one_failed_are_kept(tmp_path):
    made: list[str] = []

    def fail(_advance):
        raise ArtifactError("broken")

    broken = Piece(
        folder=tmp_path / "two",
        config={},
        inputs={},
        prepare=lambda: Work(title="fail", total=1, compute=fail),
    )
    with pytest.raises(ArtifactError, match="broken"):
        write_pieces(tmp_path, COUNT, [count_piece(tmp_path / "one", made), broken], quiet=True)
    assert read(tmp_path / "one") == [1.0] and not (tmp_path / "two").exists()


def test_a_later_piece_is_asked_for_only_when_the_earlier_one_is_written(tmp_path):
    def pieces():
        yield count_piece(tmp_path / "one", [])
        (value,) = read(tmp_path / "one")
        yield count_piece(tmp_path / "two", [], value=value + 1)

    write_pieces(tmp_path, COUNT, pieces(), quiet=True)
    assert read(tmp_path / "two") == [2.0]


def test_a_stage_that_costs_seconds_makes_room_for_itself_unless_it_fails(tmp_path):
    made: list[str] = []
    write_pieces(tmp_path, PAGE, [count_piece(tmp_path / "one", made)], quiet=True)
    write_pieces(
        tmp_path, PAGE, [count_piece(tmp_path / "one", made, seed=1, value=2.0)], quiet=True
    )
    assert made == ["one", "one"] and read(tmp_path / "one", "page") == [2.0]

    def fail(_advance):
        raise ArtifactError("broken")

    broken = Piece(
        folder=tmp_path / "one",
        config={},
        inputs={},
        prepare=lambda: Work(title="fail", total=1, compute=fail),
    )
    with pytest.raises(ArtifactError, match="broken"):
        write_pieces(tmp_path, PAGE, [broken], quiet=True)
    assert read(tmp_path / "one", "page") == [2.0]


def test_a_stage_that_is_remade_when_stale_is_kept_where_it_is_not(tmp_path):
    """Other settings, or a damaged manifest, are made anew where another stage would refuse."""
    stage = replace(COUNT, remade="when stale")
    made: list[str] = []
    for seed in (0, 0, 1):
        write_pieces(tmp_path, stage, [count_piece(tmp_path / "one", made, seed=seed)], quiet=True)
    assert len(made) == 2 and read_manifest(tmp_path / "one").config == {"seed": 1}
    (tmp_path / "one" / "manifest.json").write_text("{")
    write_pieces(tmp_path, stage, [count_piece(tmp_path / "one", made, seed=1)], quiet=True)
    assert len(made) == 3 and read(tmp_path / "one") == [1.0]


def test_a_piece_that_has_nothing_to_store_leaves_no_folder_and_no_stale_one(tmp_path):
    stage = replace(COUNT, remade="when stale")
    write_pieces(tmp_path, stage, [count_piece(tmp_path / "one", [])], quiet=True)
    empty = replace(
        count_piece(tmp_path / "one", [], seed=1),
        prepare=lambda: Work(title="count", total=1, compute=lambda _: None),
    )
    write_pieces(tmp_path, stage, [empty], quiet=True)
    assert not (tmp_path / "one").exists()


def test_pieces_that_take_no_time_share_one_bar(tmp_path, capsys):
    pieces = [count_piece(tmp_path / name, []) for name in ("one", "two", "three")]
    write_pieces(tmp_path, replace(COUNT, together="count all"), pieces)
    shown = capsys.readouterr().err
    assert "count all" in shown and "3/3" in shown
    assert read(tmp_path / "three") == [1.0]


def test_a_stage_that_writes_for_people_gives_its_files_as_they_are(tmp_path):
    files = Files(texts={"page.html": "<p>"})
    piece = Piece(
        folder=tmp_path / "page",
        config={},
        inputs={},
        prepare=lambda: Work(title="write", total=1, compute=lambda _: files),
        stage="other",
    )
    write_pieces(tmp_path, PAGE, [piece], quiet=True)
    names = sorted(path.name for path in (tmp_path / "page").iterdir())
    assert names == ["manifest.json", "page.html"]
    assert read_manifest(tmp_path / "page").stage == "other"


@pytest.fixture
def chunked():
    """A piece of five examples in chunks of two, whose record is the examples' numbers."""
    model = random_language_model("llama", "arm", num_layers=1)
    examples = random_examples(5, kind="arm")
    lengths = [len(example.target_ids) for example in examples]
    canvases = build_canvases(model, examples, left_to_right(lengths))

    def piece(folder, made, *, stop_at=None):
        def compute(chunk, advance):
            numbers = sorted({canvas.example for canvas in chunk})
            if stop_at in numbers:
                raise KeyboardInterrupt
            made.append(numbers)
            advance(len(chunk))
            return Numbers(values=np.array(numbers, dtype=np.float64))

        work = ChunkedWork(
            title="count",
            canvases=canvases,
            chunk_size=2,
            compute=compute,
            read=lambda part: read_record(Numbers, part, stage="count"),
            join=lambda parts: Numbers(values=np.concatenate([part.values for part in parts])),
        )
        return Piece(folder=folder, config={}, inputs={}, prepare=lambda: work)

    return piece


def hashes(folder: Path):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_work_that_was_stopped_goes_on_at_its_chunk_and_ends_with_the_same_bytes(chunked, tmp_path):
    whole: list[list[int]] = []
    write_pieces(tmp_path, COUNT, [chunked(tmp_path / "whole", whole)], quiet=True)
    assert whole == [[0, 1], [2, 3], [4]]
    assert read(tmp_path / "whole") == [0.0, 1.0, 2.0, 3.0, 4.0]
    made: list[list[int]] = []
    with pytest.raises(KeyboardInterrupt):
        write_pieces(tmp_path, COUNT, [chunked(tmp_path / "part", made, stop_at=3)], quiet=True)
    assert made == [[0, 1]] and not (tmp_path / "part").exists()
    chunks = tmp_path / "part.chunks"
    assert [path.name for path in chunks.iterdir()] == ["000000-000001"]
    write_pieces(tmp_path, COUNT, [chunked(tmp_path / "part", made)], quiet=True)
    assert made == whole and not chunks.exists()
    assert hashes(tmp_path / "part") == hashes(tmp_path / "whole")


def test_a_stage_is_done_while_no_other_process_writes_in_the_run_and_may_be_part_of_a_run(
    tmp_path, held_elsewhere
):
    """The run holds the folder, and so does each of its stages."""
    made: list[str] = []
    with hold_folder(tmp_path / "run"):
        write_pieces(tmp_path / "run", COUNT, [count_piece(tmp_path / "run" / "one", made)])
        names = {path.name for path in (tmp_path / "run").iterdir()}
        assert names == {"one", ".lock", ".lock-holder.json"}, "still held"
    with held_elsewhere(tmp_path / "run") as process:
        message = rf"run is in use by process {process.pid} on .*; wait until it has ended"
        with pytest.raises(ArtifactError, match=message):
            write_pieces(tmp_path / "run", COUNT, [count_piece(tmp_path / "run" / "two", made)])
    assert made == ["one"]
    write_pieces(tmp_path / "run", COUNT, [count_piece(tmp_path / "run" / "two", made)])
    assert made == ["one", "two"]
