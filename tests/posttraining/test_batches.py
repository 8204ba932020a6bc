"""What a step reads and asks, against masks and targets made by hand."""

import pytest
import torch

from mechshift.errors import PosttrainingError
from mechshift.posttraining import PosttrainConfig
from mechshift.posttraining.batches import draw_step
from mechshift.posttraining.corpus import Mixture
from mechshift.posttraining.corpus_rows import Corpus

MASK = 99


def corpus(num_rows=3, width=6, first_target=3):
    """Row r holds 10 r, 10 r + 1, ...; the last row is one shorter than the others."""
    ids = 10 * torch.arange(num_rows)[:, None] + torch.arange(width)
    present = torch.ones_like(ids)
    present[-1, -1] = 0
    is_target = present.bool() & (torch.arange(width) >= first_target)
    return Corpus(ids=ids, present=present, is_target=is_target)


def drawn(step=0, seed=0, parts=None, rows=(4,), **settings):
    mixture = Mixture(corpora=parts or (corpus(),), rows=rows)
    config = PosttrainConfig(**settings)
    generator = torch.Generator().manual_seed(seed)
    return draw_step(mixture, config, step=step, mask_token_id=MASK, generator=generator)


def test_an_autoregressive_batch_asks_every_target_once_from_the_place_before():
    (batch,) = drawn(objective="ar")
    assert torch.equal(batch.ids, batch.tokens) and batch.visible is None
    assert torch.equal(batch.weights > 0, (batch.present == 1) & (torch.arange(6) >= 3))
    assert set(batch.weights.unique().tolist()) == {0.0, 1.0}
    assert batch.predicted_from.tolist() == [0, 0, 1, 2, 3, 4]
    assert batch.num_targets == int(batch.weights.sum())


def test_only_masked_targets_are_asked_and_nothing_else_is_noised():
    for seed in range(5):
        (batch,) = drawn(seed=seed)
        masked = batch.ids == MASK
        assert torch.equal(masked, batch.weights > 0)
        assert torch.equal(batch.ids[~masked], batch.tokens[~masked])
        assert not masked[:, :3].any() and not masked[batch.present == 0].any()


def test_everywhere_noises_prompts_too_but_not_the_first_token():
    masked = torch.zeros(4, 6, dtype=torch.bool)
    for seed in range(30):
        (batch,) = drawn(seed=seed, learn_from="everywhere")
        assert batch.num_targets == int(batch.present[:, 1:].sum())
        masked |= batch.ids == MASK
    assert masked[:, 1:].all() and not masked[:, 0].any()


def test_without_the_shift_a_token_is_predicted_where_it_stands():
    (batch,) = drawn(shift=False)
    assert batch.predicted_from.tolist() == list(range(6))


def test_the_loss_is_divided_by_all_targets_or_by_the_masked_ones():
    (by_targets,), (by_masked,) = drawn(), drawn(normalise_by="masked")
    assert torch.equal(by_targets.ids, by_masked.ids)
    assert by_targets.num_targets == int((by_targets.present[:, 3:] == 1).sum())
    assert by_masked.num_targets == int((by_masked.ids == MASK).sum())


def test_one_draw_of_visible_positions_is_shared_by_all_parts_of_a_step():
    wide, narrow = corpus(width=9), corpus(width=6)
    parts = drawn(step=3, parts=(narrow, wide), rows=(2, 2), annealing_steps=10)
    small, large = (part.visible for part in parts)
    assert torch.equal(small, large[:6, :6])
    assert large.tril().sum() == 45 and 0 < large.triu(1).sum() < 36


def test_attention_is_the_models_own_once_it_is_open():
    assert drawn(step=9, annealing_steps=10)[0].visible is None
    assert drawn(annealing_steps=0)[0].visible is None


def test_the_smallest_noise_level_bounds_the_weights():
    for seed in range(20):
        (batch,) = drawn(seed=seed, min_noise=0.5)
        assert batch.weights.max() <= 2.0


def test_rows_keep_their_number_of_targets():
    (batch,) = drawn()
    some = batch.rows(torch.tensor([2, 0]))
    assert torch.equal(some.ids, batch.ids[[2, 0]])
    assert torch.equal(some.weights, batch.weights[[2, 0]])
    assert some.num_targets == batch.num_targets


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(cart_p=1.0), "cart_p must lie between 0 and 1, not 1.0"),
        (dict(min_noise=0.0), "min_noise must lie between 0 and 1, not 0.0"),
        (dict(block_length=1), "block_length must be at least 2, not 1"),
        (dict(rows_per_pass=-1), "rows_per_pass must be at least 0, not -1"),
        (dict(lora_rank=4), "LoRA's factors are trained with AdamW; add --optimizer adamw"),
        (dict(objective="ar", shift=False), "an ARM predicts the next token"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(PosttrainingError, match=message):
        PosttrainConfig(**settings)


def test_checkpoints_double_up_to_half_of_all_steps():
    config = PosttrainConfig(num_steps=2200, first_checkpoint=32)
    assert config.checkpoint_steps() == (32, 64, 128, 256, 512, 1024)
    assert PosttrainConfig(num_steps=64, first_checkpoint=32).checkpoint_steps() == (32,)
    assert PosttrainConfig(num_steps=64).checkpoint_steps() == ()
