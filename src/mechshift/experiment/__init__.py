"""The stages of a run in order: what can be asked of each, and how its results are stored."""

from mechshift.experiment.ablating import ablate_pair as ablate_pair
from mechshift.experiment.analysing import analyse_pair as analyse_pair
from mechshift.experiment.comparing import compare_pair as compare_pair
from mechshift.experiment.controlling import ask_controls as ask_controls
from mechshift.experiment.evaluating import evaluate_pair as evaluate_pair
from mechshift.experiment.exporting import FormatName as FormatName
from mechshift.experiment.exporting import export_circuits as export_circuits
from mechshift.experiment.flow import trace_flow as trace_flow
from mechshift.experiment.imported import evaluate_files as evaluate_files
from mechshift.experiment.pipeline import load_stored_pair as load_stored_pair
from mechshift.experiment.pipeline import run_experiment as run_experiment
from mechshift.experiment.pooling import make_pools as make_pools
from mechshift.experiment.pooling import pool_table as pool_table
from mechshift.experiment.reporting import write_report as write_report
from mechshift.experiment.scoring import score_edges as score_edges
from mechshift.experiment.settings import AttributionSettings as AttributionSettings
from mechshift.experiment.settings import EvaluationSettings as EvaluationSettings
from mechshift.experiment.settings import PairOptions as PairOptions
from mechshift.experiment.settings import RunSettings as RunSettings
from mechshift.experiment.settings import Skippable as Skippable
from mechshift.experiment.trajectory import TrajectorySettings as TrajectorySettings
from mechshift.experiment.trajectory import run_trajectory as run_trajectory
