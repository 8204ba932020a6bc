"""Random controls matched to a plan: what any ablation of that amount would cost.

One lucky or unlucky draw, an early head say, would decide, so a control is several draws, each a
plan of its own. They are drawn from these populations:

1. Same number: all sets with as many heads, MLPs and neurons as the plan has. Each kind is drawn
   by itself, and all sets are equally likely.
2. Same norm: structures are taken in random order, all orders equally likely, until the summed
   output norm is as near as it gets to the plan's; orders that do not come near enough are thrown
   away. The number is free. For a plan of nodes heads and MLPs are drawn, whichever kind the plan
   holds, since one kind alone rarely adds up; for a plan of neurons, neurons.

Both hold only structures of the layers that the plan does not touch (`other layers`), so for a
third they say what the other two thirds would have cost; or structures of any layer, the plan's own
among them (`anywhere`). The draws of a control differ from each other and from the plan.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Bool

from mechshift.ablation.output_norms import OutputNorms
from mechshift.ablation.plans import AblationPlan, Role, group_name
from mechshift.ablation.structures import HEAD, KIND_NAMES, MLP, NEURON
from mechshift.errors import AblationError

Where = Literal["other layers", "anywhere"]

Mask = Bool[np.ndarray, " structure"]

MAX_TRIES = 1000
"""Random sets or orders that are tried for the draws of one control."""


def number_matched_controls(
    plan: AblationPlan,
    generator: np.random.Generator,
    *,
    num_draws: int,
    where: Where = "other layers",
) -> tuple[AblationPlan, ...]:
    """Random structures, as many of each kind as the plan has; fewer draws where no more exist.

    Raises:
        AblationError: there are not so many where they are drawn from, or only the plan's own.
    """
    inventory = plan.structures.inventory
    allowed = _allowed(plan, where)
    pools: list[tuple[np.ndarray, int]] = []
    for kind in (HEAD, MLP, NEURON):
        wanted = plan.structures.count(kind)
        candidates = np.flatnonzero(allowed & (inventory.kind == kind))
        if len(candidates) < wanted:
            raise AblationError(
                f"'{plan.name}' has {wanted} {KIND_NAMES[kind]} and {where} hold"
                f" {len(candidates)}; draw its control from anywhere."
            )
        pools.append((candidates, wanted))

    def sets() -> Iterator[Mask]:
        for _ in range(MAX_TRIES):
            mask = np.zeros(inventory.num_structures, dtype=bool)
            for candidates, wanted in pools:
                mask[generator.choice(candidates, size=wanted, replace=False)] = True
            yield mask

    note = f"as many of each kind, drawn from {where}"
    return tuple(
        _control(plan, "same number", draw, mask, note)
        for draw, mask in enumerate(_distinct(sets(), plan, num_draws, where), start=1)
    )


def norm_matched_controls(
    plan: AblationPlan,
    norms: OutputNorms,
    generator: np.random.Generator,
    *,
    num_draws: int,
    tolerance: float = 0.05,
    where: Where = "other layers",
) -> tuple[AblationPlan, ...]:
    """Random structures that together write as much as the plan's; fewer where no more are found.

    Args:
        plan: what to match.
        norms: of the model that is ablated.
        generator: of the draws.
        num_draws: how many are wanted.
        tolerance: how far the summed norm may be from the plan's, as a share of it.
        where: what is drawn from.

    Raises:
        AblationError: no order came so near, and the message says how near; or only the plan did.
    """
    target = norms.of(plan.structures)
    found = _distinct(
        _sets_of_norm(plan, norms, generator, tolerance, where), plan, num_draws, where
    )
    return tuple(
        _control(
            plan,
            "same norm",
            draw,
            mask,
            f"{mask.sum()} structures with {norms.norm[mask].sum() / target:.2f} of its norm,"
            f" drawn from {where}",
        )
        for draw, mask in enumerate(found, start=1)
    )


def _sets_of_norm(
    plan: AblationPlan,
    norms: OutputNorms,
    generator: np.random.Generator,
    tolerance: float,
    where: Where,
) -> Iterator[Mask]:
    """Random orders, each cut where it is nearest to the plan's norm, that come near enough.

    Raises:
        AblationError: none does.
    """
    inventory = plan.structures.inventory
    kinds = [NEURON] if plan.structures.neurons.any() else [HEAD, MLP]
    candidates = np.flatnonzero(_allowed(plan, where) & np.isin(inventory.kind, kinds))
    target = norms.of(plan.structures)
    nearest, distance, matched = 0.0, np.inf, False
    for _ in range(MAX_TRIES if len(candidates) and target else 0):
        order = generator.permutation(candidates)
        sums = np.cumsum(norms.norm[order])
        last = int(np.abs(sums - target).argmin())
        reached = sums[last] / target
        if abs(reached - 1) < distance:
            nearest, distance = reached, abs(reached - 1)
        if abs(reached - 1) <= tolerance:
            matched = True
            mask = np.zeros(inventory.num_structures, dtype=bool)
            mask[order[: last + 1]] = True
            yield mask
    if not matched:
        raise AblationError(
            f"{len(candidates)} structures of {where} do not match the norm of '{plan.name}',"
            f" {target:.4g}: of {MAX_TRIES} orders the nearest reached {nearest:.2f} of it, and the"
            f" tolerance is {tolerance}; allow more, or match by number."
        )


def _distinct(
    masks: Iterable[Mask], plan: AblationPlan, num_draws: int, where: Where
) -> list[Mask]:
    """The first sets that differ from each other and from the plan."""
    assert num_draws >= 1
    seen = {plan.structures.mask.tobytes()}
    found: list[Mask] = []
    for mask in masks:
        if mask.tobytes() not in seen:
            seen.add(mask.tobytes())
            found.append(mask)
        if len(found) == num_draws:
            break
    if not found:
        raise AblationError(
            f"nothing drawn from {where} matches '{plan.name}' but '{plan.name}' itself, so it has"
            " no control; ablate less at once."
        )
    return found


def _control(plan: AblationPlan, role: Role, draw: int, mask: Mask, note: str) -> AblationPlan:
    return AblationPlan(
        name=f"{group_name(plan.name, role)}, draw {draw}",
        structures=plan.structures.inventory.choose(mask),
        role=role,
        of=plan.name,
        draw=draw,
        note=note,
    )


def _allowed(plan: AblationPlan, where: Where) -> Mask:
    inventory = plan.structures.inventory
    if where == "anywhere":
        return np.ones(inventory.num_structures, dtype=bool)
    other = np.flatnonzero(~plan.structures.layers)
    return np.isin(inventory.layer, other)
