"""The figures of what one task's components do in both models."""

from mechshift.figures import (
    attention_roles,
    attention_roles_table,
    component_lens,
    concentration_bars,
    concentration_bars_table,
    lens_heatmap,
    lens_heatmap_table,
)
from mechshift.report.exhibit import Exhibit
from mechshift.report.records import TaskReport

SECTION = "Components"


def semantics_exhibits(task: TaskReport) -> list[Exhibit]:
    """None if components were not analysed."""
    if task.semantics is None or task.concentration is None:
        return []
    arm, mdm = task.semantics.arm, task.semantics.mdm
    lens_table = lens_heatmap_table(arm.lens, mdm.lens)
    return [
        Exhibit(
            name="concentration",
            section=SECTION,
            figure=concentration_bars(task.concentration),
            table=concentration_bars_table(task.concentration),
            reading="Do a few heads and MLPs carry the task, or many? Hover for the paired"
            " difference, which is more certain than two overlapping intervals suggest.",
        ),
        Exhibit(
            name="lens-levels",
            section=SECTION,
            figure=lens_heatmap(arm.lens, mdm.lens),
            table=lens_table.filter(kind="level"),
            reading="What the model would answer if it stopped before this layer. Where the"
            " colours brighten, the answer is there; the last row is what it does answer.",
        ),
        Exhibit(
            name="lens-components",
            section=SECTION,
            figure=component_lens(arm.lens, mdm.lens),
            table=lens_table.filter(kind="component"),
            reading="What each head and MLP would answer alone. Bright ones write the answer;"
            " dark ones work for others. Later steps are in the CSV file.",
        ),
        Exhibit(
            name="attention-roles",
            section=SECTION,
            figure=attention_roles(arm.roles, mdm.roles),
            table=attention_roles_table(arm.roles, mdm.roles),
            reading="How much more a head looks where its role says than uniform attention would."
            " The first five roles are looked for on random repeated tokens, the last two on this"
            " task. Hover for the head.",
        ),
    ]
