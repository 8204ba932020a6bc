import pytest

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
        "num_random": 5,
        "baseline_sizes": "compared",
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
        (lambda: EvaluationSettings(seed=-3), "must be at least 0, not 5 and -3"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
