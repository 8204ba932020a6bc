"""Which pairs of an ARM and the MDM post-trained from it are known, and do two models match?

An edge of one model is compared with the edge of the same name in the other, and both read the
same examples, so the two must have the same shape and give the ARM's tokens the same ids.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

from mechshift.errors import ModelError
from mechshift.models.language_model import LanguageModel
from mechshift.models.loading import ModelSource, load_language_model

PROBE_TEXT = "The war lasted from 1732 to 17; 3+4=7, said Mary\nto John."
"""Text that both tokenizers of a pair must split alike."""


@dataclass(frozen=True, kw_only=True)
class PairEntry:
    """An ARM and the MDM made from it."""

    name: str
    arm: ModelSource
    mdm: ModelSource
    shift: bool
    """Whether the MDM's logits at position i predict token i + 1. An ARM's always do."""
    mask_token_id: int | None = None
    """None: from the MDM's config.json, else from its tokenizer."""
    description: str = ""
    embedded: bool = False
    """Whether the paths are relative to the package's own `pairs` folder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelPair:
    """Two loaded models whose edges and tokens can be compared by name."""

    name: str
    arm: LanguageModel
    mdm: LanguageModel

    def __post_init__(self) -> None:
        check_same_shape(self.arm, self.mdm)
        check_same_tokens(self.arm, self.mdm)


PAIRS: dict[str, PairEntry] = {
    entry.name: entry
    for entry in (
        PairEntry(
            name="tiny",
            arm=ModelSource(path="tiny/arm"),
            mdm=ModelSource(path="tiny/mdm"),
            shift=True,
            description="a small Llama trained on the four tasks, and the MDM post-trained from it",
            embedded=True,
        ),
        PairEntry(
            name="dream-7b",
            arm=ModelSource(path="Qwen/Qwen2.5-7B"),
            mdm=ModelSource(path="Dream-org/Dream-v0-Base-7B", tokenizer_path="Qwen/Qwen2.5-7B"),
            shift=True,
            mask_token_id=151666,
            description="Dream 7B (15 GB each); settings read from its code, not yet run by us",
        ),
        PairEntry(
            name="diffullama-7b",
            arm=ModelSource(path="meta-llama/Llama-2-7b-hf"),
            mdm=ModelSource(path="diffusionfamily/diffullama"),
            shift=True,
            mask_token_id=811,
            description="DiffuLLaMA (14 GB each); settings read from its code, not yet run by us",
        ),
    )
}
"""The known pairs; a pair of one's own is a `PairEntry` with two folders or hub ids."""


def load_pair(pair: str | PairEntry, *, device: str = "cpu", dtype: str = "float32") -> ModelPair:
    """Load both models of a known or own pair; the ARM is causal and the MDM attends in full.

    Raises:
        ModelError: an unknown name, a model that cannot be loaded, or two that do not match.
    """
    entry = _known_pair(pair) if isinstance(pair, str) else pair
    with ExitStack() as stack:
        if entry.embedded:
            root = stack.enter_context(as_file(files("mechshift") / "pairs"))
            entry = _located(entry, root)
        arm = load_language_model(
            entry.arm,
            name=f"{entry.name}-arm",
            kind="arm",
            attention="causal",
            shift=True,
            dtype=dtype,
            device=device,
        )
        mdm = load_language_model(
            entry.mdm,
            name=f"{entry.name}-mdm",
            kind="mdm",
            attention="full",
            shift=entry.shift,
            mask_token_id=entry.mask_token_id,
            dtype=dtype,
            device=device,
        )
    return ModelPair(name=entry.name, arm=arm, mdm=mdm)


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
        ModelError: a token has another id, or a probe text is split differently.
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


def _known_pair(name: str) -> PairEntry:
    if name not in PAIRS:
        raise ModelError(f"unknown pair '{name}'; known: {', '.join(PAIRS)}.")
    return PAIRS[name]


def _located(entry: PairEntry, root: Path) -> PairEntry:
    """The same entry with the paths of its embedded models made absolute."""
    return replace(
        entry,
        arm=replace(entry.arm, path=str(root / entry.arm.path)),
        mdm=replace(entry.mdm, path=str(root / entry.mdm.path)),
    )
