"""How close does EAP-IG come to the passes that it needs, in time and in memory?

The floor of a batch is 2 forward passes (clean and corrupted) and m forward-backward passes without
parameter gradients. The two are timed in turn, so that a machine whose speed drifts slows both; the
table shows medians. With the rule `left` the corrupted end is one of the m points, and mechshift
runs one forward pass less than the floor.

    python benchmarks/attribution.py --help
"""

import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import tyro
from rich.console import Console
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM

from mechshift.attribution import eap_ig
from mechshift.denoising import (
    Canvas,
    EncodedExample,
    batch_canvases,
    build_canvases,
    left_to_right,
    readout_logits,
    score_readouts,
)
from mechshift.models import LanguageModel, freeze, set_attention
from mechshift.testing import toy_tokenizer

VOCAB_SIZE = 2048

MEMORY_BATCHES = 8
"""Memory is measured on so many batches at once: a single one hides below what imports took."""


@dataclass(frozen=True)
class Options:
    """By default a random Qwen2 of 20 M parameters and one batch of 16 sequences of 30 tokens."""

    layers: int = 6
    heads: int = 8
    key_value_heads: int = 2
    width: int = 512
    batch: int = 16
    tokens: int = 30
    ig_steps: int = 5
    rounds: int = 7
    """Timings of each, after one that does not count."""
    threads: int = 2
    memory_of: str = ""
    """Internal: print the peak memory [MB] of `floor` or `eap_ig` in a process of its own."""


def main(options: Options) -> None:
    """Print the table, or one number for the process that asked."""
    torch.set_num_threads(options.threads)
    model = random_model(options)
    canvases = random_canvases(model, options)
    if options.memory_of:
        canvases = random_canvases(model, replace(options, batch=MEMORY_BATCHES * options.batch))
        options = replace(options, batch=len(canvases))
        before = peak_megabytes()
        works(model, canvases, options)[options.memory_of]()
        print(peak_megabytes() - before)
        return
    to_time = works(model, canvases, options)
    seconds = timed_in_turn(to_time, options.rounds)
    memory = {name: memory_in_own_process(name) for name in to_time}
    show(model, options, seconds, memory)


def works(
    model: LanguageModel, canvases: list[Canvas], options: Options
) -> dict[str, Callable[[], object]]:
    """What is compared."""
    return {
        "floor": lambda: bare_passes(model, canvases, options),
        "eap_ig": lambda: eap_ig(
            model,
            canvases,
            metric="logit_diff",
            ig_steps=options.ig_steps,
            batch_size=options.batch,
        ),
    }


def random_model(options: Options) -> LanguageModel:
    """A model whose weights mean nothing; time and memory do not depend on them."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.key_value_heads,
        tie_word_embeddings=False,
    )
    module = Qwen2ForCausalLM(config)
    freeze(module)
    set_attention(module, "causal")
    return LanguageModel(
        name="random",
        kind="arm",
        module=module,
        tokenizer=toy_tokenizer(["word"]),
        attention="causal",
        shift=True,
        mask_token_id=None,
        weights_hash="made in memory",
    )


def random_canvases(model: LanguageModel, options: Options) -> list[Canvas]:
    generator = torch.Generator().manual_seed(1)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(VOCAB_SIZE, (count,), generator=generator).tolist())

    examples = [
        EncodedExample(
            id=f"{row}",
            task="random",
            prefix_ids=draw(options.tokens),
            corrupted_prefix_ids=draw(options.tokens),
            target_ids=draw(1),
            distractor_ids=draw(1),
        )
        for row in range(options.batch)
    ]
    return build_canvases(model, examples, left_to_right([1] * len(examples)))


def bare_passes(model: LanguageModel, canvases: list[Canvas], options: Options) -> None:
    """2 forward and m forward-backward passes, and nothing else."""
    (batch,) = batch_canvases(model, canvases, options.batch)
    ids = (batch.clean_ids, batch.corrupted_ids)
    with torch.no_grad():
        for tokens in ids:
            model.hidden(tokens, batch.attention_mask, batch.position_ids)
    for _ in range(options.ig_steps):
        embeddings = model.parts.embedding(batch.clean_ids).requires_grad_()
        hidden = model.parts.decoder(
            inputs_embeds=embeddings,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state
        metric = score_readouts("logit_diff", readout_logits(model, hidden, batch), batch)
        torch.autograd.grad(metric.sum(), embeddings)


def timed_in_turn(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds + 1):
        for name, work in works.items():
            gc.collect()
            start = time.perf_counter()
            work()
            if round_ > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def memory_in_own_process(name: str) -> float:
    """Peak memory [MB] beyond model and inputs; a process's peak never falls, so each needs one."""
    command = [sys.executable, *sys.argv, "--memory-of", name]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def peak_megabytes() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def show(
    model: LanguageModel,
    options: Options,
    seconds: dict[str, list[float]],
    memory: dict[str, float],
) -> None:
    pairs = zip(seconds["eap_ig"], seconds["floor"], strict=True)
    ratios = [ours / floor for ours, floor in pairs]
    table = Table(
        title=f"{model.module.num_parameters() / 1e6:.0f} M parameters,"
        f" {model.graph().num_edges:,} edges, {options.batch} x {options.tokens} tokens,"
        f" m = {options.ig_steps}, {options.threads} threads"
    )
    for name in ("", "seconds", "x floor", "peak memory [MB]", "x floor"):
        table.add_column(name, justify="right")
    for name in ("floor", "eap_ig"):
        ratio = statistics.median(ratios) if name == "eap_ig" else 1.0
        table.add_row(
            name,
            f"{statistics.median(seconds[name]):.3f}",
            f"{ratio:.2f}",
            f"{memory[name]:.0f}",
            f"{memory[name] / memory['floor']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
