"""Scores and circuits in files that other tools read."""

from mechshift.circuits.formats.by_suffix import read_circuit as read_circuit
from mechshift.circuits.formats.graphml import read_graphml_circuit as read_graphml_circuit
from mechshift.circuits.formats.graphml import read_graphml_scores as read_graphml_scores
from mechshift.circuits.formats.graphml import write_graphml_circuit as write_graphml_circuit
from mechshift.circuits.formats.graphml import write_graphml_scores as write_graphml_scores
from mechshift.circuits.formats.mib_json import read_mib_circuit as read_mib_circuit
from mechshift.circuits.formats.mib_json import read_mib_scores as read_mib_scores
from mechshift.circuits.formats.mib_json import write_mib_circuit as write_mib_circuit
from mechshift.circuits.formats.mib_json import write_mib_scores as write_mib_scores
from mechshift.circuits.formats.safetensors import (
    read_safetensors_circuit as read_safetensors_circuit,
)
from mechshift.circuits.formats.safetensors import (
    read_safetensors_scores as read_safetensors_scores,
)
from mechshift.circuits.formats.safetensors import (
    write_safetensors_circuit as write_safetensors_circuit,
)
from mechshift.circuits.formats.safetensors import (
    write_safetensors_scores as write_safetensors_scores,
)
