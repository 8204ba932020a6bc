"""LoRA adapters, merged into models of their own."""

from pathlib import Path

from mechshift.models.folders import ModelSource
from mechshift.models.language_model import Kind
from mechshift.models.loading import load_language_model
from mechshift.models.stock_classes import without_reports


def merge_adapter(base: Path, adapter: Path, out: Path, *, kind: Kind) -> None:
    """Write a model with its adapter merged in, in float32, with the model's tokenizer.

    Args:
        base: folder of the model that the adapter was trained on.
        adapter: folder of the adapter.
        out: a folder that exists.
        kind: an MDM's config.json also states its mask token.

    Raises:
        ModelError: no such model or adapter, or the two do not fit.
    """
    source = ModelSource(path=str(base), adapter=str(adapter))
    model = load_language_model(source, name=base.name, kind="arm", attention="causal", shift=True)
    if kind == "mdm":
        model.module.config.mask_token_id = model.mask_token_id
    with without_reports():
        model.module.save_pretrained(out)
    model.tokenizer.save_pretrained(out)
