"""Would ablating anything of that amount do as much? Random controls, matched to a plan.

1. Same number: as many heads, MLPs and neurons as the plan has, each kind drawn by itself.
2. Same norm: structures are drawn in random order until the summed output norm is as near as it
   gets to the plan's; drawn again until it is near enough. The number is free. For a plan of nodes
   heads and MLPs are drawn, whichever kind the plan holds, since one kind alone rarely adds up; for
   a plan of neurons, neurons.

Drawn from layers that the plan does not touch, or from anywhere, the plan's own structures among
them. A control is one draw: intervals over examples do not cover the choice of the draw.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from mechshift.ablation.output_norms import OutputNorms
from mechshift.ablation.plans import AblationPlan
from mechshift.ablation.structures import HEAD, KIND_NAMES, MLP, NEURON
from mechshift.errors import AblationError

Where = Literal["other layers", "anywhere"]

MAX_DRAWS = 1000
"""Random orders that are tried for a norm."""


def number_matched_control(
    plan: AblationPlan, generator: np.random.Generator, *, where: Where = "other layers"
) -> AblationPlan:
    """Random structures, as many of each kind as the plan has.

    Raises:
        AblationError: there are not so many where they are drawn from.
    """
    inventory = plan.structures.inventory
    allowed = _allowed(plan, where)
    mask = np.zeros(inventory.num_structures, dtype=bool)
    for kind in (HEAD, MLP, NEURON):
        wanted = plan.structures.count(kind)
        candidates = np.flatnonzero(allowed & (inventory.kind == kind))
        if len(candidates) < wanted:
            raise AblationError(
                f"'{plan.name}' has {wanted} {KIND_NAMES[kind]} and {where} hold"
                f" {len(candidates)}; draw its control from anywhere."
            )
        mask[generator.choice(candidates, size=wanted, replace=False)] = True
    return AblationPlan(
        name=f"{plan.name}, same number",
        structures=inventory.choose(mask),
        role="same number",
        of=plan.name,
        note=f"as many of each kind, drawn from {where}",
    )


def norm_matched_control(
    plan: AblationPlan,
    norms: OutputNorms,
    generator: np.random.Generator,
    *,
    tolerance: float = 0.05,
    where: Where = "other layers",
) -> AblationPlan:
    """Random structures that together write as much as the plan's.

    Args:
        plan: what to match.
        norms: of the model that is ablated.
        generator: of the draws.
        tolerance: how far the summed norm may be from the plan's, as a share of it.
        where: what is drawn from.

    Raises:
        AblationError: no draw came so near; the message says how near.
    """
    inventory = plan.structures.inventory
    kinds = [NEURON] if plan.structures.neurons.any() else [HEAD, MLP]
    candidates = np.flatnonzero(_allowed(plan, where) & np.isin(inventory.kind, kinds))
    target = norms.of(plan.structures)
    mask = np.zeros(inventory.num_structures, dtype=bool)
    drawn = _draw_to_norm(candidates, norms, target, tolerance, generator)
    mask[drawn] = True
    reached = norms.of(inventory.choose(mask)) / target if target else np.nan
    if not abs(reached - 1) <= tolerance:
        raise AblationError(
            f"{len(candidates)} structures of {where} do not match the norm of '{plan.name}',"
            f" {target:.4g}: of {MAX_DRAWS} draws the nearest reached {reached:.2f} of it, and the"
            f" tolerance is {tolerance}; allow more, or match by number."
        )
    return AblationPlan(
        name=f"{plan.name}, same norm",
        structures=inventory.choose(mask),
        role="same norm",
        of=plan.name,
        note=f"{len(drawn)} structures with {reached:.2f} of its norm, drawn from {where}",
    )


def _draw_to_norm(
    candidates: Int[np.ndarray, " candidate"],
    norms: OutputNorms,
    target: float,
    tolerance: float,
    generator: np.random.Generator,
) -> Int[np.ndarray, " drawn"]:
    """The first draw within the tolerance, or the nearest of all."""
    nearest, distance = candidates[:0], np.inf
    for _ in range(MAX_DRAWS if len(candidates) else 0):
        order = generator.permutation(candidates)
        distances = np.abs(np.cumsum(norms.norm[order]) - target)
        last = int(distances.argmin())
        if distances[last] < distance:
            nearest, distance = order[: last + 1], distances[last]
        if distance <= tolerance * target:
            break
    return nearest


def _allowed(plan: AblationPlan, where: Where) -> Bool[np.ndarray, " structure"]:
    inventory = plan.structures.inventory
    if where == "anywhere":
        return np.ones(inventory.num_structures, dtype=bool)
    other = np.flatnonzero(~plan.structures.layers)
    return np.isin(inventory.layer, other)
