"""The embedded pair as plain folders, for other tools and `mechshift trajectory`.

The package holds the whole family: models as plain folders, checkpoints packed (`packed`).
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from mechshift.models.folders import weights_hash
from mechshift.models.supply.packed import SUFFIX, unpack_checkpoint
from mechshift.models.supply.whole_folder import Provided, provide_folder

PARENT = "arm"
MEMBERS = (
    PARENT,
    *("mdm", "other-mdm", "other-mdm-2"),
    *("continued-arm", "continued-arm-2", "continued-arm-3"),
)
"""The ARM and three trainings of either kind."""
PACKED_BESIDE = "-checkpoints"
"""The packed checkpoints of `mdm` are in `mdm-checkpoints`, beside it."""


def get_embedded(folder: Path, *, family: Path) -> tuple[Provided, ...]:
    """Write a family of models, each with the checkpoints that led to it.

    `mdm/checkpoints/step-000032` and so on are models like `mdm` itself.

    Args:
        folder: gets a folder for each member.
        family: the packaged folder; members that it lacks are left out.

    Raises:
        ModelError: damaged files, or folders that were made from others.
    """
    members = [member for member in MEMBERS if (family / member).is_dir()]
    return tuple(_provided(folder / member, family, member) for member in members)


def _provided(folder: Path, family: Path, member: str) -> Provided:
    packed = sorted((family / (member + PACKED_BESIDE)).glob(f"*{SUFFIX}"))

    def write(out: Path) -> None:
        shutil.copytree(family / member, out, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for path in packed:
            checkpoint = out / "checkpoints" / path.stem
            unpack_checkpoint(path, family / PARENT, family / member, checkpoint)

    made_from = {"weights": weights_hash(family / member), "checkpoints": _hash(packed)}
    return provide_folder(folder, made_from, write)


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
