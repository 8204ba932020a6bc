"""Shapes of models, known from a configuration alone, without weights.

Numbers of parameters and edges follow from it, and so do FLOPs and memory
(`mechshift.run.planning`).
"""

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedConfig

from mechshift.errors import ModelError
from mechshift.graph import Graph
from mechshift.models.checkpoints import checkpoint_format
from mechshift.models.folders import read_config
from mechshift.models.stock_classes import stock_config


@dataclass(frozen=True, kw_only=True)
class Family:
    """Contents of the layers of a class of decoders, apart from their sizes."""

    gated_mlp: bool = True
    """Three matrices (gate, up, down) instead of two."""
    layer_norm: bool = False
    """Norms that remove the mean and have a bias, instead of RMSNorm."""
    post_norms: bool = False
    """Norms behind attention and MLP too."""
    head_norms: bool = False
    """Norms of each query and key."""
    fused_projections: bool = False
    """q, k and v are parts of one module's output."""
    query_key_value_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False


FAMILIES: dict[str, Family] = {
    "gemma3_text": Family(head_norms=True, post_norms=True),
    "gpt2": Family(
        gated_mlp=False,
        layer_norm=True,
        fused_projections=True,
        query_key_value_bias=True,
        output_bias=True,
        mlp_bias=True,
    ),
    "llama": Family(),
    "ministral3": Family(),
    "mistral": Family(),
    "qwen2": Family(query_key_value_bias=True),
    "qwen3": Family(head_norms=True),
    "qwen3_moe": Family(head_norms=True),
}
"""`model_type` of a stock configuration -> family, where the configuration adds no bias."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The sizes of one decoder."""

    family: Family
    num_layers: int
    d_model: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    d_mlp: int
    """Hidden neurons that a token passes through in one layer; in a mixture of experts those of
    all experts that it is sent to."""
    vocab_size: int
    """Embeddings, which may exceed the tokenizer's tokens."""
    tied: bool
    """Whether the unembedding is the embedding matrix."""
    num_positions: int = 0
    """Learned positions; 0 where positions are computed."""
    num_experts: int = 0
    """Experts of each layer; 0 where there is one MLP."""
    experts_per_token: int = 0
    """How many of them a token is sent to."""

    @property
    def d_query(self) -> int:
        """All heads side by side."""
        return self.num_heads * self.head_dim

    @property
    def d_key(self) -> int:
        """All KV heads side by side."""
        return self.num_key_value_heads * self.head_dim

    @property
    def attention_weights(self) -> int:
        """Entries of one layer's q, k, v and output matrices."""
        return 2 * self.d_model * (self.d_query + self.d_key)

    @property
    def mlp_weights(self) -> int:
        """Entries of one layer's MLP matrices that a token meets; a mixture's with its router."""
        experts = (3 if self.family.gated_mlp else 2) * self.d_model * self.d_mlp
        return experts + self.d_model * self.num_experts

    @property
    def d_routed(self) -> int:
        """A token's copies for its experts, side by side; 0 where there is one MLP."""
        return self.experts_per_token * self.d_model

    @property
    def num_parameters(self) -> int:
        """As they lie in memory: a tied unembedding counts once."""
        embeddings = self.d_model * self.vocab_size * (1 if self.tied else 2)
        positions = self.d_model * self.num_positions
        return embeddings + positions + self.num_layers * self._layer_parameters + self._norm

    @property
    def _layer_parameters(self) -> int:
        family = self.family
        biases = (
            family.query_key_value_bias * (self.d_query + 2 * self.d_key)
            + family.output_bias * self.d_model
            + family.mlp_bias * ((1 + family.gated_mlp) * self.d_mlp + self.d_model)
        )
        norms = (4 if family.post_norms else 2) * self._norm + family.head_norms * 2 * self.head_dim
        return self.attention_weights + self._stored_mlp_weights + biases + norms

    @property
    def _stored_mlp_weights(self) -> int:
        """Entries of one layer's MLP matrices, also of the experts that a token is not sent to."""
        if not self.num_experts:
            return self.mlp_weights
        router = self.d_model * self.num_experts
        return router + (self.mlp_weights - router) * self.num_experts // self.experts_per_token

    @property
    def _norm(self) -> int:
        return (2 if self.family.layer_norm else 1) * self.d_model

    def graph(self, *, grouped: bool = False) -> Graph:
        """The computation graph; `grouped` keeps one k and one v destination per KV head."""
        return Graph(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_key_value_groups=self.num_key_value_heads if grouped else self.num_heads,
        )


def model_shape(config: PreTrainedConfig) -> ModelShape:
    """The shape that a stock configuration describes, such as that of a loaded model's module.

    Raises:
        ModelError: a class of decoders that is not supported, or a mixture of experts in which
            some layers have one MLP.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"the shape of a '{config.model_type}' model is not known; known: "
            f"{', '.join(FAMILIES)}."
        )
    num_heads = config.num_attention_heads
    learned = config.model_type == "gpt2"
    inner = getattr(config, "n_inner", None) or 4 * config.hidden_size
    experts = _experts(config)
    return ModelShape(
        family=_family(config),
        num_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        num_heads=num_heads,
        num_key_value_heads=getattr(config, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
        d_mlp=inner if learned else experts.get("d_mlp", config.intermediate_size),
        vocab_size=config.vocab_size,
        tied=config.tie_word_embeddings,
        num_positions=config.max_position_embeddings if learned else 0,
        num_experts=experts.get("num_experts", 0),
        experts_per_token=experts.get("experts_per_token", 0),
    )


def read_shape(folder: Path) -> ModelShape:
    """The shape that a folder's config.json describes; its weights need not be there.

    Raises:
        ModelError: no readable config.json, or one of a class that is not supported.
    """
    config = read_config(folder)
    return model_shape(stock_config(checkpoint_format(config, str(folder)), config, str(folder)))


def _experts(config: PreTrainedConfig) -> dict[str, int]:
    """Sizes of a mixture of experts; nothing where each layer has one MLP.

    Raises:
        ModelError: some layers have one MLP, so that layers differ in size.
    """
    if config.model_type != "qwen3_moe":
        return {}
    if config.mlp_only_layers or config.decoder_sparse_step != 1:
        raise ModelError(
            "a mixture of experts in which some layers have one MLP is not supported; its"
            f" config.json has mlp_only_layers={config.mlp_only_layers} and"
            f" decoder_sparse_step={config.decoder_sparse_step}."
        )
    return {
        "d_mlp": config.num_experts_per_tok * config.moe_intermediate_size,
        "num_experts": config.num_experts,
        "experts_per_token": config.num_experts_per_tok,
    }


def _family(config: PreTrainedConfig) -> Family:
    family = FAMILIES[config.model_type]
    if getattr(config, "attention_bias", False):
        family = replace(family, query_key_value_bias=True, output_bias=True)
    if getattr(config, "mlp_bias", False):
        family = replace(family, mlp_bias=True)
    return family
