"""The samplers by name, each with its published settings.

The first three are the library's own greedy orders. The others are called after the model they
were published with and their name in its code.
"""

from typing import Literal

from mechshift.denoising.samplers.diffullama import DiffuLLaMARandomKeep, DiffuLLaMATopKMask
from mechshift.denoising.samplers.diffusion_vs_ar import DiffusionVsAR
from mechshift.denoising.samplers.dream import Dream
from mechshift.denoising.samplers.greedy import LeftToRight, MostConfident, RandomOrder
from mechshift.denoising.samplers.interface import Sampler
from mechshift.denoising.samplers.llada import LLaDA
from mechshift.denoising.samplers.mdlm import MDLM
from mechshift.errors import DenoisingError

SamplerName = Literal[
    "confidence",
    "left-to-right",
    "random",
    "dream-origin",
    "dream-maskgit_plus",
    "dream-topk_margin",
    "dream-entropy",
    "diffullama-random-keep",
    "diffullama-top-k-mask",
    "llada-low_confidence",
    "llada-random",
    "mdlm",
    "diffusion-vs-ar",
]

SAMPLERS: dict[str, Sampler] = {
    "confidence": MostConfident(),
    "left-to-right": LeftToRight(),
    "random": RandomOrder(),
    "dream-origin": Dream(alg="origin"),
    "dream-maskgit_plus": Dream(alg="maskgit_plus"),
    "dream-topk_margin": Dream(alg="topk_margin"),
    "dream-entropy": Dream(alg="entropy"),
    "diffullama-random-keep": DiffuLLaMARandomKeep(),
    "diffullama-top-k-mask": DiffuLLaMATopKMask(),
    "llada-low_confidence": LLaDA(remasking="low_confidence"),
    "llada-random": LLaDA(remasking="random"),
    "mdlm": MDLM(),
    "diffusion-vs-ar": DiffusionVsAR(),
}


def sampler_named(name: str) -> Sampler:
    """The sampler of that name.

    Raises:
        DenoisingError: there is none.
    """
    if name not in SAMPLERS:
        raise DenoisingError(f"unknown order '{name}'; known: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]
