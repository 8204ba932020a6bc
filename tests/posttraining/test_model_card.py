from mechshift.posttraining import PosttrainConfig
from mechshift.posttraining.model_card import model_card


def card(accuracy=None, parent_hash="abc123", **settings):
    return model_card("qwen", parent_hash, PosttrainConfig(**settings), accuracy or {})


def test_a_card_tells_recipe_data_seed_accuracy_and_parent():
    text = card({"ioi": 0.98765}, seed=7, mixture=(("ioi", 2.0, 50), ("data/my.txt", 1.0, 0)))
    assert text.startswith('---\nlibrary_name: transformers\ntags: [mechshift]\nbase_model: "qwen"')
    for row in (
        "| parent's weights (SHA-256) | abc123 |",
        "| seed | 7 |",
        "| ioi | 2, 50 |",
        "| my.txt | 1, all |",
        "| ioi | 0.988 |",
        "| loss | 1/t, over all targets |",
        "| attention | full, opened over 300 steps |",
    ):
        assert row in text.splitlines()


def test_a_card_says_how_the_model_is_read():
    block = card(loss="block", block_length=8, shift=False, annealing_steps=0)
    assert "--no-shift --attention block-causal --block-length 8" in block
    assert "| attention | block-causal, at once |" in block.splitlines()
    arm = card(objective="ar")
    assert "# qwen, trained on" in arm and "--mdm" not in arm and "noise" not in arm


def test_what_was_not_measured_or_had_no_weights_is_said():
    text = card(parent_hash=None)
    assert "Not measured." in text and "| parent's weights (SHA-256) | random |" in text
    assert "base_model" not in text
