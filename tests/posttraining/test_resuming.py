"""A training that was stopped, and what may have become of its folder before it goes on."""

import shutil
from dataclasses import replace

import pytest

from mechshift.errors import PosttrainingError
from mechshift.posttraining import PosttrainConfig, posttrain
from mechshift.posttraining.trainer import Trainer


@pytest.fixture
def parent(tmp_path, micro_llama, tokenizer):
    folder = tmp_path / "micro-arm"
    micro_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(**overrides):
    return dict(
        mixture=(("ioi", 1.0, 6), ("infilling", 1.0, 4)),
        batch_size=4,
        warmup_steps=3,
        annealing_steps=100,
        log_every=7,
        first_checkpoint=5,
        num_evaluated=2,
    ) | dict(overrides)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def interrupted(parent, tmp_path, monkeypatch):
    """A training of two steps that was stopped after a state was written."""
    original = Trainer.save

    def save_and_stop(trainer, *arguments):
        original(trainer, *arguments)
        raise KeyboardInterrupt

    out = tmp_path / "out"
    config = PosttrainConfig(**settings(num_steps=2, state_every=1, first_checkpoint=1))
    monkeypatch.setattr(Trainer, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        posttrain(out, parent=str(parent), config=config, quiet=True)
    monkeypatch.undo()
    return out, config


def test_other_settings_do_not_go_on_with_a_training_and_leave_it_alone(parent, interrupted):
    out, config = interrupted
    partial = out.with_name("out.partial")
    before = contents(partial)
    other = replace(config, learning_rate=0.5)
    message = r"out.partial holds a training that was begun with learning_rate 0.0003, not 0.5"
    with pytest.raises(PosttrainingError, match=message):
        posttrain(out, parent=str(parent), config=other, quiet=True)
    assert contents(partial) == before
    posttrain(out, parent=str(parent), config=config, quiet=True)


@pytest.mark.parametrize("damaged", ["", "[]", "null", "{", '{"config": []}'])
def test_a_damaged_recipe_is_refused_in_one_line_and_what_was_made_is_kept(
    parent, interrupted, damaged
):
    out, config = interrupted
    (recipe,) = out.with_name("out.partial").rglob("recipe.json")
    whole = recipe.read_bytes()
    recipe.write_text(damaged, encoding="utf-8")
    before = contents(out.with_name("out.partial"))
    with pytest.raises(PosttrainingError, match=r"recipe.json: .*put the file back"):
        posttrain(out, parent=str(parent), config=config, quiet=True)
    assert contents(out.with_name("out.partial")) == before
    recipe.write_bytes(whole)
    posttrain(out, parent=str(parent), config=config, quiet=True)


def test_a_damaged_state_is_refused_and_can_be_deleted(parent, interrupted):
    out, config = interrupted
    (state,) = out.with_name("out.partial").glob("state/state-*")
    weights = state / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(PosttrainingError, match=r"state-00000001 cannot be read .*; delete it"):
        posttrain(out, parent=str(parent), config=config, quiet=True)
    shutil.rmtree(state)
    posttrain(out, parent=str(parent), config=config, quiet=True)
    assert (out / "model.safetensors").exists()


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizers.safetensors"])
def test_a_flipped_bit_in_a_state_is_noticed_and_checkpoints_are_kept(parent, interrupted, name):
    """Of a weight: the file reads as well as before, and would give another model."""
    out, config = interrupted
    (state,) = out.with_name("out.partial").glob("state/state-*")
    flip_last_byte(state / name)
    before = contents(out.with_name("out.partial"))
    message = rf"state-00000001 cannot be read \({name} was changed .* SHA-256 differs\); delete it"
    with pytest.raises(PosttrainingError, match=message):
        posttrain(out, parent=str(parent), config=config, quiet=True)
    assert contents(out.with_name("out.partial")) == before
    assert any("checkpoints/step-000001" in path for path in before)


def test_a_changed_step_or_a_damaged_manifest_is_noticed(parent, interrupted):
    out, config = interrupted
    (state,) = out.with_name("out.partial").glob("state/state-*")
    for name, old, new in (
        ("state.json", '"step": 1', '"step": 0'),
        ("manifest.json", '"weights.safetensors": "', '"weights.safetensors": "0'),
        ("manifest.json", '"files"', '"fills"'),
        ("manifest.json", None, ""),
        ("manifest.json", None, "[]"),
    ):
        whole = (state / name).read_text(encoding="utf-8")
        (state / name).write_text(whole.replace(old, new) if old else new, encoding="utf-8")
        with pytest.raises(PosttrainingError, match="cannot be read .*; delete it to begin again"):
            posttrain(out, parent=str(parent), config=config, quiet=True)
        (state / name).write_text(whole, encoding="utf-8")
    posttrain(out, parent=str(parent), config=config, quiet=True)
