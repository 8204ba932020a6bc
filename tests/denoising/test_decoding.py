import numpy as np
import pytest
import torch

from mechshift.denoising import SAMPLERS, decode
from mechshift.denoising.decoding import first_argmax
from mechshift.errors import DenoisingError

MASK = 12


def random_examples(example, count, *, suffix, seed=0):
    rng = np.random.default_rng(seed)

    def draw(length):
        return tuple(int(i) for i in rng.integers(0, 12, length))

    return [
        example(
            prefix=draw(int(rng.integers(1, 7))),
            target=draw(int(rng.integers(1, 6))),
            suffix=draw(int(rng.integers(0, 4)) if suffix else 0),
        )
        for _ in range(count)
    ]


def follows(rows):
    """A table over 6 tokens (the mask is 5): logits of what follows each token."""
    table = torch.zeros(6, 6)
    for token, logits in rows.items():
        for following, logit in logits.items():
            table[token, following] = logit
    return table


def test_an_arm_follows_its_most_probable_tokens(table_model, example):
    table = follows({0: {1: 2.0}, 1: {3: 1.0}, 3: {2: 1.0}, 2: {0: 4.0}})
    examples = [
        example(prefix=(2, 0), target=(0, 0, 0, 0)),
        example(prefix=(3,), target=(0, 0)),
    ]
    decoded = decode(table_model(table, "arm"), examples)
    assert decoded.tokens == [(1, 3, 2, 0), (2, 0)]
    assert decoded.schedule.commit_step.tolist() == [[0, 1, 2, 3], [0, 1, -1, -1]]


def test_a_shifted_mdm_commits_where_it_is_most_confident(table_model, example):
    # Only the position after the prompt is sure at first; then what follows a committed token is.
    # A mask (5) says little about its successor: token 4, and less sure than any known token.
    table = follows({0: {1: 5.0}, 1: {2: 6.0}, 2: {3: 7.0}, 5: {4: 1.0}})
    decoded = decode(table_model(table), [example(prefix=(0,), target=(0, 0, 0))])
    assert decoded.tokens == [(1, 2, 3)]
    assert decoded.schedule.commit_step.tolist() == [[0, 1, 2]]


def test_confidence_can_start_in_the_middle(table_model, example):
    # After a mask token 3 is nearly certain, after the prompt (0) token 1 is merely likely.
    table = follows({0: {1: 2.0}, 3: {2: 3.0}, 5: {3: 9.0}})
    model = table_model(table)
    decoded = decode(model, [example(prefix=(0,), target=(0, 0, 0))])
    # Step 0: target positions 1 and 2 both follow a mask and tie; the leftmost, 1, takes token 3.
    # Step 1: position 2 now follows a 3 (token 2, logit 3) and beats position 0 (token 1, logit 2).
    assert decoded.tokens == [(1, 3, 2)]
    assert decoded.schedule.commit_step.tolist() == [[2, 0, 1]]


def test_two_steps_commit_two_tokens_and_then_one(table_model, example):
    table = follows({0: {1: 2.0}, 3: {2: 3.0}, 5: {3: 9.0}})
    decoded = decode(table_model(table), [example(prefix=(0,), target=(0, 0, 0))], num_steps=2)
    # Step 0 takes the two positions that follow a mask, step 1 the one after the prompt.
    assert decoded.tokens == [(1, 3, 3)]
    assert decoded.schedule.commit_step.tolist() == [[1, 0, 0]]


def test_an_unshifted_mdm_reads_each_mask_in_place(table_model, example):
    table = follows({0: {1: 9.0}, 5: {4: 1.0}})
    model = table_model(table, shift=False)
    decoded = decode(model, [example(prefix=(0,), target=(0, 0), suffix=(1,))])
    assert decoded.tokens == [(4, 4)]
    assert decoded.schedule.commit_step.tolist() == [[0, 1]]


def test_the_mask_token_is_never_chosen(table_model, example):
    # Without the mask the position after 0 is certain of token 1.
    table = follows({0: {5: 50.0, 1: 40.0}, 1: {5: 9.0, 2: 1.0}, 5: {5: 99.0, 3: 0.5}})
    decoded = decode(table_model(table), [example(prefix=(0,), target=(0, 0))])
    assert decoded.tokens == [(1, 2)]
    assert decoded.schedule.commit_step.tolist() == [[0, 1]]


def test_equal_logits_give_the_lowest_token_and_the_leftmost_position(table_model, example):
    decoded = decode(table_model(torch.zeros(6, 6)), [example(prefix=(3,), target=(0, 0, 0))])
    assert decoded.tokens == [(0, 0, 0)]
    assert decoded.schedule.commit_step.tolist() == [[0, 1, 2]]
    logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]])
    assert first_argmax(logits).tolist() == [1, 0, 2]


def test_a_fixed_order_overrides_confidence(table_model, example):
    table = follows({0: {1: 2.0}, 3: {2: 3.0}, 5: {3: 9.0}})
    encoded = example(prefix=(0,), target=(0, 0, 0))
    decoded = decode(table_model(table), [encoded], order="left-to-right")
    assert decoded.schedule.commit_step.tolist() == [[0, 1, 2]]
    # 1 follows 0, 0 follows 1 (all logits equal), 1 follows 0.
    assert decoded.tokens == [(1, 0, 1)]


def test_a_random_order_is_the_seeds(random_model, example):
    model = random_model()
    examples = random_examples(example, 6, suffix=True)
    one, same, other = (
        decode(model, examples, order="random", seed=seed).schedule.commit_step
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_arm_decoding_is_the_plain_greedy_loop(attention, random_model, example):
    model = random_model("arm", attention=attention)
    examples = random_examples(example, 5, suffix=False)
    for encoded, tokens in zip(examples, decode(model, examples).tokens, strict=True):
        ids = list(encoded.prefix_ids)
        for _ in encoded.target_ids:
            ids.append(int(model.module(torch.tensor([ids])).logits[0, -1].argmax()))
        assert tokens == tuple(ids[len(encoded.prefix_ids) :])


@pytest.mark.parametrize("shift", [True, False])
def test_mdm_decoding_is_the_plain_confidence_loop(shift, random_model, example):
    model = random_model("mdm", shift=shift)
    examples = random_examples(example, 5, suffix=True)
    for encoded, tokens in zip(examples, decode(model, examples).tokens, strict=True):
        start, length = len(encoded.prefix_ids), len(encoded.target_ids)
        ids = [*encoded.prefix_ids, *[MASK] * length, *encoded.suffix_ids]
        for _ in range(length):
            logits = model.module(torch.tensor([ids])).logits[0]
            logits[:, MASK] = -torch.inf
            best = logits.softmax(-1).max(-1)
            masked = [p for p in range(start, start + length) if ids[p] == MASK]
            chosen = max(masked, key=lambda p: float(best.values[p - shift]))
            ids[chosen] = int(best.indices[chosen - shift])
        assert tokens == tuple(ids[start : start + length])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["arm", "mdm"])
@pytest.mark.parametrize("num_steps", [None, 2])
def test_batching_changes_neither_tokens_nor_order(
    architecture, kind, num_steps, random_model, example
):
    model = random_model(kind, architecture)
    examples = random_examples(example, 9, suffix=kind == "mdm")
    single = decode(model, examples, num_steps=num_steps, batch_size=1)
    for batch_size in (2, 4, 100):
        batched = decode(model, examples, num_steps=num_steps, batch_size=batch_size)
        assert batched.tokens == single.tokens
        assert np.array_equal(batched.schedule.commit_step, single.schedule.commit_step)


def test_the_examples_own_target_gives_only_its_length(random_model, example):
    model = random_model()
    one, other = (decode(model, [example(target=t)]).tokens for t in ((1, 2, 3), (7, 8, 9)))
    assert one == other


def test_progress_counts_every_example_once(random_model, example):
    done = []
    decode(
        random_model(),
        random_examples(example, 7, suffix=True),
        batch_size=3,
        progress=done.append,
    )
    assert done == [3, 3, 1]


def test_decoding_nothing_gives_nothing(random_model):
    decoded = decode(random_model(), [])
    assert decoded.tokens == []
    assert decoded.schedule.commit_step.shape[0] == 0


def test_bad_requests_are_refused(random_model, example):
    model = random_model()
    with pytest.raises(
        DenoisingError,
        match="unknown order 'entropy'; known: confidence, left-to-right, random",
    ):
        decode(model, [example()], order="entropy")
    with pytest.raises(DenoisingError, match="num_steps is 0"):
        decode(model, [example()], num_steps=0)
    with pytest.raises(DenoisingError, match="batch size is 0"):
        decode(model, [example()], batch_size=0)
    with pytest.raises(DenoisingError, match="nothing before its target"):
        decode(model, [example(prefix=())])


@pytest.mark.parametrize("order", SAMPLERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_with_the_example(
    value, order, random_model, example
):
    model = random_model("mdm")
    model.module.model.embed_tokens.weight.data[3] = value
    examples = [example(id="good"), example(id="bad", prefix=(1, 3))]
    message = "'mdm' gave logits that are not finite .* example 'bad' of task 't', in torch.float64"
    with pytest.raises(DenoisingError, match=message):
        decode(model, examples, order=order, num_steps=2)


def test_an_arm_whose_logits_are_not_finite_is_refused_with_the_example(random_model, example):
    model = random_model("arm")
    model.module.model.embed_tokens.weight.data[3] = float("nan")
    with pytest.raises(DenoisingError, match="logits that are not finite .* example 'bad'"):
        decode(model, [example(id="good"), example(id="bad", prefix=(1, 3))])


@pytest.mark.parametrize(("kind", "longest"), [("arm", 63), ("mdm", 62)])
def test_an_example_beyond_the_learned_positions_is_refused_by_name(
    kind, longest, random_model, example
):
    model = random_model(kind, "gpt2")
    fitting, longer = (example(prefix=(1,) * length) for length in (longest, longest + 1))
    assert len(decode(model, [fitting]).tokens[0]) == 2
    message = "example 'e' of task 't' has 65 tokens to read, and '.*' reads at most 64 "
    with pytest.raises(DenoisingError, match=message):
        decode(model, [longer])


def test_a_row_at_the_last_learned_position_does_not_hinder_a_longer_target_beside_it(
    random_model, example
):
    model = random_model("arm", "gpt2")
    examples = [example(prefix=(1,) * 63), example(prefix=(2, 3), target=(5, 6, 7, 8))]
    alone = [decode(model, [one]).tokens[0] for one in examples]
    assert decode(model, examples).tokens == alone
