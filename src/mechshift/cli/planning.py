"""The command that tells what a run will take, before the wait."""

from dataclasses import asdict
from json import dumps
from typing import Annotated

from mechshift.cli.tables import print_table
from mechshift.run import RunSettings
from mechshift.run.planning import (
    FleetOptions,
    MachineOptions,
    RunPlan,
    Schedule,
    fleet_line,
    fleet_table,
    memory_table,
    plan_run,
    schedule_table,
    simulate,
    stage_table,
    task_table,
)
from mechshift.run.planning.plan import SOLVED, duration, gigabytes
from mechshift.run.settings import Unprefixed


def plan(
    settings: Annotated[RunSettings, Unprefixed] = RunSettings(),
    machine: Annotated[MachineOptions, Unprefixed] = MachineOptions(),
    fleet: Annotated[FleetOptions, Unprefixed] = FleetOptions(),
    solved: float = SOLVED,
    json: bool = False,
) -> None:
    """Tell what a run with the same options will take: passes, FLOPs, memory, disk and time.

    All stages are planned that the run would do, so --skip and --also change the plan. Chooses the
    batch sizes that fit, whatever is asked for. No weights and no hub are needed unless a batch is
    measured (--measure): published pairs are planned from their known shapes, folders from their
    config.json.
    Example: mechshift plan --pair dream-7b --dtype bfloat16 --memory-gb 80 --matmul-tflops 990
    --devices 8 --machines 4

    Args:
        settings: what is compared, and how.
        machine: what to plan for; by default the machine at hand.
        fleet: on how many of them, for `mechshift run --devices` and `--cluster`.
        solved: share of candidates that both models get right; 0.5 is a guess.
        json: print everything as one JSON object instead of tables.
    """
    found = plan_run(settings, machine, solved=solved)
    schedule = simulate(found, fleet, **_chunks(settings))
    if json:
        _print_json(found, fleet, schedule)
    else:
        _print_tables(found, settings, fleet, schedule)


def _chunks(settings: RunSettings) -> dict[str, int]:
    """Of how many examples edges are scored, and in chunks of how many."""
    return {
        "examples": settings.pool.num_examples,
        "chunk_size": settings.attribution.examples_per_chunk,
    }


def _print_json(plan: RunPlan, fleet: FleetOptions, schedule: Schedule) -> None:
    whole = {"seconds": plan.seconds, "disk_bytes": plan.disk_bytes, "options": plan.options}
    memory = {"memory": [asdict(peak) for peak in plan.memory]}
    on_several = {
        "fleet": asdict(fleet)
        | asdict(schedule)
        | {
            "seconds": schedule.seconds,
            "working_share": schedule.working_share,
            "loading_share": schedule.loading_share,
            "moved_bytes": schedule.moved_bytes,
        }
    }
    print(dumps(asdict(plan) | memory | whole | on_several, indent=2))


def _print_tables(
    plan: RunPlan, settings: RunSettings, fleet: FleetOptions, schedule: Schedule
) -> None:
    shape, machine = plan.shapes.arm, plan.machine
    print(
        f"{plan.pair}: 2 x {shape.num_parameters:,} parameters in {plan.dtype},"
        f" {plan.num_edges:,} edges"
    )
    print(
        f"{machine.device}: {gigabytes(machine.memory)} free, of which"
        f" {machine.share_of_memory:.0%} may be filled"
    )
    on_several = schedule_table(plan, fleet, **_chunks(settings))
    for table in (task_table(plan), stage_table(plan), memory_table(plan), on_several):
        print()
        print_table(table)
    if fleet.num_workers > 1:
        print()
        print_table(fleet_table(schedule))
        print(f"\n{fleet_line(plan, fleet, schedule)}")
    print()
    for note in plan.notes:
        print(f"- {note}")
    print(f"\nAbout {duration(plan.seconds)}, and {gigabytes(plan.disk_bytes)} on disk.", end=" ")
    print(f"Give mechshift run: {plan.options}")
