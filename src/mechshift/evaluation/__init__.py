"""Running circuits, and how much of the model's behaviour they keep."""

from mechshift.evaluation.ablations import Ablation as Ablation
from mechshift.evaluation.ablations import AblationName as AblationName
from mechshift.evaluation.ablations import find_ablation as find_ablation
from mechshift.evaluation.baselines import MatchedCircuit as MatchedCircuit
from mechshift.evaluation.baselines import activation_sized_circuit as activation_sized_circuit
from mechshift.evaluation.baselines import random_matched_circuit as random_matched_circuit
from mechshift.evaluation.circuit_metrics import CircuitMetrics as CircuitMetrics
from mechshift.evaluation.circuit_metrics import evaluate_circuits as evaluate_circuits
from mechshift.evaluation.circuit_metrics import num_runs as num_runs
from mechshift.evaluation.circuit_plan import CircuitPlan as CircuitPlan
from mechshift.evaluation.circuit_plan import plan_circuit as plan_circuit
from mechshift.evaluation.circuit_run import run_circuit as run_circuit
from mechshift.evaluation.constant_cache import zero_cache as zero_cache
from mechshift.evaluation.corrupted_cache import CorruptedCache as CorruptedCache
from mechshift.evaluation.corrupted_cache import corrupted_cache as corrupted_cache
from mechshift.evaluation.faithfulness import MIB_FRACTIONS as MIB_FRACTIONS
from mechshift.evaluation.faithfulness import FaithfulnessCurve as FaithfulnessCurve
from mechshift.evaluation.faithfulness import circuit_sizes as circuit_sizes
from mechshift.evaluation.faithfulness import cmd as cmd
from mechshift.evaluation.faithfulness import cpr as cpr
from mechshift.evaluation.faithfulness import faithfulness as faithfulness
from mechshift.evaluation.mean_outputs import MeanOutputs as MeanOutputs
from mechshift.evaluation.mean_outputs import mean_outputs as mean_outputs
from mechshift.evaluation.mean_outputs import num_averaged as num_averaged
