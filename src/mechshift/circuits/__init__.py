"""Circuits: which edges of the graph are kept."""

from mechshift.circuits.circuit import Circuit as Circuit
from mechshift.circuits.nodes import destination_nodes as destination_nodes
from mechshift.circuits.nodes import node_scores as node_scores
from mechshift.circuits.scored_graph import ScoredGraph as ScoredGraph
from mechshift.circuits.selection import live_edges as live_edges
from mechshift.circuits.selection import select_top_edges as select_top_edges
from mechshift.circuits.selection import without_dangling as without_dangling
