"""How is a plan shown? As three tables: tasks, stages and memory."""

from dataclasses import fields

import polars as pl

from mechshift.run.planning.machine import GIGA, TERA
from mechshift.run.planning.memory import MemoryUse
from mechshift.run.planning.plan import RunPlan
from mechshift.run.store import member_title

PARTS = tuple(field.name for field in fields(MemoryUse) if field.name != "phase")
"""What memory is needed for, in the order of the table."""


def task_table(plan: RunPlan) -> pl.DataFrame:
    """The sizes of each task, and of its scores [10^9 bytes]."""
    return pl.DataFrame(
        [
            {
                "task": task.task,
                "model": member_title(task.model),
                "prompt": task.prompt_tokens,
                "target": task.target_tokens,
                "steps": task.num_steps,
                "canvases": task.num_canvases,
                "scores [GB]": task.score_bytes / GIGA,
                "a chunk [GB]": task.chunk_bytes / GIGA,
            }
            for task in plan.tasks
        ]
    )


def stage_table(plan: RunPlan) -> pl.DataFrame:
    """Passes, operations [10^12] and time of each stage; the last row is the sum."""
    rows = [
        {
            "stage": stage.cost.stage,
            "task": stage.cost.task,
            "model": member_title(stage.cost.model),
            "forward": stage.cost.forward_passes,
            "backward": stage.cost.backward_passes,
            "circuits": stage.cost.circuit_runs,
            "TFLOP": stage.cost.flops.total / TERA,
            "time": duration(stage.seconds),
        }
        for stage in plan.stages
    ]
    table = pl.DataFrame(rows)
    sums = {name: table[name].sum() for name in ("forward", "backward", "circuits", "TFLOP")}
    total = {"stage": "all", "task": "", "model": "", **sums, "time": duration(plan.seconds)}
    return pl.concat([table, pl.DataFrame([total])])


def memory_table(plan: RunPlan) -> pl.DataFrame:
    """The peak of each phase by part [10^9 bytes]; the last row is the sum."""
    columns: dict[str, list[float]] = {
        use.memory.phase: [getattr(use.memory, part) / GIGA for part in (*PARTS, "total")]
        for use in plan.memory
    }
    names = [part.replace("_", " ") for part in (*PARTS, "total")]
    return pl.DataFrame({"memory [GB]": names, **columns})


def duration(seconds: float) -> str:
    """A length of time in two units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
