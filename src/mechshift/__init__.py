"""mechshift: what changes inside a model when it becomes a diffusion model.

The names of the front door; each is imported when it is first used, since torch and transformers
take seconds. Type checkers and editors see them by the imports below.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers read it; `typing` is ten times as long in coming

if TYPE_CHECKING:
    from mechshift.attribution import EdgeScores as EdgeScores
    from mechshift.attribution import PositionFlow as PositionFlow
    from mechshift.attribution import attribute as attribute
    from mechshift.attribution import attribute_pool as attribute_pool
    from mechshift.attribution import position_flow as position_flow
    from mechshift.circuits import Circuit as Circuit
    from mechshift.circuits import select_top_edges as select_top_edges
    from mechshift.comparison import Comparison as Comparison
    from mechshift.comparison import ComparisonSettings as ComparisonSettings
    from mechshift.comparison import compare as compare
    from mechshift.denoising import build_canvases as build_canvases
    from mechshift.errors import MechshiftError as MechshiftError
    from mechshift.evaluation import CircuitMetrics as CircuitMetrics
    from mechshift.evaluation import evaluate_circuits as evaluate_circuits
    from mechshift.models import LanguageModel as LanguageModel
    from mechshift.models import ModelPair as ModelPair
    from mechshift.models import load_pair as load_pair
    from mechshift.models import make_pair as make_pair
    from mechshift.run import AttributionSettings as AttributionSettings
    from mechshift.run import EvaluationSettings as EvaluationSettings
    from mechshift.run import PairOptions as PairOptions
    from mechshift.run import RunFolder as RunFolder
    from mechshift.run import RunSettings as RunSettings
    from mechshift.run import Verdicts as Verdicts
    from mechshift.run import conclude_run as conclude_run
    from mechshift.run import export_circuits as export_circuits
    from mechshift.run import open_run as open_run
    from mechshift.run import open_runs as open_runs
    from mechshift.run import run_experiment as run_experiment
    from mechshift.run import save_pair as save_pair
    from mechshift.run import write_report as write_report
    from mechshift.tasks import CommonPool as CommonPool
    from mechshift.tasks import Example as Example
    from mechshift.tasks import PoolConfig as PoolConfig
    from mechshift.tasks import build_pool as build_pool
    from mechshift.tasks import encode_pool as encode_pool
    from mechshift.tasks import load_task as load_task
    from mechshift.tasks import load_task_file as load_task_file
    from mechshift.tasks import make_task as make_task

_HOMES = {
    "attribution": "EdgeScores PositionFlow attribute attribute_pool position_flow",
    "circuits": "Circuit select_top_edges",
    "comparison": "Comparison ComparisonSettings compare",
    "denoising": "build_canvases",
    "errors": "MechshiftError",
    "evaluation": "CircuitMetrics evaluate_circuits",
    "models": "LanguageModel ModelPair load_pair make_pair",
    "run": "AttributionSettings EvaluationSettings PairOptions RunFolder RunSettings Verdicts"
    " conclude_run export_circuits open_run open_runs run_experiment save_pair write_report",
    "tasks": "CommonPool Example PoolConfig build_pool encode_pool load_task load_task_file"
    " make_task",
}
"""Package -> the names that it gives."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = list(_HOME_OF)


if not TYPE_CHECKING:  # to a type checker there are no names but those above

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'mechshift' has no attribute '{name}'")
        found = globals()[name] = getattr(import_module(f"mechshift.{_HOME_OF[name]}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
