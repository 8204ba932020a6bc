"""Settings of the analysis of components."""

from dataclasses import dataclass

from mechshift.errors import ConfigError
from mechshift.statistics import MAX_DRAWS


@dataclass(frozen=True, kw_only=True)
class SemanticsSettings:
    """Settings of the semantics stage."""

    batch_size: int = 16
    """Canvases in one forward pass; it does not change a result."""

    num_top_tokens: int = 5
    """Tokens kept of each lens, most probable first, and of each neuron's output weights."""

    num_sequences: int = 32
    """Random token sequences on which the heads' roles are looked for."""

    sequence_length: int = 24
    """Tokens of a random sequence before it is repeated."""

    role_threshold: float = 0.3
    """A head has a role where this share of the attention that uniform attention would give to
    other places goes to the role's place instead, in [0, 1]. Our choice; the scores are kept, so
    that another can be made."""

    num_neurons: int = 20
    """Most attributed neurons that are described."""

    num_contexts: int = 10
    """Most activating contexts of each neuron, at most one of each example."""

    context_radius: int = 12
    """Tokens shown on either side of the one that activates a neuron."""

    ig_steps: int = 5
    """Points of integrated gradients in the attribution of neurons."""

    num_resamples: int = 1000
    """Bootstrap resamples of the examples behind every interval."""

    level: float = 0.95
    """Nominal coverage of every interval."""

    seed: int = 0
    """Seed of the resamples and of the random sequences."""

    def __post_init__(self) -> None:
        smallest = {
            "batch_size": 1,
            "num_top_tokens": 1,
            "num_sequences": 1,
            "sequence_length": 3,  # of two, the token after the other copy is the previous token
            "num_neurons": 1,
            "num_contexts": 1,
            "context_radius": 0,
            "ig_steps": 1,
            "num_resamples": 1,
            "seed": 0,
        }
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise ConfigError(
                    f"semantics setting {name} must be at least {least}, not {getattr(self, name)}."
                )
            if name != "seed" and getattr(self, name) > MAX_DRAWS:
                raise ConfigError(
                    f"semantics setting {name} must be at most {MAX_DRAWS:,}, not"
                    f" {getattr(self, name):,}."
                )
        for name in ("role_threshold", "level"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"semantics setting {name} lies between 0 and 1, not {getattr(self, name)}."
                )
