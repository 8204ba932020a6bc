"""The embedded family is what its page says it is."""

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files

import pytest
import torch
from transformers import LlamaForCausalLM

from mechshift.denoising import decode
from mechshift.models import PAIRS, load_controls, load_pair
from mechshift.models.supply import get_embedded
from mechshift.posttraining import tiny_tokenizer
from mechshift.tasks import encode_pool, load_task

FOLDER = files("mechshift") / "pairs" / "tiny"
NUM_EXAMPLES = 200
FLOORS = {"ioi": 0.99, "greater-than": 0.99, "countdown-small": 0.90, "infilling": 0.95}


CONTROLS = {
    "continued-arm": ("arm-continued", "ar", 2),
    "continued-arm-2": ("arm-continued-2", "ar", 3),
    "continued-arm-3": ("arm-continued-3", "ar", 4),
    "other-mdm": ("mdm-other-seed", "mdm", 3),
    "other-mdm-2": ("mdm-other-seed-2", "mdm", 4),
}
"""The folders of the controls that were trained; the name, objective and seed of each."""


@pytest.fixture(scope="module")
def tiny():
    pair = load_pair("tiny", device="cpu")
    return replace(pair, controls=load_controls(pair, PAIRS["tiny"]).models)


@cache
def held_out(task_name):
    """Of the family's one tokenizer, for all of its models."""
    return load_task(task_name).generate(
        tiny_tokenizer(), split="held-out", num_examples=NUM_EXAMPLES, seed=0
    )


@pytest.mark.parametrize("role", ["arm", "mdm", *(name for name, _, _ in CONTROLS.values())])
@pytest.mark.parametrize("task_name", FLOORS)
def test_all_trained_models_solve_the_held_out_examples_of_every_task(tiny, role, task_name):
    model, task = tiny.members[role], load_task(task_name)
    examples = held_out(task_name)
    assert len(examples) == NUM_EXAMPLES
    decoded = decode(model, encode_pool(task, tuple(examples), model), batch_size=100)
    texts = [model.tokenizer.decode(list(t), skip_special_tokens=True) for t in decoded.tokens]
    right = [task.is_correct(e, text) for e, text in zip(examples, texts, strict=True)]
    assert sum(right) / NUM_EXAMPLES >= FLOORS[task_name]


def test_no_goal_that_countdown_tests_was_a_goal_in_training():
    task, tokenizer = load_task("countdown-small"), tiny_tokenizer()
    goals = {
        split: {
            example.facts["goal"]
            for example in task.generate(tokenizer, split=split, num_examples=400, seed=0)
        }
        for split in ("train", "discovery", "held-out")
    }
    assert not goals["train"] & (goals["discovery"] | goals["held-out"])
    assert not goals["discovery"] & goals["held-out"]


@pytest.mark.parametrize(
    ("member", "objective", "seed"),
    [("mdm", "mdm", 2), *((folder, *how) for folder, (_, *how) in CONTROLS.items())],
)
def test_every_member_was_trained_from_exactly_the_arms_weights(tiny, member, objective, seed):
    recipe = json.loads((FOLDER / member / "recipe.json").read_text())
    assert recipe["parent_weights"] == tiny.arm.weights_hash
    assert (recipe["config"]["objective"], recipe["config"]["seed"]) == (objective, seed)
    assert tiny.arm.weights_hash in (FOLDER / member / "README.md").read_text()


@pytest.mark.parametrize("member", ["mdm", "continued-arm"])
def test_checkpoints_lead_from_the_arm_to_the_member(tiny, member, tmp_path):
    get_embedded(tmp_path, family=FOLDER)
    checkpoints = sorted((tmp_path / member / "checkpoints").iterdir())
    steps = [int(path.name.removeprefix("step-")) for path in checkpoints]
    assert steps == [32, 64, 128, 256, 512]

    def weights(folder):
        return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()

    def distance(one, other):
        return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5

    path = [weights(folder) for folder in [tmp_path / "arm", *checkpoints, tmp_path / member]]
    from_arm = [distance(path[0], step) for step in path]
    assert from_arm == sorted(from_arm) and from_arm[1] > 0
    to_end = [distance(step, path[-1]) for step in path]
    assert to_end == sorted(to_end, reverse=True)


def test_it_has_1_to_4_million_parameters_and_takes_at_most_32_megabytes(tiny):
    assert 1e6 <= tiny.arm.module.num_parameters() <= 4e6
    assert sum(path.stat().st_size for path in _files(FOLDER)) <= 32e6


def test_it_holds_weights_in_safetensors_and_no_code_or_pickle():
    suffixes = {path.suffix for path in _files(FOLDER)}
    assert suffixes == {".safetensors", ".json", ".jsonl", ".md"}


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_stock_class_loads_it_and_gives_the_same_logits(tiny, kind):
    stock = LlamaForCausalLM.from_pretrained(FOLDER / kind, dtype=torch.float32).eval()
    ids = torch.tensor([tiny.arm.tokenizer("3,5,20,28->")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(stock(ids).logits, getattr(tiny, kind).module(ids).logits)


def test_its_tokenizer_is_the_one_that_the_code_makes(tiny):
    assert tiny_tokenizer().get_vocab() == tiny.arm.tokenizer.get_vocab()


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]
