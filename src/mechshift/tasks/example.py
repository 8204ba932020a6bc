"""One example of a task, before any tokenizer has seen it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast

Split = Literal["train", "discovery", "held-out"]
"""`train` makes models, `discovery` finds circuits, `held-out` tests them; they never overlap."""

SPLITS: tuple[Split, ...] = ("train", "discovery", "held-out")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A clean prompt with its target, and a corrupted prompt with the answer it would call for."""

    id: str
    """Unique within a task and split."""

    task: str

    prompt: str
    """The text before the target."""

    target: str
    """The right answer, with its leading space where the text has one."""

    distractor: str
    """The answer that the corrupted prompt calls for; as many tokens as `target`."""

    corrupted_prompt: str
    """`prompt` with its meaning changed; as many tokens as `prompt`."""

    suffix: str = ""
    """The text after the target. An MDM sees it in its place."""

    corrupted_suffix: str = ""

    causal_prompt: str | None = None
    """What an ARM reads instead of `prompt` when there is a suffix, since it cannot look ahead."""

    corrupted_causal_prompt: str | None = None

    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Name to [start, end), in characters of `prompt + target + suffix`."""

    cluster: str = ""
    """Name of what decides the answer. Examples that share it are near-copies of each other: they
    are resampled together and stand in one split. Empty: shared with no other example."""

    template: str = ""
    """Name of the wording; empty: none was named."""

    facts: Mapping[str, int | str | list[int]] = field(default_factory=dict)
    """What the task's own checker and metric need to know."""


@runtime_checkable
class Task(Protocol):
    """A generator of examples and a judge of answers."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str:
        """One line for the list of tasks."""

    @property
    def metric(self) -> str:
        """Name of the metric in `mechshift.metrics` that attribution explains."""

    @property
    def templates(self) -> tuple[str, ...]:
        """Names of the wordings that it can use."""

    def generate(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        split: Split,
        num_examples: int,
        seed: int,
        templates: Sequence[str] = (),
    ) -> list[Example]:
        """At most `num_examples` distinct examples of a split; fewer where it holds no more.

        The same seed gives the same examples, and a longer list starts with the shorter one. Of
        `templates` those are used that are the task's own; where none is, all that the tokenizer
        can write.

        Raises:
            TaskError: the tokenizer cannot express the task, or not a template that was asked for.
        """

    def is_correct(self, example: Example, completion: str) -> bool:
        """Whether a completion, decoded in place of the target, solves the example.

        Asked of completions whose tokens are not those of the target.
        """

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        """Valid and invalid tokens at each target position; None unless the metric needs them."""
