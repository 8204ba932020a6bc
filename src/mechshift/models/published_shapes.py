"""Shapes of the published models, so that a run is planned with nothing downloaded.

From the public config.json of each checkpoint. The tests compare the totals of parameters with
those that are published with the weights. An MDM is loaded only if it has the layers and heads of
its ARM (`catalogue.check_same_shape`), so one shape serves a pair. What is *not* certain is whether
an MDM pads its vocabulary or unties its unembedding differently: DiffuGPT-M has one token more than
GPT-2 medium, and dllm's checkpoints ship an unembedding of their own.
"""

from mechshift.models.shapes import FAMILIES, ModelShape


def _gpt2(num_layers: int, d_model: int, num_heads: int) -> ModelShape:
    return ModelShape(
        family=FAMILIES["gpt2"],
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=64,
        d_mlp=4 * d_model,
        vocab_size=50257,
        tied=True,
        num_positions=1024,
    )


def _llama(d_mlp: int, vocab_size: int, num_key_value_heads: int = 32) -> ModelShape:
    return ModelShape(
        family=FAMILIES["llama"],
        num_layers=32,
        d_model=4096,
        num_heads=32,
        num_key_value_heads=num_key_value_heads,
        head_dim=128,
        d_mlp=d_mlp,
        vocab_size=vocab_size,
        tied=False,
    )


def _nemotron_labs(num_layers: int, d_model: int, d_mlp: int) -> ModelShape:
    return ModelShape(
        family=FAMILIES["ministral3"],
        num_layers=num_layers,
        d_model=d_model,
        num_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        d_mlp=d_mlp,
        vocab_size=131072,
        tied=False,
    )


def _qwen2(
    num_layers: int,
    d_model: int,
    heads: tuple[int, int],
    d_mlp: int,
    vocab_size: int,
) -> ModelShape:
    return ModelShape(
        family=FAMILIES["qwen2"],
        num_layers=num_layers,
        d_model=d_model,
        num_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=d_model // heads[0],
        d_mlp=d_mlp,
        vocab_size=vocab_size,
        tied=d_model <= 2048,
    )


def _qwen3(num_layers: int, d_model: int, num_heads: int, d_mlp: int) -> ModelShape:
    return ModelShape(
        family=FAMILIES["qwen3"],
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        num_key_value_heads=8,
        head_dim=128,
        d_mlp=d_mlp,
        vocab_size=151936,
        tied=d_model < 4096,
    )


QWEN2_5_0_5B = _qwen2(24, 896, (14, 2), 4864, 151936)
QWEN2_5_1_5B = _qwen2(28, 1536, (12, 2), 8960, 151936)
QWEN2_5_3B = _qwen2(36, 2048, (16, 2), 11008, 151936)
QWEN2_5_32B = _qwen2(64, 5120, (40, 8), 27648, 152064)
QWEN2_5_7B = _qwen2(28, 3584, (28, 4), 18944, 152064)
QWEN3_0_6B = _qwen3(28, 1024, 16, 3072)
QWEN3_1_7B = _qwen3(28, 2048, 16, 6144)
QWEN3_4B = _qwen3(36, 2560, 32, 9728)
QWEN3_8B = _qwen3(36, 4096, 32, 12288)
QWEN3_30B_A3B = ModelShape(
    family=FAMILIES["qwen3_moe"],
    num_layers=48,
    d_model=2048,
    num_heads=32,
    num_key_value_heads=4,
    head_dim=128,
    d_mlp=8 * 768,
    vocab_size=151936,
    tied=False,
    num_experts=128,
    experts_per_token=8,
)
SMOLLM2_135M = ModelShape(
    family=FAMILIES["llama"],
    num_layers=30,
    d_model=576,
    num_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    d_mlp=1536,
    vocab_size=49152,
    tied=True,
)
LLADA_8B = _llama(12288, 126464)

PUBLISHED_SHAPES: dict[str, ModelShape] = {
    "Qwen/Qwen2.5-3B": QWEN2_5_3B,
    "Qwen/Qwen2.5-32B": QWEN2_5_32B,
    "Qwen/Qwen2.5-7B": QWEN2_5_7B,
    "Qwen/Qwen2.5-7B-Instruct": QWEN2_5_7B,
    "Qwen/Qwen2.5-Coder-7B": QWEN2_5_7B,
    "Qwen/Qwen2.5-1.5B-Instruct": QWEN2_5_1_5B,
    "Qwen/Qwen2.5-Coder-0.5B": QWEN2_5_0_5B,
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": QWEN2_5_0_5B,
    "Qwen/Qwen3-0.6B": QWEN3_0_6B,
    "Qwen/Qwen3-1.7B": QWEN3_1_7B,
    "Qwen/Qwen3-1.7B-Base": QWEN3_1_7B,
    "Qwen/Qwen3-4B": QWEN3_4B,
    "Qwen/Qwen3-4B-Base": QWEN3_4B,
    "Qwen/Qwen3-8B": QWEN3_8B,
    "Qwen/Qwen3-8B-Base": QWEN3_8B,
    "Qwen/Qwen3-30B-A3B": QWEN3_30B_A3B,
    "Qwen/Qwen3-30B-A3B-Base": QWEN3_30B_A3B,
    "meta-llama/Llama-2-7b-hf": _llama(11008, 32000),
    "openai-community/gpt2": _gpt2(12, 768, 12),
    "openai-community/gpt2-medium": _gpt2(24, 1024, 16),
    "smollm2": SMOLLM2_135M,
    **{
        f"nvidia/Nemotron-Labs-Diffusion-{size}{kind}": shape
        for size, shape in (
            ("3B", _nemotron_labs(26, 3072, 9216)),
            ("8B", _nemotron_labs(34, 4096, 14336)),
            ("14B", _nemotron_labs(40, 5120, 16384)),
        )
        for kind in ("", "-Base")
    },
    "ByteDance-Seed/Seed-Coder-8B-Base": _llama(14336, 155136, num_key_value_heads=8),
    "GSAI-ML/LLaDA-8B-Base": LLADA_8B,
    "GSAI-ML/LLaDA-8B-Instruct": LLADA_8B,
    "GSAI-ML/LLaDA-1.5": LLADA_8B,
}
"""Hub id of an ARM, or of an MDM without one, or name of a fetched ARM -> its shape."""
