"""Short views of records: one line in a console, a small table in a notebook.

A record of a run holds megabytes of arrays, which nobody wants printed: it is shown by its facts.
"""

from collections.abc import Mapping, Sequence
from html import escape


class Summarised:
    """A record that shows itself by a few facts.

    A dataclass that inherits it is made with `repr=False`, so that its fields are not printed.
    """

    def facts(self) -> Mapping[str, object]:
        """What is worth a glance, by name; each record says its own."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}: {value}" for name, value in self.facts().items())
        return f"{type(self).__name__}({facts})"

    def _repr_html_(self) -> str:
        """A row a fact, for notebooks."""
        rows = [[escape(name), escape(str(value))] for name, value in self.facts().items()]
        return html_table([escape(type(self).__name__), ""], rows)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
