"""Trainings on the page: mean and spread of every quantity over the seeds of either kind.

For readers who ask how far chance in training goes, beside how far chance in examples does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from mechshift.models import ARM_CONTINUED, MDM_OTHER_SEED, control_role
from mechshift.page.formats import NOT_MEASURED, Cell, estimate_cell, number
from mechshift.statistics import Estimate
from mechshift.topics.causes import can_do_the_task, trainings_of_kinds
from mechshift.topics.topic import Quantity, TaskResults
from mechshift.topics.trainings import MIN_TRAININGS, Trainings, trainings_difference

TRAININGS = "trainings"
"""Name of the table beside the page."""


@dataclass(frozen=True, kw_only=True)
class QuantitiesTable:
    """Every quantity in a row."""

    name: str
    """Of its place on the page."""
    corner: str
    """What stands above the quantities."""
    columns: tuple[tuple[str, str], ...]
    """Name and meaning."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Quantity, and a cell for every column."""
    csv: str = ""
    """Name of the table of its numbers beside the page; empty: a figure's holds them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantityOverTrainings:
    """One quantity over the trainings of both kinds; None where none counts."""

    name: str
    with_diffusion: Trainings | None
    without: Trainings | None

    @property
    def difference(self) -> Estimate | None:
        """With diffusion minus without; None of fewer trainings than speak of either kind."""
        if self.with_diffusion is None or self.without is None:
            return None
        if min(len(self.with_diffusion.names), len(self.without.names)) < MIN_TRAININGS:
            return None
        found = trainings_difference(self.with_diffusion, self.without)
        return None if found is None else found.estimate


def over_trainings(
    task: TaskResults, quantities: Sequence[Quantity]
) -> tuple[QuantityOverTrainings, ...]:
    """Every quantity over trainings that has resamples of some; empty where no kind has two."""
    roles = [role[0] for one in task.controls if (role := control_role(one.name)) is not None]
    if MDM_OTHER_SEED not in roles and roles.count(ARM_CONTINUED) < 2:
        return ()
    members = [task.mdm, *(one for one in task.controls if can_do_the_task(one))]
    found = []
    for quantity in quantities:
        kinds = trainings_of_kinds({one.name: one.measured[quantity.name] for one in members})
        row = QuantityOverTrainings(name=quantity.name, with_diffusion=kinds[0], without=kinds[1])
        if any(kind is not None for kind in kinds):
            found.append(row)
    return tuple(found)


def trainings_table(rows: Sequence[QuantityOverTrainings]) -> QuantitiesTable:
    """Mean and spread over the trainings of either kind, and the noise of examples beside it."""
    usual = [
        max((one.names for one in kind if one is not None), key=len, default=())
        for kind in ([row.with_diffusion for row in rows], [row.without for row in rows])
    ]
    columns = [("Difference", "of the means; other examples and other trainings in the interval")]
    for kind, names in zip(("With diffusion", "Without diffusion"), usual, strict=True):
        columns += [
            (f"{kind}: mean", f"over {', '.join(names)}" if names else "of no training"),
            (f"{kind}: spread of trainings", "standard deviation, without the noise of examples"),
            (f"{kind}: noise of examples", "standard error of one training"),
        ]

    def difference(row: QuantityOverTrainings) -> Cell:
        if row.difference is not None:
            return estimate_cell(row.difference, signed=True)
        return Cell(text=NOT_MEASURED, note=f"takes {MIN_TRAININGS} trainings each")

    return QuantitiesTable(
        name="trainings-table",
        csv=TRAININGS,
        corner="Over trainings",
        columns=tuple(columns),
        rows=tuple(
            (
                row.name,
                (
                    difference(row),
                    *_cells_of_kind(row.with_diffusion, usual[0]),
                    *_cells_of_kind(row.without, usual[1]),
                ),
            )
            for row in rows
        ),
    )


def _cells_of_kind(trainings: Trainings | None, usual: tuple[str, ...]) -> tuple[Cell, Cell, Cell]:
    """Which trainings they are is only said where they are not those of the other rows."""
    if trainings is None:
        return (Cell(text=NOT_MEASURED),) * 3
    spread = Cell(text=NOT_MEASURED, note="one training")
    if len(trainings.names) > 1:
        spread = Cell(text=number(trainings.training_sd, 3))
    others = "" if trainings.names == usual else f"over {', '.join(trainings.names)}"
    return (
        Cell(text=number(trainings.mean), note=others),
        spread,
        Cell(text=number(trainings.example_error, 3)),
    )


def trainings_frame(rows: Sequence[QuantityOverTrainings]) -> pl.DataFrame:
    """The same as a table of numbers: a row for each quantity and kind."""
    lines: list[dict[str, str | float | int | None]] = []
    for row in rows:
        difference = row.difference
        for kind, one in (("with", row.with_diffusion), ("without", row.without)):
            lines.append(
                {
                    "quantity": row.name,
                    "diffusion": kind,
                    "trainings": "" if one is None else " ".join(one.names),
                    "mean": None if one is None else one.mean,
                    "training_sd": one.training_sd if one and len(one.names) > 1 else None,
                    "example_error": None if one is None else one.example_error,
                    "difference": None if difference is None else difference.value,
                    "low": None if difference is None else difference.interval.low,
                    "high": None if difference is None else difference.interval.high,
                }
            )
    texts = dict.fromkeys(("quantity", "diffusion", "trainings"), pl.String)
    names = ("mean", "training_sd", "example_error", "difference", "low", "high")
    return pl.DataFrame(lines, schema={**texts, **dict.fromkeys(names, pl.Float64)})
