"""Post-training: an ARM becomes an MDM, or is trained on with its own objective."""

from mechshift.posttraining.trainer import PosttrainConfig as PosttrainConfig
from mechshift.posttraining.trainer import train as train
