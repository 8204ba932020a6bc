"""The tables of docs/pairs.md are those of the catalogue."""

from pathlib import Path

import pytest

from mechshift.models import PAIRS, UNPAIRED_MDMS
from mechshift.models.revisions import REVISIONS

PAGE = Path(__file__).parents[2] / "docs" / "pairs.md"


def row(entry, *places):
    attention = {
        "block-causal": f"blocks of {entry.block_length}",
        "causal-prefix": f"causal, and a block of {entry.block_length}",
    }.get(entry.attention, entry.attention.replace("-", " "))
    cells = [
        f"`{entry.name}`",
        *places,
        attention,
        "yes" if entry.shift else "no",
        "own" if entry.mask_token_id is None else str(entry.mask_token_id),
        entry.source,
        "yes" if entry.verified else "no",
    ]
    return f"| {' | '.join(cells)} |"


def pair_rows():
    return [
        row(entry, *(("embedded",) * 2 if entry.embedded else (entry.arm.path, entry.mdm.path)))
        for entry in PAIRS.values()
    ]


def unpaired_rows():
    return [row(entry, entry.mdm.path) for entry in UNPAIRED_MDMS.values()]


def revision_rows():
    return [f"| {path} | `{commit}` |" for path, commit in REVISIONS.items()]


@pytest.mark.parametrize(
    "expected",
    [pair_rows(), unpaired_rows(), revision_rows()],
    ids=["pairs", "unpaired MDMs", "revisions"],
)
def test_the_page_has_a_row_for_every_entry_in_order(expected):
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(expected[0])
    end = next(i for i in range(start, len(lines) + 1) if i == len(lines) or not lines[i])
    assert lines[start:end] == expected
