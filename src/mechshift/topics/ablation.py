"""Ablation of structures: what does each model lose without its early, middle or late parts?

For readers who ask whether the MDM depends more than the ARM on some structures. Random structures,
as many or as loud, say what any such damage would cost.

Rule intervention: whether the MDM depends more on some structures, beyond what random ones cost it
(`intervention`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mechshift.ablation import (
    FEW_DRAWS,
    AblationComparison,
    AblationRun,
    AblationSettings,
    compare_ablations,
)
from mechshift.errors import ArtifactError
from mechshift.graph import THIRDS
from mechshift.input_files import as_declared
from mechshift.models import Kind
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.formats import (
    NOT_MEASURED,
    UNDEFINED,
    Cell,
    estimate_cell,
    in_words,
    percentage,
    shift_cell,
)
from mechshift.page.theme import MODEL_NAMES
from mechshift.statistics import MIN_DRAWS, Estimate, Estimates
from mechshift.topics.ablation_figure import ablation_bars, ablation_bars_table
from mechshift.topics.intervention import (
    CONTROLS,
    Drop,
    Intervention,
    Side,
    drop_of,
    intervention,
)
from mechshift.topics.topic import (
    HeadlineRow,
    Plain,
    Rule,
    Statement,
    StoredTask,
    TaskResults,
    Topic,
)

EARLY_HEADS, EARLY_LAYERS = "early heads", "early layers"
"""The plan of the rule, and that of the headline."""

WRITES_INSTEAD = {
    "zero": "nothing",
    "mean": "their mean output",
    "resample": "what they write on the corrupted prompt",
}
"""Output of ablated structures, by replacement."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnAnswers:
    """Share of right answers among those that one model writes itself under ablations."""

    plans: tuple[str, ...]
    """Structures and pooled controls."""
    replacements: tuple[str, ...]
    accuracy: Estimates
    """[plan, replacement], in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ablations:
    """Losses of both models without some structures."""

    structures: AblationComparison
    arm_answers: OwnAnswers | None
    """None if the models did not write their own answers."""
    mdm_answers: OwnAnswers | None

    def answers(self, model: Kind) -> OwnAnswers | None:
        """Of one of the two."""
        return {"arm": self.arm_answers, "mdm": self.mdm_answers}[model]


def _conclude(stored: StoredTask) -> Ablations | None:
    """None where not both models were ablated. Raises AblationError where not alike."""
    arm, mdm = stored.ablations("arm"), stored.ablations("mdm")
    config = stored.stage_settings("ablation")
    if arm is None or mdm is None or config is None:
        return None
    settings = stored_settings(config)
    return Ablations(
        structures=compare_ablations(arm.table, mdm.table, settings),
        arm_answers=_own_answers(arm, settings),
        mdm_answers=_own_answers(mdm, settings),
    )


def stored_settings(config: Mapping[str, Any]) -> AblationSettings:
    """The settings that a manifest holds; JSON has no tuples."""
    settings: AblationSettings = as_declared(
        config, AblationSettings, where="settings of ablation", error=ArtifactError
    )
    return settings


def _own_answers(ablated: AblationRun, settings: AblationSettings) -> OwnAnswers | None:
    decoded = ablated.decoded
    if decoded is None:
        return None
    return OwnAnswers(
        plans=tuple(decoded.labels.rows_by_group()),
        replacements=decoded.replacements,
        accuracy=decoded.accuracy(settings),
    )


def _decide(task: TaskResults) -> tuple[Statement, ...]:
    record = ABLATION.of(task)
    found = None if record is None else intervention(record.structures, EARLY_HEADS)
    if found is None:
        return (Statement.of("intervention", None, lambda _: NOT_MEASURED, ""),)
    lost = "metric" if found.drop == "share_lost" else "accuracy"

    def decide(smallest: Estimate | None) -> str:
        """At the level of this one's interval."""
        at_level = found if smallest is None else found.at_level(smallest.interval.level)
        return at_level.decides(
            more="MDM depends more on early heads", less="MDM depends less on early heads"
        )

    return (
        Statement.of(
            "intervention",
            found.smallest,
            decide,
            f"Without early heads, beyond what random ones cost, the MDM loses a share of its"
            f" {lost} that differs from the ARM's by {{}}",
        ),
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    record = ABLATION.of(task)
    if record is None:
        return ()
    labels = record.structures.arm.labels
    early = [name for name in labels.of if name.startswith(f"{THIRDS[0]} ")]
    return tuple(_early(record.structures, plan) for plan in dict.fromkeys(early))


def _early(structures: AblationComparison, plan: str) -> Finding:
    found = intervention(structures, plan)
    assert found is not None  # the plan is one of the labels, and accuracy is always defined
    lost = "of its metric" if found.drop == "share_lost" else "of its accuracy"
    return Finding(
        question=f"Do {plan.replace('mlps', 'MLPs')} matter more to the MDM?",
        verdict=found.decides(more="yes, more", less="no, less"),
        sentence=f"Where they write {WRITES_INSTEAD[found.replacement]}, the MDM loses"
        f" {in_words(found.mdm)} {lost} and the ARM {in_words(found.arm)}; the difference is"
        f" {in_words(found.difference, signed=True)}. {_beyond_controls(found)}"
        f" {_removed(structures, plan)}",
    )


def _beyond_controls(found: Intervention) -> str:
    if found.too_few_draws:
        return (
            f"Of random ones there are too few draws ({found.fewest_draws}) to hold them against."
        )
    if not found.beyond_chance:
        return "There is no random control to hold these losses against."
    by_control = " and ".join(
        f"beyond random ones, {CONTROLS[role]}, {in_words(beyond, signed=True)}"
        for role, beyond in found.beyond_chance.items()
    )
    return f"What the MDM loses more than the ARM is {by_control}."


def _removed(structures: AblationComparison, plan: str) -> str:
    """The guard against structures that write far more than others."""
    row = structures.arm.labels.names.index(plan)
    arm, mdm = (
        percentage(effects.removed.share[row]) for effects in (structures.arm, structures.mdm)
    )
    writers = "neurons" if plan.endswith("neurons") else "nodes"
    return (
        f"Of the norm of all that {writers} write they hold {mdm} in the MDM and {arm} in the ARM."
    )


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    """One figure for each replacement."""
    record = ABLATION.of(task)
    if record is None:
        return ()
    table = with_own_answers(record)
    return tuple(
        Exhibit(
            name=f"ablation-{replacement}",
            figure=ablation_bars(record.structures, replacement),
            table=table.filter(replacement=replacement),
            reading=f"What is lost where the named structures write"
            f" {WRITES_INSTEAD[replacement]}. A lighter bar below it is the mean of random"
            " structures, as many or of the same norm: only what goes beyond them speaks of"
            f" these structures. {_outlier_guard(record.structures)}",
        )
        for replacement in record.structures.replacements
    )


def _outlier_guard(structures: AblationComparison) -> str:
    """Which structures write most onto one coordinate: a super-outlier would break any model."""
    found = []
    for model, effects in (("arm", structures.arm), ("mdm", structures.mdm)):
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


def with_own_answers(record: Ablations) -> pl.DataFrame:
    """The table of the bars; where the models wrote their own answers, how many are right."""
    table = ablation_bars_table(record.structures)
    answers = [
        _answers_table(found, model)
        for model, found in (("arm", record.arm_answers), ("mdm", record.mdm_answers))
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


def _notes(task: TaskResults) -> tuple[str, ...]:
    """Which controls do not exist, and why."""
    record = ABLATION.of(task)
    if record is None:
        return ()
    structures = record.structures
    left_out = [
        f"{MODEL_NAMES[model]}, ablation: {line}"
        for model, effects in (("arm", structures.arm), ("mdm", structures.mdm))
        for line in effects.left_out
    ]
    if structures.only_in_one:
        left_out.append(
            f"Controls of one model only are not shown: {', '.join(structures.only_in_one)}."
        )
    return tuple(left_out)


def _lost_cell(side: Side, drop: Drop) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        record = ABLATION.of(task)
        if record is None or EARLY_LAYERS not in record.structures.arm.labels.names:
            return Cell(text=NOT_MEASURED)
        found = drop_of(record.structures, side, drop, EARLY_LAYERS)
        if found is None:
            return Cell(text=UNDEFINED)
        return shift_cell(found) if side == "difference" else estimate_cell(found)

    return cell


def _answers_cell(model: Kind) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        record = ABLATION.of(task)
        answers = None if record is None else record.answers(model)
        if answers is None or EARLY_LAYERS not in answers.plans:
            return Cell(text=NOT_MEASURED)
        found = answers.accuracy.at(answers.plans.index(EARLY_LAYERS), 0)
        return Cell(text=UNDEFINED) if found is None else estimate_cell(found)

    return cell


def _method(config: Mapping[str, Any]) -> tuple[Definition, ...]:
    if config.get("ablation") is None:
        return ()
    settings = stored_settings(config["ablation"])
    replacements = "; ".join(f"{name}: {WRITES_INSTEAD[name]}" for name in settings.replacements)
    examples = "all" if settings.num_examples is None else f"the first {settings.num_examples}"
    return (
        Definition(
            term="Ablation of structures",
            meaning="All heads, all MLPs, or both, of the early, middle or late third of the layers"
            " (hidden neurons: the loudest of the third), and the heads and MLPs of the model's own"
            f" circuit of K edges. They write, by replacement: {replacements}. Measured on"
            f" {examples} of the held-out examples.",
        ),
        Definition(
            term="What is lost",
            meaning="Clean minus ablated. Accuracy: the share of examples of which every target"
            " token is the most probable one, given the right tokens before it. Share of the"
            " metric: the mean loss over the mean clean metric, so that models of different scale"
            " compare.",
        ),
        Definition(
            term="Random controls of an ablation",
            meaning=f"{settings.num_control_draws} random sets for each early structure, at most"
            f" {FEW_DRAWS} for others: as many structures of each kind, or of the same summed norm"
            f" to {settings.norm_tolerance:.0%}; for thirds from the other layers, for the circuit"
            " from anywhere. Intervals resample draws and examples; fewer than"
            f" {MIN_DRAWS} draws have none. Excess: the plan's loss minus its control's.",
        ),
        Definition(
            term="Norm that is removed",
            meaning="L2 norm of what a structure adds to the residual stream, mean over all tokens"
            " of the clean prompts, summed over the plan's structures; as a share of that of all"
            " nodes (of all neurons, for neurons). Largest coordinate: the part of the squares that"
            " falls on one coordinate.",
        ),
    )


ABLATION: Topic[Ablations] = Topic(
    name="ablation",
    title="Ablation",
    rests_on="held-out",
    record_type=Ablations,
    conclude=_conclude,
    reads=("ablation",),
    absent="No structures were ablated on {tasks}: `mechshift ablate RUN` does it.",
    rules=(
        Rule(
            axis="intervention",
            words="share of the metric lost without early heads beyond that without random heads,"
            " MDM minus ARM: above 0 more, below 0 less",
            decide=_decide,
            plain={
                "MDM depends more on early heads": Plain(
                    words="depends more on early heads", moved=True
                ),
                "MDM depends less on early heads": Plain(
                    words="depends less on early heads", moved=True
                ),
            },
        ),
    ),
    headline_name="Early layers ablated",
    headline=(
        HeadlineRow(
            name="Accuracy lost, ARM",
            explanation="of all examples",
            cell=_lost_cell("arm", "accuracy_drop"),
        ),
        HeadlineRow(
            name="Accuracy lost, MDM",
            explanation="of all examples",
            cell=_lost_cell("mdm", "accuracy_drop"),
        ),
        HeadlineRow(
            name="Accuracy lost, difference",
            explanation="MDM minus ARM",
            cell=_lost_cell("difference", "accuracy_drop"),
        ),
        HeadlineRow(
            name="Metric lost, ARM",
            explanation="share of the clean metric",
            cell=_lost_cell("arm", "share_lost"),
        ),
        HeadlineRow(
            name="Metric lost, MDM",
            explanation="share of the clean metric",
            cell=_lost_cell("mdm", "share_lost"),
        ),
        HeadlineRow(
            name="Metric lost, difference",
            explanation="MDM minus ARM",
            cell=_lost_cell("difference", "share_lost"),
        ),
        HeadlineRow(name="Own answers right, ARM", explanation="share", cell=_answers_cell("arm")),
        HeadlineRow(name="Own answers right, MDM", explanation="share", cell=_answers_cell("mdm")),
    ),
    findings=_findings,
    exhibits=_exhibits,
    notes=_notes,
    terms=(
        Definition(
            term="Ablating a structure",
            meaning="Some heads, MLPs or layers are made to write nothing, or something that says"
            " nothing of this prompt, while the rest of the model works on. What the model then"
            " loses is what it needed them for. Random structures, as many or as loud, say what any"
            " such damage would cost.",
        ),
    ),
    method=_method,
)
