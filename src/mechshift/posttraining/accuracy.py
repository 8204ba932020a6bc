"""Accuracy of a model in training on the tasks that it is trained on."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.models import LanguageModel
from mechshift.posttraining.config import PosttrainConfig
from mechshift.posttraining.text_corpus import is_text_file
from mechshift.tasks import PoolConfig, Task, answer, load_task


def evaluated_tasks(config: PosttrainConfig) -> list[Task]:
    """The tasks among the sources; texts have no answers."""
    if not config.num_evaluated:
        return []
    return [load_task(source) for source, _, _ in config.mixture if not is_text_file(source)]


def held_out_accuracy(
    module: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, config: PosttrainConfig
) -> dict[str, float]:
    """Share of held-out examples that the model answers, by task; it stays as it was.

    A task without held-out examples, as a task file may be, is left out.
    """
    training = module.training
    module.eval()
    model = LanguageModel(
        name="the trained model",
        kind="arm" if config.objective == "ar" else "mdm",
        module=module,
        tokenizer=tokenizer,
        attention=config.attention,
        block_length=config.block_length if config.attention == "block-causal" else None,
        shift=config.shift,
        mask_token_id=tokenizer.mask_token_id,
        weights_hash="",
    )
    shares: dict[str, float] = {}
    with torch.no_grad():
        for task in evaluated_tasks(config):
            examples = task.generate(
                tokenizer, split="held-out", num_examples=config.num_evaluated, seed=config.seed
            )
            if examples:
                answers = answer(model, task, examples, PoolConfig(seed=config.seed))
                shares[task.name] = round(float(answers.correct.mean()), 5)
    module.train(training)
    return shares
