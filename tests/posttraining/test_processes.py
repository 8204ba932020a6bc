"""Steps that are shared: over passes, and over processes of accelerate."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from transformers import LlamaForCausalLM

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
    # Not Muon, whose bfloat16 iterations make more of a gradient's rounding.
    recipe = recipe | {"optimizer": "adamw"}
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
import os
import sys
from pathlib import Path

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from mechshift.posttraining import PosttrainConfig, posttrain

for variables, configs in eval(sys.argv[2]):
    AcceleratorState._reset_state(reset_partial_state=True)  # as if the process began here
    os.environ |= variables
    if "ACCELERATE_USE_FSDP" in os.environ:
        # accelerate cuts models on accelerators only; torch can on CPUs, and nothing else differs.
        PartialState(cpu=True)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    for folder, config in configs.items():
        posttrain(Path(folder), parent=sys.argv[1], config=PosttrainConfig(**config), quiet=True)
    assert PartialState().num_processes == 2
"""


FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
"""What `accelerate config` asks for, as `accelerate launch` says it to the processes."""


TRAININGS = (
    ({}, {"whole": {}}),
    (FSDP, {"cut": {}, "cut-adapters": {"objective": "ar", "lora_rank": 2}}),
)
"""Variables of the environment, and the recipes that are trained under them, by name."""


def test_two_processes_give_the_loss_curve_of_one_with_all_rows(
    micro_llama, tokenizer, micro_config, tmp_path
):
    """Of whole models, and of models cut by FSDP, with adapters and without.

    Each process reads half of the rows; five rows of ioi do not even divide by two.
    """
    parent = tmp_path / "parent"
    micro_llama().save_pretrained(parent)
    tokenizer.save_pretrained(parent)
    settings = dict(
        mixture=(("ioi", 5.0, 6), ("infilling", 3.0, 4)), batch_size=8, num_steps=8, rows_per_pass=2
    )
    configs = {
        name: micro_config(**settings, optimizer="adamw", first_checkpoint=2, **recipe)
        for _, recipes in TRAININGS
        for name, recipe in recipes.items()
    }
    script = tmp_path / "train.py"
    script.write_text(COMMAND, encoding="utf-8")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    wanted = [
        (variables, {str(tmp_path / "two" / name): asdict(configs[name]) for name in recipes})
        for variables, recipes in TRAININGS
    ]
    (tmp_path / "two").mkdir()
    words += [str(parent), repr(wanted)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for name, config in configs.items():
        posttrain(tmp_path / "one" / name, parent=str(parent), config=config, quiet=True)
        check_equal_trainings(tmp_path / "one" / name, tmp_path / "two" / name)


def check_equal_trainings(*folders):
    """Of one process and of two: losses, final models and a checkpoint."""
    one, two = (
        [json.loads(line)["loss"] for line in lines_of(folder / "training_log.jsonl")]
        for folder in folders
    )
    assert two == pytest.approx(one, abs=1e-4) and len(one) == 8
    assert max(one) - min(one) > 0.1, "a curve that moves"
    for model in ("", "checkpoints/step-000004"):
        ours, theirs = (
            LlamaForCausalLM.from_pretrained(folder / model, local_files_only=True)
            for folder in folders
        )
        assert ours.config.tie_word_embeddings == theirs.config.tie_word_embeddings is True
        for name, weights in ours.state_dict().items():
            torch.testing.assert_close(theirs.state_dict()[name], weights, atol=1e-3, rtol=0)
