"""Models and examples small enough to check by hand, for mechshift's tests and for its users'."""

from mechshift.testing._known_circuit import KnownCircuit as KnownCircuit
from mechshift.testing._known_circuit import PathStrengths as PathStrengths
from mechshift.testing._known_circuit import Placement as Placement
from mechshift.testing._known_circuit import known_circuit as known_circuit
from mechshift.testing._toy_tokenizer import toy_tokenizer as toy_tokenizer
from mechshift.testing._two_circuits import TwoCircuits as TwoCircuits
from mechshift.testing._two_circuits import two_circuits as two_circuits
from mechshift.testing.additive_model import AdditiveRuns as AdditiveRuns
from mechshift.testing.additive_model import additive_metrics as additive_metrics
from mechshift.testing.additive_model import additive_runs as additive_runs
from mechshift.testing.planted_scores import LAYERS_MOVED as LAYERS_MOVED
from mechshift.testing.planted_scores import PLANTS as PLANTS
from mechshift.testing.planted_scores import Noise as Noise
from mechshift.testing.planted_scores import PlantedPair as PlantedPair
from mechshift.testing.planted_scores import planted_pair as planted_pair
from mechshift.testing.random_models import ARCHITECTURES as ARCHITECTURES
from mechshift.testing.random_models import random_examples as random_examples
from mechshift.testing.random_models import random_language_model as random_language_model
from mechshift.testing.training_kinds import SimulatedTrainings as SimulatedTrainings
from mechshift.testing.training_kinds import TrainingKinds as TrainingKinds
from mechshift.testing.training_kinds import simulated_trainings as simulated_trainings
from mechshift.testing.two_sided import ClueStrengths as ClueStrengths
from mechshift.testing.two_sided import TwoSidedReader as TwoSidedReader
from mechshift.testing.two_sided import two_sided_reader as two_sided_reader
