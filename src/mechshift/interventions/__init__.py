"""Reading and changing activations of the stock modules; the only place that registers hooks."""

from mechshift.interventions._recording import LayerRecording as LayerRecording
from mechshift.interventions._recording import Recording as Recording
from mechshift.interventions._recording import recording as recording
from mechshift.interventions._replaced_outputs import ChosenOutputs as ChosenOutputs
from mechshift.interventions._replaced_outputs import PassPositions as PassPositions
from mechshift.interventions._replaced_outputs import Site as Site
from mechshift.interventions._replaced_outputs import Value as Value
from mechshift.interventions._replaced_outputs import noted_positions as noted_positions
from mechshift.interventions._replaced_outputs import recorded_outputs as recorded_outputs
from mechshift.interventions._replaced_outputs import replaced_outputs as replaced_outputs
from mechshift.interventions._residual_streams import ResidualStreams as ResidualStreams
from mechshift.interventions._residual_streams import begun_at as begun_at
from mechshift.interventions._residual_streams import input_stream as input_stream
from mechshift.interventions._residual_streams import recorded_streams as recorded_streams
from mechshift.interventions.attention_operands import AttentionOperands as AttentionOperands
from mechshift.interventions.attention_operands import batch_arguments as batch_arguments
from mechshift.interventions.attention_operands import operands_returned as operands_returned
from mechshift.interventions.destination_input import (
    added_to_destination as added_to_destination,
)
from mechshift.interventions.hidden_units import recorded_hidden_units as recorded_hidden_units
from mechshift.interventions.hooking import Removable as Removable
from mechshift.interventions.hooking import gradients_given as gradients_given
from mechshift.interventions.hooking import removing as removing
from mechshift.interventions.hooking import ungrouped_heads as ungrouped_heads
from mechshift.interventions.mlp_output import added_to_mlp_output as added_to_mlp_output
from mechshift.interventions.patched_projections import Arguments as Arguments
