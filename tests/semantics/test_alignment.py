"""Alignment by hand on made-up lenses, and on the known circuit; planted shifts, refusals."""

import math

import numpy as np
import pytest
import torch

from mechshift.denoising import batch_canvases
from mechshift.errors import SemanticsError
from mechshift.graph import Graph
from mechshift.semantics._alignment import ScoredLens, alignment, alignment_shift
from mechshift.semantics._logit_lens import LensReadings, LogitLens, logit_lens
from mechshift.semantics.readouts import Readouts, join_readouts
from mechshift.semantics.recorded_run import clean_run
from mechshift.semantics.settings import SemanticsSettings
from mechshift.testing import known_circuit

GRAPH = Graph(num_layers=1, num_heads=2, num_key_value_groups=2)
SETTINGS = SemanticsSettings(num_resamples=200)


def made_up_lens(rank, example=None, vocab_size=100):
    """Lenses in which a target of rank r has probability 1 / r and entropy log r."""
    rank = np.asarray(rank, dtype=float)
    example = np.arange(len(rank)) if example is None else np.array(example)
    zeros = np.zeros(len(rank), dtype=np.int64)
    readings = LensReadings(
        rank=rank,
        log_prob=-np.log(rank),
        entropy=np.log(rank),
        top_ids=np.zeros((*rank.shape, 1), dtype=np.int32),
    )
    return LogitLens(
        graph=GRAPH,
        vocab_size=vocab_size,
        readouts=Readouts(
            example=example,
            cluster=example,
            step=zeros,
            target_position=np.arange(len(rank)),
            target_id=zeros,
            distractor_id=zeros,
        ),
        components=readings,
        levels=readings,
    )


def test_means_over_components_and_readouts_by_hand():
    """Sources: input, two heads, the MLP. Example 0 has two readouts and counts once."""
    lens = made_up_lens([[1, 10, 1, 100], [1, 1000, 1, 100], [1, 1, 10, 100]], [0, 0, 1])
    scores = np.array([[9.0, 2.0, -1.0, 0.0], [9.0, 4.0, -1.0, 0.0]])
    found = alignment(ScoredLens(lens=lens, scores=scores), SETTINGS)
    # log10 ranks of example 0: 2, 0, 2; of example 1: 0, 1, 2. Means: 1, 0.5, 2.
    assert found.unweighted.log10_rank.value == pytest.approx(3.5 / 3)
    # |mean scores|: 3, 1, 0.
    assert found.weighted.log10_rank.value == pytest.approx(0.75 * 1 + 0.25 * 0.5)
    assert found.weighted.entropy.value == pytest.approx(math.log(10) * 0.875)
    # Probabilities of the first head: (0.1 + 0.001) / 2 and 1; of the second: 1 and 0.1.
    assert found.weighted.probability.value == pytest.approx(0.75 * 0.52525 + 0.25 * 0.55)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_in_the_known_circuit_attribution_finds_the_two_aligned_components(kind):
    """Of six heads and MLPs two know the answer, and are all that the task's last edges use."""
    known = known_circuit(kind, dtype=torch.float64)
    lens = join_readouts(
        [
            logit_lens(clean_run(known.model, batch), batch)
            for batch in batch_canvases(known.model, known.canvases, 4)
        ]
    )
    scores = np.zeros((6, lens.graph.num_sources))
    scores[:, [lens.graph.head_source(1, 0), lens.graph.mlp_source(1)]] = [3.0, -1.0]
    found = alignment(ScoredLens(lens=lens, scores=scores), SETTINGS)
    assert found.weighted.log10_rank.value == pytest.approx(0)
    assert found.weighted.probability.value == pytest.approx(1)
    assert found.unweighted.log10_rank.value == pytest.approx(4 / 6 * math.log10(5))
    assert found.unweighted.probability.value == pytest.approx((2 + 4 / 9) / 6)


def test_a_planted_loss_of_alignment_is_found_and_a_model_does_not_differ_from_itself():
    generator = np.random.default_rng(0)
    scores = np.abs(generator.normal(size=(30, 4))) + 0.1
    ranks = generator.integers(1, 20, size=(30, 4))
    arm = ScoredLens(lens=made_up_lens(ranks), scores=scores)
    mdm = ScoredLens(lens=made_up_lens(3 * ranks), scores=scores)
    found = alignment_shift(arm, mdm, SETTINGS)
    for scope in (found.shift.weighted, found.shift.unweighted):
        # Every log rank moves by log10 3 on every resample, so the paired interval has no width.
        assert scope.log10_rank.value == pytest.approx(math.log10(3))
        low, high = scope.log10_rank.interval.low, scope.log10_rank.interval.high
        assert low == pytest.approx(high)
        assert scope.probability.interval.high < 0
    assert found.arm.unweighted.log10_rank.interval.high > found.arm.unweighted.log10_rank.value
    itself = alignment_shift(arm, arm, SETTINGS).shift
    assert itself.weighted.entropy.interval.low == itself.weighted.entropy.interval.high == 0


def test_scores_of_other_examples_or_nodes_are_refused():
    with pytest.raises(SemanticsError, match=r"\(2, 4\) do not belong to lenses of 3 examples"):
        ScoredLens(lens=made_up_lens(np.ones((3, 4))), scores=np.ones((2, 4)))


def test_models_of_different_vocabularies_are_refused():
    first, second = (
        ScoredLens(lens=made_up_lens(np.ones((3, 4)), vocab_size=size), scores=np.ones((3, 4)))
        for size in (100, 101)
    )
    with pytest.raises(SemanticsError, match="4 sources and 100 tokens, and the MDM 3, 4 and 101"):
        alignment_shift(first, second, SETTINGS)
