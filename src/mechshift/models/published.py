"""Which pairs of an ARM and the MDM made from it have been published, and how are they read?

Settings were read where `source` says. No published weights but the embedded pair's have been
loaded by us: `verified` says so, and loading probes attention and checks keys, shapes, tokens and
the mask token, so that a wrong entry is refused rather than believed. What cannot be checked is
`shift`: a wrong one shows as answers that are never right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mechshift.models.folders import ModelSource
from mechshift.models.language_model import Attention


@dataclass(frozen=True, kw_only=True)
class MdmEntry:
    """A masked diffusion model, and how it is read."""

    name: str
    mdm: ModelSource
    shift: bool
    """Whether the MDM's logits at position i predict token i + 1. An ARM's always do."""
    attention: Attention = "full"
    block_length: int | None = None
    """Positions in a block; for block-causal attention only."""
    mask_token_id: int | None = None
    """None: from the MDM's config.json, else from its tokenizer."""
    description: str = ""
    source: str = ""
    """Where these settings were read."""
    verified: bool = False
    """Whether we have loaded the published weights with them."""


@dataclass(frozen=True, kw_only=True)
class PairEntry(MdmEntry):
    """An ARM and the MDM made from it."""

    arm: ModelSource
    embedded: bool = False
    """Whether the paths are relative to the package's own `pairs` folder."""


DREAM = "code of DreamLM/Dream; stock Qwen2 gave equal logits on random weights"
DREAM_LIKE = "Dream's code, which it is published with; parent and mask token from memory"
DIFFULLAMA = "code of HKUNLP/DiffuLLaMA (model.py, loader.py, train.py)"
A2D = "code of ZHZisZZ/dllm; stock Qwen gave equal logits on random weights"
SDAR = "code and a training config of JetAstra/SDAR"
FAST_DLLM = "model card, and published code that reads the model"
OPEN_DCODER = "code of pengzhangzhi/Open-dLLM"
OPDLM = "code of divelab/OPDLM and a model card"
LLADA = "code of ML-GSAI/LLaDA; stock Llama gave equal logits on random weights"


def _pair(
    name: str, arm: str, mdm: str, *, shift: bool, mask: int | None, source: str, about: str
) -> PairEntry:
    return PairEntry(
        name=name,
        arm=ModelSource(path=arm),
        mdm=ModelSource(path=mdm),
        shift=shift,
        mask_token_id=mask,
        description=about,
        source=source,
    )


def _block_pair(
    name: str,
    arm: str,
    mdm: str,
    *,
    shift: bool,
    mask: int,
    source: str,
    about: str,
    block_length: int,
) -> PairEntry:
    return PairEntry(
        name=name,
        arm=ModelSource(path=arm),
        mdm=ModelSource(path=mdm),
        shift=shift,
        attention="block-causal",
        block_length=block_length,
        mask_token_id=mask,
        description=about,
        source=source,
    )


def _pairs() -> Iterator[PairEntry]:
    yield PairEntry(
        name="tiny",
        arm=ModelSource(path="tiny/arm"),
        mdm=ModelSource(path="tiny/mdm"),
        shift=True,
        description="a small Llama trained on the four tasks, and the MDM post-trained from it",
        source="made by mechshift",
        verified=True,
        embedded=True,
    )
    yield from _dream_pairs()
    yield from _diffullama_pairs()
    yield from _small_qwen_pairs()
    yield from _block_pairs()


def _dream_pairs() -> Iterator[PairEntry]:
    for suffix, hub in (("", "Dream-v0-Base-7B"), ("-instruct", "Dream-v0-Instruct-7B")):
        yield _pair(
            f"dream-7b{suffix}",
            "Qwen/Qwen2.5-7B",
            f"Dream-org/{hub}",
            shift=True,
            mask=151666,
            source=DREAM,
            about="Dream (15 GB each)",
        )
    for name, hub in (
        ("dream-coder-7b", "Dream-org/Dream-Coder-v0-Base-7B"),
        ("dream-coder-7b-instruct", "Dream-org/Dream-Coder-v0-Instruct-7B"),
        ("diffucoder-7b", "apple/DiffuCoder-7B-Base"),
        ("diffucoder-7b-instruct", "apple/DiffuCoder-7B-Instruct"),
        ("diffucoder-7b-cpgrpo", "apple/DiffuCoder-7B-cpGRPO"),
    ):
        yield _pair(
            name,
            "Qwen/Qwen2.5-Coder-7B",
            hub,
            shift=True,
            mask=151666,
            source=DREAM_LIKE,
            about=f"{'Dream-Coder' if 'dream' in name else 'DiffuCoder'} (15 GB each)",
        )


def _diffullama_pairs() -> Iterator[PairEntry]:
    for name, arm, mask, about in (
        ("diffullama-7b", "meta-llama/Llama-2-7b-hf", 811, "DiffuLLaMA (14 GB each)"),
        ("diffugpt-s", "openai-community/gpt2", 10541, "DiffuGPT, 124M parameters"),
        ("diffugpt-m", "openai-community/gpt2-medium", 50257, "DiffuGPT, 355M parameters"),
    ):
        hub = name.removesuffix("-7b")
        yield _pair(
            name,
            arm,
            f"diffusionfamily/{hub}",
            shift=True,
            mask=mask,
            source=DIFFULLAMA,
            about=about,
        )


def _small_qwen_pairs() -> Iterator[PairEntry]:
    yield _pair(
        "open-dcoder-0.5b",
        "Qwen/Qwen2.5-Coder-0.5B",
        "fredzzp/open-dcoder-0.5B",
        shift=True,
        mask=None,
        source=OPEN_DCODER,
        about="Open-dCoder, 0.5B parameters",
    )
    for name, arm, mask in (
        ("a2d-coder-0.5b", "Qwen2.5-Coder-0.5B-Instruct", 151665),
        ("a2d-qwen3-0.6b", "Qwen3-0.6B", 151669),
    ):
        yield _pair(
            f"{name}-mdlm",
            f"Qwen/{arm}",
            f"dllm-hub/{arm}-diffusion-mdlm-v0.1",
            shift=False,
            mask=mask,
            source=A2D,
            about="dllm's tiny A2D, full attention",
        )
        yield _block_pair(
            f"{name}-bd3lm",
            f"Qwen/{arm}",
            f"dllm-hub/{arm}-diffusion-bd3lm-v0.1",
            shift=False,
            mask=mask,
            source=A2D,
            about="dllm's tiny A2D, block diffusion",
            block_length=32,
        )


def _block_pairs() -> Iterator[PairEntry]:
    for size in ("1.7B", "4B", "8B"):
        yield _block_pair(
            f"sdar-{size.lower()}",
            f"Qwen/Qwen3-{size}-Base",
            f"JetLM/SDAR-{size}-Chat",
            shift=False,
            mask=151669,
            source=SDAR,
            about=f"SDAR, {size} parameters",
            block_length=4,
        )
    for size in ("1.5B", "7B"):
        yield _block_pair(
            f"fast-dllm-v2-{size.lower()}",
            f"Qwen/Qwen2.5-{size}-Instruct",
            f"Efficient-Large-Model/Fast_dLLM_v2_{size}",
            shift=True,
            mask=151665,
            source=FAST_DLLM,
            about=f"Fast-dLLM v2, {size} parameters",
            block_length=32,
        )
    for size in ("4B", "8B"):
        yield _block_pair(
            f"a2d-init-{size.lower()}",
            f"Qwen/Qwen3-{size}",
            f"divelab/Qwen3-{size}-a2d-init",
            shift=False,
            mask=151669,
            source=OPDLM,
            about=f"the ARM's own weights, {size}: what attention alone changes",
            block_length=4,
        )


PAIRS: dict[str, PairEntry] = {entry.name: entry for entry in _pairs()}
"""The known pairs; a pair of one's own is a `PairEntry` with two folders or hub ids."""

UNPAIRED_MDMS: dict[str, MdmEntry] = {
    name: MdmEntry(
        name=name,
        mdm=ModelSource(path=hub),
        shift=False,
        mask_token_id=126336,
        description="LLaDA, 8B parameters, trained from scratch",
        source=LLADA,
    )
    for name, hub in (
        ("llada-8b", "GSAI-ML/LLaDA-8B-Base"),
        ("llada-8b-instruct", "GSAI-ML/LLaDA-8B-Instruct"),
        ("llada-1.5", "GSAI-ML/LLaDA-1.5"),
    )
}
"""MDMs that were not made from an ARM: a control of their own kind."""
