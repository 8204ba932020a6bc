"""Language models: their parts, how they attend, how they are loaded, and which pairs are known."""

from mechshift.models.architecture import decoder_parts as decoder_parts
from mechshift.models.catalogue import ModelPair as ModelPair
from mechshift.models.catalogue import load_mdm as load_mdm
from mechshift.models.catalogue import load_pair as load_pair
from mechshift.models.folders import ModelSource as ModelSource
from mechshift.models.language_model import Attention as Attention
from mechshift.models.language_model import Kind as Kind
from mechshift.models.language_model import LanguageModel as LanguageModel
from mechshift.models.language_model import freeze as freeze
from mechshift.models.language_model import probe_attention as probe_attention
from mechshift.models.language_model import set_attention as set_attention
from mechshift.models.loading import load_language_model as load_language_model
from mechshift.models.loading import without_progress_bar as without_progress_bar
from mechshift.models.parts import Architecture as Architecture
from mechshift.models.parts import DecoderParts as DecoderParts
from mechshift.models.parts import LayerParts as LayerParts
from mechshift.models.parts import Norm as Norm
from mechshift.models.parts import Projection as Projection
from mechshift.models.published import PAIRS as PAIRS
from mechshift.models.published import UNPAIRED_MDMS as UNPAIRED_MDMS
from mechshift.models.published import MdmEntry as MdmEntry
from mechshift.models.published import PairEntry as PairEntry
from mechshift.models.rereading import read_like as read_like
from mechshift.models.tokenizers import load_tokenizer as load_tokenizer
