"""Sampling of distinct examples of one split, the same ones for the same seed."""

import random
import zlib
from collections.abc import Callable
from dataclasses import replace

from mechshift.errors import TaskError
from mechshift.tasks.example import Example, Split

MAX_REPETITIONS = 2000
"""Known or unfit examples in a row after which a split counts as exhausted."""

MAX_MISSES = 200_000
"""Draws in a row that give no example after which none is expected. A draw misses where it belongs
to another split or breaks the task's rules: with five numbers, over 99.9% of Countdown's do."""

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
        draw: makes one example from a random generator; None where the draw breaks the task's
            rules, TaskError where the tokenizer cannot express it.

    Returns:
        Fewer than asked for where `draw` has stopped giving new examples.

    Raises:
        TaskError: the tokenizer can express none of the examples; the message says why.
    """
    # A string seed is hashed with SHA-512, so it is the same on every machine and Python.
    generator = random.Random(f"{task}/{split}/{seed}")
    seen: dict[tuple[str, str], Example] = {}
    repetitions = misses = 0
    unfit: TaskError | None = None
    while len(seen) < num_examples and repetitions < MAX_REPETITIONS and misses < MAX_MISSES:
        try:
            example = draw(generator)
        except TaskError as error:
            unfit, repetitions = error, repetitions + 1
            continue
        if example is None:
            misses += 1
        elif (example.prompt, example.suffix) in seen:
            repetitions += 1
        else:
            repetitions = misses = 0
            identity = f"{task}/{split}/{len(seen):05d}"
            seen[example.prompt, example.suffix] = replace(example, id=identity)
    if unfit is not None and not seen:
        raise TaskError(f"task '{task}' does not fit this tokenizer: {unfit}")
    return list(seen.values())
