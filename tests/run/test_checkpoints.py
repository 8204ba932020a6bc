import json
import shutil
from dataclasses import replace

import pytest

from mechshift.errors import ModelError
from mechshift.models import ModelSource, PairEntry
from mechshift.run.checkpoints import find_checkpoints


@pytest.fixture
def entry(tmp_path, link_model, tiny):
    """A diffusion training with checkpoints at 100 and 32 steps, and a control with one."""
    link_model(tmp_path / "mdm", "mdm")
    for step in (100, 32):
        link_model(tmp_path / "mdm" / "checkpoints" / f"step-{step:06d}", "mdm")
    (tmp_path / "mdm" / "checkpoints" / ".step-000064.partial").mkdir()
    link_model(tmp_path / "control", "continued-arm")
    link_model(tmp_path / "control" / "checkpoints" / "step-000032", "continued-arm")
    return PairEntry(
        name="own",
        arm=ModelSource(path=str(tiny / "arm")),
        mdm=ModelSource(path=str(tmp_path / "mdm")),
        continued_arms=(ModelSource(path=str(tmp_path / "control")),),
        shift=True,
    )


def found(entry, *steps):
    return [(one.training, one.step, one.member) for one in find_checkpoints(entry, steps)]


def test_checkpoints_come_by_step_and_the_final_model_last(entry):
    assert found(entry) == [
        ("diffusion", 32, "mdm-step-000032"),
        ("diffusion", 100, "mdm-step-000100"),
        ("diffusion", 1600, "mdm"),
        ("control", 32, "arm-continued-step-000032"),
        ("control", 1600, "arm-continued"),
    ]


def test_some_steps_can_be_chosen_and_the_final_models_always_come(entry):
    assert [step for _, step, _ in found(entry, 100)] == [100, 1600, 1600]
    with pytest.raises(ModelError, match="no checkpoint after 64 steps; there are some after"):
        found(entry, 64, 100)


def test_copies_of_both_ends_among_the_checkpoints_count_once(entry, tmp_path, link_model):
    link_model(tmp_path / "mdm" / "checkpoints" / "step-000000", "arm")
    link_model(tmp_path / "mdm" / "checkpoints" / "step-001600", "mdm")
    assert [step for training, step, _ in found(entry) if training == "diffusion"] == [
        32,
        100,
        1600,
    ]


def swap(entry):
    return replace(entry, mdm=entry.continued_arms[0], continued_arms=(entry.mdm,))


def change_recipe(folder, **values):
    recipe = json.loads((folder / "recipe.json").read_text())
    for name, value in values.items():
        (recipe if name in recipe else recipe["config"])[name] = value
    (folder / "recipe.json").unlink()
    (folder / "recipe.json").write_text(json.dumps(recipe))


def change_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))


def no_checkpoints(root, _):
    shutil.rmtree(root / "mdm" / "checkpoints")


def other_weights_at_the_end(root, link_model):
    link_model(root / "mdm" / "checkpoints" / "step-001600", "arm", "mdm")


def other_weights_at_the_start(root, link_model):
    link_model(root / "mdm" / "checkpoints" / "step-000000", "mdm")


def one_step_twice(root, link_model):
    link_model(root / "mdm" / "checkpoints" / "step-32", "mdm")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_checkpoints, "holds no checkpoints/step-000032 or alike"),
        (
            lambda root, _: shutil.rmtree(root / "control"),
            "--continued-arm .* is not a folder that a post-training wrote",
        ),
        (lambda root, _: (root / "mdm" / "recipe.json").unlink(), r"cannot read .*recipe\.json"),
        (
            lambda root, _: change_recipe(root / "mdm", config=[]),
            r"recipe.json: config: expected `object`, got `array`",
        ),
        (lambda root, _: change_recipe(root / "mdm", num_steps=64), "lies beyond the 64 steps"),
        (lambda root, _: change_recipe(root / "mdm", shift=False), "shift False; give --no-shift"),
        (
            lambda root, _: change_recipe(root / "mdm", parent_weights="0" * 64),
            "not trained from the weights of --arm: recipe.json says 0000",
        ),
        (
            lambda root, _: change_shape(root / "mdm" / "checkpoints" / "step-000032"),
            "step-000032 is of another shape than the final one",
        ),
        (
            lambda root, _: (
                root / "mdm" / "checkpoints" / "step-000032" / "model.safetensors"
            ).unlink(),
            "step-000032 has no weights",
        ),
        (other_weights_at_the_end, "step-001600 holds other weights than the final model"),
        (other_weights_at_the_start, "step-000000 holds other weights than the parent"),
        (one_step_twice, "step-32 and step-000032 are both of step 32"),
    ],
)
def test_folders_that_are_incomplete_or_mixed_up_are_refused(
    entry, tmp_path, link_model, spoil, message
):
    spoil(tmp_path, link_model)
    with pytest.raises(ModelError, match=message) as refused:
        found(entry)
    assert len(str(refused.value).splitlines()) == 1


def test_the_two_trainings_cannot_be_taken_for_each_other(entry):
    with pytest.raises(ModelError, match="objective 'ar', and --mdm asks for one of diffusion"):
        found(swap(entry))
    with pytest.raises(ModelError, match="objective 'mdm', and --continued-arm asks for 'ar'"):
        found(replace(entry, continued_arms=(entry.mdm,)))


def test_further_trainings_are_followed_by_their_ends_or_their_checkpoints(
    entry, tmp_path, link_model
):
    link_model(tmp_path / "other", "other-mdm")
    other = ModelSource(path=str(tmp_path / "other"))
    several = replace(entry, other_mdms=(other,))
    assert [one for one in found(several) if one[0] == "diffusion-2"] == [
        ("diffusion-2", 1600, "mdm-other-seed")
    ]
    link_model(tmp_path / "other" / "checkpoints" / "step-000032", "other-mdm")
    assert [one for one in found(several) if one[0] == "diffusion-2"] == [
        ("diffusion-2", 32, "mdm-other-seed-step-000032"),
        ("diffusion-2", 1600, "mdm-other-seed"),
    ]
    with pytest.raises(ModelError, match="objective 'ar', and --other-mdm asks for one of diff"):
        found(replace(entry, other_mdms=entry.continued_arms))


def test_a_copy_is_refused_as_a_further_training(entry):
    with pytest.raises(ModelError, match="arm-continued-2 holds the weights of arm-continued: a"):
        found(replace(entry, continued_arms=entry.continued_arms * 2))


def test_an_adapter_on_one_of_the_models_is_refused(entry):
    adapted = replace(entry, mdm=replace(entry.mdm, adapter="lora"))
    with pytest.raises(ModelError, match="follows whole models, and --mdm-adapter lora would"):
        found(adapted)
