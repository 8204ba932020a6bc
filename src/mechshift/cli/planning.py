"""The command that tells what a run will take, before the wait."""

from dataclasses import asdict
from json import dumps
from typing import Annotated

from mechshift.ablation import AblationSettings
from mechshift.cli.stages import Unprefixed
from mechshift.cli.tables import print_table
from mechshift.comparison import ComparisonSettings
from mechshift.experiment import (
    Addable,
    AttributionSettings,
    EvaluationSettings,
    PairOptions,
    RunSettings,
    Skippable,
    SweepSettings,
)
from mechshift.experiment.planning import (
    MachineOptions,
    RunPlan,
    memory_table,
    plan_run,
    stage_table,
    task_table,
)
from mechshift.experiment.planning.fitting import gigabytes
from mechshift.experiment.planning.plan import SOLVED
from mechshift.experiment.planning.tables import duration
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig


def plan(
    models: Annotated[PairOptions, Unprefixed] = PairOptions(),
    tasks: tuple[str, ...] = (),
    pool: PoolConfig = PoolConfig(),
    attribution: AttributionSettings = AttributionSettings(),
    evaluation: EvaluationSettings = EvaluationSettings(),
    comparison: ComparisonSettings = ComparisonSettings(),
    semantics: SemanticsSettings = SemanticsSettings(),
    ablation: AblationSettings = AblationSettings(),
    sweep: SweepSettings = SweepSettings(),
    skip: tuple[Skippable, ...] = (),
    also: tuple[Addable, ...] = (),
    machine: Annotated[MachineOptions, Unprefixed] = MachineOptions(),
    solved: float = SOLVED,
    json: bool = False,
) -> None:
    """Tell what a run with the same options will take: passes, FLOPs, memory and time.

    Chooses the batch sizes that fit. No weights and no hub are needed: published pairs are planned
    from their known shapes, folders from their config.json. Example:
    mechshift plan --pair dream-7b --dtype bfloat16 --memory-gb 80 --matmul-tflops 990

    Args:
        models: which two models.
        tasks: names that `mechshift tasks` lists, or .jsonl files; by default the pair's own.
        pool: which examples.
        attribution: how edges are scored; its batch size is chosen, not read.
        evaluation: how circuits are tested; its batch size is chosen, not read.
        comparison: its circuit size is also run.
        semantics: not looked at; taken so that the options of a run can be given as they are.
        ablation: not looked at.
        sweep: not looked at.
        skip: stages to leave out; without controls fewer models are loaded and scored.
        also: not looked at.
        machine: what to plan for; by default the machine at hand.
        solved: share of candidates that both models get right; 0.5 is a guess.
        json: print everything as one JSON object instead of tables.
    """
    settings = RunSettings(
        models=models,
        tasks=tasks,
        pool=pool,
        attribution=attribution,
        evaluation=evaluation,
        comparison=comparison,
        semantics=semantics,
        ablation=ablation,
        sweep=sweep,
        skip=skip,
        also=also,
    )
    found = plan_run(settings, machine, solved=solved)
    if json:
        _print_json(found)
    else:
        _print_tables(found)


def _print_json(plan: RunPlan) -> None:
    print(dumps(asdict(plan) | {"seconds": plan.seconds, "options": plan.options}, indent=2))


def _print_tables(plan: RunPlan) -> None:
    shape, machine = plan.shapes.arm, plan.machine
    print(
        f"{plan.pair}: 2 x {shape.num_parameters:,} parameters in {plan.dtype},"
        f" {plan.num_edges:,} edges"
    )
    print(
        f"{machine.device}: {gigabytes(machine.memory)} free, of which"
        f" {machine.share_of_memory:.0%} may be filled"
    )
    for table in (task_table(plan), stage_table(plan), memory_table(plan)):
        print()
        print_table(table)
    print()
    for note in plan.notes:
        print(f"- {note}")
    print(f"\nAbout {duration(plan.seconds)}. Give mechshift run: {plan.options}")
