"""How do time and memory of EAP-IG grow with examples, integration steps and denoising steps?

Time should double where examples or steps do. Memory of the work should not move with examples or
integration steps: the scores themselves, which do grow with examples, are counted apart.

    python benchmarks/scaling.py --help
"""

from dataclasses import dataclass, field, replace

import torch
import tyro
from measuring import peak_megabytes, show, timed_in_turn
from random_problem import Problem

from attribution import score


@dataclass(frozen=True)
class Options:
    problem: Problem = field(default_factory=lambda: Problem(layers=4, width=256))
    doublings: int = 3
    """How often the examples, and the integration steps, are doubled."""
    rounds: int = 5
    """Timings of each, after one that does not count."""
    threads: int = 1


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    problem = options.problem
    model = problem.model()
    sizes = [2**doubling for doubling in range(options.doublings + 1)]
    examples = [(problem.batch * factor, problem.ig_steps) for factor in sizes]
    steps = [(problem.batch, problem.ig_steps * factor) for factor in sizes[1:]]
    canvases = problem.canvases(model, examples[-1][0])
    works = {
        (count, ig_steps): lambda count=count, ig_steps=ig_steps: score(
            model, canvases[:count], replace(problem, ig_steps=ig_steps)
        )
        for count, ig_steps in examples + steps
    }
    names = {f"{count} examples, m = {m}": work for (count, m), work in works.items()}
    timings = timed_in_turn(names, options.rounds)
    first = next(iter(names))
    rows = []
    for (count, ig_steps), (name, work) in zip(works, names.items(), strict=True):
        passes = count * ig_steps / (problem.batch * problem.ig_steps)
        rows.append(
            (
                name,
                f"{timings.median(name):.3f}",
                f"{passes:g}",
                f"{timings.ratio(name, first):.2f}",
                f"{peak_megabytes(work):.1f}",
                f"{4 * count * model.graph().num_edges / 2**20:.1f}",
            )
        )
    columns = ("", "seconds", "x points", "x seconds", "peak MB", "scores MB")
    show(problem.title(model), columns, rows)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
