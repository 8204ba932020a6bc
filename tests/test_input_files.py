"""Whatever a file holds, a reader gets the declared type or one line."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from mechshift.errors import ArtifactError, ConfigError
from mechshift.input_files import check_regular, parse_json, read_bytes, read_json, read_lines


@dataclass(frozen=True, kw_only=True)
class Place:
    """A record of ours."""

    layer: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise ConfigError(f"no layer {self.layer}.")


class Foreign(Struct):
    """What is read of a record of others."""

    places: Mapping[str, Place]
    share: float | None = None


def parsed(text, declared, advice=""):
    content = text if isinstance(text, bytes) else text.encode()
    return parse_json(content, declared, where="here", error=ArtifactError, advice=advice)


def test_values_become_what_is_declared():
    found = parsed(
        '{"places": {"a": {"layer": 1, "names": ["x"]}}, "share": 1, "more": 2}', Foreign
    )
    assert found.places == {"a": Place(layer=1, names=("x",))}
    assert found.share == 1.0 and type(found.share) is float
    assert parsed(b'\xef\xbb\xbf{"3": "three"}\n', dict[int, str]) == {3: "three"}
    assert parsed(r'"\ud83d\ude00"', str) == "\U0001f600"  # two halves are a character


MESSAGES = {
    "a missing key": ("{}", Place, "the key 'layer' is missing"),
    "an unknown key": ('{"layer": 1, "a": 2}', Place, "unknown key 'a'; known are layer, names"),
    "another type": ('{"layer": "1"}', Place, "layer: expected `int`, got `str`"),
    "true for a number": ('{"layer": true}', Place, "layer: expected `int`, got `bool`"),
    "an item": ('{"layer": 1, "names": ["", 2]}', Place, "names[1]: expected `str`, got `int`"),
    "what a record refuses": ('{"layer": -1}', Place, "no layer -1"),
    "an inner key": (
        '{"places": {"a": {"layer": 1}, "b": {"layer": 1.5}, "c": {"layer": 1}}}',
        Foreign,
        "places['b'].layer: expected `int`, got `float`",
    ),
    "an outer key": ('{"a": 1, "b": null}', dict[str, int], "['b']: expected `int`, got `null`"),
    "a key twice": (
        '{"a": 1, "b": 2, "b": 3}',
        dict[str, int],
        "the key 'b' stands twice; keep one",
    ),
    "half a character": (
        r'{"a": ["x", "\ud800"]}',
        dict[str, Any],
        r"'a[1]' holds half of a character, '\ud800'; write it whole",
    ),
    "half a character as a key": (
        r'{"\udfff": 1}',
        dict[str, Any],
        r"'a key' holds half of a character, '\udfff'; write it whole",
    ),
    "deep lists": ("[" * 10_000, Any, "its lists and objects are nested too deeply"),
    "deep objects": ('{"a":' * 10_000, Any, "its lists and objects are nested too deeply"),
    "Latin-1": (b'"\xe9"', str, "byte 1 is not UTF-8; save the file with that encoding"),
    "UTF-16": (
        '"a"'.encode("utf-16"),
        str,
        "byte 0 is not UTF-8; save the file with that encoding",
    ),
    "NUL": (b'"\0"', str, "not valid JSON: Invalid control character at at column 2"),
    "no JSON": (
        "{\n,",
        Any,
        "not valid JSON: Expecting property name enclosed in double quotes at",
    ),
    "nothing": ("", Any, "not valid JSON: Expecting value at column 1"),
}


@pytest.mark.parametrize(("text", "declared", "message"), MESSAGES.values(), ids=MESSAGES)
def test_a_refusal_is_one_line_with_file_key_and_what_was_expected(text, declared, message):
    with pytest.raises(ArtifactError) as refusal:
        parsed(text, declared, advice="write it anew")
    assert str(refusal.value).startswith(f"here: {message}")
    assert str(refusal.value).endswith("; write it anew.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON, key=st.sampled_from(["places", "share", "more"]))
def test_any_value_at_any_key_is_read_or_refused_in_one_short_line(value, key):
    text = json.dumps({"places": {"a": {"layer": 1}}, key: value})
    try:
        assert isinstance(parsed(text, Foreign), Foreign)
    except ArtifactError as refusal:
        assert str(refusal).isprintable() and len(str(refusal)) < 400


@given(content=st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(content):
    try:
        parsed(content, Any)
    except ArtifactError as refusal:
        assert str(refusal).isprintable() and len(str(refusal)) < 400


def test_a_refusal_finds_its_key_among_many():
    text = json.dumps({f"k{i}": i if i != 77_777 else "x" for i in range(100_000)})
    with pytest.raises(ArtifactError, match=r"\['k77777'\]: expected `int`, got `str`"):
        parsed(text, dict[str, int])


def test_a_pipe_a_folder_a_large_and_an_absent_file_are_refused_before_they_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    for name, said in [
        ("pipe", "it is a pipe or a device; give a regular file"),
        ("large", "it has 5 bytes, and at most 4 are read"),
        ("absent", "No such file or directory"),
        ("", "Is a directory"),
        ("\0", "embedded null byte"),
    ]:
        shown = re.escape(repr(name)[1:-1])
        with pytest.raises(ArtifactError, match=f"cannot read .*{shown}.*: {said}"):
            check_regular(tmp_path / name, 4, error=ArtifactError)
        with pytest.raises(ArtifactError, match=said):
            read_bytes(tmp_path / name, 4, error=ArtifactError)
        if name != "large":
            with pytest.raises(ArtifactError, match=said):
                read_json(tmp_path / name, Any, error=ArtifactError)


def test_lines_come_one_by_one_and_a_long_one_is_refused_with_its_number(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one\n\r\nthree" + b"\nlonger\nlast")
    lines = read_lines(path, 100, 6, error=ArtifactError)
    assert [next(lines) for _ in range(3)] == [(1, b"one\n"), (2, b"\r\n"), (3, b"three\n")]
    with pytest.raises(ArtifactError, match="lines, line 4: it has more than 6 bytes"):
        next(lines)
