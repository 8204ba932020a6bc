"""The figures of what ablating structures and single components costs both models."""

import numpy as np
import polars as pl

from mechshift.figures import (
    ablation_bars,
    ablation_bars_table,
    single_ablations,
    single_ablations_table,
)
from mechshift.page.theme import MODEL_NAMES
from mechshift.report.ablation_findings import WRITES_INSTEAD
from mechshift.report.exhibit import Exhibit
from mechshift.page.formats import in_words, percentage
from mechshift.report.records import OwnAnswers, TaskAblations, TaskReport

SECTION = "Ablation"


def ablation_exhibits(task: TaskReport) -> list[Exhibit]:
    """One figure for each replacement, and one of single components; none without ablations."""
    ablations = task.ablations
    if ablations is None:
        return []
    table = _with_own_answers(ablations)
    return [
        *(
            Exhibit(
                name=f"ablation-{replacement}",
                section=SECTION,
                figure=ablation_bars(ablations.structures, replacement),
                table=table.filter(replacement=replacement),
                reading=f"What is lost where the named structures write"
                f" {WRITES_INSTEAD[replacement]}. A lighter bar below it is the mean of random"
                " structures, as many or of the same norm: only what goes beyond them speaks of"
                f" these structures. {_outlier_guard(ablations)}",
            )
            for replacement in ablations.structures.replacements
        ),
        Exhibit(
            name="single-ablations",
            section=SECTION,
            figure=single_ablations(ablations.single),
            table=single_ablations_table(ablations.single),
            reading="Each point is one head or MLP that writes"
            f" {_alone(WRITES_INSTEAD[ablations.single.replacement])}. A few far-off points: the"
            " model hangs on single components; a flat cloud: they can stand in for each other."
            " Rank correlation with attribution: ARM"
            f" {in_words(ablations.arm_agreement)}, MDM {in_words(ablations.mdm_agreement)}.",
        ),
    ]


def _alone(written: str) -> str:
    return written.replace("their", "its").replace("they write", "it writes")


def _outlier_guard(ablations: TaskAblations) -> str:
    """Which structures write most onto one coordinate: a super-outlier would break any model."""
    found = []
    for model, effects in (("arm", ablations.structures.arm), ("mdm", ablations.structures.mdm)):
        shares = np.where(
            np.array(effects.labels.roles) == "structure",
            effects.removed.largest_coordinate_share,
            np.nan,
        )
        row = int(np.nanargmax(shares))
        found.append(
            f"{percentage(shares[row])} in the {MODEL_NAMES[model]} ({effects.labels.names[row]})"
        )
    return (
        "Of the squares that any of them writes, one coordinate of the residual stream holds at"
        f" most {' and '.join(found)}; near 100\N{NO-BREAK SPACE}%, an outlier would be all that"
        " was removed."
    )


def _with_own_answers(ablations: TaskAblations) -> pl.DataFrame:
    """The table of the bars; where the models wrote their own answers, how many are right."""
    table = ablation_bars_table(ablations.structures)
    answers = [
        _answers_table(found, model)
        for model, found in (("arm", ablations.arm_answers), ("mdm", ablations.mdm_answers))
        if found is not None
    ]
    if not answers:
        return table
    # Single draws have no answers of their own: those of a control are pooled.
    keys = ["model", "plan", "replacement"]
    return table.join(pl.concat(answers), on=keys, how="left", maintain_order="left")


def _answers_table(answers: OwnAnswers, model: str) -> pl.DataFrame:
    times, accuracy = len(answers.replacements), answers.accuracy
    return pl.DataFrame(
        {
            "model": model,
            "plan": np.repeat(np.array(answers.plans), times),
            "replacement": list(answers.replacements) * len(answers.plans),
            "own_accuracy": accuracy.value.ravel(),
            "own_accuracy_low": accuracy.low.ravel(),
            "own_accuracy_high": accuracy.high.ravel(),
        }
    )
