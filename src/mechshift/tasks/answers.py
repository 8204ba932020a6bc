"""What does a model answer, and is it right?"""

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
    """Let a model decode every example, and let the task judge.

    Args:
        model: an ARM writes from left to right; an MDM as `config` says.
        task: judges the answers.
        examples: of the task.
        config: order and number of denoising steps, and the seed of random orders.
        batch_size: examples per forward pass.
        progress: called with the number of examples that were just decoded.

    Raises:
        TaskError: the tokenizer cannot express an example.
    """
    decoded = decode(
        model,
        [encode_example(task, example, model.tokenizer, model.kind) for example in examples],
        num_steps=config.num_steps,
        order=config.order,
        seed=config.seed,
        batch_size=batch_size,
        progress=progress,
    )
    texts = tuple(
        str(model.tokenizer.decode(list(tokens), skip_special_tokens=True))
        for tokens in decoded.tokens
    )
    judged = zip(examples, texts, strict=True)
    return Answers(
        texts=texts,
        correct=np.array([task.is_correct(example, text) for example, text in judged], dtype=bool),
        schedule=decoded.schedule,
    )
