"""Packed examples are those that were packed, and take a fraction of their memory."""

import json
import pickle
import tracemalloc

import pytest

from mechshift.tasks import load_task_file
from mechshift.tasks.example import Example
from mechshift.tasks.packed_examples import TOGETHER, Packing


def example_of(number):
    return Example(
        id=f"own/{number}",
        task="own",
        prompt=f"{number} Zoë\u2028 found the",
        target=" pen",
        distractor=" rope",
        corrupted_prompt=f"{number} John found the",
        suffix="." if number % 2 else "",
        causal_prompt=None if number % 3 else "It",
        spans={"who": (2, 5)} if number % 5 else {},
        template="t",
    )


@pytest.fixture
def packed():
    """Two blocks and a half; every third example is held out, and four share a cluster."""
    packing = Packing()
    number = 2 * TOGETHER + TOGETHER // 2
    for place in range(number):
        packing.add(example_of(place))
        assert packing[place] == example_of(place)
    splits = ["discovery" if place % 3 else "held-out" for place in range(number)]
    clusters = [f"c{place // 4}" for place in range(number)]
    return packing.finished(range(7, number + 7), splits, clusters)


def test_they_are_those_that_were_packed_with_the_clusters_that_were_found(packed):
    assert len(packed) == 1250
    for place, (number, split, example) in enumerate(packed):
        assert number == place + 7
        assert split == ("discovery" if place % 3 else "held-out")
        assert example.cluster == f"c{place // 4}"
        assert example.spans == example_of(place).spans
        assert example.prompt == example_of(place).prompt
        assert example.causal_prompt == example_of(place).causal_prompt
    everyone = list(packed)
    assert packed[0] == everyone[0] and packed[TOGETHER] == everyone[TOGETHER]
    assert packed[-1] == everyone[-1] and packed[-3:] == tuple(everyone[-3:])
    with pytest.raises(IndexError):
        packed[1250]


def test_other_processes_get_the_same(packed):
    again = pickle.loads(pickle.dumps(packed))
    assert again == packed and list(again) == list(packed)
    assert packed != list(packed), "a list is none"


def test_a_file_takes_less_memory_than_it_has_bytes(tmp_path):
    """Held as records it took four times as much."""
    start = "When Mary and John went to the old mill by the river on a Monday,"
    lines = [
        {
            "prompt": f"{n} {start} John gave a drink to",
            "corrupted_prompt": f"{n} {start} Mary gave a drink to",
            "target": " Mary",
            "distractor": " John",
            "cluster": n,
        }
        for n in range(4_000)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    load_task_file(path)  # what is made once, such as checks of types, is no part of a file
    tracemalloc.start()
    task = load_task_file(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = path.stat().st_size
    assert held < 0.8 * size and peak < 3 * size
    assert [example.prompt for _, _, example in task.examples] == [one["prompt"] for one in lines]
