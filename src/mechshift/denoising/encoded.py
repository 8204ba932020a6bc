"""One example as token ids, for one tokenizer and one kind of model.

Tasks make these records from text; the canvas arranges them for a forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mechshift.errors import DenoisingError


@dataclass(frozen=True)
class Contrast:
    """The tokens that are right and wrong at one target position, for `prob_diff`."""

    positive: tuple[int, ...]
    negative: tuple[int, ...]

    def __post_init__(self) -> None:
        shared = sorted(set(self.positive) & set(self.negative))
        if shared:
            raise DenoisingError(f"the tokens {shared} are both right and wrong in a contrast.")


@dataclass(frozen=True, kw_only=True)
class EncodedExample:
    """Clean and corrupted ids around one target; T is the number of target tokens."""

    id: str
    task: str
    prefix_ids: tuple[int, ...]
    """Ids before the target, with BOS where the tokenizer adds one."""
    target_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...] = ()
    """Ids after the target; () for an ARM."""
    corrupted_prefix_ids: tuple[int, ...]
    corrupted_suffix_ids: tuple[int, ...] = ()
    distractor_ids: tuple[int, ...]
    """The tokens that the corrupted prompt asks for, one for each target token."""
    contrasts: tuple[Contrast, ...] | None = None
    """One for each target token; None where the metric does not need them."""
    cluster: str = ""
    """Name of what decides the answer, shared with other examples; empty: shared with none."""
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Name -> [start, end) in prefix + target + suffix."""

    def __post_init__(self) -> None:
        num_targets = len(self.target_ids)
        if num_targets == 0:
            raise DenoisingError(f"example '{self.id}' of task '{self.task}' has an empty target.")
        self._check_length("corrupted prefix", self.corrupted_prefix_ids, len(self.prefix_ids))
        self._check_length("corrupted suffix", self.corrupted_suffix_ids, len(self.suffix_ids))
        self._check_length("distractor", self.distractor_ids, num_targets)
        if self.contrasts is not None:
            self._check_length("list of contrasts", self.contrasts, num_targets)

    def _check_length(self, name: str, values: tuple[object, ...], expected: int) -> None:
        if len(values) != expected:
            raise DenoisingError(
                f"the {name} of example '{self.id}' of task '{self.task}' has {len(values)}"
                f" tokens where the clean example has {expected}; give both the same length."
            )
