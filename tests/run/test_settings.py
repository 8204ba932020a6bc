from importlib.resources import as_file, files

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mechshift.errors import AttributionError, ConfigError
from mechshift.run import AttributionSettings, EvaluationSettings, PairOptions, RunSettings


def test_a_pair_brings_the_tasks_that_it_can_do():
    assert RunSettings().task_names() == ("ioi", "greater-than", "countdown-small", "infilling")
    assert RunSettings(models=PairOptions(pair="smollm2")).task_names() == ("ioi", "greater-than")
    assert RunSettings(models=PairOptions(pair="dream-7b")).task_names()[2] == "countdown-3"
    assert RunSettings(tasks=("ioi",)).task_names() == ("ioi",)


def test_two_folders_make_a_pair_without_an_entry():
    entry = PairOptions(arm="a", mdm="b", tokenizer="c", shift=False, mask_token_id=5).entry()
    assert (entry.name, entry.arm.path, entry.mdm.path) == ("own", "a", "b")
    assert (entry.mdm.tokenizer_path, entry.shift, entry.mask_token_id) == ("c", False, 5)
    assert not entry.embedded


def test_sizes_are_shares_of_the_edges_and_the_compared_size():
    sizes = EvaluationSettings(fractions=(0.001, 0.1, 1.0)).sizes(100, circuit_size=25)
    assert sizes == [1, 10, 25, 100]


def test_what_cannot_change_a_score_is_not_in_its_manifest():
    before, after = AttributionSettings(), AttributionSettings(batch_size=1, chunk_size=2)
    assert before.manifest_config() == after.manifest_config()
    assert before.manifest_config() != AttributionSettings(ig_steps=6).manifest_config()
    few, many = (AttributionSettings(method="exact", edges_per_pass=n) for n in (1, 9))
    assert few.manifest_config() == many.manifest_config()


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        (AttributionSettings(), {"ig_steps": 5, "rule": "left", "gim": False}),
        (AttributionSettings(rule="left", gim=True), {"ig_steps": 5, "rule": "left", "gim": True}),
        (AttributionSettings(method="eap"), {"gradient_at": "clean", "gim": False}),
        (AttributionSettings(method="exact", edges_per_pass=4), {}),
    ],
)
def test_a_manifest_holds_the_methods_own_options_and_defaults_stand_as_if_set(settings, own):
    shared = {
        "method": settings.method,
        "metric": None,
        "grouped": False,
        "steps": "grouped",
        "examples_per_shard": 1,
    }
    assert settings.manifest_config() == shared | own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "acdc"}, "unknown method 'acdc'; known: eap, eap-ig, exact"),
        (
            {"method": "eap", "ig_steps": 3},
            "'eap' has no option 'ig_steps'; it has: gradient_at, g",
        ),
        ({"method": "eap", "rule": "left"}, "'eap' has no option 'rule'; it has: gradient_at, gim"),
        ({"gradient_at": "clean"}, "'eap-ig' has no option 'gradient_at'; it has: ig_steps, rule"),
        ({"edges_per_pass": 16}, "'eap-ig' has no option 'edges_per_pass'; it has: ig_steps"),
        ({"method": "exact", "gim": True}, "'exact' has no option 'gim'; it has: edges_per_pass"),
    ],
)
def test_an_option_that_the_method_does_not_have_is_refused_with_those_it_has(options, message):
    with pytest.raises(AttributionError, match=message):
        AttributionSettings(**options)


def test_what_cannot_change_a_faithfulness_is_not_in_its_manifest():
    config = EvaluationSettings(batch_size=7, fractions=(0.5,)).manifest_config()
    assert config == {
        "ablation": "resample",
        "num_random": 20,
        "baseline_sizes": "compared",
        "rediscover": True,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairOptions(mdm="b"), "--arm and --mdm belong together"),
        (lambda: PairOptions(pair="big").entry(), "no pair 'big'; known are tiny"),
        (lambda: AttributionSettings(metric="f1"), "no metric 'f1'; known are logit_diff"),
        (lambda: AttributionSettings(ig_steps=0), "ig_steps must be at least 1, not 0"),
        (lambda: AttributionSettings(chunk_size=-1), "chunk_size must be at least 1, not -1"),
        (
            lambda: AttributionSettings(method="exact", edges_per_pass=0),
            "edges_per_pass must be at least 1, not 0",
        ),
        (lambda: EvaluationSettings(fractions=(0.0, 0.5)), r"must lie in \(0, 1\], not \(0.0, 0.5"),
        (lambda: EvaluationSettings(batch_size=0), "batch_size must be at least 1, not 0"),
        (lambda: EvaluationSettings(num_random=-1), "must be at least 0, not -1 and 0"),
        (lambda: EvaluationSettings(seed=-3), "must be at least 0, not 20 and -3"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


ADAPTED = dict(
    arm="base",
    mdm="base",
    continued_arm="base",
    other_mdm="base",
    arm_adapter="a",
    mdm_adapter="b",
    continued_arm_adapter="c",
    other_mdm_adapter="d",
)


def test_each_model_of_ones_own_gets_its_adapter():
    entry = PairOptions(**ADAPTED, tokenizer="t").entry()
    sources = (entry.arm, entry.mdm, entry.continued_arm, entry.other_mdm)
    assert [source.adapter for source in sources] == ["a", "b", "c", "d"]
    assert [source.tokenizer_path for source in sources] == [None, "t", None, "t"]


@pytest.mark.parametrize("name", ["arm", "mdm", "continued_arm", "other_mdm"])
def test_an_adapter_without_its_model_is_refused(name):
    option = f"--{name.replace('_', '-')}"
    said = f"{option}-adapter x needs the model .*: give {option} with --arm and --mdm"
    with pytest.raises(ConfigError, match=said):
        PairOptions(pair="tiny", **{f"{name}_adapter": "x"})
    if name in ("continued_arm", "other_mdm"):
        with pytest.raises(ConfigError, match=said):
            PairOptions(arm="a", mdm="m", **{f"{name}_adapter": "x"})


@pytest.mark.parametrize(
    "option, value",
    [
        ("continued_arm", "c"),
        ("other_mdm", "o"),
        ("tokenizer", "t"),
        ("shift", False),
        ("attention", "block-causal"),
        ("block_length", 4),
        ("mask_token_id", 0),
    ],
)
def test_what_a_named_pair_would_ignore_is_refused(option, value):
    flag = "--no-shift" if option == "shift" else f"--{option.replace('_', '-')}"
    with pytest.raises(ConfigError, match=f"^{flag}: .* pair 'tiny' has its own; give --arm"):
        PairOptions(**{option: value})
    PairOptions(arm="a", mdm="m", **{option: value})


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_pair_is_made_of_one_base_and_two_adapters(tmp_path):
    with as_file(files("mechshift") / "pairs" / "tiny" / "arm") as folder:
        base = str(folder)
        module = AutoModelForCausalLM.from_pretrained(base)
        adapted = get_peft_model(module, LoraConfig(r=2, lora_alpha=4, target_modules=["v_proj"]))
        name = "base_model.model.model.layers.0.self_attn.v_proj.lora_B.default.weight"
        before = module.get_parameter("model.layers.0.self_attn.v_proj.base_layer.weight").clone()
        torch.nn.init.ones_(adapted.get_parameter(name))
        down = adapted.get_parameter(name.replace("lora_B", "lora_A")).detach()
        adapted.save_pretrained(tmp_path / "lora")
        lora = str(tmp_path / "lora")
        options = PairOptions(
            arm=base, mdm=base, mdm_adapter=lora, other_mdm=base, other_mdm_adapter=lora
        )
        pair = options.load("cpu", controls=True)
    wanted = before + 2 * torch.ones(len(before), 2) @ down
    for model in (pair.mdm, pair.controls["mdm-other-seed"]):
        weight = model.module.get_parameter("model.layers.0.self_attn.v_proj.weight")
        torch.testing.assert_close(weight, wanted)
        assert model.weights_hash != pair.arm.weights_hash
    assert torch.equal(
        pair.arm.module.get_parameter("model.layers.0.self_attn.v_proj.weight"), before
    )
