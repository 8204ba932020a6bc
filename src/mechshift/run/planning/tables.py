"""Tables that show a plan: tasks, stages and memory."""

from dataclasses import fields

import polars as pl

from mechshift.run.folders import member_title
from mechshift.run.planning.machine import GIGA, TERA
from mechshift.run.planning.memory import MemoryUse
from mechshift.run.planning.plan import RunPlan, StagePlan

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
    """Passes, operations [10^12], disk [10^9 bytes] and time of each stage on each task.

    All models together; the last row is the sum.
    """
    groups: dict[tuple[str, str], list[StagePlan]] = {}
    for stage in plan.stages:
        groups.setdefault((stage.cost.stage, stage.cost.task), []).append(stage)
    rows = [_row(*names, stages) for names, stages in groups.items()]
    return pl.DataFrame([*rows, _row("all", "", list(plan.stages))])


def _row(name: str, task: str, stages: list[StagePlan]) -> dict[str, str | float]:
    costs = [stage.cost for stage in stages]
    return {
        "stage": name,
        "task": task,
        "forward": sum(cost.forward_passes for cost in costs),
        "backward": sum(cost.backward_passes for cost in costs),
        "circuits": sum(cost.circuit_runs for cost in costs),
        "TFLOP": _short(sum(cost.flops.total for cost in costs) / TERA),
        "disk [GB]": _short(sum(cost.disk_bytes for cost in costs) / GIGA),
        "time": duration(sum(stage.seconds for stage in stages)),
    }


def _short(value: float) -> str:
    """Three digits, so that a row fits a terminal."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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
