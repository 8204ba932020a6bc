"""The adapters that ship differ in what makes each a member of its kind, and in nothing else."""

import json
from importlib.resources import files

import pytest

from mechshift.models.adapters import adapter_hash
from mechshift.models.supply.smollm2 import ADAPTED

FOLDER = files("mechshift") / "pairs" / "smollm2"

MASK_TOKEN = 16
"""The id of `<empty_output>`, whose embedding an MDM learns."""


def read(member, name):
    return json.loads((FOLDER / member / name).read_text("utf-8"))


@pytest.mark.parametrize(
    ("member", "changed"),
    [("continued-arm", {"objective": "ar"}), ("other-mdm", {"seed": 1})],
)
def test_a_control_was_trained_as_the_mdm_was_but_for_what_it_controls(member, changed):
    mdm, control = read("mdm", "recipe.json"), read(member, "recipe.json")
    assert control["parent_weights"] == mdm["parent_weights"]
    shared = mdm["config"].keys() & control["config"].keys()
    assert {
        name: control["config"][name]
        for name in shared
        if control["config"][name] != mdm["config"][name]
    } == changed


def test_the_adapters_are_three_of_one_size_and_only_mdms_learn_the_mask_token():
    assert len({adapter_hash(FOLDER / member) for member in ADAPTED}) == 3
    settings = {member: read(member, "adapter_config.json") for member in ADAPTED}
    assert {(one["base_model_name_or_path"], one["r"]) for one in settings.values()} == {
        ("smollm2", 8)
    }
    learned = {member: one["trainable_token_indices"] for member, one in settings.items()}
    assert learned == {"mdm": [MASK_TOKEN], "continued-arm": None, "other-mdm": [MASK_TOKEN]}


@pytest.mark.parametrize("member", ADAPTED)
def test_every_training_ran_to_its_end_and_learned_both_tasks(member):
    lines = (FOLDER / member / "training_log.jsonl").read_text("utf-8").splitlines()
    last = json.loads(lines[-1])
    assert last["step"] == read(member, "recipe.json")["config"]["num_steps"]
    assert min(last["accuracy"].values()) >= 0.99 and len(last["accuracy"]) == 2
