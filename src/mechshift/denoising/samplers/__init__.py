"""Samplers: which target tokens an MDM commits at each step. One file per published method."""

from mechshift.denoising.samplers.diffullama import DiffuLLaMARandomKeep as DiffuLLaMARandomKeep
from mechshift.denoising.samplers.diffullama import DiffuLLaMATopKMask as DiffuLLaMATopKMask
from mechshift.denoising.samplers.diffusion_vs_ar import DiffusionVsAR as DiffusionVsAR
from mechshift.denoising.samplers.dream import Dream as Dream
from mechshift.denoising.samplers.greedy import LeftToRight as LeftToRight
from mechshift.denoising.samplers.greedy import MostConfident as MostConfident
from mechshift.denoising.samplers.greedy import RandomOrder as RandomOrder
from mechshift.denoising.samplers.interface import Commit as Commit
from mechshift.denoising.samplers.interface import Sampler as Sampler
from mechshift.denoising.samplers.interface import StepState as StepState
from mechshift.denoising.samplers.llada import LLaDA as LLaDA
from mechshift.denoising.samplers.mdlm import MDLM as MDLM
from mechshift.denoising.samplers.registry import SAMPLERS as SAMPLERS
from mechshift.denoising.samplers.registry import SamplerName as SamplerName
from mechshift.denoising.samplers.registry import sampler_named as sampler_named
