import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from mechshift.posttraining.saving import write_checkpoint, write_model


def test_a_finished_model_is_rounded_once_and_says_so(
    micro_llama, tokenizer, micro_config, tmp_path
):
    module = micro_llama()
    write_model(tmp_path, module, tokenizer, micro_config(save_dtype="bfloat16"))
    written = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in written, "tied weights are written once"
    for name, weight in written.items():
        assert torch.equal(weight, module.get_parameter(name).bfloat16())
    stock = LlamaForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert stock.dtype == torch.bfloat16
    assert stock.lm_head.weight is stock.model.embed_tokens.weight
    assert module.dtype == torch.float32, "what is trained on stays as it is"


def test_checkpoints_keep_what_bfloat16_would_lose(micro_llama, tokenizer, micro_config, tmp_path):
    module = micro_llama()
    write_checkpoint(tmp_path / "step", module, tokenizer, micro_config(save_dtype="bfloat16"))
    for name, weight in load_file(tmp_path / "step" / "model.safetensors").items():
        assert torch.equal(weight, module.get_parameter(name))
