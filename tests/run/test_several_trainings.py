"""A small real run with several trainings of a kind and a sibling, from paths to the page."""

import json
from dataclasses import replace

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from mechshift.ablation import AblationSettings
from mechshift.comparison import ComparisonSettings
from mechshift.models import PAIRS, ModelSource
from mechshift.run import (
    AttributionSettings,
    EvaluationSettings,
    PairOptions,
    RunSettings,
    run_experiment,
)
from mechshift.run.pipeline import load_stored_pair
from mechshift.run.store import scored_members
from mechshift.run.stored import RunMember, RunTask
from mechshift.tasks import PoolConfig

TRAINED_ON = ("arm-continued", "arm-continued-2", "arm-continued-3")
SIBLING = "tiny-unshifted"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny, link_model):
    """The embedded pair with three ARMs trained on: two are the first with noise on its weights.

    Its sibling is the other MDM, read without a shift and causally over reordered tokens.
    """
    root = tmp_path_factory.mktemp("trainings")
    paths = [tiny / "continued-arm"]
    for seed in (1, 2):
        folder = root / f"continued-{seed}"
        link_model(folder, "continued-arm")
        weights = load_file(folder / "model.safetensors")
        generator = torch.Generator().manual_seed(seed)
        noisy = {
            name: values + 0.02 * values.std() * torch.randn(values.shape, generator=generator)
            for name, values in weights.items()
        }
        (folder / "model.safetensors").unlink()
        save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
        paths.append(folder)
    settings = RunSettings(
        models=PairOptions(
            arm=str(tiny / "arm"),
            mdm=str(tiny / "mdm"),
            continued_arm=tuple(map(str, paths)),
            other_mdm=(str(tiny / "other-mdm"),),
            beside=(SIBLING,),
        ),
        tasks=("ioi",),
        pool=PoolConfig(num_examples=24, num_held_out=10),
        attribution=AttributionSettings(ig_steps=2),
        evaluation=EvaluationSettings(fractions=(0.1,), num_random=1, rediscover=False),
        comparison=ComparisonSettings(
            num_resamples=50, num_splits=10, num_shuffles=5, num_exchanges=20
        ),
        ablation=AblationSettings(kinds=("heads",)),
        skip=("flow", "semantics", "ablation"),
    )
    sibling = replace(
        PAIRS["tiny"],
        name=SIBLING,
        mdm=ModelSource(path="tiny/other-mdm"),
        shift=False,
        attention="observed-first",
    )
    folder = root / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PAIRS, SIBLING, sibling)
        run_experiment(folder, settings, device="cpu", quiet=True)
        yield folder


def test_every_training_is_a_member_with_numbers_of_its_own(run):
    members = scored_members(run, "ioi")
    untrained, seed = ["arm-full", "mdm-causal"], "mdm-other-seed"
    assert members == ["arm", "mdm", *TRAINED_ON, *untrained, seed, SIBLING]
    shifts = [RunMember(of=RunTask(run=run, task="ioi"), name=name).shift() for name in TRAINED_ON]
    early = [shift.circuit_depth.source.cross_fitted_shift("early") for shift in shifts]
    assert len({one.value for one in early if one is not None}) == 3
    assert all(
        RunMember(of=RunTask(run=run, task="ioi"), name=name).solved().mean() > 0.5
        for name in TRAINED_ON
    )
    assert list(load_stored_pair(run, "cpu", controls=True).members) == [
        "arm",
        "mdm",
        "arm-full",
        "mdm-causal",
        *TRAINED_ON,
        "mdm-other-seed",
        SIBLING,
    ]


def test_a_sibling_is_held_against_the_arm_as_the_mdm_is_and_causes_know_nothing_of_it(run):
    assert (
        RunMember(of=RunTask(run=run, task="ioi"), name=SIBLING).shift().overlap.edges.value[0] >= 0
    )
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert f"MDM of {SIBLING}" in page and "made from the ARM by another recipe" in page
    controls = pl.read_csv(run / "report" / "ioi-controls.csv")
    assert f"MDM of {SIBLING}" in controls["row"].to_list()
    trainings = pl.read_csv(run / "report" / "ioi-trainings.csv")
    assert not trainings.filter(pl.col("trainings").str.contains(SIBLING)).height


def test_the_page_shows_the_trainings_and_how_they_spread(run):
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert 'id="ioi-trainings-table"' in page
    assert "ARM, trained on (3)" in page
    table = pl.read_csv(run / "report" / "ioi-trainings.csv")
    rows = table.filter(pl.col("quantity") == "core kept").rows(named=True)
    assert [row["trainings"] for row in rows] == ["mdm mdm-other-seed", " ".join(TRAINED_ON)]
    assert all(row["training_sd"] is not None for row in rows)
    assert all(row["difference"] is None for row in rows)  # two with diffusion are too few
    controls = pl.read_csv(run / "report" / "ioi-controls.csv")
    assert "ARM, trained on (2)" in controls["row"].to_list()


def test_the_pool_names_all_their_paths(run):
    manifest = json.loads((run / "pool" / "ioi" / "manifest.json").read_text(encoding="utf-8"))
    pair = manifest["config"]["pair"]
    assert len(pair["continued_arm"]) == 3
    assert pair["other_mdm"][0].endswith("other-mdm")
