"""The command that examines a pair before the wait."""

from typing import Annotated

from mechshift.errors import ConfigError, ModelError
from mechshift.progress import progress_bar
from mechshift.run import PairOptions
from mechshift.run.doctor import examine_pair, num_checks
from mechshift.run.settings import Unprefixed

MAX_EXAMPLES = 1_000
"""Examples of a task that are answered: more of them are a run's pool."""


def doctor(
    models: Annotated[PairOptions, Unprefixed] = PairOptions(),
    tasks: tuple[str, ...] = (),
    num_examples: int = 10,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Examine a pair before the wait: load it, read a little with it, and print what was found.

    Checks what loading can check, whether tokens are predicted where the pair says (its shift), and
    whether both models answer some examples of each task; shows the most probable tokens after a
    fixed text, to hold against another machine's. What is printed can be pasted into an issue.
    Example: mechshift doctor --pair dream-7b --dtype bfloat16 --device cuda

    Args:
        models: which two models.
        tasks: names that `mechshift tasks` lists, or .jsonl files; by default the pair's own.
        num_examples: examples of each task that both models answer.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one.
        quiet: no progress bar.
    """
    if not 1 <= num_examples <= MAX_EXAMPLES:
        raise ConfigError(f"1 to {MAX_EXAMPLES:,} examples can be answered, not {num_examples}.")
    total = num_checks(len(tasks or models.default_tasks()))
    with progress_bar("examine", total, quiet=quiet) as advance:
        found = examine_pair(
            models, tasks=tasks, num_examples=num_examples, device=device, progress=advance
        )
    print(found)
    if found.num_failed:
        raise ModelError(f"{found.num_failed} of {len(found.findings)} checks failed; see above.")
