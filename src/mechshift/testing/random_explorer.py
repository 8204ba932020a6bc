"""Records of the circuit explorer with random scores: of graphs too large for a test to score."""

import numpy as np

from mechshift.comparison import top_edges
from mechshift.graph import Graph
from mechshift.statistics import Estimates
from mechshift.topics.explorer_record import (
    EXAMPLE_CODES,
    LARGEST_SIZE,
    STEP_CODES,
    STEP_LEVELS,
    Checkpoint,
    Explorer,
    FollowedEdges,
    LensTokens,
    ModelEdges,
    example_levels,
    followed_edges,
    ranks,
    rounded,
    sized,
    strongest,
)

DREAM = Graph(num_layers=28, num_heads=28, num_key_value_groups=28)
"""The graph of Dream-7B and Qwen2.5-7B, with 935,747 edges."""


def random_explorer(
    graph: Graph,
    *,
    num_examples: int = 500,
    num_steps: int = 1,
    num_checkpoints: int = 0,
    circuit_size: int = 1000,
    alike: float = 0.0,
    seed: int = 0,
) -> Explorer:
    """A record whose arrays have the sizes of a real run's.

    Args:
        graph: of any size.
        num_examples: on which edges are scored.
        num_steps: of denoising.
        num_checkpoints: of a training from the ARM to the MDM, whose scores go there in a line.
        circuit_size: edges in each model's circuit.
        alike: how much of the models' scores is the same, in [0, 1]; 0: the circuits share next to
            nothing, which makes the largest record.
        seed: of the scores.
    """
    generator = np.random.default_rng(seed)
    shared, *own = generator.standard_t(1.5, size=(3, graph.num_edges)) / 100
    means = [alike * shared + (1 - alike) * one for one in own]
    ranked = [top_edges(graph, mean, graph.num_edges) for mean in means]
    size = min(LARGEST_SIZE, graph.num_edges)
    step_size = min(size, sized(STEP_CODES, num_steps)) if num_steps > 1 else 0
    example_size = min(circuit_size, sized(EXAMPLE_CODES, num_examples))
    shares = np.arange(1, num_checkpoints + 1) / (num_checkpoints + 1)
    on_the_way = [(1 - share) * means[0] + share * means[1] for share in shares]
    followed_size, followed = followed_edges(
        ranked, [top_edges(graph, mean, graph.num_edges) for mean in on_the_way], size
    )
    edges = np.union1d(strongest(ranked, size), followed)
    stepped, exemplary = (
        np.searchsorted(edges, strongest(ranked, most)) for most in (step_size, example_size)
    )

    def model(mean: np.ndarray, order: np.ndarray) -> ModelEdges:
        value = mean[edges]
        error = np.abs(value) * generator.uniform(0.1, 0.6, size=len(edges))
        steps = value[stepped, None] * generator.dirichlet(np.ones(num_steps), size=len(stepped))
        noise = generator.laplace(size=(len(exemplary), num_examples))
        examples = value[exemplary, None] * (1 + noise)
        levels = example_levels(2 * examples.size)
        return ModelEdges(
            score=Estimates(value=value, low=value - error, high=value + error, level=0.95),
            rank=ranks(order, graph)[edges],
            steps=rounded(steps, STEP_LEVELS),
            examples=rounded(examples, levels),
            tokens=LensTokens(
                ids=generator.integers(0, 5000, size=(graph.num_sources, 5)),
                share=generator.uniform(size=(graph.num_sources, 5)),
            ),
        )

    models = [model(mean, order) for mean, order in zip(means, ranked, strict=True)]
    return Explorer(
        graph=graph,
        circuit_size=circuit_size,
        unit="example",
        num_rows=num_examples,
        num_clusters=num_examples,
        edges=edges,
        size=size,
        stepped=stepped,
        step_size=step_size,
        step_examples=np.full(num_steps, num_examples),
        exemplary=exemplary,
        example_size=example_size,
        arm=models[0],
        mdm=models[1],
        token_ids=np.arange(5000),
        token_texts=tuple(f" token{index}" for index in range(5000)),
        followed=FollowedEdges(
            checkpoints=tuple(
                Checkpoint(training="diffusion", step=100 * number)
                for number in range(1, num_checkpoints + 1)
            ),
            places=np.searchsorted(edges, followed),
            size=followed_size,
            scores=np.stack([mean[followed] for mean in on_the_way]),
        )
        if num_checkpoints
        else None,
    )
