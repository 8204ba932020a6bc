"""The words and definitions of flow and components, for pages that show them."""

from collections.abc import Mapping
from typing import Any

from mechshift.report.definitions import Definition
from mechshift.semantics import SemanticsSettings

FLOW_TERMS = (
    Definition(
        term="Flow, right to left",
        meaning="Attention alone carries information from one place of the text to another. Flow"
        " says how much of what matters for the metric it carries from where to where; right to"
        " left is what comes from words that stand later in the text, which an ARM cannot see.",
    ),
)

SEMANTICS_TERMS = (
    Definition(
        term="Component, lens",
        meaning="A component is an attention head or an MLP. Its lens is the answer that the model"
        " would give if it saw this component's output and nothing else.",
    ),
    Definition(
        term="Effective number",
        meaning="Over how many equal components the work would have to be shared to be as spread"
        " out as it is. 1: one component does all of it.",
    ),
    Definition(
        term="Role, neuron",
        meaning="A head has a role if it reliably looks where the role says, for example at the"
        " previous word. A neuron is one hidden unit of an MLP.",
    ),
)


def flow_method(flow: Mapping[str, Any]) -> tuple[Definition, ...]:
    """How flow was computed; options as in its manifest."""
    return (
        Definition(
            term="Flow",
            meaning="The score of a head's k or v, cut up by the position that it is read at and"
            " the position whose query takes it up; absolute values, summed over heads, steps and"
            " examples. Gradients are EAP-IG's, averaged over {ig_steps} points (rule “{rule}”),"
            " whichever method scored the edges. Shares are of all flow through k and v, that"
            " within one position included.".format(**flow),
        ),
    )


def semantics_method(settings: SemanticsSettings) -> tuple[Definition, ...]:
    """How components were read."""
    return (
        Definition(
            term="Concentration",
            meaning="Of |mean score| over heads and MLPs, a component's score being the sum of its"
            " outgoing edges'. Effective number: exp(entropy) of the shares. Gini: 0 for equal"
            " shares.",
        ),
        Definition(
            term="Lens",
            meaning="Unembedding of the final norm of a component's output, or of the residual"
            " stream, where the token is predicted; the divisor of the norm is the vector's own."
            " Weighted means over components weigh by share of |mean score|.",
        ),
        Definition(
            term="Attention roles",
            meaning="Attention to the role's places beyond what uniform attention gives them, as a"
            " share of the rest. A head holds a role where the whole interval lies above"
            f" {settings.role_threshold:g}; in a name mover, what it copies must also lead to the"
            " answer. Attention shows where a head reads, not what is made of it.",
        ),
        Definition(
            term="Neurons",
            meaning="Hidden units of the first third of the MLPs with the largest |mean score|:"
            " corrupted minus clean activation times the gradient of the negative metric, mean over"
            f" {settings.ig_steps} points. Promoted tokens: whose logits its output raises most."
            " Selectivity: lifetime sparseness over all tokens; 1 fires on a single one.",
        ),
    )
