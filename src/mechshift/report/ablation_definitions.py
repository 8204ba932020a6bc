"""The words and definitions of ablation, for pages that show it."""

from mechshift.ablation import AblationSettings
from mechshift.report.ablation_findings import WRITES_INSTEAD
from mechshift.report.definitions import Definition

ABLATION_TERMS = (
    Definition(
        term="Ablating a structure",
        meaning="Some heads, MLPs or layers are made to write nothing, or something that says"
        " nothing of this prompt, while the rest of the model works on. What the model then loses"
        " is what it needed them for. Random structures, as many or as loud, say what any such"
        " damage would cost.",
    ),
)


def ablation_method(settings: AblationSettings) -> tuple[Definition, ...]:
    """How structures were ablated."""
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
            meaning=f"{settings.num_control_draws} random sets each: as many structures of each"
            f" kind, or of the same summed norm to {settings.norm_tolerance:.0%}; for thirds from"
            " the other layers, for the circuit from anywhere. Intervals resample draws and"
            " examples. Excess: the plan's loss minus its control's.",
        ),
        Definition(
            term="Norm that is removed",
            meaning="L2 norm of what a structure adds to the residual stream, mean over all tokens"
            " of the clean prompts, summed over the plan's structures; as a share of that of all"
            " nodes (of all neurons, for neurons). Largest coordinate: the part of the squares that"
            " falls on one coordinate.",
        ),
        Definition(
            term="Single ablations",
            meaning="Every head and MLP by itself, replaced by"
            f" {WRITES_INSTEAD[settings.single_replacement].replace('they write', 'it writes')}."
            " Rank agreement: Spearman's correlation over components of the mean loss with the mean"
            " sum of the scores of the edges out of the component.",
        ),
    )
