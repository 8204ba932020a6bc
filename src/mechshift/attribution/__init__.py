"""Attribution: how much each edge of a model's computation graph matters for a metric."""

from mechshift.attribution.collecting import chunk_canvases as chunk_canvases
from mechshift.attribution.eap_ig import RULE_OFFSETS as RULE_OFFSETS
from mechshift.attribution.eap_ig import Rule as Rule
from mechshift.attribution.eap_ig import eap_ig as eap_ig
from mechshift.attribution.eap_ig import path_points as path_points
from mechshift.attribution.edge_scores import EdgeScores as EdgeScores
from mechshift.attribution.edge_scores import concatenate_edge_scores as concatenate_edge_scores
from mechshift.attribution.exact import exact_edge_scores as exact_edge_scores
