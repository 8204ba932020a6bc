"""Over how many examples can scores be averaged before they are stored?

All shards must hold equally many examples, or those of a smaller last one would count for more than
the others; and there must be as many shards as a comparison needs to resample and to halve. A pool
is refused that cannot be cut so. It is not cut short: what was pooled is scored.
"""

from mechshift.comparison import MIN_EXAMPLES as MIN_SHARDS
from mechshift.errors import ConfigError


def check_shards(num_examples: int, examples_per_shard: int) -> None:
    """Refuse shards into which a pool cannot be cut.

    Raises:
        ConfigError: a smaller last shard, or fewer shards than a comparison takes.
    """
    possible = possible_shards(num_examples)
    if examples_per_shard in possible:
        return
    left = num_examples % examples_per_shard
    if left:
        why = f"the last one would hold {left} and count as much as the others"
    else:
        why = (
            f"these are {num_examples // examples_per_shard}, and fewer than {MIN_SHARDS} do not"
            " say how certain a comparison is"
        )
    raise ConfigError(
        f"a pool of {num_examples} examples cannot be scored in shards of {examples_per_shard}:"
        f" {why}. examples_per_shard can be {', '.join(map(str, possible))}."
    )


def possible_shards(num_examples: int) -> list[int]:
    """The sizes of shards that a pool can be cut into, ascending; 1 always is one.

    A pool that is too small for any comparison is not refused here.
    """
    largest = num_examples // MIN_SHARDS
    return [1, *(size for size in range(2, largest + 1) if num_examples % size == 0)]
