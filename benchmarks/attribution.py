"""How close does EAP-IG come to the passes that it needs, in time and in memory?

The floor of a batch is 2 forward passes (clean and corrupted) and m forward-backward passes without
parameter gradients. With the rule `left` the corrupted end is one of the m points, and mechshift
runs one forward pass less than the floor.

    python benchmarks/attribution.py --help
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import tyro
from measuring import peak_megabytes, show, timed_in_turn
from random_problem import Problem

from mechshift.attribution import eap_ig
from mechshift.denoising import Canvas, CanvasBatch, batch_canvases, readout_logits, score_readouts
from mechshift.models import LanguageModel


@dataclass(frozen=True)
class Options:
    problem: Problem = field(default_factory=Problem)
    rounds: int = 7
    """Timings of each, after one that does not count."""
    threads: int = 1


def main(options: Options) -> None:
    """Print the table: the numbers of steps asked for, and four times as many for the memory."""
    torch.set_num_threads(options.threads)
    model = options.problem.model()
    show(options.problem.title(model), COLUMNS, rows_of(model, options.problem, options.rounds))


COLUMNS = ("", "seconds", "x floor", "peak MB", "x floor")


def rows_of(model: LanguageModel, problem: Problem, rounds: int) -> list[Sequence[str]]:
    """Bare passes and EAP-IG of a model on a batch, each at two numbers of steps."""
    canvases = problem.canvases(model)
    rows = []
    for ig_steps, num_rounds in ((problem.ig_steps, rounds), (4 * problem.ig_steps, 1)):
        works = {
            "bare passes": lambda m=ig_steps: bare_passes(model, canvases, m, problem.batch),
            "EAP-IG": lambda m=ig_steps: score(model, canvases, replace(problem, ig_steps=m)),
        }
        timings = timed_in_turn(works, num_rounds)
        memory = {name: peak_megabytes(work) for name, work in works.items()}
        for name in works:
            rows.append(
                (
                    f"{name}, m = {ig_steps}",
                    f"{timings.median(name):.3f}",
                    f"{timings.ratio(name, 'bare passes'):.2f}",
                    f"{memory[name]:.1f}",
                    f"{memory[name] / memory['bare passes']:.2f}",
                )
            )
    return rows


def score(model: LanguageModel, canvases: list[Canvas], problem: Problem) -> object:
    return eap_ig(
        model,
        canvases,
        metric="logit_diff",
        ig_steps=problem.ig_steps,
        batch_size=problem.batch,
    )


def bare_passes(
    model: LanguageModel, canvases: list[Canvas], ig_steps: int, batch_size: int
) -> None:
    """2 forward and m forward-backward passes for each batch, and nothing else."""
    for batch in batch_canvases(model, canvases, batch_size):
        with torch.no_grad():
            for tokens in (batch.clean_ids, batch.corrupted_ids):
                model.hidden(tokens, batch.attention_mask, batch.position_ids)
        for _ in range(ig_steps):
            forward_and_backward(model, batch)


def forward_and_backward(model: LanguageModel, batch: CanvasBatch) -> None:
    """One pass up to the metric, and its gradient with respect to the embeddings."""
    embeddings = model.parts.embedding(batch.clean_ids).requires_grad_()
    hidden = model.parts.decoder(
        inputs_embeds=embeddings,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    metric = score_readouts("logit_diff", readout_logits(model, hidden, batch), batch)
    torch.autograd.grad(metric.sum(), embeddings)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
