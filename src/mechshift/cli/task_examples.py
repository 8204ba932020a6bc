"""Tables of `mechshift tasks`: the list of tasks, or examples of one as a model reads them."""

import polars as pl

from mechshift.cli.tables import print_table
from mechshift.models import load_tokenizer
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import SPLITS, TASKS, TaskFile, encode_example, load_task


def print_tasks(name: str, num_examples: int, tokenizer: str | None, seed: int) -> None:
    """Print the table that the options ask for; `listings.tasks` says what they mean.

    Raises:
        MechshiftError: no such task, or a file or tokenizer that cannot be read.
    """
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
