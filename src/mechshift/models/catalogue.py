"""The catalogue of pairs: how the two models of each are loaded and checked.

An edge of one model is compared with the edge of the same name in the other, and both read the
same examples, so the two must have the same shape and give the ARM's tokens the same ids.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.models.folders import ModelSource, check_no_adapter, folder_at, local_folder
from mechshift.models.language_model import LanguageModel
from mechshift.models.loading import load_language_model
from mechshift.models.published import (
    PAIRS,
    UNPAIRED_MDMS,
    MdmEntry,
    PairEntry,
)
from mechshift.models.shapes import ModelShape, read_shape
from mechshift.models.tokenizers import read_tokenizer, tokens_before
from mechshift.summaries import Summarised

PROBE_TEXT = "The war lasted from 1732 to 17; 3+4=7, said Mary\nto John."
"""Text that both tokenizers of a pair must split alike."""


@dataclass(frozen=True, kw_only=True)
class PairShape:
    """The shapes of both models of a pair."""

    arm: ModelShape
    mdm: ModelShape
    read: bool
    """Whether both come from a config.json; else from `published_shapes`."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelPair(Summarised):
    """Two loaded models whose edges and tokens can be compared by name."""

    name: str
    arm: LanguageModel
    mdm: LanguageModel
    controls: Mapping[str, LanguageModel] = field(default_factory=dict)
    """Further models of the same shape, by the name of their role (`controls.py`)."""

    @property
    def members(self) -> dict[str, LanguageModel]:
        """All models by role: `arm`, `mdm`, then the controls."""
        return {"arm": self.arm, "mdm": self.mdm, **self.controls}

    @property
    def models(self) -> tuple[LanguageModel, LanguageModel]:
        """ARM, then MDM, for what is done to both."""
        return self.arm, self.mdm

    def facts(self) -> dict[str, object]:
        """The models, by role."""
        return {"name": self.name, **{role: one.name for role, one in self.members.items()}}

    def __post_init__(self) -> None:
        for model in (self.mdm, *self.controls.values()):
            check_same_shape(self.arm, model)
            check_same_tokens(self.arm, model)


def load_pair(pair: str | PairEntry, *, device: str = "cpu", dtype: str = "float32") -> ModelPair:
    """Load both models of a known or own pair; the ARM is causal, the MDM as its entry says.

    Raises:
        ModelError: an unknown name, a model that cannot be loaded, or two that do not match.
    """
    entry = _known_pair(pair) if isinstance(pair, str) else pair
    with ExitStack() as stack:
        entry = on_this_machine(entry, stack)
        arm = load_entry_arm(entry.arm, f"{entry.name}-arm", device=device, dtype=dtype)
        mdm = load_entry_mdm(entry, arm.tokenizer, device=device, dtype=dtype)
    return ModelPair(name=entry.name, arm=arm, mdm=mdm)


def pair_shape(entry: PairEntry) -> PairShape:
    """The shapes of a pair from what is on this machine, or published; nothing is downloaded.

    Raises:
        ModelError: neither a config.json on this machine nor a published shape, or two models
            whose edges do not correspond.
    """
    with ExitStack() as stack:
        located = on_this_machine(entry, stack)
        for source in (located.arm, located.mdm):
            if (folder := folder_at(source.path)) is not None:
                check_no_adapter(folder)
        folders = [local_folder(source, "config.json") for source in (located.arm, located.mdm)]
        shapes = [None if folder is None else read_shape(folder) for folder in folders]
    published = entry.published_shape
    arm, mdm = (shape or published for shape in shapes)
    if arm is None or mdm is None:
        unknown = entry.arm.path if arm is None else entry.mdm.path
        raise ModelError(
            f"the shape of '{unknown}' is not known: it is no folder, nothing of it has been"
            " downloaded, and it is not published with the known pairs; give a folder that holds"
            " its config.json."
        )
    if arm.graph() != mdm.graph() or arm.head_dim != mdm.head_dim or arm.d_model != mdm.d_model:
        raise ModelError(f"the models of '{entry.name}' have different shapes: {arm} and {mdm}.")
    return PairShape(arm=arm, mdm=mdm, read=None not in shapes)


def local_tokenizer(entry: PairEntry) -> PreTrainedTokenizerFast | None:
    """A tokenizer of the pair that is on this machine, the MDM's first; None: there is none."""
    with ExitStack() as stack:
        located = on_this_machine(entry, stack)
        named = located.mdm.tokenizer_path
        sources = [located.mdm, located.arm]
        if named is not None:
            sources = [ModelSource(path=named), *sources]
        for source in sources:
            if (folder := local_folder(source, "tokenizer.json")) is not None:
                return read_tokenizer(folder)
    return None


def load_mdm(mdm: str | MdmEntry, *, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
    """Load an MDM that has no parent, known or one's own.

    Raises:
        ModelError: an unknown name, or a model that cannot be loaded.
    """
    if isinstance(mdm, str):
        if mdm not in UNPAIRED_MDMS:
            known = ", ".join(UNPAIRED_MDMS)
            raise ModelError(f"unknown MDM '{mdm}'; known without a parent: {known}.")
        mdm = UNPAIRED_MDMS[mdm]
    return load_entry_mdm(mdm, None, device=device, dtype=dtype)


def load_entry_arm(source: ModelSource, name: str, *, device: str, dtype: str) -> LanguageModel:
    """An ARM, causal and shifted as all ARMs are."""
    return load_language_model(
        source,
        name=name,
        kind="arm",
        attention="causal",
        shift=True,
        dtype=dtype,
        device=device,
    )


def load_entry_mdm(
    entry: MdmEntry, parent_tokenizer: PreTrainedTokenizerFast | None, *, device: str, dtype: str
) -> LanguageModel:
    """The MDM of an entry, read as the entry says."""
    return load_language_model(
        entry.mdm,
        name=f"{entry.name}-mdm",
        kind="mdm",
        attention=entry.attention,
        shift=entry.shift,
        block_length=entry.block_length,
        mask_token_id=entry.mask_token_id,
        parent_tokenizer=parent_tokenizer,
        dtype=dtype,
        device=device,
    )


def check_same_shape(arm: LanguageModel, mdm: LanguageModel) -> None:
    """Refuse two models whose edges do not correspond.

    Raises:
        ModelError: the class, or a size that names edges, differs.
    """
    for what, ours, theirs in zip(_SHAPE, _shape(arm), _shape(mdm), strict=True):
        if ours != theirs:
            raise ModelError(
                f"'{arm.name}' and '{mdm.name}' cannot be compared edge by edge:"
                f" {what} is {ours} in the ARM and {theirs} in the MDM."
            )


_SHAPE = (
    "the class",
    "the number of layers",
    "the number of heads",
    "the number of KV heads",
    "the size of a head",
    "d_model",
)


def _shape(model: LanguageModel) -> tuple[object, ...]:
    parts = model.parts
    return (
        type(model.module).__name__,
        len(parts.layers),
        parts.num_heads,
        parts.num_key_value_heads,
        parts.head_dim,
        parts.d_model,
    )


def check_same_tokens(arm: LanguageModel, mdm: LanguageModel) -> None:
    """Refuse two tokenizers that disagree about the ARM's tokens; the MDM may have more.

    Raises:
        ModelError: a token has another id, a probe text is split differently, or one tokenizer puts
            BOS before a text and the other does not.
    """
    known = mdm.tokenizer.get_vocab()
    vocabulary = sorted(arm.tokenizer.get_vocab().items(), key=lambda item: item[1])
    differing = [(token, i, known.get(token)) for token, i in vocabulary if known.get(token) != i]
    if differing:
        token, ours, theirs = differing[0]
        raise ModelError(
            f"the tokenizers of '{arm.name}' and '{mdm.name}' disagree about {len(differing)} of"
            f" the ARM's {len(vocabulary)} tokens: {token!r} is {ours} in the ARM and {theirs} in"
            " the MDM. Both must have the same tokenizer."
        )
    ours, theirs = (
        model.tokenizer.encode(PROBE_TEXT, add_special_tokens=False) for model in (arm, mdm)
    )
    if ours != theirs:
        raise ModelError(
            f"the tokenizers of '{arm.name}' and '{mdm.name}' have the same tokens but split"
            f" {PROBE_TEXT!r} into {len(ours)} and {len(theirs)} of them differently."
        )
    before = [tokens_before(model.tokenizer) for model in (arm, mdm)]
    if before[0] != before[1]:
        read = [" ".join(tokens) or "nothing" for tokens in before]
        raise ModelError(
            f"'{arm.name}' reads {read[0]} before every text and '{mdm.name}' reads {read[1]}, so"
            " that the same word would stand at another position; give both the same tokenizer"
            " (tokenizer_path, or the tokenizer files of one in a copy of the other's folder)."
        )


def _known_pair(name: str) -> PairEntry:
    if name in UNPAIRED_MDMS:
        raise ModelError(f"'{name}' is an MDM without a parent; load it with load_mdm.")
    if name not in PAIRS:
        raise ModelError(f"unknown pair '{name}'; known: {', '.join(PAIRS)}.")
    return PAIRS[name]


def on_this_machine(entry: PairEntry, stack: ExitStack) -> PairEntry:
    """The same entry with the paths of embedded models made absolute, while `stack` is open."""
    if not entry.embedded:
        return entry
    root: Path = stack.enter_context(as_file(files("mechshift") / "pairs"))

    def located(source: ModelSource) -> ModelSource:
        return replace(source, path=str(root / source.path))

    return replace(
        entry,
        arm=located(entry.arm),
        mdm=located(entry.mdm),
        continued_arms=tuple(map(located, entry.continued_arms)),
        other_mdms=tuple(map(located, entry.other_mdms)),
    )
