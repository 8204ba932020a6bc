"""Decoding by published samplers, with real models."""

import numpy as np
import pytest
import torch

from mechshift.denoising import SAMPLERS, TraceStep, build_canvases, decode
from mechshift.denoising.samplers import DiffuLLaMATopKMask, DiffusionVsAR, Dream, LLaDA
from mechshift.errors import DenoisingError
from mechshift.testing import random_examples, random_language_model

MASK = random_language_model("llama", "mdm").mask_token_id


@pytest.fixture(scope="module")
def mdm():
    return random_language_model("qwen2", "mdm", dtype=torch.float64)


def examples(count=4, num_targets=5):
    return random_examples(count, kind="mdm", num_targets=num_targets, suffix_length=2)


def plain_loop(model, encoded, choose, num_steps):
    """Tokens and trace of one example, from the Hugging Face module itself.

    `choose` gives what is written from a step and the probabilities at every target position.
    """
    start, length = len(encoded.prefix_ids), len(encoded.target_ids)
    ids = [*encoded.prefix_ids, *[MASK] * length, *encoded.suffix_ids]
    trace = []
    for step in range(num_steps):
        logits = model.module(torch.tensor([ids])).logits[0]
        logits[:, MASK] = -torch.inf
        probabilities = logits[start - 1 : start - 1 + length].softmax(-1)
        masked = [t for t in range(length) if ids[start + t] == MASK]
        written = choose(step, probabilities, masked)
        for target in written:
            ids[start + target] = int(probabilities[target].argmax())
        if written:
            tokens = tuple(ids[start + target] for target in written)
            trace.append(TraceStep(step=step, positions=tuple(written), tokens=tokens))
    return tuple(ids[start : start + length]), tuple(trace)


def test_dream_by_entropy_is_its_plain_loop(mdm):
    counts = [0, 1, 1, 1, 2]  # as published for 5 tokens in 5 steps

    def choose(step, probabilities, masked):
        entropy = torch.special.entr(probabilities).sum(-1)
        return sorted(sorted(masked, key=lambda t: float(entropy[t]))[: counts[step]])

    given = examples()
    decoded = decode(mdm, given, order="dream-entropy")
    for encoded, tokens, trace in zip(given, decoded.tokens, decoded.traces, strict=True):
        assert (tokens, trace.steps) == plain_loop(mdm, encoded, choose, 5)
        assert trace.num_committed == counts
        assert trace.sampler.startswith("Dream(alg='entropy', temperature=0.0")
    assert decoded.schedule.example_num_steps.tolist() == [4] * len(given)


def test_llada_in_blocks_is_its_plain_loop(mdm):
    def choose(step, probabilities, masked):
        block = [t for t in masked if t < 2 * (step // 2 + 1)]
        return [max(block, key=lambda t: float(probabilities[t].max()))]

    given = examples(num_targets=6)
    decoded = decode(mdm, given, order=LLaDA(block_length=2))
    for encoded, tokens, trace in zip(given, decoded.tokens, decoded.traces, strict=True):
        assert (tokens, trace.steps) == plain_loop(mdm, encoded, choose, 6)


def test_diffullama_by_confidence_is_its_plain_loop(mdm):
    def choose(step, probabilities, masked):
        least = sorted(range(5), key=lambda t: float(probabilities[t].max()))[: 4 - step]
        return [t for t in masked if t not in least]

    given = examples()
    decoded = decode(mdm, given, order=DiffuLLaMATopKMask(gsm=True, temperature=1.0))
    for encoded, tokens, trace in zip(given, decoded.tokens, decoded.traces, strict=True):
        assert (tokens, trace.steps) == plain_loop(mdm, encoded, choose, 5)
    # Ranking written positions too makes steps uneven somewhere, or this test shows little.
    assert any(trace.num_committed != [1] * 5 for trace in decoded.traces)


def test_low_confidence_of_llada_is_the_librarys_own_order(mdm):
    given = examples(8)
    own, published = (decode(mdm, given, order=o) for o in ("confidence", "llada-low_confidence"))
    assert own.tokens == published.tokens
    assert np.array_equal(own.schedule.commit_step, published.schedule.commit_step)


@pytest.mark.parametrize("name", SAMPLERS)
def test_batching_changes_nothing_under_any_sampler(name, mdm):
    given = [*examples(4, 5), *examples(3, 3), *examples(2, 4)]
    single = decode(mdm, given, order=name, batch_size=1, seed=5)
    for batch_size in (3, 100):
        batched = decode(mdm, given, order=name, batch_size=batch_size, seed=5)
        assert batched.tokens == single.tokens
        assert batched.traces == single.traces


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_sampler_gives_a_schedule_that_can_be_attributed(name, mdm):
    given = examples(6)
    decoded = decode(mdm, given, order=name, num_steps=4)
    assert all(MASK not in tokens for tokens in decoded.tokens)
    assert decoded.schedule.example_num_targets.tolist() == [5] * 6
    canvases = build_canvases(mdm, given, decoded.schedule)
    scored = {(canvas.example, r.target_position) for canvas in canvases for r in canvas.readouts}
    assert sum(len(canvas.readouts) for canvas in canvases) == len(scored) == 30
    for row, trace in zip(decoded.schedule.commit_step, decoded.traces, strict=True):
        # The order of the published steps is the order of the attributed ones.
        steps = sorted(set(trace.last_commits))
        assert [steps[step] for step in row] == trace.last_commits


def test_masked_again_means_the_last_commit_counts(mdm):
    decoded = decode(mdm, examples(8), order=DiffusionVsAR(noise_scale=0.0))
    assert any(step.remasked for trace in decoded.traces for step in trace.steps)
    for tokens, trace in zip(decoded.tokens, decoded.traces, strict=True):
        last = {
            p: t for step in trace.steps for p, t in zip(step.positions, step.tokens, strict=True)
        }
        assert tuple(last[position] for position in range(5)) == tokens


def test_a_seed_decides_every_draw(mdm):
    sampler = Dream(alg="origin", temperature=1.5)
    one, same, other = (decode(mdm, examples(), order=sampler, seed=s).traces for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_steps_that_commit_nothing_cost_no_forward_pass(mdm):
    passes = []
    hook = mdm.parts.decoder.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        decoded = decode(mdm, examples(1, 3), order="dream-maskgit_plus", num_steps=512)
    finally:
        hook.remove()
    assert decoded.traces[0].num_steps == 512
    assert len(passes) == len(decoded.traces[0].steps) == 2


def test_an_arm_is_traced_one_token_per_step_whatever_the_sampler():
    arm = random_language_model("llama", "arm")
    given = random_examples(2, num_targets=3)
    decoded = decode(arm, given, order=LLaDA(block_length=2), num_steps=2)
    for tokens, trace in zip(decoded.tokens, decoded.traces, strict=True):
        assert (trace.sampler, trace.num_steps) == ("autoregressive", 3)
        assert trace.steps == tuple(
            TraceStep(step=i, positions=(i,), tokens=(tokens[i],)) for i in range(3)
        )
    assert decoded.schedule.commit_step.tolist() == [[0, 1, 2]] * 2


def test_what_a_sampler_cannot_do_is_refused_before_the_model_runs(mdm):
    with pytest.raises(DenoisingError, match="5 tokens does not divide into LLaDA's blocks of 2"):
        decode(mdm, examples(), order=LLaDA(block_length=2))
    with pytest.raises(DenoisingError, match="num_steps is 0; it must be at least 1"):
        decode(mdm, examples(), order="mdlm", num_steps=0)
