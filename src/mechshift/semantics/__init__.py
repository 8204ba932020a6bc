"""Semantics of components: lenses, direct attribution, concentration, roles, neurons."""

from mechshift.semantics._alignment import READINGS as READINGS
from mechshift.semantics._alignment import Alignment as Alignment
from mechshift.semantics._alignment import AlignmentMeasures as AlignmentMeasures
from mechshift.semantics._alignment import AlignmentShift as AlignmentShift
from mechshift.semantics._alignment import ScoredLens as ScoredLens
from mechshift.semantics._alignment import alignment as alignment
from mechshift.semantics._alignment import alignment_shift as alignment_shift
from mechshift.semantics._attention_roles import ROLES as ROLES
from mechshift.semantics._attention_roles import AttentionRoles as AttentionRoles
from mechshift.semantics._attention_roles import attention_roles as attention_roles
from mechshift.semantics._concentration import ComponentMagnitudes as ComponentMagnitudes
from mechshift.semantics._concentration import Concentration as Concentration
from mechshift.semantics._concentration import ConcentrationShift as ConcentrationShift
from mechshift.semantics._concentration import concentration as concentration
from mechshift.semantics._concentration import concentration_shift as concentration_shift
from mechshift.semantics._concentration import resample_magnitudes as resample_magnitudes
from mechshift.semantics._direct_logit_attribution import (
    DirectLogitAttribution as DirectLogitAttribution,
)
from mechshift.semantics._direct_logit_attribution import (
    direct_logit_attribution as direct_logit_attribution,
)
from mechshift.semantics._lens_profile import LensProfile as LensProfile
from mechshift.semantics._lens_profile import lens_profile as lens_profile
from mechshift.semantics._logit_lens import LensReadings as LensReadings
from mechshift.semantics._logit_lens import LogitLens as LogitLens
from mechshift.semantics._logit_lens import logit_lens as logit_lens
from mechshift.semantics._noise_free_number import NoiseFreeNumber as NoiseFreeNumber
from mechshift.semantics._noise_free_number import noise_free_number as noise_free_number
from mechshift.semantics.attention_patterns import AttentionPattern as AttentionPattern
from mechshift.semantics.attention_patterns import attention_pattern as attention_pattern
from mechshift.semantics.experts import ExpertShares as ExpertShares
from mechshift.semantics.experts import expert_shares as expert_shares
from mechshift.semantics.explanations import Explanations as Explanations
from mechshift.semantics.explanations import explain_neurons as explain_neurons
from mechshift.semantics.neurons import Neurons as Neurons
from mechshift.semantics.neurons import describe_neurons as describe_neurons
from mechshift.semantics.readouts import Readouts as Readouts
from mechshift.semantics.readouts import examples_by_step as examples_by_step
from mechshift.semantics.readouts import join_readouts as join_readouts
from mechshift.semantics.readouts import mean_by_step as mean_by_step
from mechshift.semantics.recorded_run import RecordedRun as RecordedRun
from mechshift.semantics.recorded_run import clean_run as clean_run
from mechshift.semantics.semantics import Semantics as Semantics
from mechshift.semantics.semantics import SemanticsShift as SemanticsShift
from mechshift.semantics.semantics import analyse_semantics as analyse_semantics
from mechshift.semantics.semantics import semantics_shift as semantics_shift
from mechshift.semantics.settings import SemanticsSettings as SemanticsSettings
from mechshift.semantics.text_models import EndpointModel as EndpointModel
from mechshift.semantics.text_models import LocalModel as LocalModel
from mechshift.semantics.text_models import TextModel as TextModel
from mechshift.semantics.text_models import load_local_model as load_local_model
from mechshift.semantics.unit_activations import NO_TOKEN as NO_TOKEN
from mechshift.semantics.unit_activations import Contexts as Contexts
