import pytest

from mechshift.errors import ConfigError
from mechshift.experiment import AttributionSettings, EvaluationSettings, PairOptions, RunSettings


def test_the_embedded_pair_brings_its_own_tasks():
    assert RunSettings().task_names() == ("ioi", "greater-than", "countdown-small", "infilling")
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
        (lambda: AttributionSettings(ig_steps=0), "must be at least 1, not 0, 32 and 50"),
        (lambda: EvaluationSettings(fractions=(0.0, 0.5)), r"must lie in \(0, 1\], not \(0.0, 0.5"),
        (lambda: EvaluationSettings(batch_size=0), "batch_size must be at least 1, not 0"),
        (lambda: EvaluationSettings(num_random=-1), "must be at least 0, not -1 and 0"),
        (lambda: EvaluationSettings(seed=-3), "must be at least 0, not 5 and -3"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
