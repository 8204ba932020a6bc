import copy
import dataclasses
import json

import numpy as np
import pytest
from tokenizers.normalizers import Replace

from mechshift.denoising import Schedule, decode
from mechshift.errors import PoolError, TaskError
from mechshift.models import ModelPair
from mechshift.models.tokenizers import naming_mask
from mechshift.tasks import PoolConfig, build_pool, encode_pool, load_task_file
from mechshift.tasks.pool import _Attempts, _sampled_others
from mechshift.testing import random_language_model

WORDS = [f"w{index}" for index in range(19)]


@pytest.fixture(scope="module")
def pair(random_pair):
    return random_pair


@pytest.fixture(scope="module")
def answered(pair, answer_of):
    """Prompts with the answer of each model: those where they agree, and those where not."""
    generator = np.random.default_rng(0)
    agreed, different = [], []
    drawn = (" ".join(generator.choice(WORDS, size=3)) for _ in range(400))
    for prompt in dict.fromkeys(drawn):  # a file may not hold a text twice
        arm, mdm = answer_of(pair.arm, prompt), answer_of(pair.mdm, prompt)
        if arm and mdm:
            (agreed if arm == mdm else different).append((prompt, arm, mdm))
    return agreed, different


def line_of(prompt, target, identity):
    first, *rest = prompt.split()
    others = [word for word in WORDS if word not in (first, target)]
    return {
        "id": identity,
        "prompt": prompt,
        "target": f" {target}",
        "distractor": f" {others[0]}",
        "corrupted_prompt": " ".join([others[0], *rest]),
        "split": "discovery",
    }


@pytest.fixture
def task_of(tmp_path, answered):
    """A function from fates ("both", "arm", "mdm", "none") to a task of examples that meet them."""

    def make(*fates):
        agreed, different = map(iter, answered)
        lines = []
        for number, fate in enumerate(fates):
            prompt, arm, mdm = next(agreed if fate == "both" else different)
            neither = next(word for word in WORDS if word not in (arm, mdm))
            target = {"both": arm, "arm": arm, "mdm": mdm, "none": neither}[fate]
            lines.append(json.dumps(line_of(prompt, target, f"{number}-{fate}")))
        path = tmp_path / "own.jsonl"
        path.write_text("\n".join(lines))
        return load_task_file(path)

    return make


def pooled(pair, task, **settings):
    config = PoolConfig(**({"num_examples": 2} | settings))
    return build_pool(pair, task, "discovery", config)


def test_the_pool_holds_the_first_examples_that_both_models_get_right(pair, task_of):
    task = task_of("none", "both", "arm", "mdm", "both", "arm", "both")
    pool = pooled(pair, task, num_examples=3)
    assert [example.id for example in pool.examples] == ["1-both", "4-both", "6-both"]
    assert pool.arm_correct.tolist() == [False, True, True, False, True, True, True]
    assert pool.mdm_correct.tolist() == [False, True, False, True, True, False, True]
    assert pool.arm_accuracy == pytest.approx(5 / 7)
    assert pool.mdm_accuracy == pytest.approx(4 / 7)


def test_a_pool_of_the_arm_alone_holds_what_it_gets_right_whatever_the_mdm_does(pair, task_of):
    task = task_of("none", "arm", "mdm", "both", "arm")
    config = PoolConfig(num_examples=3, num_held_out=2)
    pool = build_pool(pair, task, "discovery", config, solved_by="arm")
    assert [example.id for example in pool.examples] == ["1-arm", "3-both", "4-arm"]
    assert pool.mdm_correct.tolist() == [False, False, True, True, False]
    assert [example.id for example in pool.others.examples] == ["0-none", "2-mdm"]
    assert pool.schedule.commit_step.tolist() == [[0]] * 3
    with pytest.raises(PoolError, match="only 1 of 2 discovery candidates .* solved by the ARM"):
        build_pool(pair, task_of("arm", "mdm"), "discovery", config, solved_by="arm")


FATES = ("none", "both", "arm", "both", "mdm", "none", "both")


def test_the_sample_of_the_others_holds_all_where_they_are_few(pair, task_of):
    task = task_of(*FATES)
    pool = pooled(pair, task, num_examples=3)
    assert [example.id for example in pool.others.examples] == [
        "0-none",
        "2-arm",
        "4-mdm",
        "5-none",
    ]
    assert pool.others.places.tolist() == [0, 2, 4, 5]
    assert not pool.both_correct[pool.others.places].any()
    assert pool.arm_correct[pool.others.places].tolist() == [False, True, False, False]
    assert pool.others.schedule.commit_step.tolist() == [[0]] * 4


def test_no_others_are_kept_where_none_are_asked_for_or_none_exist(pair, task_of):
    assert pooled(pair, task_of(*FATES), num_others=0).others is None
    pool = pooled(pair, task_of("both", "both"))
    assert pool.others.examples == () and pool.others.schedule.commit_step.shape == (0, 0)
    with pytest.raises(PoolError, match="not both models solve, not -1"):
        PoolConfig(num_others=-1)


def test_the_sample_of_the_others_is_drawn_by_text_alone(pair, task_of):
    """Every candidate that not both solve is as likely as any other, wherever it stands."""
    task = task_of("both", *["none"] * 6, "both")
    others = [example for _, _, example in task.examples][1:7]
    counts = dict.fromkeys((example.id for example in others), 0)
    for seed in range(300):
        drawn = _sampled_others(_attempts(others), PoolConfig(num_others=2, seed=seed))
        again = _sampled_others(_attempts(others[::-1]), PoolConfig(num_others=2, seed=seed))
        assert {e.id for e in drawn.examples} == {e.id for e in again.examples}
        assert drawn.places.tolist() == sorted(drawn.places.tolist()) and len(drawn.examples) == 2
        for example in drawn.examples:
            counts[example.id] += 1
    # 300 draws of 2 of 6: each is drawn 100 times, with a standard deviation of 8.2.
    assert all(70 <= count <= 130 for count in counts.values())
    pairs = {
        tuple(e.id for e in _sampled_others(_attempts(others), config).examples)
        for config in (PoolConfig(num_others=2, seed=seed) for seed in range(300))
    }
    assert len(pairs) == 15


def _attempts(examples):
    wrong = np.zeros(len(examples), dtype=bool)
    return _Attempts(
        examples=tuple(examples),
        arm_completions=("",) * len(examples),
        mdm_completions=("",) * len(examples),
        arm_correct=wrong,
        mdm_correct=wrong,
        commit_steps=(np.array([0]),) * len(examples),
    )


def test_completions_are_what_a_bare_forward_pass_writes(pair, task_of, answer_of):
    task = task_of("both", "arm", "mdm", "none", "both")
    pool = pooled(pair, task)
    prompts = [example.prompt for _, _, example in task.examples]
    assert pool.arm_completions == tuple(answer_of(pair.arm, prompt) for prompt in prompts)
    assert pool.mdm_completions == tuple(answer_of(pair.mdm, prompt) for prompt in prompts)


def test_the_table_says_what_became_of_every_candidate(pair, task_of):
    task = task_of("none", "both", "arm", "arm", "mdm", "both", "none", "none", "both", "both")
    pool = pooled(pair, task, num_examples=3, max_candidates=5)
    # Rounds of three: the third ends the search, so the last example is never tried.
    assert pool.dropped == {
        "right but not needed": 0,
        "only the ARM is right": 2,
        "only the MDM is right": 1,
        "both are wrong": 3,
    }
    assert len(pool.examples) == 3
    assert len(pool.candidate_ids) == 9 == len(pool.examples) + sum(pool.dropped.values())


def test_right_examples_beyond_those_asked_for_are_counted_apart(pair, task_of):
    pool = pooled(pair, task_of("both", "none", "both", "both"))
    assert len(pool.examples) == 2
    assert pool.dropped["right but not needed"] == 1
    assert pool.candidate_ids == ("0-both", "1-none", "2-both", "3-both")


def test_no_more_is_decoded_than_the_pool_needs(pair, task_of):
    task, steps = task_of(*["both"] * 8), []
    config = PoolConfig(num_examples=2, max_candidates=4)
    pool = build_pool(pair, task, "discovery", config, progress=steps.append)
    assert pool.candidate_ids == ("0-both", "1-both")
    assert sum(steps) == 2 * len(pool.candidate_ids)


def test_the_batch_size_changes_nothing(pair, task_of):
    task = task_of("none", "both", "arm", "both")
    one, many = (
        build_pool(pair, task, "discovery", PoolConfig(num_examples=2), batch_size=size)
        for size in (1, 32)
    )
    assert one.examples == many.examples
    assert one.arm_completions == many.arm_completions
    np.testing.assert_array_equal(one.schedule.commit_step, many.schedule.commit_step)


def test_the_schedule_is_the_order_in_which_the_mdm_wrote_the_chosen_examples(pair, tmp_path):
    # A judge that lets every second example pass, so that chosen rows are not just the first.
    lines = [line_of(f"w{i} w{i + 1} w{i + 2}", "w0 w1 w2", f"{i}") for i in range(1, 9)]
    for line in lines:
        line["distractor"] = " w3 w4 w5"
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    task = load_task_file(path)

    class EvenIdsAreRight(type(task)):
        def is_correct(self, example, completion):
            return int(example.id) % 2 == 0

    judged = EvenIdsAreRight(name=task.name, path=task.path, examples=task.examples)
    pool = pooled(pair, judged, num_examples=4)
    assert [example.id for example in pool.examples] == ["2", "4", "6", "8"]
    alone = decode(pair.mdm, encode_pool(task, pool.examples, pair.mdm)).schedule.commit_step
    np.testing.assert_array_equal(pool.schedule.commit_step, alone)
    assert len({tuple(row) for row in alone.tolist()}) > 1

    two_steps = pooled(pair, judged, num_examples=4, num_steps=2, order="left-to-right")
    np.testing.assert_array_equal(two_steps.schedule.commit_step, [[0, 0, 1]] * 4)


@pytest.mark.parametrize(
    ("fates", "settings", "message"),
    [
        (
            ["both", "arm", "both", "none", "mdm", "none"],
            {"num_examples": 3, "max_candidates": 2},
            "only 2 of 6 discovery candidates of 'own' are solved by both models (ARM 0.50, MDM"
            " 0.50), and num_examples asks for 3: lower num_examples to at most 2, or raise"
            " max_candidates, or use an easier task.",
        ),
        # The file has no more than these, and a pool of one is too small: neither is advised.
        (
            ["both", "arm", "none", "arm"],
            {"num_examples": 3, "max_candidates": 2},
            "only 1 of 4 discovery candidates of 'own' are solved by both models (ARM 0.75, MDM"
            " 0.25), and num_examples asks for 3: use an easier task.",
        ),
    ],
)
def test_too_few_right_examples_are_refused_with_what_to_change(
    pair, task_of, fates, settings, message
):
    with pytest.raises(PoolError) as refusal:
        pooled(pair, task_of(*fates), **settings)
    assert str(refusal.value) == message


def test_the_held_out_split_has_a_size_of_its_own(pair, task_of):
    task = task_of("both", "both", "both")
    held_out = dataclasses.replace(
        task,
        examples=tuple((line, "held-out", example) for line, _, example in task.examples),
    )
    config = PoolConfig(num_examples=50, num_held_out=3)
    assert len(build_pool(pair, held_out, "held-out", config).examples) == 3
    with pytest.raises(PoolError, match="num_held_out asks for 4: lower num_held_out to at most 3"):
        build_pool(pair, held_out, "held-out", PoolConfig(num_held_out=4))


def test_a_split_without_examples_is_refused(pair, task_of):
    with pytest.raises(
        PoolError, match="task 'own' has no held-out examples; add some, or use another task"
    ):
        build_pool(pair, task_of("both"), "held-out", PoolConfig())


def test_a_mask_token_that_only_the_mdm_knows_is_refused_with_its_line(tmp_path):
    pair = ModelPair(
        name="random",
        arm=random_language_model("llama", "arm"),
        mdm=random_language_model("llama", "mdm"),
    )
    pair.arm.tokenizer.mask_token = None
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(line_of("w1 w2", "<mask>", "a")))
    with pytest.raises(TaskError, match="own.jsonl, line 1: it holds the mask token '<mask>'"):
        build_pool(pair, load_task_file(path), "discovery", PoolConfig())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_examples": 1}, "1, 200 and 4"),
        ({"num_held_out": 0}, "500, 0 and 4"),
        ({"max_candidates": 0}, "500, 200 and 0"),
    ],
)
def test_a_pool_without_a_spread_is_refused(settings, said):
    message = "a pool needs at least 2 examples, 2 held-out ones and 1 candidate for each, not"
    with pytest.raises(PoolError, match=f"{message} {said}"):
        PoolConfig(**settings)


def test_a_task_file_with_the_word_that_is_the_mask_token_is_refused_by_its_line(pair, task_of):
    """Nothing but `mask_token_id` says that this word is the mask."""
    task = task_of("both", "both")
    (_, _, first), (_, _, second) = task.examples
    word = next(w for w in first.prompt.split() if w not in second.prompt + second.target)
    mask = pair.mdm.tokenizer.convert_tokens_to_ids(word)
    tokenizer = naming_mask(pair.mdm.tokenizer, mask)
    masked = ModelPair(
        name="word as mask",
        arm=pair.arm,
        mdm=dataclasses.replace(pair.mdm, mask_token_id=mask, tokenizer=tokenizer),
    )
    message = rf"own.jsonl, line 1: it holds the mask token '{word}' \({mask}\).*use other words"
    with pytest.raises(TaskError, match=message):
        pooled(masked, task)


def test_an_example_that_the_two_tokenizers_cut_differently_is_refused(pair, task_of):
    """One of them reads a word as two, which the short text at loading does not show."""
    task = task_of("both", "both")
    (_, _, first), _ = task.examples
    whole = pair.mdm.tokenizer
    cutting = copy.deepcopy(whole)
    cutting.backend_tokenizer.normalizer = Replace(first.prompt.split()[1], "w0 w0")
    other = ModelPair(
        name="cut differently",
        arm=pair.arm,
        mdm=dataclasses.replace(pair.mdm, tokenizer=cutting),
    )
    message = (
        "the prompt of example '0-both' of 'own' is 3 tokens to the tokenizer of"
        " 'random-llama-arm' and 4 others to that of 'random-llama-mdm'; give both"
    )
    with pytest.raises(PoolError, match=message):
        pooled(other, task)


def test_parts_of_a_pool_that_are_of_different_examples_are_refused(pair, task_of):
    pool = pooled(pair, task_of(*FATES), num_examples=3)
    for wrong, said in (
        (
            {"arm_correct": pool.arm_correct[:-1], "mdm_correct": pool.mdm_correct[:-1]},
            "known of each candidate is .*, 7, 6, 6",
        ),
        ({"candidate_ids": pool.candidate_ids[1:]}, "known of each candidate is .6, 7"),
        ({"examples": pool.examples[:2]}, "examples and schedule are .2, 3"),
        ({"schedule": Schedule(commit_step=np.zeros((4, 1), int))}, "schedule are .3, 4"),
    ):
        with pytest.raises(AssertionError, match=said):
            dataclasses.replace(pool, **wrong)
    for places in ([0, 2, 4], [0, 2, 4, 7], [-1, 2, 4, 5]):
        with pytest.raises(AssertionError, match="places and schedule are|are no candidates"):
            others = dataclasses.replace(pool.others, places=np.array(places))
            dataclasses.replace(pool, others=others)
