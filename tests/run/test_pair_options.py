"""Options of a pair make the entry that is loaded, and refuse what a pair would ignore."""

import json
from dataclasses import asdict
from importlib.resources import as_file, files

import pytest
import torch
import tyro
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mechshift.errors import ArtifactError, ConfigError
from mechshift.input_files import parse_json
from mechshift.run import PairOptions, RunSettings, TrajectorySettings


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


ADAPTED = dict(
    arm="base",
    mdm="base",
    continued_arm=("base",),
    other_mdm=("base",),
    arm_adapter="a",
    mdm_adapter="b",
    continued_arm_adapter=("c",),
    other_mdm_adapter=("d",),
)


def test_each_model_of_ones_own_gets_its_adapter():
    entry = PairOptions(**ADAPTED, tokenizer="t").entry()
    sources = (entry.arm, entry.mdm, *entry.continued_arms, *entry.other_mdms)
    assert [source.adapter for source in sources] == ["a", "b", "c", "d"]
    assert [source.tokenizer_path for source in sources] == [None, "t", None, "t"]


def test_a_sibling_is_a_known_pair_of_the_same_arm():
    entry = PairOptions(pair="dream-7b", beside=("wedlm-7b", "dream-7b-instruct")).entry()
    assert [one.name for one in entry.siblings] == ["wedlm-7b", "dream-7b-instruct"]
    assert [one.attention for one in entry.siblings] == ["observed-first", "full"]
    assert entry.name == "dream-7b" and entry.shift and not entry.siblings[0].shift
    own = PairOptions(arm="a", mdm="m", beside=("wedlm-8b",)).entry()
    assert own.siblings[0].mdm.path == "tencent/WeDLM-8B-Base"
    for name in ("dream-7b", "wedlm"):
        with pytest.raises(ConfigError, match=f"--beside {name}: name another known pair"):
            PairOptions(pair="dream-7b", beside=(name,)).entry()
    said = "made from Qwen/Qwen3-8B-Base and that of dream-7b from Qwen/Qwen2.5-7B; of the same"
    with pytest.raises(ConfigError, match=said + ".* wedlm-7b"):
        PairOptions(pair="dream-7b", beside=("wedlm-8b",)).entry()
    with pytest.raises(ConfigError, match="a trajectory follows one training"):
        TrajectorySettings(models=PairOptions(pair="dream-7b", beside=("wedlm-7b",)))


@pytest.mark.parametrize("name", ["arm", "mdm", "continued_arm", "other_mdm"])
def test_an_adapter_without_its_model_is_refused(name):
    option = f"--{name.replace('_', '-')}"
    said = f"{option}-adapter x needs the model .*: give {option} with --arm and --mdm"
    several = name in ("continued_arm", "other_mdm")
    adapter = {f"{name}_adapter": ("x",) if several else "x"}
    with pytest.raises(ConfigError, match=said):
        PairOptions(pair="tiny", **adapter)
    if several:
        with pytest.raises(ConfigError, match=said):
            PairOptions(arm="a", mdm="m", **adapter)


def test_adapters_stand_in_the_order_of_their_models_or_share_one_base():
    own = dict(arm="a", mdm="m")
    entry = PairOptions(
        **own,
        continued_arm=("b", "c"),
        continued_arm_adapter=("none", "x"),
        other_mdm=("d",),
        other_mdm_adapter=("y", "z"),
        tokenizer="t",
    ).entry()
    assert [(one.path, one.adapter) for one in entry.continued_arms] == [("b", None), ("c", "x")]
    assert [(one.path, one.adapter, one.tokenizer_path) for one in entry.other_mdms] == [
        ("d", "y", "t"),
        ("d", "z", "t"),
    ]
    with pytest.raises(ConfigError, match="names 2 models and --continued-arm-adapter 3 adapters"):
        PairOptions(**own, continued_arm=("b", "c"), continued_arm_adapter=("x", "y", "z"))
    with pytest.raises(ConfigError, match="names 2 models and --other-mdm-adapter 1 adapters"):
        PairOptions(**own, other_mdm=("b", "c"), other_mdm_adapter=("x",))


@pytest.mark.parametrize(
    "options",
    [{}, {"continued_arm": ("c", "d"), "other_mdm": ("e",), "other_mdm_adapter": ("x", "y")}],
)
def test_options_come_back_from_a_manifest_as_they_were(options):
    given = PairOptions(arm="a", mdm="m", **options)
    stored = json.dumps(asdict(given)).encode()
    assert parse_json(stored, PairOptions, where="here", error=ArtifactError) == given


def test_several_paths_follow_one_option_on_the_command_line():
    words = "--arm a --mdm m --continued-arm b c --other-mdm d --other-mdm-adapter x none y"
    settings = tyro.cli(RunSettings, args=words.split())
    assert settings.models.continued_arm == ("b", "c")
    assert settings.models.other_mdm == ("d",)
    assert [one.adapter for one in settings.models.entry().other_mdms] == ["x", None, "y"]


@pytest.mark.parametrize(
    "option, value",
    [
        ("continued_arm", ("c",)),
        ("other_mdm", ("o", "p")),
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
        down = adapted.get_parameter(name.replace("lora_B", "lora_A")).detach()
        for up in (1.0, 2.0, 3.0):
            torch.nn.init.constant_(adapted.get_parameter(name), up)
            adapted.save_pretrained(tmp_path / f"lora-{up:.0f}")
        loras = [str(tmp_path / f"lora-{up}") for up in (1, 2, 3)]
        options = PairOptions(
            arm=base,
            mdm=base,
            mdm_adapter=loras[0],
            other_mdm=(base,),
            other_mdm_adapter=(loras[1], loras[2]),
        )
        pair = options.load("cpu", controls=True)
    further = (pair.controls[name] for name in ("mdm-other-seed", "mdm-other-seed-2"))
    for up, model in enumerate((pair.mdm, *further), start=1):
        weight = model.module.get_parameter("model.layers.0.self_attn.v_proj.weight")
        torch.testing.assert_close(weight, before + 2 * up * torch.ones(len(before), 2) @ down)
        assert model.weights_hash != pair.arm.weights_hash
    assert torch.equal(
        pair.arm.module.get_parameter("model.layers.0.self_attn.v_proj.weight"), before
    )
