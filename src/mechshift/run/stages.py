"""The stages of a run, in order: the one list from which a run, its help and its page in docs come.

Those that only a trajectory has stand where they are defined: `answers`, `circuit_runs`, `points`
and `trajectory_reporting`.
"""

from mechshift.run.ablations import ABLATE
from mechshift.run.alternatives import ALTERNATIVES_STAGE
from mechshift.run.answers import CONTROL_ANSWERS
from mechshift.run.circuit_runs import EVALUATE
from mechshift.run.comparisons import COMPARE
from mechshift.run.conclusions import CONCLUDE
from mechshift.run.explanations import EXPLAIN
from mechshift.run.flow import FLOW_STAGE
from mechshift.run.pools import POOL_STAGE
from mechshift.run.reporting import REPORT_STAGE
from mechshift.run.scores import ATTRIBUTE, ATTRIBUTE_OTHERS
from mechshift.run.semantics import ANALYSE
from mechshift.run.stage import Stage
from mechshift.run.step_sweep import SWEEP_STAGE

STAGES: tuple[Stage, ...] = (
    POOL_STAGE,
    ATTRIBUTE,
    ATTRIBUTE_OTHERS,
    CONTROL_ANSWERS,
    FLOW_STAGE,
    ANALYSE,
    EVALUATE,
    ABLATE,
    COMPARE,
    SWEEP_STAGE,
    ALTERNATIVES_STAGE,
    EXPLAIN,
    CONCLUDE,
    REPORT_STAGE,
)
"""Each reads earlier ones only."""


def stage_lines() -> tuple[str, ...]:
    """One line a stage: its folder, what it does, and when a run does it."""
    return tuple(f"{stage.name}: {stage.about}{_condition(stage)}" for stage in STAGES)


def _condition(stage: Stage) -> str:
    return {
        "always": "",
        "unless skipped": f" (unless --skip {stage.name})",
        "if added": f" (only with --also {stage.name})",
        "by itself": f" (only by `mechshift {stage.command}`)",
    }[stage.when]
