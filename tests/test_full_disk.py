"""A disk that refuses at the n-th write: one line, status 2, nothing finished is lost, same bytes.

Each command runs in this process and is refused at some write (benchmarks/file_events.py), then at
some later write of the same command given again, and so on until it ends well.

    make faults   # many more than the suite does
"""

import errno
import importlib
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.cli.main import main
from mechshift.posttraining import tiny_tokenizer
from mechshift.testing import files_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for names of files")

NUM_FAULTS = int(os.environ.get("MECHSHIFT_FAULTS", "4"))
"""Refusals of each command; `make faults` asks for more."""

REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EIO)


@pytest.fixture(scope="module")
def disk():
    """The disk below a folder of one's own, whose writes may be refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        file_events = importlib.import_module("file_events")
    with file_events.listening() as listening:
        yield listening


def finished(folder):
    """What a command has finished: the files that stand under their own names."""
    return {
        name: digest
        for name, digest in files_of(folder).items()
        if not any(part.startswith(".") or part.endswith(".chunks") for part in Path(name).parts)
    }


def undisturbed(disk, whole, words_for):
    """How many writes a command makes in a new folder, where none is refused."""
    whole.mkdir()
    with disk.below(whole):
        assert main(words_for(whole)) == 0
    return disk.num_writes


def command_survives(disk, capsys, whole, num_writes, words_for, *, kept=finished):
    """Refuse a command at one write after the other, and compare what it ends with.

    Args:
        whole: folder in which it was not refused.
        num_writes: how many it makes.
        words_for: the command line, from the folder that it works in.
        kept: what of a folder must not be lost, as hashes by names.
    """
    refused = whole.with_name(f"{whole.name}-refused")
    refused.mkdir()
    generator = random.Random(0)
    attempt = 0
    while attempt < NUM_FAULTS:
        # Mostly soon: an attempt begins with what is there by then.
        left = int(num_writes * generator.random() ** 2)
        before = kept(refused)
        refusal = REFUSALS[attempt % len(REFUSALS)]
        capsys.readouterr()
        with disk.below(refused, left=left, refusal=refusal):
            status = main(words_for(refused))
        said = capsys.readouterr().err
        what = f"{os.strerror(refusal)} at write {left} of {disk.refused[:1]}: {said[-1500:]}"
        assert status == (2 if disk.refused else 0), what
        after = kept(refused)
        lost = [name for name, digest in before.items() if after.get(name) != digest]
        assert not lost, f"lost {lost} after {what}"
        if disk.refused:
            attempt += 1
            (line,) = [one for one in said.splitlines() if one.startswith("mechshift: ")]
            assert said.rstrip().endswith(line), what
            assert os.strerror(refusal) in line, what
        else:
            assert files_of(refused) == files_of(whole)
            shutil.rmtree(refused)
            refused.mkdir()
    assert main(words_for(refused)) == 0, capsys.readouterr().err
    assert files_of(refused) == files_of(whole)


SMALL = (
    *("--tasks", "ioi", "--pool.num-examples", "10", "--pool.num-held-out", "6"),
    *("--pool.num-others", "0", "--attribution.ig-steps", "1", "--attribution.chunk-size", "5"),
    *("--comparison.num-resamples", "20", "--comparison.num-splits", "4"),
    *("--comparison.num-splits-per-resample", "1", "--comparison.num-shuffles", "5"),
    *("--comparison.num-exchanges", "5", "--device", "cpu", "--quiet"),
)


def run_words(folder):
    return [
        *("run", str(folder / "run"), *SMALL, "--skip", "controls", "flow", "semantics"),
        *("ablation", "--evaluation.fractions", "0.1", "--evaluation.num-random", "2"),
        "--evaluation.no-rediscover",
    ]


@pytest.fixture(scope="module")
def whole_run(disk, tmp_path_factory):
    """A run that was not refused, and how many writes it took."""
    folder = tmp_path_factory.mktemp("disk") / "whole"
    return folder, undisturbed(disk, folder, run_words)


def test_a_run_survives_a_disk_that_refuses(disk, capsys, whole_run):
    command_survives(disk, capsys, *whole_run, run_words)


def test_a_trajectory_survives_a_disk_that_refuses(disk, capsys, tmp_path):
    def words(folder):
        return ["trajectory", str(folder / "run"), *SMALL, "--skip", "flow", "--steps", "32"]

    num_writes = undisturbed(disk, tmp_path / "whole", words)
    command_survives(disk, capsys, tmp_path / "whole", num_writes, words)


@pytest.mark.parametrize("format", ["mib-json", "graphml", "safetensors"])
def test_an_export_survives_a_disk_that_refuses(disk, capsys, tmp_path, whole_run, format):
    def words(folder):
        return ["export", str(whole_run[0] / "run"), str(folder / "out"), "--format", format]

    num_writes = undisturbed(disk, tmp_path / "whole", words)
    command_survives(disk, capsys, tmp_path / "whole", num_writes, words)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A random Llama of 16 dimensions over the tiny vocabulary."""
    folder, tokenizer = tmp_path_factory.mktemp("parent"), tiny_tokenizer()
    torch.manual_seed(0)
    settings = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64)
    tokens = dict(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=None)
    LlamaForCausalLM(LlamaConfig(**settings, **heads, **tokens, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_training_survives_a_disk_that_refuses(disk, capsys, tmp_path, parent):
    def words(folder):
        return [
            *("posttrain", str(folder / "out"), "--parent", str(parent), "--optimizer", "adamw"),
            *("--mixture", "ioi", "1", "6", "infilling", "1", "4", "--num-steps", "4"),
            *("--batch-size", "4", "--first-checkpoint", "1", "--state-every", "1"),
            *("--log-every", "1", "--num-evaluated", "2", "--warmup-steps", "1", "--quiet"),
        ]

    def checkpoints(folder):
        return {
            name.split("/", 1)[1].removeprefix("model/"): digest
            for name, digest in files_of(folder).items()
            if "/checkpoints/step" in name
        }

    num_writes = undisturbed(disk, tmp_path / "whole", words)
    command_survives(disk, capsys, tmp_path / "whole", num_writes, words, kept=checkpoints)
