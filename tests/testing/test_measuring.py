import torch

from mechshift.testing import random_language_model
from mechshift.testing.measuring import LiveBytes, MatrixFlops, counted_passes


def test_the_peak_holds_what_was_alive_together_and_no_more():
    weight = torch.ones(10, 10)
    with LiveBytes(weight) as live:
        first = weight + 1  # 400 bytes beside the 400 of the weight
        del first
        second = weight[:5] * 2  # a view is no storage of its own
        assert (live.now, live.peak) == (400 + 200, 800)
        third = second + second
        live.restart()
        assert live.peak == live.now == 400 + 200 + 200
        del second, third
    assert (live.now, live.peak) == (400, 800)


def test_what_was_there_before_counts_only_where_it_is_named():
    named, other = torch.ones(10), torch.ones(20)
    with LiveBytes(named) as live:
        other.add_(1)  # in place, and
        other.view(4, 5).mul_(named[:5])  # through a view: nothing is made
    assert (live.now, live.peak) == (40, 40)


def test_a_matrix_product_counts_two_operations_for_each_product():
    left, right = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7)
    with MatrixFlops() as counter:
        total = (left @ right).sum()
        torch.autograd.grad(total, left)  # a leaf, which torch's own counter refuses
    assert counter.get_total_flops() == 2 * (2 * 3 * 5 * 7)


def test_passes_are_counted_in_both_directions_inside_the_block_only():
    model = random_language_model("gpt2")
    ids = torch.tensor([[4, 5, 6]])
    mask, positions = torch.ones_like(ids), torch.tensor([[0, 1, 2]])
    with counted_passes(model) as count:
        model.hidden(ids, mask, positions)
        embeddings = model.parts.embedding(ids).requires_grad_()
        hidden = model.parts.decoder(inputs_embeds=embeddings).last_hidden_state
        for _ in range(2):
            torch.autograd.grad(hidden.sum(), embeddings, retain_graph=True)
    model.hidden(ids, mask, positions)
    assert (count.forward, count.backward) == (2, 2)
    assert count.sizes == [(1, 3), (1, 3)]
