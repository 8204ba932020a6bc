"""Candidates that not both models solve: sampled by the pool, scored by a stage, and read again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mechshift.artifacts import read_manifest
from mechshift.attribution import EdgeScores, attribute, position_flow
from mechshift.denoising import as_one_step
from mechshift.errors import ArtifactError
from mechshift.flat_records import read_record
from mechshift.models import ModelPair
from mechshift.run import (
    AttributionSettings,
    PairOptions,
    make_pools,
    score_edges,
    score_others,
    trace_flow,
)
from mechshift.run.folders import (
    KINDS,
    SCORES,
    flow_folder,
    others_flow_folder,
    others_folder,
    scores_folder,
)
from mechshift.run.pools import other_canvases, other_examples
from mechshift.run.scores import ATTRIBUTE_OTHERS, other_pieces
from mechshift.run.stage import write_pieces
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig, load_task_file
from mechshift.testing.measuring import counted_passes

WORDS = [f"w{index}" for index in range(19)]
SETTINGS = AttributionSettings(metric="logit_diff", ig_steps=2, chunk_size=3, batch_size=2)


@pytest.fixture(scope="module")
def pair(random_pair) -> ModelPair:
    return random_pair


@pytest.fixture(scope="module")
def task(pair, answer_of, tmp_path_factory):
    """Discovery: every third of 36 prompts has the ARM's answer as its target; held out: two."""
    generator = np.random.default_rng(0)
    drawn = dict.fromkeys(" ".join(generator.choice(WORDS, size=3)) for _ in range(800))
    agreed, others = [], []
    for prompt in drawn:
        arm, mdm = answer_of(pair.arm, prompt), answer_of(pair.mdm, prompt)
        if arm and mdm:
            (agreed if arm == mdm else others).append((prompt, arm))
    lines = []
    for number in range(36):
        both = number % 3 == 0
        prompt, target = (agreed if both else others).pop()
        lines.append(line(prompt, target, f"{number}-{'both' if both else 'arm'}", "discovery"))
    lines += [line(*agreed.pop(), f"held-{number}", "held-out") for number in range(2)]
    path = tmp_path_factory.mktemp("task") / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return load_task_file(path)


def line(prompt, target, identity, split):
    first, *rest = prompt.split()
    unlike = [word for word in WORDS if word not in (first, target)]
    return {
        "id": identity,
        "prompt": prompt,
        "target": f" {target}",
        "distractor": f" {unlike[0]}",
        "corrupted_prompt": " ".join([unlike[0], *rest]),
        "cluster": identity,
        "split": split,
    }


def pooled(run: Path, pair, task, **settings) -> Path:
    config = PoolConfig(**({"num_examples": 12, "num_held_out": 2} | settings))
    make_pools(run, pair, PairOptions(), [task], config, quiet=True)
    return run


@pytest.fixture(scope="module")
def scored(pair, task, tmp_path_factory) -> Path:
    """A run folder with a pool, and scores of its examples and of seven others."""
    run = pooled(tmp_path_factory.mktemp("run"), pair, task, num_others=7)
    score_edges(run, pair, SETTINGS, quiet=True)
    score_others(run, pair, SETTINGS, quiet=True)
    return run


def test_the_sample_is_of_the_candidates_that_were_asked_for_discovery(scored) -> None:
    pool = read_pool(scored, "own", "discovery")
    assert pool.others is not None and len(pool.others.examples) == 7
    assert all(example.id.endswith("-arm") for example in pool.others.examples)
    # Rounds of twelve are asked until twelve are solved by both, which here are all three.
    assert int((~pool.both_correct).sum()) == 24
    ids = [pool.candidate_ids[place] for place in pool.others.places]
    assert ids == [example.id for example in pool.others.examples]
    held_out = read_pool(scored, "own", "held-out")
    assert held_out.others is None
    texts = {example.prompt for example in held_out.examples}
    assert not texts & {example.prompt for example in (*pool.examples, *pool.others.examples)}


def test_others_are_scored_as_common_examples_are_summed_over_steps(scored, pair) -> None:
    pool = read_pool(scored, "own", "discovery")
    for kind in KINDS:
        found = read_record(EdgeScores, others_folder(scored, "own", kind), stage=SCORES)
        model = getattr(pair, kind)
        canvases = [as_one_step(one) for one in other_canvases(pool, model)]
        alone = attribute(model, canvases[:1], metric="logit_diff", method="eap-ig", ig_steps=2)
        np.testing.assert_allclose(found.values[:1], alone.values, rtol=1e-4, atol=1e-5)
        assert found.values.shape[:2] == (7, 1) and found.examples_per_shard == 1
        common = read_manifest(scores_folder(scored, "own", kind))
        others = read_manifest(others_folder(scored, "own", kind))
        assert others.inputs == common.inputs  # the pool and the model
        steps = others.config["attribution"].pop("steps")
        common.config["attribution"].pop("steps")
        assert steps == "summed" and others.config == common.config


def test_scoring_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    scored, pair, task, tmp_path, monkeypatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(scored / "pool", run / "pool")
    from mechshift.run import scores as module

    calls = []

    def few(*args, **kwargs):
        calls.append(len(args[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return attribute(*args, **kwargs)

    monkeypatch.setattr(module, "attribute", few)
    with pytest.raises(KeyboardInterrupt):
        score_others(run, pair, SETTINGS, quiet=True)
    monkeypatch.undo()
    with counted_passes(pair.arm) as counted:
        score_others(run, pair, SETTINGS, quiet=True)
    # Of the ARM's chunks of 3, 3 and 1 examples the first is there: in batches of two canvases
    # three are left, with two points of the path and a clean and a corrupted pass each.
    assert counted.backward == 3 * 2
    for kind in KINDS:
        ours, theirs = (others_folder(one, "own", kind) for one in (run, scored))
        for name in ("arrays.safetensors", "values.json"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_what_is_there_is_kept_and_other_settings_are_refused(scored, pair) -> None:
    with counted_passes(pair.arm) as counted:
        score_others(scored, pair, SETTINGS, quiet=True)
    assert counted.forward == 0
    other = AttributionSettings(metric="logit_diff", ig_steps=3)
    with pytest.raises(ArtifactError, match="ig_steps"):
        score_others(scored, pair, other, quiet=True)


def test_without_a_sample_nothing_is_scored_and_no_candidate_is_asked_more(
    scored, pair, task, tmp_path
) -> None:
    run = pooled(tmp_path / "run", pair, task, num_others=0)
    pool, with_sample = (read_pool(one, "own", "discovery") for one in (run, scored))
    assert pool.others is None and pool.candidate_ids == with_sample.candidate_ids
    assert [one.id for one in pool.examples] == [one.id for one in with_sample.examples]
    write_pieces(run, ATTRIBUTE_OTHERS, other_pieces(run, pair.members, SETTINGS), quiet=True)
    assert not (run / "others").exists()
    trace_flow(run, pair, SETTINGS, quiet=True)
    assert not (run / "others-flow").exists() and (run / "flow" / "own" / "mdm").exists()
    score_edges(run, pair, SETTINGS, quiet=True)
    assert RunTask(run=run, task="own").others() == {}


def test_a_stored_task_gives_the_scores_of_every_member(scored) -> None:
    found = RunTask(run=scored, task="own").others()
    assert list(found) == ["arm", "mdm"]
    assert all(len(one.values) == 7 for one in found.values())
    shutil.rmtree(others_folder(scored, "own", "mdm"))
    assert list(RunTask(run=scored, task="own").others()) == ["arm"]


def test_the_flow_of_others_is_that_of_their_own_canvases(scored, pair) -> None:
    trace_flow(scored, pair, SETTINGS, quiet=True)
    flows = RunTask(run=scored, task="own").other_flows()
    assert list(flows) == ["arm", "mdm"]
    pool = read_pool(scored, "own", "discovery")
    for kind, found in flows.items():
        model = getattr(pair, kind)
        alone = position_flow(
            model,
            other_canvases(pool, model),
            other_examples(pool, model),
            metric="logit_diff",
            ig_steps=2,
        )
        assert found.num_examples == 7 and found.spans == alone.spans
        scale = np.abs(alone.by_direction).max()
        np.testing.assert_allclose(found.by_direction, alone.by_direction, atol=1e-5 * scale)
        common, others = (
            read_manifest(folder(scored, "own", kind))
            for folder in (flow_folder, others_flow_folder)
        )
        assert others.inputs == common.inputs and others.config == common.config
    with counted_passes(pair.arm) as counted:
        trace_flow(scored, pair, SETTINGS, quiet=True)
    assert counted.forward == 0


def test_a_pool_of_an_earlier_version_is_refused_in_one_line(scored, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scored / "pool", run / "pool")
    folder = run / "pool" / "own"
    values = json.loads((folder / "values.json").read_text())
    del values["discovery.others.examples"], values["held_out.others"]
    from mechshift.artifacts import write_artifact

    arrays = {
        name: array
        for name, array in _arrays(folder).items()
        if not name.startswith("discovery.others")
    }
    manifest = read_manifest(folder)
    shutil.rmtree(folder)
    write_artifact(
        folder,
        stage="pool",
        config=manifest.config,
        inputs=manifest.inputs,
        arrays=arrays,
        tables={},
        texts={"values.json": json.dumps(values)},
    )
    with pytest.raises(ArtifactError, match="delete its folder and run its stage again"):
        read_pool(run, "own", "discovery")


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "arrays.safetensors")
