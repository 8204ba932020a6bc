"""Circuit explorer: both models' circuits to work in, edge by edge and node by node.

For readers who know circuits and want to see one edge, or one head, in both models at once. The
record is in `explorer_record`, what the page gets of it and of other topics in `explorer_data`, and
what a reader works with in `page/templates/explorer.js`.
"""

from collections.abc import Mapping
from typing import Any

from mechshift.page.elements import Definition, Part
from mechshift.topics.explorer_data import explorer_data
from mechshift.topics.explorer_record import LARGEST_SIZE, Explorer, conclude_explorer
from mechshift.topics.topic import TaskResults, Topic


def _parts(task: TaskResults) -> tuple[Part, ...]:
    record = EXPLORER.of(task)
    if record is None:
        return ()
    content = {
        "task": task.task,
        "data": explorer_data(record, task),
        "num_edges": len(record.edges),
        "graph_edges": record.graph.num_edges,
    }
    return (Part(template="explorer_data.html.j2", content=content),)


def _method(_: Mapping[str, Any]) -> tuple[Definition, ...]:
    return (
        Definition(
            term="Circuit explorer",
            meaning=f"Holds the {LARGEST_SIZE:,} strongest edges of each model, or all of a smaller"
            " graph. Intervals of single edges are bootstrap intervals over clusters, each by"
            " itself: of many edges, some miss. At a denoising step, edges are ranked by |mean"
            " score| of that step among those that the page holds; an example without the step"
            " counts as 0. At a checkpoint of a post-training, its edges are ranked by |mean score|"
            " among those that the page holds of checkpoints, and have no intervals. Scores at"
            " steps and of examples are rounded to parts of each edge's largest |score|, which the"
            " page states.",
        ),
    )


EXPLORER: Topic[Explorer] = Topic(
    name="explorer",
    title="Circuit explorer",
    record_type=Explorer,
    conclude=conclude_explorer,
    reads=("semantics", "points"),
    parts=_parts,
    method=_method,
)
