"""The trainer: a model trained on with its own objective, or into an MDM.

For each step:
1. Draw the batches of the step (batches.py), the same in every process, and take one's own rows.
2. Forward and backward in passes of `rows_per_pass` rows; the gradients add up.
3. Clip, and take one step of the optimizers at the step's rates (optimizers.py).

Everything random comes from one seeded generator, so a run on one CPU thread count is repeatable,
and what is drawn does not depend on how many processes share the rows. Processes, devices and
precision are Hugging Face accelerate's: `accelerate launch -m mechshift posttrain ...`.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, get_cpu_distributed_information
from peft import PeftModel
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mechshift.errors import PosttrainingError
from mechshift.models import set_attention
from mechshift.models.visible_keys import additive_mask
from mechshift.posttraining.adapters import with_adapters
from mechshift.posttraining.batches import Batch, draw_step
from mechshift.posttraining.config import PosttrainConfig
from mechshift.posttraining.corpus import Mixture, build_mixture
from mechshift.posttraining.journal import Journal
from mechshift.posttraining.objectives import weighted_cross_entropy
from mechshift.posttraining.optimizers import Float32Steps, make_optimizers, rate_share
from mechshift.posttraining.saving import stock_copy
from mechshift.posttraining.training_state import (
    Progress,
    gathered_weights,
    load_state,
    save_state,
)
from mechshift.progress import progress_bar


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Outcome of one step."""

    loss: float
    """Nats per target token."""
    num_tokens: int
    """Tokens that were read, padding not counted, by all processes."""


class Trainer:
    """A model that is trained step by step, in place."""

    def __init__(
        self,
        module: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: PosttrainConfig,
        *,
        quiet: bool = False,
    ) -> None:
        """Make the training examples, and hand the model to accelerate.

        Raises:
            PosttrainingError: the tokenizer has no mask token, or a source lacks rows.
        """
        if config.objective == "mdm" and tokenizer.mask_token_id is None:
            raise PosttrainingError(
                "the tokenizer has no mask token; set one (--mask-token, or tokenizer.mask_token)"
                " before post-training."
            )
        self.config = config
        self.step = 0
        self._mask_token_id = tokenizer.mask_token_id
        self.accelerator = _accelerator(config)
        quiet = quiet or not self.is_main
        self._mixture: Mixture = build_mixture(tokenizer, config, quiet=quiet)
        self._generator = torch.Generator().manual_seed(config.seed)
        set_attention(module, "causal" if config.objective == "ar" else "full")
        if config.gradient_checkpointing:
            module.activation_checkpointing_enable({"use_reentrant": False})
        module.train()
        trained = self._with_adapters(module) if config.lora_rank else module
        peaks = make_optimizers(trained, config)
        self._peak_rates = list(peaks.values())
        # FSDP wants a model and its optimizers prepared in one call.
        self._model, *self._optimizers = self.accelerator.prepare(trained, *peaks)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.accelerator.is_main_process)

    def gathered(self) -> PreTrainedModel | PeftModel | None:
        """The model with all its weights, adapters apart; every process must call it.

        In the main process, which writes: the model itself, or a copy where each process holds a
        part (FSDP). None in the others.
        """
        if self.accelerator.distributed_type != DistributedType.FSDP:
            return self._module if self.is_main else None
        weights = gathered_weights(self._model)
        if not self.is_main:
            return None
        if not isinstance(self._module, PeftModel):
            return stock_copy(self._module, weights)
        base = cast(PreTrainedModel, self._module.get_base_model())
        with torch.device("meta"):  # no memory for weights that are about to be replaced
            copy = self._with_adapters(type(base)(base.config))
        copy.load_state_dict(weights, assign=True)
        cast(PreTrainedModel, copy.get_base_model()).tie_weights()
        return copy

    @property
    def _module(self) -> PreTrainedModel | PeftModel:
        """The model by itself."""
        return self.accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)

    def _with_adapters(self, module: PreTrainedModel) -> PeftModel:
        return with_adapters(module, self.config, mask_token_id=self._mask_token_id)

    def save(self, folder: Path, losses: Sequence[float]) -> None:
        """Write all that is needed to go on; every process must call it.

        Args:
            folder: where states are kept; older ones are removed.
            losses: of the steps since the last line of the log.
        """
        progress = Progress(
            step=self.step, losses=tuple(losses), generator=self._generator.get_state()
        )
        is_main = self.accelerator.is_main_process
        save_state(folder, self._model, self._bare_optimizers(), progress, is_main=is_main)

    def resume(self, folder: Path) -> tuple[float, ...]:
        """Go on from the last saved state, if there is one, and return its losses.

        Raises:
            PosttrainingError: the state is damaged.
        """
        progress = load_state(folder, self._model, self._bare_optimizers())
        if progress is None:
            return ()
        self.step = progress.step
        self._generator.set_state(progress.generator)
        return progress.losses

    def advance(self) -> StepResult:
        """Take one step.

        Raises:
            PosttrainingError: the loss is not finite.
        """
        config = self.config
        batches = draw_step(
            self._mixture,
            config,
            step=self.step,
            mask_token_id=self._mask_token_id,
            generator=self._generator,
        )
        num_targets = max(1, sum(batch.num_targets for batch in batches))
        with torch.random.fork_rng(self._forked_devices()):
            # Dropout, where a model has it, is as repeatable as all else, and differs by process.
            torch.manual_seed(
                (config.seed * config.num_steps + self.step) * self.accelerator.num_processes
                + self.accelerator.process_index
            )
            loss = self._accumulate(batches, num_targets)
        if not math.isfinite(loss):
            raise PosttrainingError(
                f"the loss is {loss} at step {self.step + 1}; {_CALMER.format(config=config)}"
            )
        self.accelerator.clip_grad_norm_(self._model.parameters(), config.max_gradient_norm)
        share = rate_share(self.step, config)
        for optimizer, peak in zip(self._optimizers, self._peak_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            with Float32Steps() if self.accelerator.device.type == "cpu" else nullcontext():
                optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return StepResult(loss=loss, num_tokens=sum(int(b.present.sum()) for b in batches))

    def _accumulate(self, batches: list[Batch], num_targets: int) -> float:
        """Add up the gradient of one step, and return its loss, both over all processes."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        passes = [part for batch in batches for part in self._passes(_share(batch, rank, world))]
        total = torch.zeros((), device=self.accelerator.device, dtype=torch.float64)
        for index, batch in enumerate(passes):
            with ExitStack() as stack:
                if index < len(passes) - 1:
                    stack.enter_context(self.accelerator.no_sync(self._model))
                loss = self._loss(batch, num_targets)
                # Processes' gradients are averaged, and the loss is a sum over all rows.
                self.accelerator.backward(loss * world)
            total += loss.detach()
        return float(self.accelerator.reduce(total, reduction="sum"))

    def _passes(self, batch: Batch) -> list[Batch]:
        num_rows = len(batch.ids)
        size = self.config.rows_per_pass or num_rows
        return [batch.rows(rows) for rows in torch.arange(num_rows).split(size)]

    def _loss(self, batch: Batch, num_targets: int) -> Tensor:
        device = self.accelerator.device
        present = batch.present.to(device)
        attention = present
        if batch.visible is not None:
            visible = batch.visible.to(device) & present.bool()[:, None, :]
            attention = additive_mask(visible, torch.float32)
        # Not accelerate's own switch, which a second training in the same process cannot turn.
        half = self.config.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = self._model(
                input_ids=batch.ids.to(device),
                attention_mask=attention,
                position_ids=batch.position_ids.to(device).expand(len(batch.ids), -1),
                use_cache=False,
            ).logits
        return weighted_cross_entropy(
            logits,
            batch.tokens.to(device),
            batch.weights.to(device),
            predicted_from=batch.predicted_from.to(device),
            num_targets=num_targets,
        )

    def _bare_optimizers(self) -> list[Optimizer]:
        return [optimizer.optimizer for optimizer in self._optimizers]

    def _forked_devices(self) -> list[torch.device]:
        device = self.accelerator.device
        return [] if device.type == "cpu" else [device]

    def check_finite(self) -> None:
        """Refuse to keep weights that are spoilt.

        Raises:
            PosttrainingError: the last update, whose loss nobody has seen, spoilt a weight.
        """
        for name, parameter in self._module.named_parameters():
            if not parameter.isfinite().all():
                raise PosttrainingError(
                    f"the weights {name} are not finite after step {self.step};"
                    f" {_CALMER.format(config=self.config)}"
                )

    def finish(self) -> None:
        """Put the model into eval mode.

        Raises:
            PosttrainingError: a weight is not finite.
        """
        self.check_finite()
        self._module.eval()


def is_main_process() -> bool:
    """Whether this is the process that writes, by what its launcher has told it.

    It can be asked before accelerate is set up, which must not be before the parent is loaded:
    under FSDP transformers would then load weights in one process only.
    """
    return get_cpu_distributed_information().rank == 0


def take_steps(trainer: Trainer, *, quiet: bool = False) -> Iterator[StepResult]:
    """Take all steps that are left, with a progress bar.

    Raises:
        PosttrainingError: the loss or a weight is not finite.
    """
    config = trainer.config
    title = f"train ({config.objective})"
    with progress_bar(title, config.num_steps, quiet=quiet or not trainer.is_main) as advance:
        advance(trainer.step)
        began, num_tokens = time.perf_counter(), 0
        while trainer.step < config.num_steps:
            result = trainer.advance()
            num_tokens += result.num_tokens
            speed = num_tokens / (time.perf_counter() - began)
            advance(1, f"{speed:,.0f} tokens/s, loss {result.loss:.3f}")
            yield result
    trainer.finish()


def train(
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PosttrainConfig,
    *,
    log_file: Path | None = None,
    quiet: bool = False,
) -> None:
    """Train a model in place, in memory; `posttrain` writes it and survives being killed.

    Raises:
        PosttrainingError: the tokenizer has no mask token, or the loss or a weight is not finite.
    """
    trainer = Trainer(module, tokenizer, config, quiet=quiet)
    with Journal(log_file, config) as journal:
        for result in take_steps(trainer, quiet=quiet):
            journal.record_step(trainer.step, result.loss)


_CALMER = (
    "lower the learning rates ({config.learning_rate} and {config.muon_learning_rate}) or lengthen"
    " the warm-up ({config.warmup_steps} steps)."
)


def _accelerator(config: PosttrainConfig) -> Accelerator:
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if accelerator.distributed_type == DistributedType.FSDP:
        if config.optimizer == "muon":
            raise PosttrainingError(
                "Muon needs whole matrices, which FSDP cuts; add --optimizer adamw."
            )
        if config.lora_rank and config.objective == "mdm":
            raise PosttrainingError(
                "LoRA trains the mask token's embedding too, which FSDP cannot cut; leave out"
                " --lora-rank, or FSDP: adapters need little memory."
            )
        if config.num_evaluated:
            raise PosttrainingError(
                "accuracy cannot be measured on a model that FSDP has cut; add --num-evaluated 0"
                " and use `mechshift pool` afterwards."
            )
    return accelerator


def _share(batch: Batch, rank: int, world: int) -> Batch:
    """One process's rows, equally many for each, so that all take equally many passes.

    Where they do not divide, the last row is read again and counts nothing.
    """
    if world == 1:
        return batch
    num_rows = len(batch.ids)
    each = -(-num_rows // world)
    wanted = torch.arange(rank * each, (rank + 1) * each)
    own = batch.rows(wanted.clamp(max=num_rows - 1))
    return replace(own, weights=own.weights * (wanted < num_rows)[:, None])
