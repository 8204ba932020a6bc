"""What ablation can be asked for."""

from dataclasses import dataclass
from typing import Literal, get_args

from mechshift.ablation.plans import KINDS
from mechshift.errors import ConfigError

Replacement = Literal["zero", "mean", "resample"]

REPLACEMENTS: tuple[Replacement, ...] = get_args(Replacement)


@dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """Settings of the ablation stage."""

    kinds: tuple[str, ...] = KINDS
    """What is ablated of the early, middle and late layers: heads, mlps, layers (both), neurons."""

    share_of_neurons: float = 0.1
    """Of a third's hidden neurons, how many a plan takes, those that write most first."""

    num_control_draws: int = 5
    """Draws of each random control. Each is a plan of its own, swept like any other."""

    norm_tolerance: float = 0.05
    """How far the norm of a norm-matched control may be from its plan's, as a share of it."""

    replacements: tuple[Replacement, ...] = REPLACEMENTS
    """What ablated outputs are replaced by: zero, their mean, or their corrupted value."""

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
        for name in ("share_of_neurons", "norm_tolerance", "level"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"ablation setting {name} lies between 0 and 1, not {getattr(self, name)}."
                )


def _check_known(setting: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [value for value in values if value not in known]
    if unknown or not values or len(set(values)) < len(values):
        raise ConfigError(
            f"ablation setting {setting} is {list(values)}; it names one or more of"
            f" {', '.join(known)}, each once."
        )
