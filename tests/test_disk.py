"""Files and folders on the disk: whole under their names, and what is there is kept or replaced."""

import errno
import os
from pathlib import Path

import pytest

from mechshift.disk import make_writable, move_into_place, partial_folder, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def written(folder: Path, text: str) -> Path:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text(text)
    return folder


def test_a_text_takes_the_place_of_an_earlier_one_with_plain_line_ends(tmp_path: Path) -> None:
    for text in ("first\n", "ü\n"):
        write_whole(tmp_path / "x", text)
        assert (tmp_path / "x").read_bytes() == text.encode("utf-8")
    assert names(tmp_path) == ["x"]


def test_a_folder_that_was_not_moved_is_gone(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="in between"),
        partial_folder(tmp_path / "parent" / "x") as partial,
    ):
        written(partial / "deep", "half")
        raise RuntimeError("in between")
    assert names(tmp_path / "parent") == []


def test_what_has_the_name_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    there = written(tmp_path / "x", "old")
    new = written(tmp_path / ".x.partial", "new")
    with pytest.raises(OSError, match="not empty"):
        move_into_place(new, there)
    assert (there / "inner" / "file").read_text() == "old"
    move_into_place(new, there, replace=True)
    assert (there / "inner" / "file").read_text() == "new"
    assert names(tmp_path) == ["x"]


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(NotADirectoryError):
        move_into_place(written(tmp_path / ".x.partial", "new"), tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


def test_every_file_is_on_the_disk_before_the_older_folder_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = written(tmp_path / "x", "old")
    new = written(tmp_path / ".x.partial", "new")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        move_into_place(new, there, replace=True)
    assert (there / "inner" / "file").read_text() == "old"


def test_a_folder_is_made_and_tried_before_long_work(tmp_path: Path) -> None:
    make_writable(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_writable(tmp_path / "file")


def test_what_has_the_name_keeps_it_where_the_new_one_cannot_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text(name)

    def refuse(_path: Path, _target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        move_into_place(tmp_path / "new", tmp_path / "old", replace=True)
    assert (tmp_path / "old" / "text").read_text() == "old"
    monkeypatch.undo()
    move_into_place(tmp_path / "new", tmp_path / "old", replace=True)
    assert (tmp_path / "old" / "text").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
