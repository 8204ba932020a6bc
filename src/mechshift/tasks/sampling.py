"""Sampling of distinct examples of one split, new clusters first, the same for the same seed."""

import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from mechshift.errors import TaskError
from mechshift.tasks.example import Example, Split

MAX_REPETITIONS = 2000
"""Known or unfit examples in a row after which a split counts as exhausted."""

MAX_MISSES = 200_000
"""Draws in a row that give no example after which none is expected. A draw misses where it belongs
to another split or breaks the task's rules: with five numbers, over 99.9% of Countdown's do."""

PATIENCE = 5
"""Examples in a row, for each cluster that is known, without a new one: then there is hardly one
left. Of n equally likely clusters one more would have stayed unseen with a chance of e^-5."""

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

    A longer list starts with the shorter one of the same seed. No cluster comes a second time
    before all have come once.

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
    examples = islice(_new_clusters_first(_distinct(draw, generator, task)), num_examples)
    return [
        replace(example, id=f"{task}/{split}/{number:05d}")
        for number, example in enumerate(examples)
    ]


def _distinct(
    draw: Callable[[random.Random], Example | None], generator: random.Random, task: str
) -> Iterator[Example]:
    """The distinct examples that are drawn, until new ones stop."""
    seen: set[tuple[str, str]] = set()
    repetitions = misses = 0
    unfit: TaskError | None = None
    while repetitions < MAX_REPETITIONS and misses < MAX_MISSES:
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
            seen.add((example.prompt, example.suffix))
            yield example
    if unfit is not None and not seen:
        raise TaskError(f"task '{task}' does not fit this tokenizer: {unfit}")


def _new_clusters_first(examples: Iterator[Example]) -> Iterator[Example]:
    """The examples in rounds, in which a cluster comes once; the first waits for new clusters."""
    given: Counter[str] = Counter()
    waiting: list[Example] = []
    turns, since_new = 1, 0
    for example in examples:
        if not example.cluster or given[example.cluster] < turns:
            since_new = 0 if given[example.cluster] == 0 else since_new + 1
            given[example.cluster] += 1
            yield example
            continue
        waiting.append(example)
        since_new += 1
        if since_new >= PATIENCE * len(given) and len(waiting) >= len(given):
            turns += 1
            yield from _given_turns(waiting, given, turns)
    while waiting:
        turns += 1
        yield from _given_turns(waiting, given, turns)


def _given_turns(waiting: list[Example], given: Counter[str], turns: int) -> Iterator[Example]:
    """Those that wait and whose cluster has not come so often; they wait no more."""
    still = []
    for example in waiting:
        if given[example.cluster] < turns:
            given[example.cluster] += 1
            yield example
        else:
            still.append(example)
    waiting[:] = still
