"""A small experiment on the embedded pair, run once for the tests that look at its results."""

from importlib.resources import files
from pathlib import Path

import pytest

from mechshift.ablation import AblationSettings
from mechshift.comparison import ComparisonSettings
from mechshift.run import (
    AttributionSettings,
    EvaluationSettings,
    RunSettings,
    run_experiment,
)
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig

SMALL = RunSettings(
    tasks=("ioi", "infilling"),
    pool=PoolConfig(num_examples=12, num_held_out=10),
    attribution=AttributionSettings(ig_steps=2, chunk_size=4),
    evaluation=EvaluationSettings(fractions=(0.01, 0.1, 1.0)),
    comparison=ComparisonSettings(
        num_resamples=50, num_splits=10, num_shuffles=5, num_exchanges=20
    ),
    ablation=AblationSettings(kinds=("heads",), num_control_draws=1, num_resamples=50),
    semantics=SemanticsSettings(
        ig_steps=1, num_neurons=3, num_contexts=2, num_sequences=10, num_resamples=50
    ),
)


@pytest.fixture(scope="session")
def small():
    """The settings of the small experiment."""
    return SMALL


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The folder of a finished run of these settings."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    run_experiment(folder, SMALL, device="cpu", quiet=True)
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The folder of the embedded models."""
    return Path(str(files("mechshift") / "pairs" / "tiny"))


@pytest.fixture(scope="session")
def link_model(tiny):
    """Make a folder with the files of an embedded model, or its weights with another's rest."""

    def link(folder, weights, described_by=None):
        folder.mkdir(parents=True)
        for path in (tiny / (described_by or weights)).iterdir():
            if path.is_file():
                source = tiny / weights / path.name if path.suffix == ".safetensors" else path
                (folder / path.name).symlink_to(source)

    return link
