"""Post-training: an ARM becomes an MDM, or is trained on with its own objective."""

from mechshift.posttraining._posttrain import UNTRAINED_TINY as UNTRAINED_TINY
from mechshift.posttraining._posttrain import posttrain as posttrain
from mechshift.posttraining._tiny_tokenizer import tiny_tokenizer as tiny_tokenizer
from mechshift.posttraining.config import PosttrainConfig as PosttrainConfig
from mechshift.posttraining.trainer import train as train
