"""Two run folders compared by content: did a change of the code move a number?

    python benchmarks/same_numbers.py OLD NEW

1. Every file of every stage's folder is read as named values: a number or text of a JSON file, a
   column of a CSV or Parquet file, an array of a safetensors file, a page as a whole. Of manifests
   the config counts; hashes and versions differ wherever anything does.
2. What was changed on purpose is brought into its new form in OLD (`as_stored_now`), what a folder
   did not say before is left out of NEW (`ADDED`), and pages whose sections moved are not compared
   (`MEANT`).
3. What is missing on one side, or differs in a single digit or in its order, is printed.

The exit status is 1 if there is any difference.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import tyro
from safetensors.numpy import load_file
from tyro.conf import Positional

Values = dict[str, Any]
"""The values of one file by name."""

ADDED: tuple[str, ...] = (
    # Which task and split a pool is of, which graph scores have, and which checkpoint a point is
    # of: before, the name of the folder or the manifest alone said it.
    r"^pool/.*/values: (discovery|held_out)\.(task|split)$",
    r"^(scores|sweep)/.*/values: ",
    r"^(faithfulness|crossed)/.*/values: .*\bnum_edges$",
    r"^crossed/.*/values: baselines$",
    r"^points/.*/values: (training|step|share\.level)$",
    r"^points/.*/manifest: config\.(training|step|quantities)",
    # Resampled draws, so that two members' numbers can be subtracted; and what the report computed.
    r"^(comparison|sweep|points)/.*draws$",
    r"^(conclusions|quantities)/",
    # CPR and CMD, which had been run for and were not shown; the report says what it is of.
    r"^report/.*-cpr-cmd: ",
    r"^report/manifest: config\.tasks",
)
"""Pattern of a name that only NEW has."""

MEANT: tuple[str, ...] = (
    # The page's sections stand in the order of the topics, each under its own heading.
    r"^report/report: text$",
    r"^report/manifest: config$",
)
"""Pattern of a name whose value was changed on purpose, and holds no number of its own."""

FORMAT_OF_RECORDS = 2
"""From this format on, every record is stored by `flat_records`."""


@dataclass(frozen=True)
class Options:
    """Which folders."""

    old: Positional[Path]
    """The run folder of before."""
    new: Positional[Path]
    """The run folder of after."""
    limit: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100
    """How many differences are printed."""


def main(options: Options) -> int:
    """Print the differences, and return the exit status."""
    found = list(differences(options.old, options.new))
    for line in found[: options.limit]:
        print(line)
    if len(found) > options.limit:
        print(f"... and {len(found) - options.limit} more")
    if not found:
        print(f"the same: {len(run_values(options.new)):,} named values")
    return 1 if found else 0


def differences(old: Path, new: Path) -> Iterator[str]:
    """A line for each value that one folder lacks or that differs."""
    before, after = run_values(old), run_values(new)
    for name in sorted(before.keys() | after.keys()):
        if any(re.search(pattern, name) for pattern in MEANT):
            continue
        if name not in after:
            yield f"{name}: only in {old}"
        elif name not in before:
            if not any(re.search(pattern, name) for pattern in ADDED):
                yield f"{name}: only in {new}"
        elif (why := difference(before[name], after[name])) is not None:
            yield f"{name}: {why}"


def run_values(run: Path) -> Values:
    """Every value of a run folder, named `FOLDER/FILE: NAME` without the file's suffix."""
    values: Values = {}
    for manifest in sorted(run.rglob("manifest.json")):
        folder = manifest.parent
        files = {path.stem: file_values(path) for path in sorted(folder.iterdir())}
        version = files["manifest"].pop("format_version")
        for hashes in ("files", "inputs", "versions"):
            del files["manifest"][hashes]
        if version < FORMAT_OF_RECORDS:
            files = as_stored_now(files)
        for file, of_file in files.items():
            start = f"{folder.relative_to(run)}/{file}: "
            values |= {start + name: value for name, value in flat(of_file)}
    return values


def file_values(path: Path) -> Values:
    """The values of one file by name; of a page, its text."""
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    if path.suffix == ".parquet":
        return {column.name: column.to_list() for column in pl.read_parquet(path)}
    if path.suffix == ".csv":
        # As text: every digit counts, and what type a column has is no matter.
        return {column.name: column.to_list() for column in pl.read_csv(path, infer_schema=False)}
    text = path.read_text(encoding="utf-8")
    return dict(json.loads(text)) if path.suffix == ".json" else {"text": text}


def flat(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as one, with dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def as_stored_now(files: dict[str, Values]) -> dict[str, Values]:
    """The files of a folder of the first format, named and arranged as `flat_records` does."""
    stage = files["manifest"]["stage"]
    arrays, values = files.get("arrays", {}), files.setdefault("values", {})
    match stage:
        case "pool":
            for split in ("discovery", "held-out"):
                name, table = split.replace("-", "_"), files.pop(split)
                arrays[f"{name}.schedule.commit_step"] = arrays.pop(f"{split}.commit_step")
                values[f"{name}.candidate_ids"] = table["id"]
                chosen = (json.loads(text) for text in table["example"] if text is not None)
                values[f"{name}.examples"] = list(chosen)
                for kind in ("arm", "mdm"):
                    arrays[f"{name}.{kind}_correct"] = np.array(table[f"{kind}_correct"])
                    values[f"{name}.{kind}_completions"] = table[f"{kind}_completion"]
        case "semantics":
            tokens = files.pop("tokens")
            files["arrays"] = {f"semantics.{name}": array for name, array in arrays.items()}
            files["values"] = {f"semantics.{name}": value for name, value in values.items()}
            texts = zip(map(str, tokens["id"]), tokens["text"], strict=True)
            files["values"]["tokens"] = dict(texts)
        case "faithfulness":
            shared = {name: arrays[name] for name in ("full", "empty", "num_steps")}
            renamed = {"baselines.num_forced": arrays.pop("random.num_forced")}
            for owner, of_baselines in (
                ("arm", False), ("mdm", False), ("random", True), ("activation", True)
            ):  # fmt: skip
                start = f"{'baselines' if of_baselines else 'by_owner'}.{owner}"
                own = {
                    name: arrays[f"{owner}.{name}"] for name in ("sizes", "live_sizes", "metric")
                }
                renamed |= {f"{start}.{name}": array for name, array in (own | shared).items()}
            files["arrays"] = renamed
        case "crossed":
            files["arrays"] = {f"by_owner.{name}": array for name, array in arrays.items()}
        case "points":
            level = files["manifest"]["config"]["comparison"]["level"]
            values["measured"] = measured(files.pop("measured"), level)
    if not files["values"]:
        del files["values"]
    return files


def measured(table: Values, level: float) -> Values:
    """The numbers of a checkpoint by name, from a table of them."""
    found: Values = {}
    for index, name in enumerate(table["quantity"]):
        one = {key: table[key][index] for key in ("value", "low", "high")}
        found[name] = {"reason": table["reason"][index]}
        if one["value"] is None:
            found[name]["estimate"] = None
        else:
            found[name] |= {
                "estimate.value": one["value"],
                "estimate.interval.low": one["low"],
                "estimate.interval.high": one["high"],
                "estimate.interval.level": level,
            }
    return found


def difference(old: Any, new: Any) -> str | None:
    """How two values differ; None where they do not. NaN equals itself."""
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        return _array_difference(np.asarray(old), np.asarray(new))
    if isinstance(old, str) and isinstance(new, str):
        return _text_difference(old, new)
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{len(old)} items before, {len(new)} now"
        found = (
            (index, difference(one, other))
            for index, (one, other) in enumerate(zip(old, new, strict=True))
        )
        return next((f"[{index}] {why}" for index, why in found if why is not None), None)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if old.keys() != new.keys():
            return f"{sorted(old.keys() ^ new.keys())} on one side only"
        inner = ((key, difference(old[key], new[key])) for key in old)
        return next((f"{key}: {why}" for key, why in inner if why is not None), None)
    both_nan = old != old and new != new
    # A number that JSON writes as 1 and as 1.0 is the same; True and 1 are not.
    same = old == new and isinstance(old, bool) == isinstance(new, bool)
    return None if same or both_nan else f"{old!r} before, {new!r} now"


def _array_difference(old: np.ndarray, new: np.ndarray) -> str | None:
    if (old.shape, old.dtype) != (new.shape, new.dtype):
        return f"{old.dtype}{old.shape} before, {new.dtype}{new.shape} now"
    if np.array_equal(old, new, equal_nan=old.dtype.kind in "fc"):
        return None
    differs = (old != new) & ~((old != old) & (new != new))
    first = tuple(int(index) for index in np.argwhere(differs)[0])
    return (
        f"{int(differs.sum())} of {old.size} numbers differ, first at {list(first)}:"
        f" {old[first]!r} before, {new[first]!r} now"
    )


def _text_difference(old: str, new: str) -> str | None:
    if old == new:
        return None
    pairs = enumerate(zip(old, new, strict=False))
    at = next((index for index, (one, other) in pairs if one != other), min(len(old), len(new)))
    around = slice(max(0, at - 20), at + 40)
    return f"from character {at}: {old[around]!r} before, {new[around]!r} now"


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=(__doc__ or "").partition("\n")[0])))
