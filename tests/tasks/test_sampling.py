import zlib
from dataclasses import replace
from itertools import count

import pytest

from mechshift.errors import TaskError
from mechshift.tasks import SPLITS, TASKS, Example, GreaterThan, IndirectObject, Infilling
from mechshift.tasks.sampling import draw_examples, split_of


def example_of(prompt):
    return Example(
        id="", task="t", prompt=prompt, target=" a", distractor=" b", corrupted_prompt="other"
    )


def drawn(draw, num_examples=10, seed=0, split="train"):
    return draw_examples(draw, task="t", split=split, num_examples=num_examples, seed=seed)


def digit(generator):
    return example_of(str(generator.randrange(10)))


def test_six_two_and_two_of_ten_keys_go_to_the_three_splits():
    splits = [split_of(f"key {number}") for number in range(5000)]
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


def test_a_key_is_in_the_split_that_its_checksum_names():
    # The published check value of CRC-32; its last digit is one of the six of training.
    assert zlib.crc32(b"123456789") == 0xCBF43926 == 3421780262
    assert split_of("123456789") == "train"


def test_examples_are_distinct_and_numbered_until_there_are_no_more():
    examples = drawn(digit, num_examples=50)
    assert sorted(example.prompt for example in examples) == list("0123456789")
    assert [example.id for example in examples] == [f"t/train/{i:05d}" for i in range(10)]


def test_a_longer_list_starts_with_the_shorter_one():
    assert drawn(digit, 9)[:4] == drawn(digit, 4)


def of_cluster(generator):
    """One of eight clusters, the last of them three times as often as the others."""
    cluster = str(min(generator.randrange(10), 7))
    example = example_of(f"{cluster} {generator.randrange(1000)}")
    return replace(example, cluster=cluster)


def test_no_cluster_comes_again_before_all_have_come():
    """Those that are drawn more often than others wait, and come no more often in the end."""
    clusters = [example.cluster for example in drawn(of_cluster, num_examples=40)]
    assert sorted(clusters[:8]) == list("01234567")
    assert max(clusters.count(cluster) for cluster in set(clusters)) <= 7
    assert [e.cluster for e in drawn(of_cluster, num_examples=11)] == clusters[:11]


def test_examples_of_no_cluster_never_wait():
    assert [e.prompt for e in drawn(digit)] == [e.prompt for e in drawn(digit, num_examples=99)]


def test_a_cluster_that_is_alone_goes_on_alone():
    def draw(generator):
        return replace(digit(generator), cluster="a")

    assert sorted(example.prompt for example in drawn(draw, 50)) == list("0123456789")


@pytest.mark.parametrize(
    ("name", "num_clusters"),
    [("ioi", 100), ("greater-than", 48), ("countdown-small", 25), ("infilling", 40)],
)
def test_discovery_and_held_out_share_no_cluster_and_no_split_shares_a_text(
    name, num_clusters, tiny
):
    task = TASKS[name]
    found = {split: task.generate(tiny, split=split, num_examples=120, seed=0) for split in SPLITS}
    clusters = {split: {e.cluster for e in examples} for split, examples in found.items()}
    assert all("" not in of_split for of_split in clusters.values())
    assert not clusters["discovery"] & clusters["held-out"]
    texts = [e.prompt + e.suffix for examples in found.values() for e in examples]
    assert len(set(texts)) == len(texts)
    assert min(map(len, clusters.values())) >= num_clusters


def test_seed_and_split_change_the_order_and_nothing_else_does():
    assert drawn(digit) == drawn(digit)
    orders = [
        [example.prompt for example in drawn(digit, seed=seed, split=split)]
        for seed, split in ((0, "train"), (1, "train"), (0, "discovery"))
    ]
    assert orders[0] != orders[1] and orders[0] != orders[2]


def test_draws_that_miss_do_not_count_as_exhaustion():
    turns = count()

    def one_in_ten_thousand(generator):
        turn = next(turns)
        return example_of(str(turn)) if turn % 10_000 == 9_999 else None

    assert len(drawn(one_in_ten_thousand, num_examples=3)) == 3


def test_a_draw_that_always_misses_ends():
    assert drawn(lambda generator: None) == []


def test_draws_that_the_tokenizer_cannot_express_are_left_out():
    def even(generator):
        example = digit(generator)
        if int(example.prompt) % 2:
            raise TaskError("odd numbers have no token.")
        return example

    assert sorted(example.prompt for example in drawn(even)) == list("02468")


def test_a_tokenizer_that_can_express_no_draw_is_refused_with_the_reason():
    def never(generator):
        raise TaskError("digits have no token.")

    with pytest.raises(
        TaskError, match="task 't' does not fit this tokenizer: digits have no token"
    ):
        drawn(never)


@pytest.mark.parametrize("name", ["ioi", "greater-than", "countdown", "infilling"])
def test_every_task_gives_the_same_examples_for_the_same_seed(name, tiny, countdown_for):
    tasks = (IndirectObject(), GreaterThan(), countdown_for(tiny), Infilling())
    task = {task.name: task for task in tasks}[name]

    def generated(num_examples, seed):
        return task.generate(tiny, split="discovery", num_examples=num_examples, seed=seed)

    twelve = generated(12, seed=0)
    assert [example.id for example in twelve] == [f"{name}/discovery/{i:05d}" for i in range(12)]
    assert generated(12, seed=0) == twelve
    assert generated(5, seed=0) == twelve[:5]
    assert [e.prompt + e.suffix for e in generated(12, seed=1)] != [
        e.prompt + e.suffix for e in twelve
    ]
