"""The format of a circuit's file, by its suffix."""

from collections.abc import Callable
from pathlib import Path

from mechshift.circuits.circuit import Circuit
from mechshift.circuits.formats.graphml import read_graphml_circuit
from mechshift.circuits.formats.mib_json import read_mib_circuit
from mechshift.circuits.formats.safetensors import read_safetensors_circuit
from mechshift.errors import CircuitError

READERS: dict[str, Callable[[Path], Circuit]] = {
    ".json": read_mib_circuit,
    ".graphml": read_graphml_circuit,
    ".safetensors": read_safetensors_circuit,
}


def read_circuit(path: Path) -> Circuit:
    """Read the edges of a circuit: MIB's JSON, GraphML or safetensors.

    Raises:
        CircuitError: another suffix, or a file that its format's reader refuses.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise CircuitError(
            f"{path} ends in none of {', '.join(READERS)}, so its format is unknown; rename it."
        )
    return reader(path)
