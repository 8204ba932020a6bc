"""The command that tells which tasks there are, and what their examples look like."""

from typing import Annotated

import polars as pl
import tyro
from tyro.conf import Positional

from mechshift.cli.tables import print_table
from mechshift.errors import ConfigError
from mechshift.models import load_tokenizer
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import SPLITS, TASKS, TaskFile, encode_example, load_task

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
    if not name:
        print_table(
            pl.DataFrame(
                {
                    "task": list(TASKS),
                    "metric": [task.metric for task in TASKS.values()],
                    "about": [task.summary for task in TASKS.values()],
                }
            )
        )
        return
    task = load_task(name)
    reader = tiny_tokenizer() if tokenizer is None else load_tokenizer(tokenizer)
    if isinstance(task, TaskFile):
        task.check(reader)
    rows = []
    for split in SPLITS:
        for example in task.generate(reader, split=split, num_examples=num_examples, seed=seed):
            encoded = encode_example(task, example, reader, "mdm")
            rows.append(
                {
                    "split": split,
                    "clean": f"{example.prompt}⟨{example.target}⟩{example.suffix}",
                    "corrupted": f"{example.corrupted_prompt}⟨{example.distractor}⟩"
                    f"{example.corrupted_suffix}",
                    "target tokens": len(encoded.target_ids),
                }
            )
    print_table(pl.DataFrame(rows))
