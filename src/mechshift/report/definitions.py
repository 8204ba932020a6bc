"""The words and definitions that the report prints for its readers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mechshift.evaluation import AblationName


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A term and what it means here."""

    term: str
    meaning: str


ABLATED_EDGES: dict[AblationName, str] = {
    "resample": "what it carries on the corrupted prompt",
    "mean": "its source's mean output at that position, over the clean discovery prompts of the"
    " same shape and denoising step",
    "zero": "nothing: its source counts as zero",
}
"""What an edge outside a circuit carries."""

TERMS = (
    Definition(
        term="ARM and MDM",
        meaning="An autoregressive model writes left to right. A masked diffusion model fills in"
        " masked positions and sees both sides of them. This MDM was trained on from the ARM's"
        " weights, so both have the same layers and heads.",
    ),
    Definition(
        term="Node, edge, circuit",
        meaning="A node is an attention head or an MLP. An edge is what one node passes to a later"
        " one (to a head's query, key or value). A circuit is the set of edges that matter most"
        " for a task.",
    ),
    Definition(
        term="Clean and corrupted",
        meaning="Every prompt has a twin in which the one fact that determines the answer is"
        " exchanged. The metric says how strongly the model prefers the right answer.",
    ),
    Definition(
        term="Edge score",
        meaning="How much the metric would fall if this edge alone carried its corrupted value."
        " “How this was computed” says by which method it was found.",
    ),
    Definition(
        term="Overlap, ceiling, null",
        meaning="Overlap is the share of edges that two circuits have in common. The ceiling is"
        " what one model reaches with itself on other examples, the null what two unrelated"
        " models with the same layout would reach.",
    ),
    Definition(
        term="Faithfulness",
        meaning="What is left of the behaviour when only the circuit may work: 1 is all of it,"
        " 0 no more than without any edge.",
    ),
    Definition(
        term="Interval",
        meaning="Where the number would probably fall with other examples of the same kind."
        " Where an interval does not decide, the page says “not decided”.",
    ),
)

METHOD = (
    Definition(
        term="Circuit",
        meaning="The K edges of largest |mean score|; ties go to the lower edge index. K is 1,000"
        " or a tenth of all edges, whichever is less, unless the configuration gives a"
        " circuit_size. Overlaps do not count edges whose score is exactly zero.",
    ),
    Definition(
        term="Edge and node overlap",
        meaning="Jaccard: edges in both circuits over edges in either. Nodes: each head's and"
        " MLP's share of |score| over the circuit's edges at it; sum of minima over sum of maxima"
        " of the two models' shares.",
    ),
    Definition(
        term="Ceiling and ratio",
        meaning="Ceiling: mean Jaccard of one model's circuits from two random halves of the"
        " examples. Ratio: Jaccard of the ARM on one half with the MDM on the other, over the"
        " geometric mean of both ceilings; every part uses half the examples.",
    ),
    Definition(
        term="Null",
        meaning="Mean Jaccard after the MDM's |score| has been shuffled among edges with the same"
        " source layer, destination layer and types of both ends.",
    ),
    Definition(
        term="Depth",
        meaning="Share of |mean score| by the layer that writes (or reads) an edge. Thirds and"
        " centre of mass leave out input and logits; a layer belongs to the third in which its"
        " midpoint lies.",
    ),
    Definition(
        term="Shift in depth",
        meaning="MDM minus ARM, cross-fitted: half of the examples say which edges are in the"
        " circuit and with which sign, the other half how much they score. Noise, which makes every"
        " |mean score| larger, then adds up to nothing. So a shift is not exactly the difference of"
        " the shares shown beside it.",
    ),
    Definition(
        term="Faithfulness",
        meaning="(m(circuit) − m(empty)) / (m(full) − m(empty)), a ratio of means over"
        " examples; edges outside the circuit are ablated.",
    ),
    Definition(
        term="Intervals",
        meaning="Bootstrap over examples, the same resample for both models; resampled values are"
        " moved so that their mean is the estimate, because resampling alone pushes overlaps and"
        " shares to one side. Faithfulness: percentiles of the resamples. Accuracies: Wilson's"
        " interval. Intervals and answers are pointwise; only “Tests over all tasks” are corrected"
        " for looking at several tasks.",
    ),
)


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


def ablation_definition(ablation: AblationName) -> Definition:
    """What is done to the edges outside a circuit in this run."""
    return Definition(
        term="Ablation",
        meaning=f"Every edge outside the circuit carries {ABLATED_EDGES[ablation]}; edges out of"
        " the input are no exception. m(empty) is the metric with every edge ablated.",
    )


RANDOM_CIRCUITS = Definition(
    term="Random circuits, and edges by activation",
    meaning="Random: as many edges in every pair of layers and edge type as the model's own circuit"
    " has; faithfulness is the mean over draws, its interval resamples draws and examples. By"
    " activation: as many edges, those whose source's output the corruption moves most (norm of"
    " the difference, summed over positions and steps, mean over the discovery examples).",
)
"""What the circuits are held against."""


@dataclass(frozen=True, kw_only=True)
class MethodWords:
    """What the page says of one method of `mechshift.attribution`."""

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
        " explain the whole effect of the corruption.",
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
