"""Models that need no hub: what `mechshift pairs get` does."""

from mechshift.models.supply.embedded import get_embedded as get_embedded
from mechshift.models.supply.packed import pack_checkpoints as pack_checkpoints
from mechshift.models.supply.smollm2 import get_smollm2 as get_smollm2
from mechshift.models.supply.whole_folder import Provided as Provided
