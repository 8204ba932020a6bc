"""A disk that refuses at the n-th write: one line, status 2, nothing finished is lost, same bytes.

Each command runs in this process and is refused at some write, then at some later write of the
same command given again, and so on until it ends well. Refused are, below one folder,

1. what Python asks of the system, which it tells an audit hook: files opened for writing, folders
   made, renames, and, on a file system that turned read-only, removals;
2. flushes to the disk, and what is written in Rust or mapped (safetensors, Parquet, tokenizers,
   arrays in files), of which half a file is then there.

A full or read-only disk goes on refusing until the command has ended; a failing one refuses once.

    make faults   # many more than the suite does
"""

import contextlib
import errno
import os
import random
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from mechshift.cli.main import main
from mechshift.posttraining import tiny_tokenizer
from mechshift.testing import files_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for names of files")

NUM_FAULTS = int(os.environ.get("MECHSHIFT_FAULTS", "4"))
"""Refusals of each command; `make faults` asks for more."""

REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EIO)

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MAKING = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"}
REMOVING = {"os.remove", "os.rmdir"}


class Disk:
    """What is asked of the system below one folder, and whether it is granted."""

    def __init__(self):
        self.folder = None
        self.left = -1
        self.refusal = 0
        self.num_writes = 0
        self.refused = []

    @contextlib.contextmanager
    def below(self, folder, *, left=-1, refusal=0):
        """Refuse after so many writes below `folder`; -1: count them alone."""
        self.folder, self.left, self.refusal = os.fspath(folder), left, refusal
        self.num_writes, self.refused = 0, []
        try:
            yield self
        finally:
            self.folder = None

    @contextlib.contextmanager
    def granting(self):
        """Let through what makes a file that is half written."""
        folder, self.folder = self.folder, None
        try:
            yield
        finally:
            self.folder = folder

    def hears(self, event, arguments):
        """The audit hook; Python has none that can be taken off again."""
        if self.folder is None:
            return
        if event == "open":
            path, _, flags = arguments
            # A folder is opened so by tempfile, which has another way where that is refused.
            if isinstance(flags, int) and flags & WRITING and not os.path.isdir(path):
                self.asked(path)
        elif event in MAKING and not (event == "os.mkdir" and os.path.isdir(arguments[0])):
            self.asked(arguments[0])
        elif event in REMOVING and self.refusal == errno.EROFS:
            self.asked(arguments[0], counts=False, inside=arguments[-1] != -1)

    def asked(self, path, *, counts=True, inside=False):
        """A write to a path; `inside`: it is relative to a folder that is open."""
        named = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)
        if not (named or inside):
            return
        broken = self.left >= 0 and self.num_writes > self.left
        if counts:
            self.num_writes += 1
        if self.left < 0 or self.num_writes <= self.left:
            return
        if self.refusal == errno.EIO and broken:
            return
        self.refused.append(str(path))
        raise OSError(self.refusal, os.strerror(self.refusal), str(path))


DISK = Disk()


@pytest.fixture(scope="module")
def disk():
    """The disk below a folder of one's own, whose writes may be refused."""
    sys.addaudithook(DISK.hears)
    patch = pytest.MonkeyPatch()
    fsync, fallocate = os.fsync, os.posix_fallocate

    def flushing(descriptor):
        DISK.folder and DISK.asked(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def reserving(descriptor, start, length):
        DISK.folder and DISK.asked(os.readlink(f"/proc/self/fd/{descriptor}"))
        fallocate(descriptor, start, length)

    patch.setattr(os, "fsync", flushing)
    patch.setattr(os, "posix_fallocate", reserving)

    def half_written(write, place, refused):
        """A function that writes a whole file, of which half is there where it is refused."""

        def writing(*arguments, **options):
            path = os.fspath(arguments[place])
            try:
                DISK.folder and DISK.asked(path)
            except OSError as refusal:
                with DISK.granting():
                    write(*arguments, **options)
                    os.truncate(path, os.path.getsize(path) // 2)
                raise refused(refusal) from None
            return write(*arguments, **options)

        return writing

    def in_rust(kind):
        return lambda refusal: kind(f"{refusal.strerror} (os error {refusal.errno})")

    for owner, name, place, refused in (
        (safetensors.numpy, "serialize_file", 1, in_rust(SafetensorError)),
        (safetensors.torch, "serialize_file", 1, in_rust(SafetensorError)),
        (pl.DataFrame, "write_parquet", 1, in_rust(pl.exceptions.ComputeError)),
        (Path, "write_bytes", 0, lambda refusal: refusal),
    ):
        patch.setattr(owner, name, half_written(getattr(owner, name), place, refused))
    save_tokenizer = TokenizersBackend._save_pretrained

    def saving_tokenizer(tokenizer, save_directory, *arguments, **options):
        path = os.path.join(save_directory, "tokenizer.json")
        try:
            DISK.folder and DISK.asked(path)
        except OSError as refusal:
            raise in_rust(Exception)(refusal) from None
        return save_tokenizer(tokenizer, save_directory, *arguments, **options)

    patch.setattr(TokenizersBackend, "_save_pretrained", saving_tokenizer)
    yield DISK
    patch.undo()


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
