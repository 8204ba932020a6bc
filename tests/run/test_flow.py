"""Flow is stored as its function gives it, for every member, chunk by chunk."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from mechshift.artifacts import read_manifest, write_artifact
from mechshift.attribution import PositionFlow, position_flow
from mechshift.denoising import build_canvases
from mechshift.errors import ArtifactError
from mechshift.flat_records import read_record, record_files
from mechshift.run import AttributionSettings, load_stored_pair, run_experiment, trace_flow
from mechshift.run.folders import FLOW, KINDS, flow_folder
from mechshift.run.pools import pooled_examples
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask


@pytest.fixture(scope="module")
def pair(small_run):
    return load_stored_pair(small_run, "cpu")


@pytest.fixture
def traced(small_run, tmp_path):
    """A copy of one task's pool and flow, and nothing else."""
    for stage in ("pool", "flow"):
        shutil.copytree(small_run / stage / "infilling", tmp_path / "run" / stage / "infilling")
    return tmp_path / "run"


def test_the_stored_flow_is_that_of_all_examples_at_once(small_run, pair):
    pool = read_pool(small_run, "infilling", "discovery")
    examples = pooled_examples(pool, pair.mdm)
    canvases = build_canvases(pair.mdm, examples, pool.schedule)
    expected = position_flow(
        pair.mdm, canvases, examples, metric="logit_diff", ig_steps=2, rule="left"
    )
    found = RunTask(run=small_run, task="infilling").flow("mdm")
    assert found.spans == expected.spans
    for name in ("net", "magnitude", "by_direction", "score_at", "into_readers"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max()
        )


def test_flow_adds_up_to_the_scores_of_the_same_run(small_run):
    """What flows into a layer's keys is the sum of the scores of the edges into them."""
    for kind in KINDS:
        scores = RunTask(run=small_run, task="ioi").scores(kind)
        flow = RunTask(run=small_run, task="ioi").flow(kind)
        graph = scores.graph
        names = [graph.destination_name(d) for d in range(graph.num_destinations)]
        into_keys = [i for i, name in enumerate(names) if name[:2] == "a1" and "<k>" in name]
        edges = np.isin(graph.edge_destination, into_keys)
        expected = scores.values[..., edges].sum(axis=-1)
        np.testing.assert_allclose(
            flow.net[:, :, 1, 0].sum(axis=(-2, -1)), expected, rtol=0, atol=1e-4
        )


def test_nothing_flows_to_the_left_in_a_causal_model_and_something_does_in_the_other(small_run):
    for task in ("ioi", "infilling"):
        right_to_left = [
            RunTask(run=small_run, task=task).flow(kind).by_direction[..., 0].sum()
            for kind in KINDS
        ]
        assert right_to_left[0] == 0 < right_to_left[1]


def test_controls_are_traced_too_and_a_finished_chunk_is_not_made_again(
    traced, small_run, small, pair
):
    """The first chunk of a second MDM is there already, and holds zeros."""
    mdm = flow_folder(small_run, "infilling", "mdm")
    whole, manifest = read_record(PositionFlow, mdm, stage=FLOW), read_manifest(mdm)
    first = {
        name: np.zeros_like(array[:4])
        for name, array in vars(whole).items()
        if name not in ("spans", "num_steps")
    }
    twin = flow_folder(traced, "infilling", "twin")
    chunks = twin.parent / "twin.chunks"
    write_artifact(
        chunks / "000000-000003",
        stage=FLOW,
        config=manifest.config,
        inputs=manifest.inputs,
        **vars(record_files(replace(whole, **first, num_steps=whole.num_steps[:4]))),
    )
    with_twin = replace(pair, controls={"twin": pair.mdm})
    trace_flow(traced, with_twin, small.attribution, quiet=True)
    found = read_record(PositionFlow, twin, stage=FLOW)
    assert not found.magnitude[:4].any()
    np.testing.assert_array_equal(found.magnitude[4:], whole.magnitude[4:])
    assert not chunks.exists()


def test_flow_is_by_eap_ig_whatever_scored_the_edges(traced, pair):
    """As it lies there: two points, left, of another method; without GIM's rules."""
    before = read_manifest(flow_folder(traced, "infilling", "mdm"))
    assert before.config["flow"] == {"metric": "logit_diff", "ig_steps": 2, "rule": "left"}
    trace_flow(traced, pair, AttributionSettings(ig_steps=2, gim=True), quiet=True)
    assert read_manifest(flow_folder(traced, "infilling", "mdm")) == before
    other = AttributionSettings(method="eap", gradient_at="corrupted")
    with pytest.raises(ArtifactError, match=r"settings \(config.flow.ig_steps: 2 there, 5 now\)"):
        trace_flow(traced, pair, other, quiet=True)


def test_stages_that_are_skipped_leave_nothing_and_the_report_says_so(small_run, small, tmp_path):
    run = tmp_path / "run"
    for stage in ("pool", "scores", "faithfulness", "comparison"):
        shutil.copytree(small_run / stage, run / stage)
    settings = replace(small, skip=("flow", "semantics", "ablation"))
    page = run_experiment(run, settings, device="cpu", quiet=True).read_text(encoding="utf-8")
    assert not any((run / stage).exists() for stage in settings.skip)
    commands = ("mechshift flow", "mechshift analyse", "mechshift ablate")
    assert all(command in page for command in commands)
    whole = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert not any(command in whole for command in commands)
