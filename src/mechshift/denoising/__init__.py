"""Denoising: what a model reads at each step, which tokens are scored, and greedy decoding."""

from mechshift.denoising.canvas import Canvas as Canvas
from mechshift.denoising.canvas import CanvasBatch as CanvasBatch
from mechshift.denoising.canvas import Readout as Readout
from mechshift.denoising.canvas import batch_canvases as batch_canvases
from mechshift.denoising.canvas import build_canvases as build_canvases
from mechshift.denoising.decoding import Decoded as Decoded
from mechshift.denoising.decoding import Order as Order
from mechshift.denoising.decoding import decode as decode
from mechshift.denoising.encoded import Contrast as Contrast
from mechshift.denoising.encoded import EncodedExample as EncodedExample
from mechshift.denoising.readout import COMPARED_WITH_CLEAN as COMPARED_WITH_CLEAN
from mechshift.denoising.readout import METRICS as METRICS
from mechshift.denoising.readout import clean_reference as clean_reference
from mechshift.denoising.readout import metric_function as metric_function
from mechshift.denoising.readout import readout_hidden as readout_hidden
from mechshift.denoising.readout import readout_logits as readout_logits
from mechshift.denoising.readout import score_readouts as score_readouts
from mechshift.denoising.schedule import Schedule as Schedule
from mechshift.denoising.schedule import left_to_right as left_to_right
from mechshift.denoising.schedule import random_order as random_order
from mechshift.denoising.schedule import schedule_from_orders as schedule_from_orders
