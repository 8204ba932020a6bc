"""The header of our own files: the graph, and whether edges were selected."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

from msgspec import Struct

from mechshift.errors import CircuitError
from mechshift.graph import Graph
from mechshift.input_files import as_declared

Content = Literal["scores", "circuit"]
"""Every edge of a graph, or the edges of a circuit."""


def header(content: Content, graph: Graph) -> dict[str, str | int]:
    """The entries that `graph_in` reads back."""
    return {"content": content, **asdict(graph)}


def graph_in(entries: Mapping[str, object], content: Content) -> Graph:
    """The graph that a file belongs to, once it is sure that the file holds `content`.

    Raises:
        CircuitError: another content, or no such header.
    """
    stated: _Header = as_declared(
        dict(entries),
        _Header,
        where="header",
        error=CircuitError,
        advice="it was not written by mechshift",
    )
    if stated.content != content:
        raise CircuitError(
            f"holds {stated.content!r:.60}, not '{content}'; use the function that reads"
            f" {stated.content!r:.60}."
        )
    return Graph(
        num_layers=stated.num_layers,
        num_heads=stated.num_heads,
        num_key_value_groups=stated.num_key_value_groups,
    )


class _Header(Struct):
    """Statements of a header, among what else a tool may have added."""

    content: str
    num_layers: int
    num_heads: int
    num_key_value_groups: int
