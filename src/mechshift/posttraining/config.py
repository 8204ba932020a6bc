"""Settings of a training, from which the command line is made."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mechshift.errors import PosttrainingError
from mechshift.models import Attention

Objective = Literal["ar", "mdm"]
Loss = Literal["inverse-t", "cart", "block"]
Normaliser = Literal["targets", "masked"]
LearnFrom = Literal["response", "everywhere"]
OptimizerName = Literal["adamw", "muon"]
ScheduleName = Literal["cosine", "constant"]
Precision = Literal["float32", "bfloat16"]


MAX_ROWS, MAX_AT_ONCE = 10_000_000, 1_000_000
"""More, of a source and of what one step or one measurement takes, are typing errors."""


@dataclass(frozen=True, kw_only=True)
class PosttrainConfig:
    """Settings of a training; the defaults are those of the embedded pair's MDM."""

    objective: Objective = "mdm"
    """`mdm` makes a masked diffusion model, `ar` trains on with the model's own objective."""
    mixture: tuple[tuple[str, float, int], ...] = (
        ("ioi", 1.5, 12000),
        ("greater-than", 1.0, 8000),
        ("countdown-small", 12.0, 120000),
        ("infilling", 1.5, 12000),
    )
    """For each source its name, its weight in every batch, and how many distinct rows it gives. A
    source is a task, a task's .jsonl file, or texts: a .txt file, or .jsonl lines with `text` or
    with `prompt` and `response`; of a file of texts 0 takes all."""
    context_length: int = 512
    """Tokens in a row of packed text."""
    num_steps: int = 1000
    batch_size: int = 192
    """Rows of a step, whatever the number of processes and however few fit into a pass."""

    # The recipe; all but `learn_from` only for `mdm`.
    loss: Loss = "inverse-t"
    """`inverse-t`: a masked token counts 1/t (MDLM); `cart`: by its distance to visible tokens
    (Dream); `block`: 1/t, one noise level a block, blocks attend causally (BD3LM)."""
    cart_p: float = 0.1
    """Of `cart`: how fast a visible token's weight falls with distance."""
    block_length: int = 32
    """Of `block`: positions in a block."""
    normalise_by: Normaliser = "targets"
    """`targets` divides the loss by all tokens that could be masked (MDLM, LLaDA), `masked` by
    those that were (DiffuLLaMA)."""
    learn_from: LearnFrom = "response"
    """Tokens that are noised and asked for: the `response` (a task's target), or `everywhere` but
    in the first place. Texts without a prompt are all response."""
    min_noise: float = 1e-3
    """Smallest noise level t, so that 1/t stays finite."""
    shift: bool = True
    """Position i goes on predicting token i + 1, as in the ARM; without, token i (LLaDA, A2D)."""
    mask_token: str | None = None
    """A token of the vocabulary to stand for a mask, where the tokenizer names none: one that texts
    do not hold, such as a reserved or special token."""
    annealing_steps: int = 300
    """Steps over which attention opens up; 0 opens it at once."""

    # The optimizer.
    optimizer: OptimizerName = "muon"
    """`muon` for the matrices inside the blocks and AdamW for the rest, or `adamw` for all."""
    learning_rate: float = 3e-4
    """Of what AdamW updates."""
    muon_learning_rate: float = 0.02
    """Of what Muon updates."""
    schedule: ScheduleName = "cosine"
    """Of the rates after the warm-up: down to zero, or constant."""
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    lora_rank: int = 0
    """Rank of LoRA adapters on every projection, trained in place of the weights; 0: all weights
    are trained. The mask token's embedding is trained too. Needs `--optimizer adamw`."""
    lora_alpha: int = 16

    # The machine.
    precision: Precision = "float32"
    """Of the passes; weights and optimizer stay in float32."""
    rows_per_pass: int = 0
    """Rows in one forward and backward pass of a process; the gradients of more add up. 0: all.
    Changes time and memory, and results only by rounding."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""

    # What is kept and shown.
    save_dtype: Precision = "float32"
    """Of the finished model's weights. Checkpoints stay in float32: what changes between early ones
    is less than bfloat16 can tell apart."""
    first_checkpoint: int = 0
    """A model is kept after so many steps, after twice as many, and so on up to half of all; 0:
    none. `mechshift trajectory` compares them."""
    evaluate_every: int = 0
    """Steps between measurements of accuracy on held-out examples of the tasks; 0: only once, at
    the end."""
    num_evaluated: int = 100
    """Held-out examples of each task that are asked; 0: accuracy is never measured."""
    state_every: int = 200
    """Steps after which all that is needed to go on is saved."""
    log_every: int = 50
    """Steps between lines of `training_log.jsonl`."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("objective", self.objective, get_args(Objective)),
            ("loss", self.loss, get_args(Loss)),
            ("normalise_by", self.normalise_by, get_args(Normaliser)),
            ("learn_from", self.learn_from, get_args(LearnFrom)),
            ("optimizer", self.optimizer, get_args(OptimizerName)),
            ("schedule", self.schedule, get_args(ScheduleName)),
            ("precision", self.precision, get_args(Precision)),
            ("save_dtype", self.save_dtype, get_args(Precision)),
        ):
            if value not in known:
                raise PosttrainingError(f"no {name} '{value}'; known are {', '.join(known)}.")
        rates = (self.learning_rate, self.muon_learning_rate)
        if min(self.num_steps, self.batch_size) < 1 or not all(0 < r < math.inf for r in rates):
            raise PosttrainingError(
                "steps, batch size and learning rates must be positive, not"
                f" {self.num_steps}, {self.batch_size} and {rates}."
            )
        self._check_mixture()
        for name in ("batch_size", "num_evaluated", "context_length"):
            if getattr(self, name) > MAX_AT_ONCE:
                raise PosttrainingError(
                    f"{name} must be at most {MAX_AT_ONCE:,}, not {getattr(self, name):,}."
                )
        for name in _COUNTS:
            if getattr(self, name) < 0:
                raise PosttrainingError(f"{name} must be at least 0, not {getattr(self, name)}.")
        for name, lowest in _LOWEST:
            if getattr(self, name) < lowest:
                raise PosttrainingError(
                    f"{name} must be at least {lowest}, not {getattr(self, name)}."
                )
        for name in ("cart_p", "min_noise"):
            if not 0 < getattr(self, name) < 1:
                raise PosttrainingError(
                    f"{name} must lie between 0 and 1, not {getattr(self, name)}."
                )
        if not 0 <= self.weight_decay < math.inf:
            raise PosttrainingError(
                f"weight_decay must be a number from 0 on, not {self.weight_decay}."
            )
        if not self.max_gradient_norm > 0:  # inf: gradients are not clipped
            raise PosttrainingError(
                f"max_gradient_norm must be above 0, not {self.max_gradient_norm}."
            )
        if self.seed >= _SEEDS:
            raise PosttrainingError(f"seed must be below {_SEEDS}, not {self.seed}.")
        if self.lora_rank and self.optimizer == "muon":
            raise PosttrainingError(
                "LoRA's factors are trained with AdamW; add --optimizer adamw, or leave out"
                f" --lora-rank {self.lora_rank}."
            )
        if self.objective == "ar" and not self.shift:
            raise PosttrainingError("an ARM predicts the next token; --no-shift belongs to mdm.")

    def _check_mixture(self) -> None:
        if not self.mixture:
            raise PosttrainingError(
                "a mixture needs at least one source; name one, as in --mixture ioi 1 8000."
            )
        for source, weight, num_rows in self.mixture:
            if not 0 < weight < math.inf:
                raise PosttrainingError(
                    f"the weight of '{source}' in the mixture must be above 0, not {weight}; leave"
                    " the source out if it is to count nothing."
                )
            if not 0 <= num_rows <= MAX_ROWS:
                raise PosttrainingError(
                    f"the rows of '{source}' in the mixture must lie between 0 and {MAX_ROWS:,},"
                    f" not {num_rows:,}."
                )

    @property
    def attention(self) -> Attention:
        """How the trained model attends."""
        if self.objective == "ar":
            return "causal"
        return "block-causal" if self.loss == "block" else "full"

    def checkpoint_steps(self) -> tuple[int, ...]:
        """After how many steps a model is kept: doubling, up to half of all.

        The last ones are the finished model's neighbours on a logarithmic axis.
        """
        steps = []
        step = self.first_checkpoint
        while 0 < step <= self.num_steps // 2:
            steps.append(step)
            step *= 2
        return tuple(steps)


_COUNTS = (
    "warmup_steps",
    "annealing_steps",
    "lora_rank",
    "rows_per_pass",
    "first_checkpoint",
    "evaluate_every",
    "num_evaluated",
    "seed",
)
_LOWEST = (
    ("state_every", 1),
    ("log_every", 1),
    ("lora_alpha", 1),
    ("context_length", 2),
    ("block_length", 2),
)
_SEEDS = 2**32
"""Times the steps and the processes, a seed must still be one of torch's 64 bits."""
