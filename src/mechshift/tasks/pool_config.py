"""Settings of a pool: how many examples, and how the MDM denoises them."""

from dataclasses import dataclass

from mechshift.denoising import SamplerName
from mechshift.errors import PoolError

MIN_EXAMPLES = 2
"""One example has no spread, so nothing measured on it has an interval."""

MAX_EXAMPLES = 1_000_000
"""More than any run can score: a typing error."""

MAX_CANDIDATES = 1_000
"""A pair that solves fewer examples than one of so many knows nothing of the task."""


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """Settings of a pool: how many examples, and how the MDM denoises them."""

    num_examples: int = 500
    """Examples that both models get right, for attribution (the paper's number)."""
    num_held_out: int = 200
    """The same from the held-out split, on which circuits are tested."""
    max_candidates: int = 4
    """Give up after this many times as many candidates as examples asked for."""
    order: SamplerName = "confidence"
    """How the MDM chooses what to write next: most confident first, left to right, at random, or a
    published sampler with its published settings."""
    templates: tuple[str, ...] = ()
    """Wordings to use, by name, of one task or several; a task of which none is named uses all that
    the tokenizer can write. One that it cannot write is refused. With fewer than five no verdict
    speaks of the task."""
    num_steps: int | None = None
    """Denoising steps; None is one token per step."""
    num_others: int = 50
    """Discovery candidates that not both models solve, a random sample that is scored too, so that
    numbers are known on all candidates; fewer where there are fewer. At least 20, in as many
    clusters, or bounds alone are known. 0: none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.num_examples, self.num_held_out) < MIN_EXAMPLES or self.max_candidates < 1:
            raise PoolError(
                f"a pool needs at least {MIN_EXAMPLES} examples, {MIN_EXAMPLES} held-out ones and 1"
                " candidate for each, not"
                f" {self.num_examples}, {self.num_held_out} and {self.max_candidates}."
            )
        if max(self.num_examples, self.num_held_out) > MAX_EXAMPLES:
            raise PoolError(
                f"a pool holds up to {MAX_EXAMPLES:,} examples of a split, not"
                f" {self.num_examples:,} and {self.num_held_out:,}."
            )
        if self.max_candidates > MAX_CANDIDATES:
            raise PoolError(
                f"a pool tries up to {MAX_CANDIDATES:,} candidates for each example, not"
                f" {self.max_candidates:,}."
            )
        if not 0 <= self.num_others <= MAX_EXAMPLES:
            raise PoolError(
                "a pool keeps between 0 and"
                f" {MAX_EXAMPLES:,} candidates that not both models solve, not {self.num_others:,}."
            )
        if self.seed < 0:
            raise PoolError(f"a pool's seed must be at least 0, not {self.seed}.")
