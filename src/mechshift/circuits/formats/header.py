"""The header of our own files: the graph, and whether edges were selected."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Literal

from mechshift.errors import CircuitError
from mechshift.graph import Graph

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
    sizes = {field.name: entries.get(field.name) for field in fields(Graph)}
    missing = [name for name, size in sizes.items() if type(size) is not int]
    if "content" not in entries or missing:
        names = ", ".join(["content", *sizes])
        raise CircuitError(f"was not written by mechshift: it must state {names}.")
    if entries["content"] != content:
        raise CircuitError(
            f"holds {entries['content']!r:.60}, not '{content}'; use the function that reads"
            f" '{entries['content']}'."
        )
    return Graph(**{name: size for name, size in sizes.items() if isinstance(size, int)})
