import codecs
import hashlib
import json
import os
import tracemalloc

import pytest

from mechshift.errors import TaskError
from mechshift.posttraining._tiny_tokenizer import tiny_tokenizer
from mechshift.tasks import encode_example, load_task, load_task_file

GOOD = {
    "prompt": "Mary found the",
    "target": " knife",
    "distractor": " rope",
    "corrupted_prompt": "John found the",
}
"""A line that every check lets through."""

PROMPTS = tuple(f"{name} found the" for name in ("Mary", "Tom", "Emma", "Anna", "Luke", "Kate"))

INFILLING = GOOD | {
    "corrupted_prompt": "Mary found the",
    "suffix": ". It could cut bread.",
    "corrupted_suffix": ". It could tie boats.",
    "causal_prompt": "The story ends: It could cut bread. The story begins: Mary found the",
    "corrupted_causal_prompt": "The story ends: It could tie boats. The story begins: Mary found",
}


@pytest.fixture
def task_file(tmp_path):
    """A function that writes lines (objects, or text or bytes as they are) to `own.jsonl`."""

    def write(*lines, newline=b"\n", start=b""):
        def as_bytes(line):
            if isinstance(line, bytes):
                return line
            return (line if isinstance(line, str) else json.dumps(line)).encode()

        path = tmp_path / "own.jsonl"
        path.write_bytes(start + newline.join(as_bytes(line) for line in lines) + newline)
        return path

    return write


def without(key):
    return {k: v for k, v in GOOD.items() if k != key}


def test_each_line_becomes_an_example_in_the_files_order(task_file):
    lines = [{}, {"id": "b", "split": "discovery"}, {"id": 7}]
    path = task_file(*(GOOD | {"prompt": PROMPTS[row]} | line for row, line in enumerate(lines)))
    task = load_task_file(path)
    assert task.name == "own"
    assert task.metric == "logit_diff"
    assert task.summary == f"3 examples from {path}"
    assert [line for line, _, _ in task.examples] == [1, 2, 3]
    assert [example.id for _, _, example in task.examples] == ["own/1", "b", "7"]
    for prompt, (_, _, example) in zip(PROMPTS, task.examples, strict=False):
        assert example.task == "own"
        assert {key: getattr(example, key) for key in GOOD} == GOOD | {"prompt": prompt}


def test_a_task_is_known_by_the_bytes_that_it_was_read_from(task_file):
    path = task_file(GOOD)
    task, read = load_task_file(path), path.read_bytes()
    path.write_bytes(b"something else by now")
    assert task.sha256 == hashlib.sha256(read).hexdigest()


def test_a_jsonl_path_is_a_task_like_a_name(task_file):
    assert load_task(str(task_file(GOOD))).name == "own"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_blank_lines_count_and_line_ends_of_any_system_are_read(task_file, newline):
    path = task_file(GOOD, "", "  ", GOOD | {"prompt": PROMPTS[1]}, newline=newline)
    assert [line for line, _, _ in load_task_file(path).examples] == [1, 4]


def test_a_byte_order_mark_at_the_start_is_read_over(task_file):
    task = load_task_file(task_file(GOOD, start=codecs.BOM_UTF8))
    assert task.examples[0][2].prompt == "Mary found the"


def test_letters_beyond_ascii_and_line_separators_inside_text_are_kept(task_file):
    line = json.dumps(GOOD | {"prompt": "Zoë\u2028met\x85"}, ensure_ascii=False)
    task = load_task_file(task_file(line))
    assert [example.prompt for _, _, example in task.examples] == ["Zoë\u2028met\x85"]


def test_an_example_goes_to_its_own_split_and_no_other(task_file, tiny):
    splits = ("train", "held-out", "discovery", "held-out")
    lines = [
        GOOD | {"prompt": prompt, "split": split}
        for prompt, split in zip(PROMPTS, splits, strict=False)
    ]
    task = load_task_file(task_file(*lines))
    found = {
        split: [e.id for e in task.generate(tiny, split=split, num_examples=9, seed=0)]
        for split in ("train", "discovery", "held-out")
    }
    assert found == {
        "train": ["own/1"],
        "discovery": ["own/3"],
        "held-out": ["own/2", "own/4"],
    }
    (first,) = task.generate(tiny, split="held-out", num_examples=1, seed=5)
    assert first.id == "own/2"


def test_without_a_word_from_the_user_four_of_ten_clusters_are_held_out_and_none_trains(task_file):
    lines = [GOOD | {"prompt": f"{number}", "cluster": number} for number in range(1000)]
    splits = [split for _, split, _ in load_task_file(task_file(*lines)).examples]
    assert splits.count("train") == 0
    assert splits.count("held-out") == pytest.approx(400, abs=50)
    # The cluster alone decides, so adding or moving lines moves no example between splits.
    moved = load_task_file(task_file(*reversed(lines)))
    assert [split for _, split, _ in moved.examples] == splits[::-1]


def clusters_of(path):
    return [(split, example.cluster) for _, split, example in load_task_file(path).examples]


def lines_of(*changes):
    """Lines of different texts, changed so."""
    return [
        GOOD | {"prompt": prompt} | change for prompt, change in zip(PROMPTS, changes, strict=False)
    ]


def test_lines_share_a_cluster_by_its_name_or_else_by_their_target(task_file):
    lines = lines_of({"cluster": "a"}, {}, {"cluster": "a"}, {}, {"target": " pen"})
    found = [cluster for _, cluster in clusters_of(task_file(*lines))]
    assert found == ["a", "target ' knife'", "a", "target ' knife'", "target ' pen'"]


def test_no_cluster_is_in_two_splits_and_equal_targets_stay_where_their_user_put_them(task_file):
    lines = lines_of({"split": "discovery"}, {"split": "held-out"}, {"split": "held-out"})
    assert clusters_of(task_file(*lines)) == [
        ("discovery", "target ' knife', discovery"),
        ("held-out", "target ' knife', held-out"),
        ("held-out", "target ' knife', held-out"),
    ]
    named = lines_of({"cluster": "a", "split": "held-out"}, {"cluster": "a"}, {"cluster": "b"})
    assert [split for split, _ in clusters_of(task_file(*named))][:2] == ["held-out", "held-out"]


def test_a_text_that_comes_again_is_refused_with_both_lines(task_file):
    path = task_file(*lines_of({}, {"target": " pen"}), GOOD | {"id": "again"})
    with pytest.raises(TaskError) as refusal:
        load_task_file(path)
    assert str(refusal.value) == (
        f"{path}, line 3: its text and target are those of line 1; delete one of the two, since a"
        " copy is no further example."
    )


def test_one_text_with_two_targets_joins_their_clusters_and_all_of_them(task_file):
    """Line 1 and 2 share a text, 2 and 3 a target: all are one cluster, and in one split."""
    lines = [GOOD, GOOD | {"target": " pen"}, *lines_of({}, {"target": " pen"})[1:]]
    (first, *others) = clusters_of(task_file(*lines))
    assert others == [first] * 2


@pytest.mark.parametrize(
    "lines",
    [
        lines_of({"cluster": "a", "split": "discovery"}, {"cluster": "a", "split": "held-out"}),
        [
            GOOD | {"split": "discovery"},
            GOOD | {"target": " pen", "split": "held-out"},
        ],
    ],
)
def test_a_text_or_cluster_in_two_splits_is_refused(task_file, lines):
    path = task_file(*lines)
    with pytest.raises(TaskError) as refusal:
        load_task_file(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}, line 2: it is in the split 'held-out', and line 1 of the")
    assert message.endswith(" in 'discovery'; put both into one.")


def test_a_template_of_lines_can_be_chosen(task_file, tiny):
    lines = lines_of({"template": "one"}, {"template": "two"}, {})
    task = load_task_file(task_file(*(line | {"split": "held-out"} for line in lines)))
    assert task.templates == ("one", "two")

    def found(*templates):
        drawn = task.generate(tiny, split="held-out", num_examples=9, seed=0, templates=templates)
        return [example.template for example in drawn]

    assert found() == found("another task's") == ["one", "two", ""]
    assert found("two") == ["two", ""]


def test_a_completion_is_right_if_it_is_the_target_up_to_spaces_around_it(task_file):
    task = load_task_file(task_file(GOOD))
    example = task.examples[0][2]
    assert task.is_correct(example, "knife")
    assert task.is_correct(example, " knife\n")
    assert not task.is_correct(example, " knif e")
    assert not task.is_correct(example, " rope")


def test_spans_are_words_or_pairs_of_places(task_file, tiny, words_at):
    spans = {"who": "Mary", "answer": "knife", "use": "cut bread", "verb": [5, 10]}
    task = load_task_file(task_file(INFILLING | {"spans": spans}))
    example = task.examples[0][2]
    assert example.spans == {
        "who": (0, 4),
        "answer": (15, 20),
        "use": (31, 40),
        "verb": (5, 10),
    }
    encoded = encode_example(task, example, tiny, "mdm")
    assert {name: words_at(encoded, name, tiny) for name in spans} == {
        "who": "Mary",
        "answer": "knife",
        "use": "cut bread",
        "verb": "found",
    }


REFUSALS = {
    "broken JSON": (
        '{"prompt": }',
        "not valid JSON: Expecting value at column 12.",
    ),
    "half a line": (
        '{"prompt": "a"',
        "not valid JSON: Expecting ',' delimiter at column 15.",
    ),
    "two objects in a line": (
        json.dumps(GOOD) * 2,
        f"not valid JSON: Extra data at column {len(json.dumps(GOOD)) + 1}.",
    ),
    "a list": ("[1, 2]", "expected `object`, got `array`."),
    "a number of 5000 digits": (
        '{"id": ' + "9" * 5000 + "}",
        "Exceeds the limit (4300 digits) for integer string conversion:"
        " value has 5000 digits; use sys.set_int_max_str_digits() to increase the limit.",
    ),
    "Latin-1": (
        json.dumps(GOOD | {"target": "Zoë"}, ensure_ascii=False).encode("latin-1"),
        "byte 42 is not UTF-8; save the file with that encoding.",
    ),
    "UTF-16": (
        json.dumps(GOOD).encode("utf-16"),
        "byte 0 is not UTF-8; save the file with that encoding.",
    ),
    "half a character": (
        json.dumps(GOOD | {"target": "x\ud800"}),
        r"'target' holds half of a character, '\ud800'; write it whole.",
    ),
    "a key twice": (
        '{"prompt": "a", "target": " b", "prompt": "c"}',
        "the key 'prompt' stands twice; keep one.",
    ),
    "an unknown key": (
        GOOD | {"answer": "x"},
        "unknown key 'answer'; known are prompt, target, distractor, corrupted_prompt, id, suffix,"
        " corrupted_suffix, causal_prompt, corrupted_causal_prompt, spans, split, cluster,"
        " template.",
    ),
    **{f"no {key}": (without(key), f"the key '{key}' is missing.") for key in GOOD},
    "a number for text": (GOOD | {"prompt": 3}, "prompt: expected `str`, got `int`."),
    "null for text": (GOOD | {"target": None}, "target: expected `str`, got `null`."),
    "a list for text": (INFILLING | {"suffix": ["."]}, "suffix: expected `str`, got `array`."),
    "an empty target": (
        GOOD | {"target": ""},
        "the target is empty; give the text that the model should produce.",
    ),
    "a blank distractor": (
        GOOD | {"distractor": "  "},
        "the distractor is empty; give the text that the model should produce.",
    ),
    "a suffix alone": (
        GOOD | {"suffix": "."},
        "'suffix' needs 'corrupted_suffix' beside it.",
    ),
    "a suffix without an ARM's prompt": (
        GOOD | {"suffix": ".", "corrupted_suffix": "."},
        "'suffix' needs 'causal_prompt' beside it.",
    ),
    "a corrupted suffix alone": (
        GOOD | {"corrupted_suffix": "."},
        "'corrupted_suffix' needs 'suffix' beside it.",
    ),
    "an ARM's prompt alone": (
        GOOD | {"causal_prompt": "."},
        "'causal_prompt' needs 'corrupted_causal_prompt' beside it.",
    ),
    "an ARM's corrupted prompt alone": (
        GOOD | {"corrupted_causal_prompt": "."},
        "'corrupted_causal_prompt' needs 'causal_prompt' beside it.",
    ),
    "true for an id": (GOOD | {"id": True}, "id: expected `int | str`, got `bool`."),
    "null for an id": (GOOD | {"id": None}, "id: expected `int | str`, got `null`."),
    "an unknown split": (
        GOOD | {"split": "test"},
        "split: unknown word 'test'.",
    ),
    "a list of spans": (
        GOOD | {"spans": ["Mary"]},
        "spans: expected `object`, got `array`.",
    ),
    "a span of an absent word": (
        GOOD | {"spans": {"who": "Anna"}},
        "span 'who' is \"Anna\"; give a word that stands in prompt, target or suffix, or"
        " [start, end] within their 20 characters.",
    ),
    "an empty span": (
        GOOD | {"spans": {"who": ""}},
        "span 'who' is \"\"; give a word that stands in prompt, target or suffix, or"
        " [start, end] within their 20 characters.",
    ),
    "a span that ends outside": (
        GOOD | {"spans": {"who": [18, 21]}},
        "span 'who' is [18, 21]; give a word that stands in prompt, target or suffix, or"
        " [start, end] within their 20 characters.",
    ),
    "a span that ends where it starts": (
        GOOD | {"spans": {"who": [4, 4]}},
        "span 'who' is [4, 4]; give a word that stands in prompt, target or suffix, or"
        " [start, end] within their 20 characters.",
    ),
}


@pytest.mark.parametrize(("line", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_bad_line_is_refused_with_its_number_before_any_tokenizer_is_known(
    task_file, line, message
):
    path = task_file(GOOD, "", line, "{")
    with pytest.raises(TaskError) as refusal:
        load_task_file(path)
    assert str(refusal.value) == f"{path}, line 3: {message}"


def test_an_id_that_is_given_twice_is_refused_with_both_lines(task_file):
    path = task_file(GOOD | {"id": "1"}, GOOD, GOOD | {"id": 1})
    with pytest.raises(TaskError) as refusal:
        load_task_file(path)
    assert str(refusal.value) == (
        f"{path}, line 3: the id '1' is already that of line 1; give every example its own."
    )


@pytest.mark.parametrize("text", [b"", b"\n \n"])
def test_a_file_without_examples_is_refused(tmp_path, text):
    path = tmp_path / "own.jsonl"
    path.write_bytes(text)
    with pytest.raises(TaskError) as refusal:
        load_task_file(path)
    assert str(refusal.value) == f"{path} holds no examples; write one JSON object per line."


@pytest.mark.parametrize("name", [".hid", ".", "x" * 101, "h\udcff", "\x1b[31m", "a\nb"])
def test_a_file_whose_name_cannot_be_a_folders_is_refused(tmp_path, name):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("{}")
    with pytest.raises(TaskError, match="a task cannot be called .*; rename the file"):
        load_task(str(path))


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path):
    with pytest.raises(TaskError) as refusal:
        load_task_file(tmp_path / "none.jsonl")
    assert str(refusal.value) == (
        f"cannot read {tmp_path / 'none.jsonl'}: No such file or directory."
    )
    with pytest.raises(TaskError, match="cannot read .*: Is a directory"):
        load_task_file(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            GOOD | {"corrupted_prompt": "John and Anna found the"},
            "prompt has 4 tokens and corrupted prompt 6; both need as many, so that positions"
            " correspond.",
        ),
        (
            GOOD | {"distractor": " red rope"},
            "target has 1 tokens and distractor 2; both need as many, so that positions"
            " correspond.",
        ),
        (
            INFILLING | {"corrupted_suffix": ". It could tie red boats."},
            "suffix has 6 tokens and corrupted suffix 7; both need as many, so that positions"
            " correspond.",
        ),
        (
            INFILLING,
            "prompt has 17 tokens and corrupted prompt 16; both need as many, so that positions"
            " correspond.",
        ),
        (
            GOOD | {"target": " <mask>"},
            f"it holds the mask token '<mask>' ({tiny_tokenizer().mask_token_id}), which only"
            " denoising may place; use other words.",
        ),
        (
            GOOD | {"target": " rope"},
            "target and distractor are both ' rope'; they must differ.",
        ),
        (
            GOOD | {"prompt": "Zoe found the"},
            "it holds a word that this tokenizer does not know; use other words.",
        ),
        (
            GOOD | {"prompt": "Mary found the ", "target": "knife", "distractor": "rope"},
            "'knife' merges with the text before it, 'Mary found the ', in this tokenizer; move a"
            " space or a word across the boundary.",
        ),
    ],
)
def test_a_line_that_does_not_fit_the_tokenizer_is_refused_with_its_number(
    task_file, tiny, line, message
):
    first = GOOD | {"prompt": PROMPTS[-1], "split": "discovery"}
    path = task_file(first, line | {"split": "held-out"})
    task = load_task_file(path)
    # The held-out line is looked at even when only discovery is asked for.
    with pytest.raises(TaskError) as refusal:
        task.generate(tiny, split="discovery", num_examples=1, seed=0)
    assert str(refusal.value) == f"{path}, line 2: {message}"


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(TaskError, match="no task 'iou'; known are ioi, greater-than, "):
        load_task("iou")


def test_a_pipe_a_long_line_and_too_many_are_refused_and_little_is_read(
    tmp_path, task_file, monkeypatch
):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(TaskError, match="it is a pipe or a device; give a regular file"):
        load_task_file(tmp_path / "pipe.jsonl")
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"prompt": "' + b"x" * 50_000_000 + b'"}')
    tracemalloc.start()
    with pytest.raises(TaskError, match="line 1: it has more than 1,048,576 bytes"):
        load_task_file(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no disk
    with pytest.raises(TaskError, match="has 1,099,511,627,776 bytes, and at most 536,870,912 are"):
        load_task_file(path)
    monkeypatch.setattr("mechshift.tasks.task_file.MAX_LINES", 3)
    lines = [GOOD | {"prompt": prompt} for prompt in PROMPTS[:4]]
    assert len(load_task_file(task_file(*lines[:3])).examples) == 3
    with pytest.raises(TaskError, match="holds more than 3 examples, and a run uses some hundreds"):
        load_task_file(task_file(*lines))


def test_all_lines_are_checked_at_once_and_only_once_for_a_tokenizer(
    task_file, tiny, monkeypatch, capsys
):
    """Many examples are encoded together, and refused as one by one."""
    lines = [
        GOOD | {"prompt": f"{n:02d} Mary found the", "corrupted_prompt": f"{n:02d} John found the"}
        for n in range(100)
    ]
    bad = GOOD | {"prompt": "Zoe found the"}
    monkeypatch.setattr("mechshift.tasks.encoding._CHECKED_AT_ONCE", 7)
    monkeypatch.setattr("mechshift.tasks.task_file.MANY_LINES", 100)
    with pytest.raises(TaskError, match="line 62: it holds a word that this tokenizer does not"):
        load_task_file(task_file(*lines[:61], bad, *lines[61:])).check(tiny)
    path = task_file(*lines, INFILLING | {"prompt": "Kate found a", "spans": {"who": "Kate"}})
    task = load_task_file(path)
    capsys.readouterr()
    with pytest.raises(TaskError, match="line 101: prompt has 17 tokens and corrupted prompt 16"):
        task.check(tiny)
    task = load_task_file(task_file(*lines))
    task.check(tiny)
    assert "own: check" in capsys.readouterr().err

    def again(*_arguments):
        pytest.fail("checked again")

    monkeypatch.setattr("mechshift.tasks.task_file.check_all_encode", again)
    found = [
        len(task.generate(tiny, split=split, num_examples=200, seed=0))
        for split in ("discovery", "held-out")
    ]
    assert sum(found) == 100


def test_thousands_of_clusters_that_share_a_text_are_one(task_file):
    lines = [GOOD | {"cluster": f"{n}", "target": f" {n}"} for n in range(3_000)]
    found = {cluster for _, cluster in clusters_of(task_file(*lines))}
    assert found == {"0"}
