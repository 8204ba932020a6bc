"""Denoising: what a model reads at each step, which tokens are scored, and decoding."""

from mechshift.denoising.canvas import Canvas as Canvas
from mechshift.denoising.canvas import CanvasBatch as CanvasBatch
from mechshift.denoising.canvas import Readout as Readout
from mechshift.denoising.canvas import batch_canvases as batch_canvases
from mechshift.denoising.canvas import build_canvases as build_canvases
from mechshift.denoising.decoding import Decoded as Decoded
from mechshift.denoising.decoding import decode as decode
from mechshift.denoising.encoded import Contrast as Contrast
from mechshift.denoising.encoded import EncodedExample as EncodedExample
from mechshift.denoising.readout import METRICS as METRICS
from mechshift.denoising.readout import metric_function as metric_function
from mechshift.denoising.readout import readout_hidden as readout_hidden
from mechshift.denoising.readout import readout_logits as readout_logits
from mechshift.denoising.readout import score_readouts as score_readouts
from mechshift.denoising.samplers import SAMPLERS as SAMPLERS
from mechshift.denoising.samplers import Sampler as Sampler
from mechshift.denoising.samplers import SamplerName as SamplerName
from mechshift.denoising.samplers import sampler_named as sampler_named
from mechshift.denoising.schedule import Schedule as Schedule
from mechshift.denoising.schedule import left_to_right as left_to_right
from mechshift.denoising.schedule import random_order as random_order
from mechshift.denoising.schedule import schedule_from_orders as schedule_from_orders
from mechshift.denoising.trace import Trace as Trace
from mechshift.denoising.trace import TraceStep as TraceStep
from mechshift.denoising.trace import trace_schedule as trace_schedule
