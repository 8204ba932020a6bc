"""Roles: a model whose heads were written by hand, causal laws, and refusals."""

import numpy as np
import pytest
import torch

from mechshift.errors import SemanticsError
from mechshift.graph import Graph
from mechshift.semantics._attention_roles import (
    ROLES,
    SEQUENCE_ROLES,
    attention_roles,
    habit_shares,
    roles_from_shares,
)
from mechshift.semantics.repeated_sequences import repeated_sequences, sequence_places
from mechshift.semantics.role_shares import RoleShares
from mechshift.semantics.settings import SemanticsSettings
from mechshift.testing import random_language_model

SETTINGS = SemanticsSettings(num_sequences=12, sequence_length=10, num_resamples=200, batch_size=5)
RIGHTWARD = ("next_token", "backward_induction")


def held(roles):
    return {(head, role) for role in roles.roles for head in roles.heads_with(role)}


def test_every_planted_head_of_a_bidirectional_model_holds_its_role_and_no_other(
    planted_model, planted_canvases, role_of_head
):
    model = planted_model("mdm", "full")
    roles = attention_roles(model, planted_canvases(model), SETTINGS)
    assert held(roles) == set(role_of_head.items())
    for head, role in role_of_head.items():
        layer, index = int(head[1]), int(head[-1])
        assert roles.excess.value[ROLES.index(role), layer, index] > 0.8, head
    # a0.h3 attends uniformly, which is the baseline of every role.
    np.testing.assert_allclose(roles.excess.value[:5, 0, 3], 0, atol=1e-6)


def test_the_same_weights_under_a_causal_mask_lose_the_roles_that_look_right(
    planted_model, planted_canvases, role_of_head
):
    model = planted_model("arm", "causal")
    roles = attention_roles(model, planted_canvases(model), SETTINGS)
    lost = {"next_token", "backward_induction", "mask_to_clue"}
    kept = {(head, role) for head, role in role_of_head.items() if role not in lost}
    # a1.h1 reads what a0.h1 now copies instead of the next token, so its habit is another one.
    assert {(head, role) for head, role in held(roles) if head != "a1.h1"} == kept
    assert not lost & {role for _, role in held(roles)}


def test_a_head_that_looks_at_the_answer_without_copying_it_is_no_name_mover(
    planted_model, planted_canvases, role_of_head
):
    """The unembedding answers with the next token of the vocabulary; attention is the same."""
    model = planted_model("mdm", "full", unembedding_shift=1)
    roles = attention_roles(model, planted_canvases(model), SETTINGS)
    assert roles.heads_with("name_mover") == []
    assert roles.heads_with("mask_to_clue") == ["a1.h2"]


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2", "qwen3"])
def test_under_a_causal_mask_attention_to_the_right_is_exactly_zero(architecture, canvases_of):
    model = random_language_model(architecture, "arm")
    roles = attention_roles(model, canvases_of(model), SETTINGS)
    for role in SEQUENCE_ROLES:
        index = ROLES.index(role)
        zero = role in RIGHTWARD
        assert (roles.share.value[index] == 0).all() == zero
        assert (roles.uniform[index] == 0).all() == zero
    assert roles.num_samples[ROLES.index("mask_to_clue")] == 0
    assert np.isnan(roles.share.value[ROLES.index("mask_to_clue")]).all()


def test_the_baseline_of_a_bidirectional_model_is_one_token_of_the_sequence(canvases_of):
    model = random_language_model("llama", "mdm")
    roles = attention_roles(model, canvases_of(model), SETTINGS)
    np.testing.assert_allclose(roles.uniform[: len(SEQUENCE_ROLES)], 1 / 20, rtol=1e-5)


def test_places_by_hand_for_three_tokens_twice():
    """Positions 0 to 2 and 3 to 5 hold a, b, c."""
    model = random_language_model("llama", "mdm")
    settings = SemanticsSettings(num_sequences=1, sequence_length=3)
    places = sequence_places(repeated_sequences(model, settings))
    pairs = {role: set(zip(*np.nonzero(mask), strict=True)) for role, mask in places.items()}
    assert pairs == {
        "previous_token": {(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)},
        "next_token": {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)},
        "duplicate": {(3, 0), (4, 1), (5, 2)},
        "induction": {(3, 1), (4, 2), (5, 3)},
        "backward_induction": {(0, 2), (1, 3), (2, 4)},
    }


def test_sequences_hold_ordinary_tokens_once_and_then_again():
    model = random_language_model("llama", "mdm")
    ids = repeated_sequences(model, SETTINGS).input_ids
    np.testing.assert_array_equal(ids[:, :10], ids[:, 10:])
    assert all(len(set(row[:10])) == 10 for row in ids)
    assert ids.min() >= 4, "no special token"
    assert len({tuple(row) for row in ids}) == len(ids)


def test_excess_is_the_share_of_what_uniform_attention_gives_elsewhere_by_hand():
    """Two measurements of sample 0 count as one: shares 0.6 and 0.8, baselines 0.2 and 0.4."""
    shares = RoleShares(
        sample=np.array([0, 0, 7]),
        cluster=np.array([0, 0, 7]),
        share=np.array([0.5, 0.7, 0.8]).reshape(3, 1, 1),
        uniform=np.array([0.1, 0.3, 0.4]).reshape(3, 1),
    )
    graph = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)
    roles = roles_from_shares(graph, dict.fromkeys(ROLES, shares), SETTINGS)
    assert roles.share.value[0, 0, 0] == pytest.approx(0.7)
    assert roles.uniform[0, 0] == pytest.approx(0.3)
    assert roles.excess.value[0, 0, 0] == pytest.approx(0.4 / 0.7)
    assert roles.num_samples[0] == 2
    assert not roles.holds.any(), "two samples have no interval, so nothing is decided"


def test_a_role_is_held_only_where_the_whole_interval_clears_the_threshold():
    generator = np.random.default_rng(0)
    share = np.stack(
        [0.5 + 0.01 * generator.normal(size=40), generator.choice([0.0, 0.8], size=40)], axis=1
    )
    shares = RoleShares(
        sample=np.arange(40),
        cluster=np.arange(40),
        share=share[:, None],
        uniform=np.full((40, 1), 0.05),
    )
    graph = random_language_model("llama", num_layers=1).graph()
    roles = roles_from_shares(graph, dict.fromkeys(ROLES, shares), SETTINGS)
    assert (roles.excess.value[0] > 0.3).all()
    assert roles.holds[0, 0].tolist() == [True, False]


def test_batches_do_not_change_a_share():
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    one = habit_shares(model, SETTINGS)
    other = habit_shares(model, SemanticsSettings(num_sequences=12, sequence_length=10))
    for role in SEQUENCE_ROLES:
        np.testing.assert_array_equal(one[role].sample, np.arange(12))
        np.testing.assert_allclose(one[role].share, other[role].share, atol=1e-12)


def test_a_vocabulary_that_is_too_small_is_refused():
    model = random_language_model("llama", "mdm")
    with pytest.raises(SemanticsError, match="19 ordinary tokens, too few for 24 distinct ones"):
        repeated_sequences(model, SemanticsSettings())
