"""Block-causal attention: full inside a block, causal between blocks.

Positions are cut into blocks of equal length, counted from the first token that is not padding. A
position sees its own block and all earlier ones. BD3LM, SDAR and Fast-dLLM v2 are trained so.
(BD3LM's published sampler pads the prompt to whole blocks first; here, as in its training, blocks
are counted from the first token.)
"""

from jaxtyping import Bool
from torch import Tensor

from mechshift.models.visible_keys import Positions


def keys_of_blocks(positions: Positions, block_length: int) -> Bool[Tensor, "row query key"]:
    """Whether the key is in the query's block or in an earlier one."""
    block = positions.position_ids // block_length
    return block[:, None, :] <= block[:, :, None]
