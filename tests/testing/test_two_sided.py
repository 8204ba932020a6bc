"""What the hand-made two-sided reader promises before anybody attributes it."""

import pytest
import torch

from mechshift.denoising import batch_canvases, readout_logits, score_readouts
from mechshift.testing import ClueStrengths, two_sided_reader


def metric_of(reader, corrupted):
    (batch,) = batch_canvases(reader.model, reader.canvases, 99)
    ids = batch.corrupted_ids if corrupted else batch.clean_ids
    hidden = reader.model.hidden(ids, batch.attention_mask, batch.position_ids)
    logits = readout_logits(reader.model, hidden, batch)
    metric = score_readouts("logit_diff", logits, batch)[:, 0]
    return metric[torch.from_numpy(batch.example).argsort()]


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_flow_of_all_clues_is_what_corrupting_them_all_costs(kind):
    strengths = ClueStrengths(left=1.0, here=-0.5, right=3.0)
    reader = two_sided_reader(kind, strengths=strengths, dtype=torch.float64)
    clean, corrupted = metric_of(reader, corrupted=False), metric_of(reader, corrupted=True)
    # On paper: positions that the scored one sees, and half of the flow in each of both runs.
    lengths = {"arm": (4, 4, 6, 6), "mdm": (6, 6, 10, 10)}[kind]
    on_paper = torch.tensor([3.5 / length for length in lengths], dtype=torch.float64)
    torch.testing.assert_close(clean, on_paper, rtol=1e-5, atol=0)
    torch.testing.assert_close(corrupted, -on_paper, rtol=1e-5, atol=0)
    flow = torch.tensor([sum(by_clue.values()) for by_clue in reader.flow], dtype=torch.float64)
    torch.testing.assert_close(flow, 2 * on_paper)


def test_only_the_mdm_has_a_clue_to_the_right_of_where_it_reads():
    for kind, is_right in (("arm", False), ("mdm", True)):
        reader = two_sided_reader(kind)
        for canvas, example in zip(reader.canvases, reader.examples, strict=True):
            (readout,) = canvas.readouts
            starts = {clue: start for clue, (start, _) in example.spans.items()}
            assert starts["here"] == readout.position > starts["left"]
            assert (starts["right"] > readout.position) == is_right
