"""A random model and random examples; time and memory do not depend on what weights mean."""

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from mechshift.denoising import Canvas, EncodedExample, build_canvases, left_to_right
from mechshift.models import LanguageModel, freeze, set_attention
from mechshift.testing import toy_tokenizer

VOCAB_SIZE = 2048


@dataclass(frozen=True, kw_only=True)
class Problem:
    """By default 20 M parameters in the layers, and one batch of 16 sequences of 30 tokens."""

    layers: int = 6
    heads: int = 8
    key_value_heads: int = 2
    """Where there are as many as heads, the model is a Llama, else a Qwen2."""
    width: int = 512
    batch: int = 16
    tokens: int = 30
    ig_steps: int = 5

    def model(self, dtype: torch.dtype = torch.float32) -> LanguageModel:
        torch.manual_seed(0)
        module = self._module()
        module.to(dtype=dtype)
        if torch.cuda.is_available():
            module.to(device="cuda")
        freeze(module)
        set_attention(module, "causal")
        return LanguageModel(
            name="random",
            kind="arm",
            module=module,
            tokenizer=toy_tokenizer(["word"]),
            attention="causal",
            shift=True,
            mask_token_id=None,
            weights_hash="made in memory",
        )

    def canvases(self, model: LanguageModel, num_examples: int | None = None) -> list[Canvas]:
        """One canvas for each example; by default as many as fill a batch."""
        generator = torch.Generator().manual_seed(1)
        num_words = min(VOCAB_SIZE, model.vocab_size)

        def draw(count: int) -> tuple[int, ...]:
            return tuple(torch.randint(num_words, (count,), generator=generator).tolist())

        examples = [
            EncodedExample(
                id=f"{row}",
                task="random",
                prefix_ids=draw(self.tokens),
                corrupted_prefix_ids=draw(self.tokens),
                target_ids=draw(1),
                distractor_ids=draw(1),
            )
            for row in range(num_examples or self.batch)
        ]
        return build_canvases(model, examples, left_to_right([1] * len(examples)))

    def title(self, model: LanguageModel) -> str:
        return (
            f"{model.module.num_parameters() / 1e6:.0f} M parameters,"
            f" {model.graph().num_edges:,} edges, {self.batch} x {self.tokens} tokens,"
            f" {torch.get_num_threads()} threads, {model.device.type}"
        )

    def _module(self) -> Qwen2ForCausalLM | LlamaForCausalLM:
        sizes = dict(
            vocab_size=VOCAB_SIZE,
            hidden_size=self.width,
            intermediate_size=4 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            tie_word_embeddings=False,
        )
        if self.key_value_heads == self.heads:
            return LlamaForCausalLM(LlamaConfig(**sizes))
        return Qwen2ForCausalLM(Qwen2Config(**sizes))
