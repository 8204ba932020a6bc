"""Which ablations are run when nobody says otherwise?

Thirds of the layers for every kind, the circuit, and for each of these a random control matched by
number and one matched by norm. Controls of a third come from other layers, those of the circuit
from anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from mechshift.ablation.controls import Where, norm_matched_control, number_matched_control
from mechshift.ablation.output_norms import OutputNorms
from mechshift.ablation.plans import (
    AblationPlan,
    circuit_nodes_plan,
    strongest_neurons_plan,
    third_plan,
)
from mechshift.ablation.settings import AblationSettings
from mechshift.circuits import Circuit
from mechshift.errors import AblationError
from mechshift.graph import THIRDS, third_of_layers


@dataclass(frozen=True, kw_only=True, eq=False)
class StandardPlans:
    """Plans in the order in which they are shown, each before its controls."""

    plans: tuple[AblationPlan, ...]
    left_out: tuple[str, ...]
    """One line for each control that does not exist, saying why."""


def standard_plans(
    norms: OutputNorms, circuit: Circuit | None, settings: AblationSettings
) -> StandardPlans:
    """The plans for one model.

    Args:
        norms: of this model, on examples that the ablations are not measured on.
        circuit: of this model; None: no plan for it.
        settings: kinds, share of neurons, tolerance and seed.

    Raises:
        AblationError: a circuit of another architecture, or one without heads and MLPs.
    """
    plans: list[AblationPlan] = []
    left_out: list[str] = []
    for number, (plan, where) in enumerate(_structures(norms, circuit, settings)):
        plans.append(plan)
        # Each plan's controls depend on the seed and its place only, not on the draws before.
        generator = np.random.default_rng([settings.seed, number])
        for role in ("same number", "same norm"):
            try:
                if role == "same number":
                    control = number_matched_control(plan, generator, where=where)
                else:
                    control = norm_matched_control(
                        plan, norms, generator, tolerance=settings.norm_tolerance, where=where
                    )
            except AblationError as error:
                left_out.append(str(error))
            else:
                plans.append(control)
    return StandardPlans(plans=tuple(plans), left_out=tuple(left_out))


def _structures(
    norms: OutputNorms, circuit: Circuit | None, settings: AblationSettings
) -> Iterator[tuple[AblationPlan, Where]]:
    inventory = norms.inventory
    of_third = third_of_layers(inventory.graph.num_layers)
    thirds = [THIRDS[number] for number in range(len(THIRDS)) if of_third[number].any()]
    for kind, third in product(settings.kinds, thirds):
        if kind == "neurons":
            yield strongest_neurons_plan(norms, third, settings.share_of_neurons), "other layers"
        else:
            yield third_plan(inventory, third, kind), "other layers"
    if circuit is not None:
        yield circuit_nodes_plan(inventory, circuit), "anywhere"
