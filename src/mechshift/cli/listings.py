"""The command that tells which tasks there are, and what their examples look like."""

from importlib import import_module
from typing import Annotated

import tyro
from tyro.conf import Positional

from mechshift.errors import ConfigError

MAX_SHOWN = 1_000
"""Examples of a split that a terminal is asked to show."""


def tasks(
    name: Positional[str] = "",
    num_examples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 3,
    tokenizer: str | None = None,
    seed: int = 0,
) -> None:
    """List the tasks, or show and check examples of one task or .jsonl file.

    A task file is checked line by line, then against the tokenizer.

    Args:
        name: a task or the path of a .jsonl file; without it all tasks are listed.
        num_examples: examples to show of each split.
        tokenizer: folder or hub id; by default the embedded pair's.
        seed: of the examples.
    """
    if not 1 <= num_examples <= MAX_SHOWN:
        raise ConfigError(f"1 to {MAX_SHOWN:,} examples can be shown, not {num_examples}.")
    if seed < 0:
        raise ConfigError(f"a seed is at least 0, not {seed}.")
    # Imported once the options are right: torch and transformers take seconds.
    import_module("mechshift.cli.task_examples").print_tasks(name, num_examples, tokenizer, seed)
