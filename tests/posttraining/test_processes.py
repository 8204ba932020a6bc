"""Steps that are shared: over passes, and over processes of accelerate."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from mechshift.posttraining import posttrain, train

RECIPES = {
    "ar": dict(objective="ar"),
    "inverse-t": dict(),
    "cart": dict(loss="cart", normalise_by="masked", shift=False),
    "block": dict(loss="block", block_length=4, learn_from="everywhere"),
}


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def losses_of(module, tokenizer, config, folder):
    path = folder / "log.jsonl"
    path.unlink(missing_ok=True)
    train(module, tokenizer, config, log_file=path, quiet=True)
    return [json.loads(line)["loss"] for line in lines_of(path)]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("rows_per_pass", [1, 3])
def test_rows_in_a_pass_change_a_training_by_rounding_only(
    micro_llama, tokenizer, micro_config, tmp_path, recipe, rows_per_pass
):
    whole, cut = (
        losses_of(micro_llama(), tokenizer, micro_config(rows_per_pass=rows, **recipe), tmp_path)
        for rows in (0, rows_per_pass)
    )
    assert cut == pytest.approx(whole, abs=1e-4)
    assert max(whole) - min(whole) > 0.1, "a curve that moves"


def test_gradient_checkpointing_changes_a_training_by_rounding_only(
    micro_llama, tokenizer, micro_config, tmp_path
):
    kept, again = (
        losses_of(micro_llama(), tokenizer, micro_config(gradient_checkpointing=on), tmp_path)
        for on in (False, True)
    )
    assert again == pytest.approx(kept, abs=1e-5)


def test_passes_in_bfloat16_learn_what_float32_learns_and_leave_float32_weights(
    micro_llama, tokenizer, micro_config, tmp_path
):
    single, half = (
        losses_of(micro_llama(), tokenizer, micro_config(precision=name, num_steps=6), tmp_path)
        for name in ("float32", "bfloat16")
    )
    assert half == pytest.approx(single, rel=0.05) and half != single
    module = micro_llama()
    train(module, tokenizer, micro_config(precision="bfloat16"), quiet=True)
    assert module.dtype == torch.float32


COMMAND = """
import sys
from pathlib import Path

from mechshift.posttraining import PosttrainConfig, posttrain

config = PosttrainConfig(**eval(sys.argv[3]))
posttrain(Path(sys.argv[1]), parent=sys.argv[2], config=config, quiet=True)
"""


def test_two_processes_give_the_loss_curve_of_one_with_all_rows(
    micro_llama, tokenizer, micro_config, tmp_path
):
    """Each process reads half of the rows; five rows of ioi do not even divide by two."""
    parent = tmp_path / "parent"
    micro_llama().save_pretrained(parent)
    tokenizer.save_pretrained(parent)
    settings = dict(
        mixture=(("ioi", 5.0, 6), ("infilling", 3.0, 4)), batch_size=8, num_steps=8, rows_per_pass=2
    )
    config = micro_config(**settings)
    posttrain(tmp_path / "one", parent=str(parent), config=config, quiet=True)

    script = tmp_path / "train.py"
    script.write_text(COMMAND, encoding="utf-8")
    words = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    words += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    words += ["--num_cpu_threads_per_process", "1", "--main_process_port", "0"]
    words += [str(script), str(tmp_path / "two"), str(parent), repr(asdict(config))]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    one, two = (
        [json.loads(line)["loss"] for line in lines_of(tmp_path / name / "training_log.jsonl")]
        for name in ("one", "two")
    )
    assert two == pytest.approx(one, abs=1e-4) and len(one) == 8
    assert max(one) - min(one) > 0.1, "a curve that moves"
