"""EAP with one step against the edge attribution patching of TransformerLens.

Their gradient is taken at the corrupted input, and their score is (clean - corrupted) . gradient of
the metric: our sign, and our rule `left` with one step. Exchanging clean and corrupted gives our
rule `right` with the opposite sign. They score each position by itself and causal models with one
KV head per query head only; we sum theirs over positions. Their eager attention takes its softmax
in float32, so the two agree to single precision.
"""

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.tools.analysis.attribution_patching import (
    EdgeAttributionConfig,
    attribution_patch,
)

from mechshift.attribution import eap_ig
from mechshift.denoising import build_canvases, left_to_right
from mechshift.testing import random_examples, random_language_model

NUM_EXAMPLES = 3
READERS = {"q_input": "<q>", "k_input": "<k>", "v_input": "<v>"}


def name_of(node):
    """A TransformerLens node in our words."""
    if node.kind in ("embed", "logits"):
        return {"embed": "input", "logits": "logits"}[node.kind]
    if node.kind in ("mlp_out", "mlp_in"):
        return f"m{node.layer}"
    return f"a{node.layer}.h{node.head}{READERS.get(node.kind, '')}"


def their_scores(bridge, graph, canvas, *, exchanged=False):
    ids = [torch.tensor([canvas.clean_ids]), torch.tensor([canvas.corrupted_ids])]

    def logit_diff(logits):
        return sum(
            logits[0, r.position, r.target_id] - logits[0, r.position, r.distractor_id]
            for r in canvas.readouts
        )

    result = attribution_patch(
        bridge,
        *(reversed(ids) if exchanged else ids),
        logit_diff,
        EdgeAttributionConfig(granularity="edge"),
    )
    assert len(result.edge_scores) == graph.num_edges * len(canvas.clean_ids)
    scores = np.zeros(graph.num_edges)
    for (writer, reader), score in result.edge_scores.items():
        scores[graph.edge_index(f"{name_of(writer)}->{name_of(reader)}")] += score
    return scores


# A masked canvas read causally: TransformerLens has no bidirectional attention for a Llama.
@pytest.mark.parametrize("kind", ["arm", "mdm"])
@pytest.mark.parametrize(("rule", "sign"), [("left", 1), ("right", -1)])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_one_step_gives_the_edge_scores_of_transformer_lens(architecture, kind, rule, sign):
    model = random_language_model(architecture, kind, attention="causal", dtype=torch.float64)
    examples = random_examples(NUM_EXAMPLES, kind=kind, suffix_length=1)
    canvases = build_canvases(model, examples, left_to_right([2] * NUM_EXAMPLES, 1))
    ours = eap_ig(model, canvases, metric="logit_diff", rule=rule, ig_steps=1).values[:, 0]

    # The bridge exchanges submodules in place, so it comes after ours has run.
    module = model.module.requires_grad_(True)
    name = type(module).__name__
    bridge = build_bridge_from_module(module, name, hf_config=module.config)
    exchanged = rule == "right"
    theirs = [their_scores(bridge, model.graph(), c, exchanged=exchanged) for c in canvases]
    scale = np.abs(ours).max()
    assert scale > 1.0
    np.testing.assert_allclose(ours, sign * np.array(theirs), atol=1e-6 * scale)
