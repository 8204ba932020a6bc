"""Tasks: where examples come from, how they become tokens, and who judges the answers."""

from mechshift.tasks.answers import Answers, answer
from mechshift.tasks.catalogue import TASKS, check_templates, load_task, load_tasks
from mechshift.tasks.countdown import Countdown, is_derivation
from mechshift.tasks.encoding import continuation_ids, encode_example
from mechshift.tasks.example import SPLITS, Example, Split, Task
from mechshift.tasks.greater_than import GreaterThan
from mechshift.tasks.infilling import Infilling
from mechshift.tasks.ioi import IndirectObject
from mechshift.tasks.pool import CommonPool, OtherExamples, SolvedBy, build_pool, encode_pool
from mechshift.tasks.pool_config import PoolConfig
from mechshift.tasks.task_file import TaskFile, load_task_file, make_task

__all__ = [
    "SPLITS",
    "TASKS",
    "Answers",
    "CommonPool",
    "Countdown",
    "Example",
    "GreaterThan",
    "IndirectObject",
    "OtherExamples",
    "Infilling",
    "PoolConfig",
    "SolvedBy",
    "Split",
    "Task",
    "TaskFile",
    "answer",
    "build_pool",
    "check_templates",
    "continuation_ids",
    "encode_example",
    "encode_pool",
    "load_task",
    "load_tasks",
    "is_derivation",
    "load_task_file",
    "make_task",
]
