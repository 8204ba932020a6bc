"""One file per layout of modules; `architecture.ARCHITECTURES` lists the classes of them all."""

from mechshift.models.architectures.gemma3 import GEMMA3 as GEMMA3
from mechshift.models.architectures.gpt2 import GPT2 as GPT2
from mechshift.models.architectures.llama import LLAMA_LIKE as LLAMA_LIKE
