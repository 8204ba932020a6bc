"""Attribution: how much each edge or node of a model's graph matters for a metric."""

from mechshift.attribution._eap import End as End
from mechshift.attribution._eap import eap as eap
from mechshift.attribution._eap_ig import eap_ig as eap_ig
from mechshift.attribution._expert_attribution import ExpertScores as ExpertScores
from mechshift.attribution._expert_attribution import exact_expert_scores as exact_expert_scores
from mechshift.attribution._expert_attribution import expert_attribution as expert_attribution
from mechshift.attribution._neuron_attribution import neuron_attribution as neuron_attribution
from mechshift.attribution._node_attribution import node_attribution as node_attribution
from mechshift.attribution._position_flow import position_flow as position_flow
from mechshift.attribution.collecting import chunk_canvases as chunk_canvases
from mechshift.attribution.collecting import score_dtype as score_dtype
from mechshift.attribution.collecting import steps_by_example as steps_by_example
from mechshift.attribution.edge_scores import EdgeScores as EdgeScores
from mechshift.attribution.edge_scores import source_scores as source_scores
from mechshift.attribution.exact import exact_edge_scores as exact_edge_scores
from mechshift.attribution.exact import num_forward_passes as num_forward_passes
from mechshift.attribution.gim import gim_attention as gim_attention
from mechshift.attribution.methods import METHODS as METHODS
from mechshift.attribution.methods import EdgeMethod as EdgeMethod
from mechshift.attribution.methods import attribute as attribute
from mechshift.attribution.methods import check_options as check_options
from mechshift.attribution.methods import method_options as method_options
from mechshift.attribution.node_scores import NeuronScores as NeuronScores
from mechshift.attribution.node_scores import NodeScores as NodeScores
from mechshift.attribution.path import CLEAN as CLEAN
from mechshift.attribution.path import CORRUPTED as CORRUPTED
from mechshift.attribution.path import RULE_OFFSETS as RULE_OFFSETS
from mechshift.attribution.path import Rule as Rule
from mechshift.attribution.path import path_points as path_points
from mechshift.attribution.pool_scores import attribute_pool as attribute_pool
from mechshift.attribution.position_flow_record import POSITION_KINDS as POSITION_KINDS
from mechshift.attribution.position_flow_record import PositionFlow as PositionFlow
from mechshift.attribution.position_flow_record import (
    concatenate_position_flows as concatenate_position_flows,
)
from mechshift.attribution.score_record import concatenate_scores as concatenate_scores
from mechshift.attribution.shards import average_over_shards as average_over_shards
from mechshift.attribution.step_sums import NUM_GROUPS as NUM_GROUPS
from mechshift.attribution.step_sums import step_groups as step_groups
from mechshift.attribution.step_sums import sum_over_steps as sum_over_steps
from mechshift.axes import DIRECTIONS as DIRECTIONS
