"""A run of two small mixtures of experts, asked for the share of each expert."""

import json

import polars as pl
import pytest
import torch

from mechshift.comparison import ComparisonSettings
from mechshift.denoising import pad_left
from mechshift.models import load_language_model
from mechshift.run import (
    EvaluationSettings,
    GraphSettings,
    PairOptions,
    RunSettings,
    run_experiment,
)
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig
from mechshift.testing import random_language_model
from mechshift.testing.random_models import MASK_TOKEN_ID

SEMANTICS = SemanticsSettings(sequence_length=8, num_sequences=4, ig_steps=2, num_resamples=40)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    """A folder of two models that differ in little but how they are read, and a task of theirs.

    Attention is weak, so both answer by the last word alone, and alike.
    """
    folder = tmp_path_factory.mktemp("mixtures")
    options = {"mask_token_id": MASK_TOKEN_ID}
    made = random_language_model("qwen3_moe", "arm", options=options)
    with torch.no_grad():
        for layer in made.module.model.layers:
            layer.self_attn.o_proj.weight.mul_(0.15)
    for name in ("arm", "mdm"):
        made.module.save_pretrained(folder / name)
        made.tokenizer.save_pretrained(folder / name)
    arm = load_language_model(
        folder / "arm", name="arm", kind="arm", attention="causal", shift=True
    )
    generator = torch.Generator().manual_seed(0)

    def answer(words):
        ids = [tuple(arm.tokenizer(" ".join(words))["input_ids"])]
        logits = arm.parts.unembedding(arm.hidden(*pad_left(ids, arm.device))[0, -1])
        return arm.tokenizer.convert_ids_to_tokens(int(logits.argmax()))

    lines = {}
    while len(lines) < 160:
        words = [f"w{n}" for n in torch.randint(19, (5,), generator=generator).tolist()]
        prompt, corrupted = words[:4], [*words[:3], words[4]]
        target, distractor = answer(prompt), answer(corrupted)
        if target[0] == distractor[0] == "w" and target != distractor:
            lines[" ".join(prompt)] = {
                "prompt": " ".join(prompt),
                "corrupted_prompt": " ".join(corrupted),
                "target": f" {target}",
                "distractor": f" {distractor}",
                "cluster": " ".join(prompt),
            }
    task = folder / "last.jsonl"
    task.write_text("".join(f"{json.dumps(line)}\n" for line in lines.values()))
    return folder


def settings_of(folder, experts):
    return RunSettings(
        models=PairOptions(arm=str(folder / "arm"), mdm=str(folder / "mdm")),
        tasks=(str(folder / "last.jsonl"),),
        graph=GraphSettings(experts=experts),
        pool=PoolConfig(num_examples=30, num_held_out=20, num_others=0),
        evaluation=EvaluationSettings(num_random=1, rediscover=False),
        comparison=ComparisonSettings(
            num_resamples=20, num_splits=4, num_shuffles=4, num_exchanges=4
        ),
        semantics=SEMANTICS,
        skip=("flow", "ablation", "controls"),
    )


def test_the_page_has_the_share_of_each_expert_and_its_table(mixtures, tmp_path):
    report = run_experiment(tmp_path, settings_of(mixtures, True), device="cpu", quiet=True)
    page = report.read_text(encoding="utf-8")
    assert "share of the |mean score| of all experts of the layer" in page
    assert "integrated over 2 points" in page
    table = pl.read_csv(report.parent / "last-experts.csv")
    assert len(table) == 2 * 2 * 4 and set(table["model"]) == {"arm", "mdm"}
    shares = table.group_by("model", "layer").agg(pl.col("share").sum())["share"]
    assert shares.to_list() == pytest.approx([1] * 4)
    # The same settings find what is there.
    again = run_experiment(tmp_path, settings_of(mixtures, True), device="cpu", quiet=True)
    assert again.read_text(encoding="utf-8") == page
