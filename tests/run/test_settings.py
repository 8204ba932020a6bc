import math

import pytest

from mechshift.ablation import AblationSettings
from mechshift.comparison import ComparisonSettings
from mechshift.errors import AttributionError, ConfigError, MechshiftError
from mechshift.posttraining import PosttrainConfig
from mechshift.run import (
    AttributionSettings,
    EvaluationSettings,
    GraphSettings,
    PairOptions,
    RunSettings,
)
from mechshift.run.semantics import ANALYSE
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig


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
        (lambda: EvaluationSettings(fractions=(0.1, math.nan)), r"must lie in \(0, 1\], not"),
        (lambda: EvaluationSettings(fractions=(0.0, 0.5)), r"must lie in \(0, 1\], not \(0.0, 0.5"),
        (lambda: EvaluationSettings(batch_size=0), "batch_size must be at least 1, not 0"),
        (lambda: EvaluationSettings(num_random=-1), "num_random at most 1,000,000, not -1 and 0"),
        (lambda: EvaluationSettings(seed=-3), "seed must be at least 0, .* not 20 and -3"),
        (lambda: EvaluationSettings(num_random=10**9), "at most 1,000,000, not 1,000,000,000"),
        (lambda: PoolConfig(max_candidates=10**9), "up to 1,000 candidates .* not 1,000,000,000"),
        (lambda: PoolConfig(num_examples=10**9), "up to 1,000,000 examples .* 1,000,000,000"),
        (
            lambda: ComparisonSettings(num_exchanges=10**9),
            "num_exchanges must be at most 1,000,000",
        ),
        (lambda: SemanticsSettings(num_sequences=10**9), "num_sequences must be at most 1,000,000"),
        (lambda: AblationSettings(num_resamples=10**9), "num_resamples must be at most 1,000,000"),
        (lambda: PosttrainConfig(batch_size=10**9), "batch_size must be at most 1,000,000"),
        (
            lambda: PosttrainConfig(mixture=(("ioi", 1.0, 10**9),)),
            "between 0 and 10,000,000, not 1,000,000,000",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(MechshiftError, match=message):
        make()


def test_experts_are_refused_where_their_stage_is_left_out_or_there_are_none():
    experts = GraphSettings(experts=True)
    with pytest.raises(ConfigError, match="--graph.experts scores experts in the stage semantics"):
        RunSettings(graph=experts, skip=("semantics",))

    def check(pair, graph=experts):
        ANALYSE.check(RunSettings(models=PairOptions(pair=pair), graph=graph))

    for dense in ("tiny", "dream-7b"):
        with pytest.raises(ConfigError, match=f"layers of pair '{dense}' hold one MLP each"):
            check(dense)
        check(dense, GraphSettings())
    check("sdar-30b-a3b")
