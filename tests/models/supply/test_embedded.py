"""The embedded family as plain folders, from a family made here."""

import pytest
from safetensors.torch import load_file

from mechshift.errors import ModelError
from mechshift.models import load_language_model
from mechshift.models.supply import get_embedded, pack_checkpoints


@pytest.fixture
def family(tmp_path, model_folder):
    """An ARM, an MDM with two packed checkpoints, and a control without any."""
    model_folder("family/arm")
    model_folder("family/mdm", seed=5)
    model_folder("family/continued-arm", seed=6)
    for step in (32, 128):
        model_folder(f"run/step-{step:06d}", seed=step)
    family = tmp_path / "family"
    pack_checkpoints(family / "arm", tmp_path / "run", family / "mdm-checkpoints")
    return family


def test_every_member_and_checkpoint_becomes_a_model_in_the_layout_of_a_trajectory(
    family, tmp_path
):
    out = tmp_path / "out"
    provided = get_embedded(out, family=family)
    assert [(p.folder.name, p.made) for p in provided] == [
        ("arm", True),
        ("mdm", True),
        ("continued-arm", True),
    ]
    models = sorted(str(path.parent.relative_to(out)) for path in out.rglob("config.json"))
    assert models == [
        "arm",
        "continued-arm",
        "mdm",
        "mdm/checkpoints/step-000032",
        "mdm/checkpoints/step-000128",
    ]
    for name in models:
        load_language_model(out / name, name=name, kind="mdm", attention="full", shift=True)
    for member in ("arm", "mdm", "continued-arm"):
        for path in (family / member).iterdir():
            assert (out / member / path.name).read_bytes() == path.read_bytes()


def test_a_checkpoint_lies_close_to_the_one_that_was_packed(family, tmp_path):
    get_embedded(tmp_path / "out", family=family)
    there = load_file(tmp_path / "out/mdm/checkpoints/step-000032/model.safetensors")
    packed = load_file(tmp_path / "run/step-000032/model.safetensors")
    parent = load_file(family / "arm/model.safetensors")
    for name, weight in packed.items():
        largest = (weight - parent[name]).abs().max()
        assert (there[name] - weight).abs().max() <= largest / 62 + 1e-6


def test_a_second_call_changes_nothing_and_says_so(family, tmp_path):
    out = tmp_path / "out"
    get_embedded(out, family=family)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert [p.made for p in get_embedded(out, family=family)] == [False, False, False]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_member_that_was_not_finished_is_made_and_the_others_stay(family, tmp_path):
    out = tmp_path / "out"
    damaged = family / "mdm-checkpoints" / "step-000128.safetensors"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])
    with pytest.raises(ModelError, match="step-000128.safetensors is no packed checkpoint"):
        get_embedded(out, family=family)
    assert [path.name for path in out.iterdir()] == ["arm"]  # no half-written mdm
    damaged.write_bytes(whole)
    assert [p.made for p in get_embedded(out, family=family)] == [False, True, True]


def test_folders_of_another_version_are_refused_and_not_overwritten(family, tmp_path, model_folder):
    out = tmp_path / "out"
    get_embedded(out, family=family)
    model_folder("family/mdm", seed=7)
    with pytest.raises(ModelError, match="mdm was made from something else, as its source.json"):
        get_embedded(out, family=family)


def test_a_folder_of_the_users_is_refused_and_not_overwritten(family, tmp_path):
    own = tmp_path / "out" / "arm"
    own.mkdir(parents=True)
    with pytest.raises(ModelError, match="arm exists already and is not of mechshift's making"):
        get_embedded(tmp_path / "out", family=family)
    assert list(own.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(family, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ModelError, match="cannot write .*arm: "):
        get_embedded(tmp_path / "out", family=family)
