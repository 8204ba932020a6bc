import json
import os
import sys

import pytest

from mechshift.errors import PosttrainingError
from mechshift.posttraining import PosttrainConfig
from mechshift.posttraining.journal import Journal


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_journal_that_is_gone_on_with_forgets_lost_steps_and_keeps_losses(tmp_path):
    config = PosttrainConfig(log_every=2, num_steps=6, objective="ar")
    path = tmp_path / "log.jsonl"
    with Journal(path, config) as journal:
        for step, loss in enumerate([4.0, 2.0, 3.0, 5.0], start=1):
            journal.record_step(step, loss)
        journal.record_accuracy(4, {"ioi": 0.5})
    with Journal(path, config, num_steps_done=3, losses=(3.0,)) as journal:
        for step, loss in enumerate([1.0, 8.0, 6.0], start=4):
            journal.record_step(step, loss)
    assert [(line["step"], line["loss"]) for line in lines_of(path)] == [(2, 3), (4, 2), (6, 7)]


@pytest.mark.parametrize("torn", [b'{"st', b'{"step": 6, "loss": 1.0}', b"\xf0\x9f"])
def test_a_last_line_that_was_cut_short_is_written_again(tmp_path, torn):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 2, "loss": 3.0}\n' + torn)
    config = PosttrainConfig(log_every=2, num_steps=6, objective="ar")
    with Journal(path, config, num_steps_done=5, losses=(7.0,)) as journal:
        assert path.read_bytes() == b'{"step": 2, "loss": 3.0}\n'
        journal.record_step(6, 9.0)
    assert [(line["step"], line["loss"]) for line in lines_of(path)] == [(2, 3), (6, 8)]


@pytest.mark.parametrize("damaged", [b"", b"null", b"[]", b"{}", b'{"step": "x"}', b"\xff"])
def test_a_damaged_line_is_named_and_left_alone(tmp_path, damaged):
    path = tmp_path / "log.jsonl"
    before = b'{"step": 2, "loss": 3.0}\n' + damaged + b'\n{"step": 4, "loss": 3.0}\n'
    path.write_bytes(before)
    with pytest.raises(PosttrainingError, match=r"log.jsonl, line 2: .*; delete the line to"):
        Journal(path, PosttrainConfig(), num_steps_done=4)
    assert path.read_bytes() == before


def test_a_kill_while_the_log_is_shortened_leaves_all_of_it(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    before = b'{"step": 2, "loss": 3.0}\n{"step": 4, "loss": 3.0}\n'
    path.write_bytes(before)

    def killed(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Journal(path, PosttrainConfig(), num_steps_done=2)
    assert path.read_bytes() == before


def test_tensorboard_gets_the_same_numbers(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = PosttrainConfig(log_every=1, num_steps=2, objective="ar")
    with Journal(tmp_path / "log.jsonl", config, tensorboard=tmp_path / "events") as journal:
        journal.record_step(1, 4.0)
        journal.record_step(2, 2.0)
        journal.record_accuracy(2, {"ioi": 0.5})
    events = reader.EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 4.0), (2, 2.0)]
    assert [(e.step, e.value) for e in events.Scalars("accuracy/ioi")] == [(2, 0.5)]


def test_without_tensorboard_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(PosttrainingError, match="pip install tensorboard, or leave out"):
        Journal(tmp_path / "log.jsonl", PosttrainConfig(), tensorboard=tmp_path / "events")
