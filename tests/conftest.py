"""What holds for every test: one thread a process, and no network."""

import os

# Set before torch or a tokenizer is imported. The tests run in several processes, one per core.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"  # transformer-lens imports wandb

import pytest
import torch
from hypothesis import settings

# Models are small and the machine may be busy: no deadlines, and the same examples every time.
settings.register_profile("mechshift", deadline=None, derandomize=True)
settings.load_profile("mechshift")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same global seed, so that one run alone is as in the suite."""
    torch.manual_seed(0)
