"""Commands that write, on a random pair of two layers, where each takes a second or two.

Kills and refused writes are tried on them (`kills.py`, tests/test_full_disk.py).
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from random_pair import PairShape, write_random_pair

from mechshift.models import without_reports
from mechshift.models.folders import weights_hash

SHAPE = PairShape(
    layers=2,
    heads=2,
    key_value_heads=1,
    width=16,
    mlp_width=24,
    vocabulary=48,
    tokens=6,
    examples=20,
    held_out=10,
)

SMALL = tuple(
    (
        "--pool.num-examples 20 --pool.num-held-out 10 --pool.num-others 0 --attribution.ig-steps 1"
        " --attribution.chunk-size 8 --comparison.circuit-size 12 --comparison.num-resamples 20"
        " --comparison.num-splits 4 --comparison.num-splits-per-resample 1"
        " --comparison.num-shuffles 5 --comparison.num-exchanges 5 --device cpu --quiet"
    ).split()
)

REST = tuple(
    (
        "--evaluation.fractions 0.1 --evaluation.num-random 2"
        " --evaluation.no-rediscover --semantics.ig-steps 1 --semantics.num-neurons 2"
        " --semantics.num-contexts 2 --semantics.num-sequences 4 --semantics.num-resamples 20"
        " --ablation.kinds heads --ablation.num-control-draws 1 --ablation.num-resamples 20"
    ).split()
)

AFTER_THE_POOL = (
    *("scores", "others", "controls", "flow", "semantics", "faithfulness", "ablation"),
    *("comparison", "conclusions", "quantities"),
)

WHOLE = "run-whole"
"""Folder of the run in which nothing went wrong."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, and the folder that it begins with."""

    name: str
    words: Callable[[Path], tuple[str, ...]]
    """From the folder that it works in."""
    begins_with: Path | None = None
    """None: an empty one."""

    def begin(self, folder: Path) -> None:
        """Make the folder as it is before the command, whatever is there."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.begins_with is None:
            folder.mkdir(parents=True)
        else:
            shutil.copytree(self.begins_with, folder)


def small_commands(out: Path) -> dict[str, Command]:
    """By name, on models that are made where they are not there yet.

    Those that go on with a run can be used once `run` has left one in `out / WHOLE`.
    """
    with without_reports():
        pair = write_random_pair(out / "pair", SHAPE)
        trained = _as_training(out / "trained", pair.arm, pair.mdm)
    texts = _as_texts(out / "texts.jsonl", pair.task)
    models = ("--arm", str(pair.arm), "--mdm", str(pair.mdm), "--tasks", str(pair.task))
    followed = ("--arm", str(pair.arm), "--mdm", str(trained), "--tasks", str(pair.task))
    run = out / WHOLE / "run"
    found = (
        Command(name="run", words=lambda f: ("run", str(f / "run"), *models, *SMALL, *REST)),
        Command(
            name="posttrain",
            words=lambda f: (
                *("posttrain", str(f / "out"), "--parent", str(pair.arm)),
                *("--mixture", str(texts), "1", "8", "--num-steps", "4", "--batch-size", "4"),
                *("--first-checkpoint", "1", "--state-every", "1", "--log-every", "1"),
                *("--num-evaluated", "0", "--warmup-steps", "1", "--quiet"),
            ),
        ),
        Command(
            name="trajectory",
            words=lambda f: ("trajectory", str(f / "run"), *followed, *SMALL, "--skip", "flow"),
        ),
        Command(
            name="conclude",
            words=lambda f: ("conclude", str(f / "run"), "--quiet"),
            begins_with=_without(run, out / "not-concluded", "conclusions", "quantities"),
        ),
        Command(
            name="report",
            words=lambda f: ("report", str(f / "run")),
            begins_with=_without(run, out / "not-reported"),
        ),
        Command(
            name="attribute",
            words=lambda f: (
                *("attribute", str(f / "run"), "--method", "eap", "--examples-per-shard", "2"),
                *("--chunk-size", "8", "--device", "cpu", "--quiet"),
            ),
            begins_with=_without(run, out / "pooled", *AFTER_THE_POOL),
        ),
        Command(
            name="alternatives",
            words=lambda f: (
                *("alternatives", str(f / "run"), "--device", "cpu", "--quiet"),
                *("--factors", "0.5", "--shares", "1"),
            ),
            begins_with=_without(run, out / "not-reported"),
        ),
        *(
            Command(
                name=f"export {form}",
                words=lambda f, form=form: ("export", str(run), str(f / "out"), "--format", form),
            )
            for form in ("mib-json", "graphml", "safetensors")
        ),
        Command(
            name="pairs pack",
            words=lambda f: (
                *("pairs", "pack", str(pair.arm), str(trained / "checkpoints"), str(f / "out")),
            ),
        ),
        Command(name="pairs get", words=lambda f: ("pairs", "get", "tiny", str(f / "out"))),
        Command(
            name="index",
            words=lambda f: ("index", str(f / "run"), "--out", str(f / "page")),
            begins_with=out / WHOLE,
        ),
        Command(
            name="tables",
            words=lambda f: ("tables", str(f / "run")),
            begins_with=out / WHOLE,
        ),
        Command(
            name="figures",
            words=lambda f: (
                *("figures", str(f / "run"), "--format", "svg", "pdf", "--quiet"),
                *("--only", "glance", "depth"),
            ),
            begins_with=out / WHOLE,
        ),
    )
    return {one.name: one for one in found}


def _as_training(folder: Path, arm: Path, mdm: Path) -> Path:
    """A folder as a post-training leaves it: the MDM, a checkpoint between, and a recipe."""
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    between = write_random_pair(folder.with_name("other-pair"), replace(SHAPE, seed=1))
    shutil.copytree(mdm, partial)
    shutil.copytree(between.arm, partial / "checkpoints" / "step-000002")
    recipe = {"parent_weights": weights_hash(arm), "config": {"num_steps": 4, "objective": "mdm"}}
    (partial / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    return partial.rename(folder)


def _as_texts(path: Path, task: Path) -> Path:
    """A task's prompts and targets as texts to train on."""
    lines = [json.loads(line) for line in task.read_text(encoding="utf-8").splitlines()]
    dialogues = [{"prompt": line["prompt"], "response": line["target"]} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in dialogues), encoding="utf-8")
    return path


def _without(run: Path, folder: Path, *stages: str) -> Path:
    """A folder with a copy of a run, if there is one, that lacks the report and some stages."""
    if run.exists() and not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        left_out = shutil.ignore_patterns("report", *stages)
        shutil.copytree(run, partial / "run", ignore=left_out)
        partial.rename(folder)
    return folder
