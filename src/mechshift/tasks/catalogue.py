"""The catalogue of tasks, by name."""

from collections.abc import Sequence
from pathlib import Path

from mechshift.errors import TaskError
from mechshift.tasks.countdown import Countdown
from mechshift.tasks.example import Task
from mechshift.tasks.greater_than import GreaterThan
from mechshift.tasks.infilling import Infilling
from mechshift.tasks.ioi import IndirectObject
from mechshift.tasks.task_file import TaskFile, load_task_file

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        IndirectObject(),
        GreaterThan(),
        Countdown("countdown-3", num_operands=3),
        Countdown("countdown-4", num_operands=4),
        Countdown("countdown-5", num_operands=5),
        # Small enough for the embedded pair: every number up to 99 is one token there.
        Countdown("countdown-small", operators="+-", max_operand=50, max_value=99, num_shots=0),
        Infilling(),
    )
}
"""In the order in which they are listed."""


def load_task(name: str) -> Task:
    """The task of this name, or the task in this `.jsonl` file.

    Raises:
        TaskError: no such task, and the message lists the known ones; or a bad task file, or one
            that is called as a known task.
    """
    if name.endswith(".jsonl"):
        if Path(name).stem in TASKS:
            raise TaskError(
                f"the task file {name} is called as the task '{Path(name).stem}' that mechshift"
                " knows; rename the file."
            )
        return load_task_file(Path(name))
    task = TASKS.get(name)
    if task is None:
        raise TaskError(
            f"no task '{name}'; known are {', '.join(TASKS)}, or the path of a .jsonl file."
        )
    return task


def load_tasks(named: Sequence[str | TaskFile]) -> tuple[Task, ...]:
    """`load_task` of each name, in order; a task that was made already is itself.

    Raises:
        TaskError: see `load_task`; a task of one's own that is called as a known one; or two tasks
            of one name, whose results would share a folder.
    """
    found = tuple(load_task(one) if isinstance(one, str) else one for one in named)
    known = [task.name for task in found]
    for task in found:
        if isinstance(task, TaskFile) and task.name in TASKS:
            raise TaskError(
                f"a task of your own is called '{task.name}', as one that mechshift knows; give it"
                " another name."
            )
    if len(set(known)) < len(known):
        raise TaskError(f"the tasks {', '.join(known)} hold a name twice; name each task once.")
    return found


def check_templates(tasks: Sequence[Task], templates: Sequence[str]) -> None:
    """Refuse names of templates that none of the tasks has.

    Raises:
        TaskError: and lists those that each task has.
    """
    known = {task.name: task.templates for task in tasks}
    unknown = [name for name in templates if not any(name in own for own in known.values())]
    if unknown:
        listed = "; ".join(f"{task}: {', '.join(own) or 'none'}" for task, own in known.items())
        raise TaskError(f"no task has the template '{unknown[0]}'; they have {listed}.")
