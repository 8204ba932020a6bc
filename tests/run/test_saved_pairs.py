from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mechshift.errors import ConfigError
from mechshift.models import ModelPair, load_pair, make_pair
from mechshift.run import save_pair


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    """Of two models that are in memory."""
    loaded = load_pair("tiny")
    return make_pair(loaded.arm.module, loaded.mdm.module, loaded.mdm.tokenizer, name="mine")


def test_a_saved_pair_is_loaded_by_its_options_as_it_was(pair: ModelPair, tmp_path: Path) -> None:
    options = save_pair(pair, tmp_path / "models" / "mine")
    assert options.entry().name == "mine"
    again = options.load("cpu")
    for ours, theirs in zip(again.models, pair.models, strict=True):
        assert (ours.name, ours.attention, ours.mask_token_id) == (
            theirs.name,
            theirs.attention,
            theirs.mask_token_id,
        )
        weights = theirs.module.state_dict()
        for name, tensor in ours.module.state_dict().items():
            torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)
        text = " When Mary and John went"
        assert ours.tokenizer.encode(text) == theirs.tokenizer.encode(text)


def test_a_folder_that_is_there_is_left_alone(pair: ModelPair, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already; choose another folder"):
        save_pair(pair, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_controls_are_not_dropped_in_silence(pair: ModelPair, tmp_path: Path) -> None:
    with_control = replace(pair, controls={"arm-continued": pair.arm})
    with pytest.raises(ConfigError, match=r"has controls \(arm-continued\)"):
        save_pair(with_control, tmp_path / "mine")
