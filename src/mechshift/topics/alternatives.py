"""Alternatives to the circuits: how low overlap goes inside one model at equal faithfulness.

For readers who ask what a low overlap of two models' circuits means. Where one model has two
circuits that are as faithful and share few edges, two models may share as few and do the same.

Rules:

1. Another circuit does as well: a candidate is confirmed on held-out examples
   (`evaluation.alternative_circuits`). None proves that there is no other.
2. Choice among equals explains the overlap of the two models: the noise-free overlap lies above the
   lower of the two floors with all of its interval. Below both, it does not, as far as was looked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mechshift.comparison import LOWEST_CEILING
from mechshift.errors import EvaluationError
from mechshift.evaluation import EQUALLY_FAITHFUL, OverlapFloor, overlap_floor
from mechshift.models import Kind
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.formats import (
    NOT_DECIDED,
    NOT_MEASURED,
    UNDEFINED,
    Cell,
    in_words,
    number,
)
from mechshift.page.theme import DOTTED, MODEL_COLOURS, MODEL_NAMES, PAIR_COLOUR, finish, percent
from mechshift.statistics import Estimate
from mechshift.topics.decisions import by_side
from mechshift.topics.topic import KINDS, HeadlineRow, StoredTask, TaskResults, Topic


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelAlternatives:
    """Floor of overlap inside one model, or why nothing can be said of it."""

    found: OverlapFloor | None = None
    reason: str = ""
    """Why there is no floor; empty where there is one."""

    def __post_init__(self) -> None:
        assert (self.found is None) == bool(self.reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class Alternatives:
    """Of both models."""

    circuit_size: int
    """Edges of every circuit."""
    num_held_out: int
    """Examples on which candidates are confirmed."""
    arm: ModelAlternatives
    mdm: ModelAlternatives

    def of(self, model: Kind) -> ModelAlternatives:
        """One of the two."""
        return {"arm": self.arm, "mdm": self.mdm}[model]

    @property
    def floors(self) -> dict[Kind, OverlapFloor]:
        """Of the models that have one."""
        found = {model: self.of(model).found for model in KINDS}
        return {model: floor for model, floor in found.items() if floor is not None}

    @property
    def lowest(self) -> float | None:
        """The lower of the two floors; None where neither model has one."""
        return min((floor.value for floor in self.floors.values()), default=None)


def concluded_alternatives(stored: StoredTask) -> Alternatives | None:
    """What was found on a task; None where no other circuits were run.

    Raises:
        ArtifactError: damaged.
    """
    runs = {model: stored.alternatives(model) for model in KINDS}
    arm, mdm = runs["arm"], runs["mdm"]
    if arm is None or mdm is None:
        return None
    settings = stored.settings

    def conclude(model: Kind) -> ModelAlternatives:
        found = runs[model]
        assert found is not None
        try:
            floor = overlap_floor(
                found,
                level=settings.level,
                num_resamples=settings.num_resamples,
                seed=settings.seed,
            )
        except EvaluationError as error:
            return ModelAlternatives(reason=str(error))
        return ModelAlternatives(found=floor)

    return Alternatives(
        circuit_size=arm.edges.shape[1],
        num_held_out=len(arm.held_out.full),
        arm=conclude("arm"),
        mdm=conclude("mdm"),
    )


def table_of_floors(found: Mapping[str, Alternatives]) -> pl.DataFrame:
    """One row a task and model: the floor, and faithfulness of the circuit that reaches it."""
    rows = [
        (task, model, record.floors.get(model)) for task, record in found.items() for model in KINDS
    ]
    return pl.DataFrame(
        {
            "task": [task for task, _, _ in rows],
            "model": [MODEL_NAMES[model] for _, model, _ in rows],
            "candidates": [None if one is None else len(one.overlap) - 1 for _, _, one in rows],
            "as faithful": [None if one is None else one.num_confirmed for _, _, one in rows],
            "floor": [None if one is None else one.value for _, _, one in rows],
            "faithful": [
                None if one is None else float(one.held_out.value[one.lowest]) for _, _, one in rows
            ],
            "own": [None if one is None else float(one.held_out.value[0]) for _, _, one in rows],
        },
        schema={
            "task": pl.String,
            "model": pl.String,
            "candidates": pl.Int64,
            "as faithful": pl.Int64,
            "floor": pl.Float64,
            "faithful": pl.Float64,
            "own": pl.Float64,
        },
    )


def alternatives_figure(record: Alternatives, between: Estimate | None) -> Figure:
    """Faithfulness of the candidates against their overlap with the model's own circuit.

    Args:
        record: at least one model of it has a floor.
        between: noise-free overlap of the two models' circuits, drawn as a line; None: no line.
    """
    floors = record.floors
    assert floors
    figure = Figure()
    for model, floor in floors.items():
        figure.add(_candidates(model, floor))
        least = float(floor.held_out.value[0]) - floor.margin
        figure.add_hline(least, line=DOTTED | {"color": MODEL_COLOURS[model]})
    if between is not None:
        figure.add_vline(between.value, line=DOTTED | {"color": PAIR_COLOUR})
    figure.set_xaxes(title="Jaccard overlap with own circuit", range=[-0.03, 1.03])
    figure.set_yaxes(title="faithfulness (1 = full model)")
    floor = next(iter(floors.values()))
    shown = "" if between is None else "; green: noise-free overlap of the two models"
    return finish(
        figure,
        "Other circuits of one model",
        f"circuits of {record.circuit_size:,} edges; n = {record.num_held_out} held-out examples;"
        f" bars: {percent(floor.held_out.level)} bootstrap intervals; dotted: {floor.margin:g}"
        f" below the own circuit{shown}",
        wide={"height": 430, "margin.b": 110},
        narrow={"height": 520, "margin.b": 150},
    )


def _candidates(model: Kind, floor: OverlapFloor) -> Trace:
    """One model's; filled: the own circuit, and those that were confirmed."""
    shown = np.argsort(floor.overlap, kind="stable")
    as_faithful = {0, *floor.confirmed.tolist()}
    held_out, colour, name = floor.held_out, MODEL_COLOURS[model], MODEL_NAMES[model]
    value, low, high = (part[shown] for part in (held_out.value, held_out.low, held_out.high))
    return scatter(
        x=floor.overlap[shown],
        y=value,
        mode="markers",
        marker={
            "size": 9,
            "color": colour,
            "symbol": ["circle" if one in as_faithful else "circle-open" for one in shown.tolist()],
        },
        error_y={
            "type": "data",
            "array": high - value,
            "arrayminus": value - low,
            "thickness": 1.2,
        },
        cliponaxis=False,
        customdata=np.stack(
            [low, high, floor.num_penalised[shown], floor.factors[shown]], axis=-1, dtype=np.float64
        ),
        hovertemplate="overlap %{x:.3f}: keeps %{y:.3f} [%{customdata[0]:.3f},"
        " %{customdata[1]:.3f}]; score of %{customdata[2]} own edges × %{customdata[3]:.2f}"
        f"<extra>{name}</extra>",
        name=f"{name}, filled: confirmed as faithful",
    )


def alternatives_table(record: Alternatives) -> pl.DataFrame:
    """One row per model and candidate; the first of each model is its own circuit."""
    return pl.concat(_model_table(model, floor) for model, floor in record.floors.items())


def _model_table(model: Kind, floor: OverlapFloor) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "model": model,
        "factor": floor.factors,
        "num_penalised": floor.num_penalised,
        "overlap": floor.overlap,
        "live_size": floor.live_sizes,
    }
    for name in ("discovery", "held_out", "discovery_loss", "held_out_loss"):
        estimates = getattr(floor, name)
        columns[name] = estimates.value
        columns[f"{name}_low"], columns[f"{name}_high"] = estimates.low, estimates.high
    places = np.arange(len(floor.factors))
    columns["tried_on_held_out"] = np.isin(places, floor.order)
    columns["as_faithful"] = np.isin(places, [0, *floor.confirmed.tolist()])
    return pl.DataFrame(columns)


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    record = ALTERNATIVES.of(task)
    if record is None:
        return ()
    return (*(_does_as_well(record, model) for model in KINDS), _explained(task, record))


def _does_as_well(record: Alternatives, model: Kind) -> Finding:
    """Whether another circuit of a model is as faithful as its own."""
    name, size, one = MODEL_NAMES[model], record.circuit_size, record.of(model)
    question = f"Could another circuit of the {name} do as well?"
    floor = one.found
    if floor is None:
        reason = f"{one.reason[0].upper()}{one.reason[1:]}"
        return Finding(question=question, verdict=UNDEFINED, sentence=reason)
    own = in_words(_at(floor, 0))
    if not floor.num_confirmed:
        return Finding(
            question=question,
            verdict="none was found",
            sentence=f"None of {len(floor.overlap) - 1} other choices of {size:,} edges keeps the"
            f" {name}'s behaviour within {floor.margin:g} of what its own circuit keeps, {own}.",
        )
    lowest = floor.lowest
    loss = floor.held_out_loss.at(lowest)
    assert loss is not None  # intervals of losses exist, or there would be no floor
    return Finding(
        question=question,
        verdict="yes",
        sentence=f"Of {len(floor.overlap) - 1} other choices of {size:,} edges {len(floor.order)}"
        f" were asked on held-out examples, and {floor.num_confirmed} keep the {name}'s behaviour"
        f" within {floor.margin:g} of what its own circuit keeps, {own}. The one that shares fewest"
        f" edges with it overlaps by {number(floor.value)} (Jaccard) and keeps"
        f" {in_words(_at(floor, lowest))}, a loss of {in_words(loss, signed=True)}. There may be"
        " others that share fewer.",
    )


def _at(floor: OverlapFloor, candidate: int) -> Estimate:
    """Faithfulness of one candidate on held-out examples."""
    found = floor.held_out.at(candidate)
    assert found is not None  # as of losses
    return found


def _explained(task: TaskResults, record: Alternatives) -> Finding:
    """The overlap of the two models beside the floor inside one."""
    question = "Do the two models share fewer edges than equally good circuits of one model?"
    between, floors, lowest = task.comparison.noise_free, record.floors, record.lowest
    if between.overlap is None or lowest is None:
        return Finding(
            question=question,
            verdict=UNDEFINED,
            sentence="The noise-free overlap of the two models, or the floor inside each of them,"
            " is undefined.",
        )
    words = " and ".join(f"{number(one.value)} ({MODEL_NAMES[m]})" for m, one in floors.items())
    verdict = by_side(between.overlap, lowest, above="no", below="yes", missing=UNDEFINED)
    if between.lower_ceiling < LOWEST_CEILING:
        verdict = NOT_DECIDED
    return Finding(
        question=question,
        verdict=verdict,
        sentence=f"Without noise the two models' circuits overlap by {in_words(between.overlap)};"
        f" circuits of one model that are as faithful as its own overlap with it by as little as"
        f" {words}.{MEANINGS.get(verdict, '')}",
    )


MEANINGS = {
    "no": " A choice among equals explains an overlap down to there: even where the structure reads"
    " as changed, the mechanism may not be.",
    "yes": " As far as other circuits were looked for, a choice among equals does not explain it.",
}
"""Verdict -> what it means for the verdict on structure."""


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    record = ALTERNATIVES.of(task)
    if record is None or not record.floors:
        return ()
    return (
        Exhibit(
            name="alternatives",
            figure=alternatives_figure(record, task.comparison.noise_free.overlap),
            table=alternatives_table(record),
            reading="Each point is a circuit of as many edges, chosen with less weight for edges of"
            " the model's own circuit, which is the point at 1. The filled point"
            " furthest to the left is the floor: the fewest edges that two circuits of one model"
            " were found to share while both keep as much.",
        ),
    )


def _cell(model: Kind) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        record = ALTERNATIVES.of(task)
        if record is None:
            return Cell(text=NOT_MEASURED)
        floor = record.of(model).found
        if floor is None:
            return Cell(text=UNDEFINED)
        note = "upper bound" if floor.num_confirmed else "no other was found"
        return Cell(text=number(floor.value), note=note)

    return cell


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    if "alternatives" not in settings:
        return ()
    factors, shares = (
        ", ".join(f"{one:g}" for one in settings["alternatives"][name])
        for name in ("factors", "shares")
    )
    return (
        Definition(
            term="Floor of overlap",
            meaning="The lowest Jaccard overlap of a model's circuit with another choice of as many"
            f" edges that is as faithful. Choices: |score| of the circuit's edges times {factors};"
            f" or none of the weakest sides of components (all that one writes, or reads), up to"
            f" {shares} of the edges; and as many edges selected anew. As faithful: faithfulness"
            f" lies less than {EQUALLY_FAITHFUL:g} below the circuit's, and less than that above"
            " both the circuit's and 1, with its whole interval (bootstrap over clusters); first on"
            " discovery examples, then, of those that none betters in overlap and loss, on held-out"
            " ones, from the largest overlap down to the first choice that fails. An upper bound:"
            " other circuits may share fewer edges.",
        ),
    )


ALTERNATIVES: Topic[Alternatives] = Topic(
    name="alternatives",
    title="Other circuits of one model",
    rests_on="held-out",
    record_type=Alternatives,
    conclude=concluded_alternatives,
    reads=("alternatives",),
    absent="Whether other circuits of one model are as faithful as its own was not measured on"
    " {tasks}: `mechshift alternatives RUN` does it.",
    headline_name="Shared structure",
    headline=tuple(
        HeadlineRow(
            name=f"Lowest overlap inside the {MODEL_NAMES[model]}",
            explanation="floor: circuits as faithful as its own",
            cell=_cell(model),
        )
        for model in KINDS
    ),
    findings=_findings,
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Floor",
            meaning="How few edges two circuits of one model can share that are equally faithful,"
            " as far as was looked. Two models that share no fewer need not differ.",
        ),
    ),
    method=_method,
)
