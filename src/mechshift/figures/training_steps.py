"""How are training steps laid out along an axis: even in their logarithm, and with a place for 0?

Checkpoints are kept at steps that grow by a factor, and the first of them all is the parent, at
step 0, which a logarithm does not have. It stands left of the others by the usual gap between them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.page.theme import log_ticks

FALLBACK_GAP = 0.3
"""Between 0 and the only other step [decades]."""


@dataclass(frozen=True, kw_only=True)
class StepAxis:
    """Places of training steps; a linear axis in plotly's eyes."""

    steps: tuple[int, ...]
    """All that are shown, ascending."""

    @classmethod
    def over(cls, steps: Iterable[int]) -> "StepAxis":
        return cls(steps=tuple(sorted(set(steps))))

    @property
    def _positive(self) -> Float[np.ndarray, " step"]:
        return np.log10([step for step in self.steps if step > 0])

    @property
    def _zero(self) -> float:
        logs = self._positive
        gaps = np.diff(logs)
        return float(logs[0] - (np.median(gaps) if len(gaps) else FALLBACK_GAP))

    def place(self, step: int) -> float:
        """Where a step stands [decades]."""
        return float(np.log10(step)) if step > 0 else self._zero

    def _round_steps(self) -> list[int]:
        """1, 10, 100, ...; where fewer than two of them lie on the axis, what lies between too."""
        positive = np.array([step for step in self.steps if step > 0])
        ticks: list[int] = log_ticks(positive)["tickvals"]
        powers = [tick for tick in ticks if set(str(tick)) <= {"0", "1"}]
        return powers if len(powers) > 1 else ticks

    def layout(self) -> dict[str, object]:
        """Attributes of the axis: its range, and ticks at 0 and at round steps."""
        ticks = [0, *self._round_steps()]
        left, right = self.place(self.steps[0]), self.place(self.steps[-1])
        margin = 0.06 * max(right - left, FALLBACK_GAP)
        return {
            "tickvals": [self.place(tick) for tick in ticks],
            "ticktext": [short(tick) for tick in ticks],
            "range": [left - margin, right + margin],
        }


def short(step: int) -> str:
    """A step in as little room as a small panel has: `300`, `2k`, `30k`."""
    return f"{step // 1000}k" if step and step % 1000 == 0 else f"{step}"
