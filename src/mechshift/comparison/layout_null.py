"""Null of the layout: how much would two circuits overlap if only layers and edge types agreed?

For readers who ask whether two models share edges, or only put their edges in the same layers. The
MDM's scores are shuffled among edges of the same layer pair and edge type. A group of n edges, of
which the ARM's circuit holds a and the MDM's m, then has a hypergeometric number of edges in both,
independent of the other groups. These numbers are drawn, and not a million edges shuffled.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def layout_overlaps(
    groups: Int[np.ndarray, " edge"],
    arm: Bool[np.ndarray, " edge"],
    mdm: Bool[np.ndarray, " edge"],
    num_shuffles: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, " shuffle"]:
    """Jaccard of two circuits' edges, after shuffles of the MDM's within groups.

    Args:
        groups: `circuits.edge_groups.edge_groups` of the graph.
        arm: which edges the ARM's circuit holds.
        mdm: which the MDM's holds; one of the two holds an edge.
        num_shuffles: how many.
        generator: of the draws.
    """
    num_groups = groups.max() + 1
    of_group, of_arm, of_mdm = (
        np.bincount(chosen, minlength=num_groups) for chosen in (groups, groups[arm], groups[mdm])
    )
    both = (of_arm > 0) & (of_mdm > 0)
    shared = generator.hypergeometric(
        of_arm[both],
        (of_group - of_arm)[both],
        of_mdm[both],
        size=(num_shuffles, np.count_nonzero(both)),
    ).sum(axis=1)
    overlaps: Float[np.ndarray, " shuffle"] = shared / (of_arm.sum() + of_mdm.sum() - shared)
    return overlaps
