"""One exception type per stage, so that a caller can tell whose input was wrong.

Every message is one line that says what is wrong, with which values, where, and what to do.
The command line turns any of these into exit status 2.
"""

from mechshift.printable import printable

MAX_MESSAGE = 2_000
"""Letters of a message: what a file or a model says may be of any length."""


class MechshiftError(Exception):
    """Something the user can mend; the root of every error that mechshift raises on purpose."""

    def __str__(self) -> str:
        """One line that steers no terminal, whatever is quoted in it."""
        text = super().__str__()
        if len(text) > MAX_MESSAGE:
            text = f"{text[: MAX_MESSAGE // 2]} ... {text[-MAX_MESSAGE // 2 :]}"
        return printable(text).replace("\n", "\\n")


class ConfigError(MechshiftError):
    """A setting is unknown, out of range, or contradicts another."""


class ModelError(MechshiftError):
    """A checkpoint cannot be loaded, hooked, or does not behave as its kind must."""


class TaskError(MechshiftError):
    """A task, task file or example is malformed or does not fit the tokenizer."""


class PoolError(MechshiftError):
    """Too few examples that both models get right."""


class DenoisingError(MechshiftError):
    """A canvas or schedule that cannot be built."""


class AttributionError(MechshiftError):
    """Edge scores cannot be computed from these inputs."""


class CircuitError(MechshiftError):
    """A set of edges that does not fit its graph."""


class EvaluationError(MechshiftError):
    """A circuit cannot be evaluated, or a ratio is undefined."""


class AblationError(MechshiftError):
    """Structures that cannot be ablated as asked."""


class ComparisonError(MechshiftError):
    """Two results that cannot be compared."""


class SemanticsError(MechshiftError):
    """What components do cannot be measured on these inputs, or a neuron cannot be explained."""


class PosttrainingError(MechshiftError):
    """Training cannot start or go on."""


class ArtifactError(MechshiftError):
    """A file or folder of a run is missing, damaged, or belongs to other inputs."""


class ReportError(MechshiftError):
    """A report cannot be assembled from this run."""
