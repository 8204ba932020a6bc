"""Edge scores: how they were made, and how far they can be trusted.

For readers who ask by which method an edge got its number, and what its intervals rest on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mechshift.page.elements import Definition
from mechshift.page.formats import number, percentage
from mechshift.topics.topic import TaskResults, Topic


@dataclass(frozen=True, kw_only=True)
class MethodWords:
    """Words of the page on one method of `mechshift.attribution`."""

    definition: str
    """Of an edge's score; names in braces are the method's options."""

    completeness: str
    """What it means where the edges out of the input do not sum to the effect of corruption."""


METHOD_WORDS = {
    "eap-ig": MethodWords(
        definition="EAP-IG on inputs: difference of a source's output between corrupted and clean"
        " prompt, times the gradient of the negative metric at the destination's input, averaged"
        " over {ig_steps} points (rule “{rule}”) of the straight path of embeddings; summed over"
        " positions and steps, averaged over examples.",
        completeness="If the path had infinitely many points, the edges out of the input would"
        " explain the whole effect of the corruption; in a mixture of experts all but the jumps"
        " where the path exchanges a token's experts.",
    ),
    "eap": MethodWords(
        definition="EAP: difference of a source's output between corrupted and clean prompt, times"
        " the gradient of the negative metric at the destination's input on the {gradient_at}"
        " prompt; summed over positions and steps, averaged over examples.",
        completeness="One gradient follows a straight line, so the edges out of the input sum to"
        " the effect of the corruption only where the model is linear; the gap says how far it is"
        " not.",
    ),
    "exact": MethodWords(
        definition="Exact patching: metric on the clean prompt minus metric where the destination"
        " alone reads the source's corrupted output; summed over steps, averaged over examples.",
        completeness="Every score is measured, not estimated. Corrupted one at a time, the edges"
        " out of the input need not sum to what corrupting them together costs; the gap says how"
        " much they act jointly.",
    ),
}
"""By the names of `mechshift.attribution.METHODS`."""

GIM_DEFINITION = (
    " Gradients of attention follow GIM's rules: the softmax at temperature 2, and half of the"
    " gradient for each factor of a product."
)
GIM_COMPLETENESS = (
    "Gradients under GIM's rules are those of no function, so the edges out of the input need not"
    " sum to the effect of the corruption; the gap is no error."
)


def edge_score_definition(attribution: Mapping[str, Any]) -> Definition:
    """What an edge's score is by the method that made it; settings as in a scores' manifest."""
    meaning = METHOD_WORDS[attribution["method"]].definition.format(**attribution)
    gim = GIM_DEFINITION if attribution.get("gim") else ""
    return Definition(term="Edge scores", meaning=meaning + gim)


def completeness_meaning(attribution: Mapping[str, Any]) -> str:
    """What the completeness gap says of scores by that method."""
    if attribution.get("gim"):
        return GIM_COMPLETENESS
    return METHOD_WORDS[attribution["method"]].completeness


def shards_definition(num_shards: int, examples_per_shard: int) -> Definition:
    """On what intervals rest where scores were averaged over shards of examples."""
    return Definition(
        term="Shards of examples",
        meaning=f"Edge scores were averaged over {examples_per_shard} consecutive examples before"
        f" they were stored. Whatever is said here of resampling, halving or exchanging examples"
        f" is, for overlap, ceilings, agreement and depth, done with these {num_shards:,} shards,"
        " the same for both models. Means are those over examples. Faithfulness, ablation, flow,"
        " metrics, and how concentrated attribution is rest on single examples.",
    )


def _completeness(task: TaskResults) -> tuple[str, ...]:
    """How well each model's scores add up to the effect of the corruption."""
    comparison = task.comparison
    lines = []
    for name, check in (
        ("ARM", comparison.arm_completeness),
        ("MDM", comparison.mdm_completeness),
    ):
        drop = number(check.drop.value)
        if check.relative_gap is None:
            lines.append(f"{name}: corruption changes the metric by {drop}; completeness undefined")
            continue
        lines.append(
            f"{name}: corruption lowers the metric by {drop}; the scores of the edges out of the"
            f" input sum to {number(check.attributed.value)} (gap {percentage(check.relative_gap)})"
        )
    return tuple(lines)


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    attribution = settings["attribution"]
    per_shard = attribution["examples_per_shard"]
    shards: tuple[Definition, ...] = ()
    if per_shard > 1:
        shards = (shards_definition(settings["pool"]["num_examples"] // per_shard, per_shard),)
    return (edge_score_definition(attribution), *shards, INTERVALS)


INTERVALS = Definition(
    term="Intervals",
    meaning="Bootstrap over examples, the same resample for both models; resampled values are"
    " moved so that their mean is the estimate, because resampling alone pushes overlaps and"
    " shares to one side. Faithfulness: percentiles of the resamples. Accuracies: Wilson's"
    " interval. Intervals and answers are pointwise; only “Tests over all tasks” are corrected"
    " for looking at several tasks.",
)

SCORES: Topic[None] = Topic(
    name="scores",
    title="Edge scores",
    notes=_completeness,
    terms=(
        Definition(
            term="Edge score",
            meaning="How much the metric would fall if this edge alone carried its corrupted value."
            " “How this was computed” says by which method it was found.",
        ),
        Definition(
            term="Interval",
            meaning="Where the number would probably fall with other examples of the same kind."
            " Where an interval does not decide, the page says “not decided”.",
        ),
    ),
    method=_method,
)
