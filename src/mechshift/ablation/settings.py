"""Settings of ablation.

The defaults leave out what costs much and says little beside the rest: hidden neurons, two of the
three replacements, the model's own answers, and held-out examples after the first 40. All of it:

    AblationSettings(
        kinds=KINDS, replacements=REPLACEMENTS, num_examples=None, decode=True
    )

A sweep takes one pass over the canvases for each plan and replacement: 172 plans by default, 227
with neurons.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mechshift.ablation.plans import KINDS
from mechshift.errors import ConfigError
from mechshift.statistics import MAX_DRAWS, MIN_DRAWS

Replacement = Literal["zero", "mean", "resample"]

REPLACEMENTS: tuple[Replacement, ...] = get_args(Replacement)

MIN_EXAMPLES = 10
"""Fewer leave nothing to resample."""


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """Settings of the ablation stage."""

    kinds: tuple[str, ...] = ("heads", "mlps", "layers")
    """What is ablated of the early, middle and late layers: heads, mlps, layers (both), or neurons,
    which a mixture of experts does not have."""

    replacements: tuple[Replacement, ...] = ("zero",)
    """What ablated outputs are replaced by: zero, their mean, or their corrupted value (resample).
    Each multiplies the cost."""

    num_examples: int | None = 40
    """Held-out examples that ablations are measured on, the first of the pool; None: all."""

    share_of_neurons: float = 0.1
    """Of a third's hidden neurons, how many a plan takes, those that write most first."""

    num_control_draws: int = MIN_DRAWS
    """Draws of each random control of early structures, which verdicts and answers are about; of
    other structures at most 3. Each is a plan of its own, swept like any other. Fewer than 20 have
    a mean and no interval."""

    norm_tolerance: float = 0.05
    """How far the norm of a norm-matched control may be from its plan's, as a share of it."""

    single_replacement: Replacement = "resample"
    """What heads and MLPs write when they are ablated one at a time. Of resample, attribution is a
    first-order estimate, so only its ranks can be expected to agree."""

    decode: bool = False
    """Whether the models also write their own answers under every plan, by zero and by mean. An
    MDM takes a pass for each of its steps, so this multiplies the cost."""

    batch_size: int = 32
    """Canvases in one forward pass; changes time and memory, not results."""

    num_resamples: int = 1000
    """Bootstrap resamples, of examples and of a control's draws, behind every interval."""

    level: float = 0.95
    """Nominal coverage of every interval."""

    seed: int = 0
    """Seed of controls and resamples."""

    def __post_init__(self) -> None:
        _check_known("kinds", self.kinds, KINDS)
        _check_known("replacements", self.replacements, REPLACEMENTS)
        for name in ("num_control_draws", "batch_size", "num_resamples"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"ablation setting {name} must be at least 1, not {getattr(self, name)}."
                )
            if getattr(self, name) > MAX_DRAWS:
                raise ConfigError(
                    f"ablation setting {name} must be at most {MAX_DRAWS:,}, not"
                    f" {getattr(self, name):,}."
                )
        if self.seed < 0:
            raise ConfigError(f"ablation setting seed must be at least 0, not {self.seed}.")
        if self.num_examples is not None and self.num_examples < MIN_EXAMPLES:
            raise ConfigError(
                f"ablation setting num_examples must be at least {MIN_EXAMPLES}, not"
                f" {self.num_examples}: fewer leave nothing to resample."
            )
        if self.decode and self.replacements == ("resample",):
            raise ConfigError(
                "ablation setting decode asks for answers that the models write themselves, for"
                " which 'resample' has no meaning; add 'zero' or 'mean' to the replacements."
            )
        for name in ("share_of_neurons", "norm_tolerance", "level"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"ablation setting {name} lies between 0 and 1, not {getattr(self, name)}."
                )

    def manifest_config(self) -> dict[str, Any]:
        """What can change a result."""
        return {name: value for name, value in asdict(self).items() if name != "batch_size"}


def _check_known(setting: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [value for value in values if value not in known]
    if unknown or not values or len(set(values)) < len(values):
        raise ConfigError(
            f"ablation setting {setting} is {list(values)}; it names one or more of"
            f" {', '.join(known)}, each once."
        )
