import math

import pytest
import torch

from mechshift.models import probe_attention
from mechshift.posttraining.tiny_pair import NUMBER_NORM, NUMBER_PERIODS, untrained_tiny_arm


@pytest.fixture(scope="module")
def module(tokenizer):
    return untrained_tiny_arm(tokenizer)


@pytest.fixture(scope="module")
def numbers(module, tokenizer):
    """Embeddings of 0 to 99, each divided by its length."""
    ids = tokenizer.convert_tokens_to_ids([str(number) for number in range(100)])
    embeddings = module.get_input_embeddings().weight.detach()[ids]
    lengths = embeddings.norm(dim=1, keepdim=True)
    torch.testing.assert_close(lengths, torch.full_like(lengths, NUMBER_NORM))
    return embeddings / lengths


def test_the_model_is_small_enough_to_ship_and_reads_its_tokenizer(module, tokenizer):
    assert 1e6 <= module.num_parameters() <= 4e6
    assert module.get_input_embeddings().num_embeddings == len(tokenizer)
    assert module.get_output_embeddings().weight is module.get_input_embeddings().weight


def test_it_starts_as_an_arm(module):
    probe_attention(module.eval(), "causal")


def test_two_numbers_are_as_alike_as_the_waves_of_their_difference(numbers):
    """cos a cos b + sin a sin b = cos(a - b), averaged over the periods."""
    difference = torch.arange(100)[:, None] - torch.arange(100)
    expected = sum((2 * math.pi * difference / period).cos() for period in NUMBER_PERIODS) / len(
        NUMBER_PERIODS
    )
    torch.testing.assert_close(numbers @ numbers.T, expected, rtol=0, atol=1e-5)


def test_neighbours_are_more_alike_than_strangers(numbers):
    similarity = numbers @ numbers.T
    apart = [similarity.diagonal(gap).mean().item() for gap in (1, 2, 30, 70)]
    assert apart[0] > 0.5 and min(apart[:2]) > 2 * max(map(abs, apart[2:]))
    ten_apart = similarity.diagonal(10).mean().item()
    assert ten_apart > similarity.diagonal(9).mean().item(), "numbers that share their last digit"


def test_words_start_random_and_shorter(module, tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["\u0120Mary", "\u0120store", "<mask>"])
    lengths = module.get_input_embeddings().weight.detach()[ids].norm(dim=1)
    # 128 draws of deviation 0.02: 0.226, with a standard error of 0.014.
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.226), rtol=0, atol=0.06)


def test_every_start_is_the_same(module, tokenizer):
    torch.manual_seed(99)
    again = untrained_tiny_arm(tokenizer)
    for name, weight in module.named_parameters():
        assert again.get_parameter(name).equal(weight), name
