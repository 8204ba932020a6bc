"""Messages are one line, whatever is quoted in them."""

import pytest

from mechshift import errors
from mechshift.errors import MechshiftError, TaskError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_one_line_that_steers_no_terminal(kind):
    quoted = "a\nb\r\x85\u2028c\x1b[2J\u202e\ud800 é中🙂"
    said = str(kind(f"the key '{quoted}' is unknown."))
    assert said.isprintable() and len(said.splitlines()) == 1
    assert said == r"the key 'a\nb\r\x85\u2028c\x1b[2J\u202e\ud800 é中🙂' is unknown."


def test_a_long_message_keeps_its_beginning_and_its_end():
    said = str(TaskError(f"own.jsonl, line 3: {'x' * 10**6}; give it a shorter name."))
    assert len(said) < 2_100
    assert said.startswith("own.jsonl, line 3: xx") and said.endswith("x; give it a shorter name.")


def test_an_error_without_a_message_is_empty():
    assert str(MechshiftError()) == ""
