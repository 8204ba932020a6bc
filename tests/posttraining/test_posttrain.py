"""From a folder with an ARM to a folder with an MDM, as a user does it."""

import json
import sys
from dataclasses import asdict

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mechshift.errors import ModelError, PosttrainingError, TaskError
from mechshift.models import load_language_model, probe_attention
from mechshift.models.loading import weights_hash
from mechshift.posttraining import UNTRAINED_TINY, posttrain, train
from mechshift.posttraining.trainer import Trainer


@pytest.fixture
def parent(tmp_path, micro_llama, tokenizer):
    """A folder with a micro ARM."""
    folder = tmp_path / "micro-arm"
    micro_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def contents_below(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def load(folder, kind, attention):
    return load_language_model(folder, name="it", kind=kind, attention=attention, shift=True)


IDS = torch.tensor([[2, 10, 11, 12, 3]])


@torch.no_grad()
def logits_of(module):
    return module(IDS).logits


def test_the_folder_is_an_mdm_to_the_stock_class_and_to_mechshift(
    parent, tmp_path, tokenizer, micro_config
):
    out = tmp_path / "deep" / "micro-mdm"
    posttrain(out, parent=str(parent), config=micro_config(), quiet=True)
    stock = LlamaForCausalLM.from_pretrained(out).eval()
    probe_attention(stock, "full")
    model = load(out, "mdm", "full")  # which probes it
    assert model.mask_token_id == tokenizer.mask_token_id == stock.config.mask_token_id
    torch.testing.assert_close(logits_of(model.module), logits_of(stock), rtol=0, atol=1e-6)
    assert model.tokenizer.get_vocab() == tokenizer.get_vocab()
    before = LlamaForCausalLM.from_pretrained(parent)
    assert (logits_of(stock) - logits_of(before)).abs().max() > 1e-2


def test_an_arm_that_is_trained_on_stays_an_arm(parent, tmp_path, micro_config):
    out = tmp_path / "longer-arm"
    posttrain(out, parent=str(parent), config=micro_config(objective="ar"), quiet=True)
    stock = LlamaForCausalLM.from_pretrained(out).eval()
    probe_attention(stock, "causal")
    assert getattr(stock.config, "mask_token_id", None) is None
    torch.testing.assert_close(
        logits_of(load(out, "arm", "causal").module), logits_of(stock), rtol=0, atol=1e-6
    )


def test_the_trained_weights_are_those_of_the_parent_trained(
    parent, tmp_path, tokenizer, micro_config
):
    config = micro_config()
    posttrain(tmp_path / "out", parent=str(parent), config=config, quiet=True)
    in_memory = LlamaForCausalLM.from_pretrained(parent)
    train(in_memory, tokenizer, config, quiet=True)
    trained = LlamaForCausalLM.from_pretrained(tmp_path / "out")
    for name, weight in in_memory.named_parameters():
        torch.testing.assert_close(trained.get_parameter(name), weight, rtol=0, atol=1e-6)


def test_the_folder_says_what_it_was_made_from(parent, tmp_path, micro_config):
    out, config = tmp_path / "micro-mdm", micro_config(seed=7)
    posttrain(out, parent=str(parent), config=config, quiet=True)
    recipe = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["parent"] == "micro-arm"
    assert recipe["parent_weights"] == weights_hash(parent)
    assert recipe["config"] == json.loads(json.dumps(asdict(config)))  # JSON has no tuples
    assert recipe["torch"] == torch.__version__.partition("+")[0]
    assert recipe["threads"] == torch.get_num_threads()
    log = (out / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3]
    assert str(tmp_path) not in "".join(
        path.read_text(encoding="utf-8") for path in out.glob("*.json*")
    )


def test_the_same_recipe_gives_the_same_bytes(parent, tmp_path, micro_config):
    config = micro_config()
    for name in ("one", "two"):
        posttrain(tmp_path / name, parent=str(parent), config=config, quiet=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_embedded_pairs_start_needs_no_folder(tmp_path, micro_config):
    out = tmp_path / "tiny"
    config = micro_config(objective="ar", mixture=(("ioi", 1.0, 6),), num_steps=1, batch_size=1)
    posttrain(out, parent=UNTRAINED_TINY, config=config, quiet=True)
    assert load(out, "arm", "causal").module.config.num_hidden_layers == 6
    recipe = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    assert (recipe["parent"], recipe["parent_weights"]) == ("untrained-tiny", None)


def test_training_leaves_the_parent_as_it_was(parent, tmp_path, micro_config):
    before = contents(parent)
    posttrain(tmp_path / "out", parent=str(parent), config=micro_config(), quiet=True)
    assert contents(parent) == before


# Refusals.


def test_a_folder_that_exists_is_refused_and_left_alone(parent, tmp_path, micro_config):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "note.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(PosttrainingError, match="mine exists already; choose another folder"):
        posttrain(out, parent=str(parent), config=micro_config(), quiet=True)
    assert contents(out) == {"note.txt": b"keep me"}


def test_a_training_that_diverges_keeps_its_log_checkpoints_and_last_good_state(
    parent, tmp_path, micro_config, monkeypatch
):
    """Four good steps, then a weight that is spoilt by the update of the fifth."""
    out = tmp_path / "out"
    config = micro_config(num_steps=9, state_every=2, first_checkpoint=1)
    advance = Trainer.advance

    def spoilt(trainer):
        result = advance(trainer)
        if trainer.step == spoil_after:
            with torch.no_grad():
                next(iter(trainer._module.parameters()))[0, 0] = float("nan")
        return result

    monkeypatch.setattr(Trainer, "advance", spoilt)
    kept = "out.partial, which keeps the log, 3 checkpoints and the state after step 4"
    for spoil_after, message in (
        (5, "the loss is nan at step 6; lower the learning rates .* warm-up .* come to the same"),
        (6, "the weights .* are not finite after step 6; lower the learning rates"),
    ):
        with pytest.raises(PosttrainingError, match=f"{message}.*{kept}") as refusal:
            posttrain(out, parent=str(parent), config=config, quiet=True)
        assert "\n" not in str(refusal.value)
        log = (tmp_path / "out.partial/model/training_log.jsonl").read_text(encoding="utf-8")
        assert [json.loads(line)["step"] for line in log.splitlines()] == list(
            range(1, spoil_after + 1)
        )
    for folder in ("step-000001", "step-000002", "step-000004"):
        checkpoint = tmp_path / "out.partial/model/checkpoints" / folder
        weights = LlamaForCausalLM.from_pretrained(checkpoint).state_dict().values()
        assert all(weight.isfinite().all() for weight in weights)
    monkeypatch.undo()
    posttrain(out, parent=str(parent), config=config, quiet=True)
    posttrain(tmp_path / "whole", parent=str(parent), config=config, quiet=True)
    assert contents_below(out) == contents_below(tmp_path / "whole")


def test_resuming_without_tensorboard_touches_nothing(parent, tmp_path, micro_config, monkeypatch):
    out, config = tmp_path / "out", micro_config(state_every=1, first_checkpoint=1)
    save = Trainer.save

    def save_and_stop(trainer, *arguments):
        save(trainer, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        posttrain(out, parent=str(parent), config=config, quiet=True)
    monkeypatch.undo()
    before = contents_below(tmp_path)
    assert any("checkpoints" in name for name in before) and any("state" in name for name in before)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(PosttrainingError, match="pip install tensorboard, or leave out"):
        posttrain(
            out,
            parent=str(parent),
            config=config,
            tensorboard=tmp_path / "events",
            quiet=True,
        )
    assert contents_below(tmp_path) == before


@pytest.mark.parametrize(
    ("mixture", "error", "message"),
    [
        ((("ioi", 1.0, 6), ("chess", 1.0, 6)), TaskError, "no task 'chess'; known are"),
        ((("ioi", 1.0, 6), ("missing.txt", 1.0, 6)), PosttrainingError, "cannot read missing.txt"),
        ((("ioi", 1.0, 6), ("infilling", 1.0, 0)), PosttrainingError, "how many .* 'infilling'"),
    ],
)
def test_every_source_is_looked_at_before_the_model_is_loaded(
    parent, tmp_path, micro_config, mixture, error, message
):
    (parent / "model.safetensors").unlink()
    with pytest.raises(error, match=message):
        posttrain(
            tmp_path / "out", parent=str(parent), config=micro_config(mixture=mixture), quiet=True
        )
    assert names_in(tmp_path) == ["micro-arm"]


def test_a_parent_without_a_mask_token_cannot_become_an_mdm(parent, tmp_path, micro_config):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(parent)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(parent)
    with pytest.raises(PosttrainingError, match="the tokenizer has no mask token"):
        posttrain(tmp_path / "out", parent=str(parent), config=micro_config(), quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_token_of_the_vocabulary_can_stand_for_a_mask(parent, tmp_path, micro_config):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(parent)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(parent)
    out, config = tmp_path / "out", micro_config(mask_token="<unk>")
    posttrain(out, parent=str(parent), config=config, quiet=True)
    assert load(out, "mdm", "full").mask_token_id == tokenizer.convert_tokens_to_ids("<unk>")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("<nothing>", "the vocabulary has no token '<nothing>'; name one that it has"),
        ("<unk>", "the tokenizer's mask token is '<mask>'; leave out --mask-token"),
    ],
)
def test_a_mask_token_that_cannot_be_is_refused(parent, tmp_path, micro_config, token, message):
    with pytest.raises(PosttrainingError, match=message):
        posttrain(
            tmp_path / "out", parent=str(parent), config=micro_config(mask_token=token), quiet=True
        )


def test_a_parent_that_cannot_be_loaded_is_refused_before_anything_is_written(
    parent, tmp_path, micro_config
):
    (parent / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="micro-arm has no weights"):
        posttrain(tmp_path / "out", parent=str(parent), config=micro_config(), quiet=True)
    assert names_in(tmp_path) == ["micro-arm"]


def test_a_quiet_run_says_nothing(parent, tmp_path, micro_config, capfd):
    posttrain(tmp_path / "out", parent=str(parent), config=micro_config(), quiet=True)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
