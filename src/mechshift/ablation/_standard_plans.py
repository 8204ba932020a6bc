"""The plans of ablation that are run by default.

Thirds of the layers for every kind, the circuit, and for each of these several draws of a random
control matched by number and of one matched by norm. Controls of a third come from other layers,
those of the circuit from anywhere. Early structures, which verdicts and answers are about, have as
many draws as an interval takes; of the others a mean of a few is shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from mechshift.ablation.controls import (
    MAX_TRIES,
    Where,
    norm_matched_controls,
    number_matched_controls,
)
from mechshift.ablation.output_norms import OutputNorms
from mechshift.ablation.plans import (
    ROLES,
    AblationPlan,
    Role,
    circuit_nodes_plan,
    group_name,
    strongest_neurons_plan,
    third_plan,
)
from mechshift.ablation.settings import AblationSettings
from mechshift.circuits import Circuit
from mechshift.errors import AblationError
from mechshift.graph import THIRDS, Graph, third_of_layers

CONTROLS: tuple[Role, ...] = ("same number", "same norm")
"""Roles of the controls that every structure gets."""


FEW_DRAWS = 3
"""Draws at most of a control of what is not early."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StandardPlans:
    """Plans in the order in which they are shown, each before its controls."""

    plans: tuple[AblationPlan, ...]
    left_out: tuple[str, ...]
    """One line for each control, or part of its draws, that does not exist, saying why."""


def standard_plans(
    norms: OutputNorms, circuit: Circuit | None, settings: AblationSettings
) -> StandardPlans:
    """The plans for one model.

    Args:
        norms: of this model, on examples that the ablations are not measured on.
        circuit: of this model; None: no plan for it.
        settings: kinds, share of neurons, draws, tolerance and seed.

    Raises:
        AblationError: a circuit of another architecture, or one without heads and MLPs.
    """
    plans: list[AblationPlan] = []
    left_out: list[str] = []
    for number, (plan, where) in enumerate(_structures(norms, circuit, settings)):
        plans.append(plan)
        for role in CONTROLS:
            # Of a seed of its own: with more draws the first ones stay what they are.
            generator = np.random.default_rng([settings.seed, number, ROLES.index(role)])
            wanted = _num_draws(plan, settings)
            try:
                draws = _controls(role, plan, norms, generator, settings, where)
            except AblationError as error:
                left_out.append(str(error))
                continue
            plans.extend(draws)
            if len(draws) < wanted:
                left_out.append(
                    f"'{group_name(plan.name, role)}' is {len(draws)} of {wanted} draws:"
                    f" {MAX_TRIES} tries found no other."
                )
    return StandardPlans(plans=tuple(plans), left_out=tuple(left_out))


def max_num_plans(graph: Graph, settings: AblationSettings, *, with_circuit: bool) -> int:
    """How many plans `standard_plans` makes if every control has all its draws."""
    early = len(settings.kinds) * (THIRDS[0] in _thirds(graph))
    others = len(settings.kinds) * len(_thirds(graph)) - early + with_circuit
    few = min(settings.num_control_draws, FEW_DRAWS)
    draws = early * settings.num_control_draws + others * few
    return early + others + len(CONTROLS) * draws


def _num_draws(plan: AblationPlan, settings: AblationSettings) -> int:
    early = plan.name.startswith(f"{THIRDS[0]} ")
    return settings.num_control_draws if early else min(settings.num_control_draws, FEW_DRAWS)


def _controls(
    role: Role,
    plan: AblationPlan,
    norms: OutputNorms,
    generator: np.random.Generator,
    settings: AblationSettings,
    where: Where,
) -> tuple[AblationPlan, ...]:
    num_draws = _num_draws(plan, settings)
    if role == "same number":
        return number_matched_controls(plan, generator, num_draws=num_draws, where=where)
    return norm_matched_controls(
        plan,
        norms,
        generator,
        num_draws=num_draws,
        tolerance=settings.norm_tolerance,
        where=where,
    )


def _structures(
    norms: OutputNorms, circuit: Circuit | None, settings: AblationSettings
) -> Iterator[tuple[AblationPlan, Where]]:
    inventory = norms.inventory
    for kind, third in product(settings.kinds, _thirds(inventory.graph)):
        if kind == "neurons":
            yield strongest_neurons_plan(norms, third, settings.share_of_neurons), "other layers"
        else:
            yield third_plan(inventory, third, kind), "other layers"
    if circuit is not None:
        yield circuit_nodes_plan(inventory, circuit), "anywhere"


def _thirds(graph: Graph) -> list[str]:
    """Those that hold a layer."""
    thirds = third_of_layers(graph.num_layers)
    return [third for third, layers in zip(THIRDS, thirds, strict=True) if layers.any()]
