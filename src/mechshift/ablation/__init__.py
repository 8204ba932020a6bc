"""Ablation: what is lost when structures of a model write nothing, or something else."""

from mechshift.ablation._standard_plans import FEW_DRAWS as FEW_DRAWS
from mechshift.ablation._standard_plans import StandardPlans as StandardPlans
from mechshift.ablation._standard_plans import max_num_plans as max_num_plans
from mechshift.ablation._standard_plans import standard_plans as standard_plans
from mechshift.ablation.controls import norm_matched_controls as norm_matched_controls
from mechshift.ablation.controls import number_matched_controls as number_matched_controls
from mechshift.ablation.decoded import DecodedAblations as DecodedAblations
from mechshift.ablation.decoded import decode_ablated as decode_ablated
from mechshift.ablation.decoded import num_decodings as num_decodings
from mechshift.ablation.effects import AblationComparison as AblationComparison
from mechshift.ablation.effects import AblationEffects as AblationEffects
from mechshift.ablation.effects import PlanDrops as PlanDrops
from mechshift.ablation.effects import ablation_effects as ablation_effects
from mechshift.ablation.effects import compare_ablations as compare_ablations
from mechshift.ablation.output_norms import OutputNorms as OutputNorms
from mechshift.ablation.output_norms import RemovedOutputs as RemovedOutputs
from mechshift.ablation.output_norms import measure_output_norms as measure_output_norms
from mechshift.ablation.output_norms import removed_outputs as removed_outputs
from mechshift.ablation.plans import ROLES as ROLES
from mechshift.ablation.plans import AblationPlan as AblationPlan
from mechshift.ablation.plans import Role as Role
from mechshift.ablation.plans import circuit_nodes_plan as circuit_nodes_plan
from mechshift.ablation.plans import strongest_neurons_plan as strongest_neurons_plan
from mechshift.ablation.plans import third_plan as third_plan
from mechshift.ablation.pooling import GroupLabels as GroupLabels
from mechshift.ablation.run import AblationRun as AblationRun
from mechshift.ablation.run import Decoding as Decoding
from mechshift.ablation.run import max_num_runs as max_num_runs
from mechshift.ablation.run import run_ablations as run_ablations
from mechshift.ablation.run import whole_passes as whole_passes
from mechshift.ablation.settings import MIN_EXAMPLES as MIN_EXAMPLES
from mechshift.ablation.settings import REPLACEMENTS as REPLACEMENTS
from mechshift.ablation.settings import AblationSettings as AblationSettings
from mechshift.ablation.settings import Replacement as Replacement
from mechshift.ablation.single_components import SingleAblations as SingleAblations
from mechshift.ablation.single_components import (
    ablate_single_components as ablate_single_components,
)
from mechshift.ablation.single_components import num_forward_passes as num_forward_passes
from mechshift.ablation.single_effects import SingleEffects as SingleEffects
from mechshift.ablation.single_effects import compare_single_ablations as compare_single_ablations
from mechshift.ablation.single_effects import component_drops as component_drops
from mechshift.ablation.single_effects import rank_agreement as rank_agreement
from mechshift.ablation.structures import Inventory as Inventory
from mechshift.ablation.structures import Structures as Structures
from mechshift.ablation.structures import inventory_of as inventory_of
from mechshift.ablation.sweep import num_runs as num_runs
from mechshift.ablation.sweep import sweep_ablations as sweep_ablations
from mechshift.ablation.table import AblationTable as AblationTable
from mechshift.ablation.table import PlanLabels as PlanLabels
