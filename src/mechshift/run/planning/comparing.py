"""How much memory does it take to compare two models' scores?

All of it is the host's. `comparison.compare` holds both models' scores, summed over steps, and
those of one step beside them while it looks at that step. Resamples are taken in pieces, each of
which passes through a few arrays [resample, edge].
"""

from mechshift.comparison import CHUNK_BYTES, ComparisonSettings
from mechshift.graph import Graph
from mechshift.run.planning.memory import WIDE

ARRAYS = 4
"""[row, edge]: two models, summed and at one step."""

PIECES = 5
"""Pieces of `CHUNK_BYTES` that live at once, at most; 4.6 were seen."""

SMALLEST_PIECE = 4
"""Arrays of one resample that a piece holds at least: what ranks edges takes so many."""


def comparison_bytes(graph: Graph, num_rows: int, settings: ComparisonSettings) -> int:
    """The peak of comparing scores of so many examples, or shards; an upper estimate."""
    draws = max(settings.num_resamples, settings.num_exchanges, settings.num_shuffles)
    row = SMALLEST_PIECE * 8 * graph.num_edges
    piece = max(row, min(CHUNK_BYTES, draws * row))
    return ARRAYS * num_rows * graph.num_edges * WIDE + PIECES * piece
