"""The norms that rank edges by activation, against the stock module's own outputs."""

import numpy as np
import pytest
import torch

from mechshift.denoising import build_canvases, left_to_right
from mechshift.evaluation import difference_norms
from mechshift.testing import random_examples, random_language_model


def canvases_of(model, num_examples=3):
    examples = random_examples(
        num_examples, kind=model.kind, prefix_lengths=(4, 6), suffix_length=2
    )
    return build_canvases(model, examples, left_to_right([2] * num_examples))


@pytest.mark.parametrize(("architecture", "kind"), [("gpt2", "arm"), ("gemma3", "mdm")])
def test_norms_are_those_of_every_sources_difference(architecture, kind, slow_sources):
    """Summed over positions and steps, averaged over examples, without padding or batches."""
    model = random_language_model(architecture, kind, dtype=torch.float64)
    graph, canvases = model.graph(), canvases_of(model)
    expected = np.zeros(graph.num_sources)
    for canvas in canvases:
        clean, corrupted = (
            slow_sources(model, graph, ids) for ids in (canvas.clean_ids, canvas.corrupted_ids)
        )
        for source in range(graph.num_sources):
            expected[source] += float((corrupted[source] - clean[source]).norm(dim=-1).sum()) / 3
    for batch_size in (1, 99):
        norms = difference_norms(model, canvases, batch_size=batch_size)
        np.testing.assert_allclose(norms, expected, rtol=1e-10)
    assert (expected > 0).all()


def test_progress_adds_up_to_a_clean_and_a_corrupted_pass_over_every_canvas():
    model = random_language_model("llama", "mdm")
    canvases, told = canvases_of(model), []
    difference_norms(model, canvases, batch_size=4, progress=told.append)
    assert sum(told) == 2 * len(canvases) == 12
