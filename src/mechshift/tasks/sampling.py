"""How are distinct examples of one split drawn, the same ones for the same seed?"""

import random
import zlib
from collections.abc import Callable
from dataclasses import replace

from mechshift.tasks.example import Example, Split

MAX_FAILURES = 2000
"""Draws in a row without a new example after which a split counts as exhausted."""

TRAIN_TENTHS = 6
DISCOVERY_TENTHS = 2


def split_of(key: str) -> Split:
    """The split that owns everything made from `key`: 60% train, 20% discovery, 20% held-out.

    The checksum depends on the key alone, so no seed can move an example between splits.
    """
    tenth = zlib.crc32(key.encode()) % 10
    if tenth < TRAIN_TENTHS:
        return "train"
    return "discovery" if tenth < TRAIN_TENTHS + DISCOVERY_TENTHS else "held-out"


def draw_examples(
    draw: Callable[[random.Random], Example | None],
    *,
    task: str,
    split: Split,
    num_examples: int,
    seed: int,
) -> list[Example]:
    """Calls `draw` until it has given `num_examples` distinct examples, and numbers them.

    A longer list starts with the shorter one of the same seed.

    Args:
        draw: makes one example from a random generator, or None where the draw does not fit.

    Returns:
        Fewer than asked for where `draw` has stopped giving new examples.
    """
    # A string seed is hashed with SHA-512, so it is the same on every machine and Python.
    generator = random.Random(f"{task}/{split}/{seed}")
    seen: dict[tuple[str, str], Example] = {}
    failures = 0
    while len(seen) < num_examples and failures < MAX_FAILURES:
        example = draw(generator)
        key = None if example is None else (example.prompt, example.suffix)
        if example is None or key is None or key in seen:
            failures += 1
            continue
        failures = 0
        seen[key] = replace(example, id=f"{task}/{split}/{len(seen):05d}")
    return list(seen.values())
