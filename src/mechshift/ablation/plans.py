"""Plans: which structures are ablated together, under one name.

1. Thirds: the heads, the MLPs, or both (whole layers) of the early, middle or late layers.
2. Neurons: all hidden neurons of a third would be its MLPs up to a bias, so the plan takes the
   share of them that writes most, by output norm.
3. Circuit: the heads and MLPs that a circuit's edges join. `input` is left out: without it no
   circuit computes anything.

Controls for these are in `controls`. Norms and circuits differ between models, so plans 2 and 3
name different structures in each; their names are the same, which is how models are compared.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool

from mechshift.ablation.output_norms import OutputNorms
from mechshift.ablation.structures import HEAD, INPUT, MLP, NEURON, Inventory, Structures
from mechshift.circuits import Circuit
from mechshift.circuits.nodes import joined_nodes
from mechshift.errors import AblationError
from mechshift.graph import THIRDS, third_of_layers

Role = Literal["structure", "same number", "same norm"]
ROLES: tuple[Role, ...] = get_args(Role)
"""A plan is a structure of interest, or a random control matched to one."""

NODE_KINDS = {"heads": (HEAD,), "mlps": (MLP,), "layers": (HEAD, MLP)}
"""Structures that a plan of a third can hold in full."""

KINDS = (*NODE_KINDS, "neurons")
"""Structures that are ablated of a third of the layers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AblationPlan:
    """Structures that are ablated together."""

    name: str
    structures: Structures
    role: Role = "structure"
    of: str
    """The plan that this one is a control of; its own name where it is no control."""
    draw: int = 0
    """Which draw of its control this is, counted from 1; 0 where it is no control."""
    note: str
    """How the structures were chosen, in a few words."""

    def __post_init__(self) -> None:
        if self.role == "structure":
            assert self.of == self.name and not self.draw, "only controls are draws of something"


def group_name(of: str, role: str) -> str:
    """What a plan is reported as: a structure by its own name, all draws of a control by one."""
    return of if role == "structure" else f"{of}, {role}"


def third_plan(inventory: Inventory, third: str, kind: str) -> AblationPlan:
    """The heads, MLPs or both of the early, middle or late layers.

    Raises:
        AblationError: an unknown third or kind, or a third without layers.
    """
    if kind not in NODE_KINDS:
        raise AblationError(
            f"no plan of the '{kind}' of a third; known: {', '.join(NODE_KINDS)}. Neurons are"
            " chosen by `strongest_neurons_plan`."
        )
    mask = _in_third(inventory, third) & np.isin(inventory.kind, NODE_KINDS[kind])
    name = f"{third} {kind}"
    return AblationPlan(
        name=name,
        structures=inventory.choose(mask),
        of=name,
        note=f"all {kind} of the {third} third of the layers",
    )


def strongest_neurons_plan(norms: OutputNorms, third: str, share: float) -> AblationPlan:
    """The share of a third's hidden neurons that writes most; of equals the first.

    Raises:
        AblationError: an unknown third, one without layers, a share outside (0, 1], or a model
            without hidden neurons.
    """
    if not 0 < share <= 1:
        raise AblationError(
            f"a share of the neurons lies above 0 and at most at 1, not at {share}."
        )
    inventory = norms.inventory
    if not inventory.num_neurons:
        raise AblationError(
            "the hidden neurons of a mixture of experts cannot be ablated one by one; leave"
            " 'neurons' out of the kinds."
        )
    candidates = np.flatnonzero(_in_third(inventory, third) & (inventory.kind == NEURON))
    count = max(1, round(share * len(candidates)))
    strongest = candidates[np.argsort(-norms.norm[candidates], kind="stable")[:count]]
    mask = np.zeros(inventory.num_structures, dtype=bool)
    mask[strongest] = True
    name = f"{third} neurons"
    return AblationPlan(
        name=name,
        structures=inventory.choose(mask),
        of=name,
        note=f"the {share:.0%} of the {third} third's hidden neurons that write most",
    )


def circuit_nodes_plan(
    inventory: Inventory, circuit: Circuit, name: str = "circuit"
) -> AblationPlan:
    """The heads and MLPs that a circuit's edges are written or read by.

    Raises:
        AblationError: the circuit is of another architecture, or joins `input` to `logits` only.
    """
    if circuit.graph.num_sources != inventory.graph.num_sources:
        raise AblationError(
            f"a circuit of a graph of {circuit.graph.num_sources} nodes does not fit a model of"
            f" {inventory.graph.num_sources}; take it from the same architecture."
        )
    mask = np.zeros(inventory.num_structures, dtype=bool)
    mask[: inventory.graph.num_sources] = joined_nodes(circuit.graph, circuit.edges)[:-1]
    mask[inventory.kind == INPUT] = False
    if not mask.any():
        raise AblationError(
            f"the circuit of {circuit.num_edges} edges holds no head and no MLP, so there is"
            " nothing to ablate; choose a larger one."
        )
    return AblationPlan(
        name=name,
        structures=inventory.choose(mask),
        of=name,
        note=f"heads and MLPs of a circuit of {circuit.num_edges:,} edges",
    )


def _in_third(inventory: Inventory, third: str) -> Bool[np.ndarray, " structure"]:
    if third not in THIRDS:
        raise AblationError(f"unknown third '{third}' of the layers; known: {', '.join(THIRDS)}.")
    num_layers = inventory.graph.num_layers
    layers = np.flatnonzero(third_of_layers(num_layers)[THIRDS.index(third)])
    if not len(layers):
        raise AblationError(f"none of {num_layers} layers belongs to the {third} third.")
    return np.isin(inventory.layer, layers)
