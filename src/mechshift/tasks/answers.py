"""Answers of a model, and whether they are right.

1. The model decodes as many tokens as the target has.
2. They are right where they are the target's own ids: an equal text may be lost on the way back, to
   a tokenizer that composes characters or joins marks to words, or to special tokens.
3. Where they are others, the task judges their text, decoded without joining marks to words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mechshift.denoising import Schedule, decode
from mechshift.models import LanguageModel
from mechshift.tasks.encoding import encode_example
from mechshift.tasks.example import Example, Task
from mechshift.tasks.pool_config import PoolConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """One model's answers to some examples, in their order."""

    texts: tuple[str, ...]
    correct: Bool[np.ndarray, " example"]
    schedule: Schedule
    """When the model wrote each token."""


def answer(
    model: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    config: PoolConfig,
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Let a model decode every example, and judge what it wrote.

    Args:
        model: an ARM writes from left to right; an MDM as `config` says.
        task: judges the answers that are not the targets themselves.
        examples: of the task.
        config: order and number of denoising steps, and the seed of random orders.
        batch_size: examples per forward pass.
        progress: called with the number of examples that were just decoded.

    Raises:
        TaskError: the tokenizer cannot express an example.
    """
    encoded = [encode_example(task, example, model.tokenizer, model.kind) for example in examples]
    decoded = decode(
        model,
        encoded,
        num_steps=config.num_steps,
        order=config.order,
        seed=config.seed,
        batch_size=batch_size,
        progress=progress,
    )
    texts = tuple(
        str(
            model.tokenizer.decode(
                list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
        for tokens in decoded.tokens
    )
    correct = [
        tokens == asked.target_ids or task.is_correct(example, text)
        for tokens, asked, example, text in zip(
            decoded.tokens, encoded, examples, texts, strict=True
        )
    ]
    return Answers(
        texts=texts,
        correct=np.array(correct, dtype=bool),
        schedule=decoded.schedule,
    )
