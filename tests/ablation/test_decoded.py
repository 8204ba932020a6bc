"""Decoding under ablation against edited weights, and against a loop without cache or padding."""

import json

import numpy as np
import pytest
import torch

from mechshift.ablation import AblationSettings, decode_ablated, num_decodings
from mechshift.denoising import build_canvases, decode, left_to_right
from mechshift.errors import AblationError
from mechshift.tasks import PoolConfig, encode_pool, load_task_file
from mechshift.testing import random_examples, random_language_model

WORDS = [f"w{index}" for index in range(19)]
NUM_EXAMPLES = 24
MODELS = [("qwen2", "arm"), ("qwen2", "mdm"), ("gpt2", "arm"), ("llama", "mdm")]


@pytest.fixture
def task_of(tmp_path):
    """A function from answers of two words each to a task that calls for them."""

    def make(answers):
        generator = np.random.default_rng(0)
        lines = []
        for number, answer in enumerate(answers):
            # Three or five words, so that batches need padding.
            prompt = " ".join(generator.choice(WORDS, size=3 + 2 * (number % 2)))
            first, _, rest = prompt.partition(" ")
            other = next(word for word in WORDS if word != first)
            distractor = next(f" {a} {a}" for a in WORDS if f" {a} {a}" != answer)
            lines.append(
                {
                    "id": str(number),
                    "prompt": prompt,
                    "target": answer,
                    "distractor": distractor,
                    "corrupted_prompt": f"{other} {rest}",
                    "split": "held-out",
                }
            )
        path = tmp_path / "own.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        return load_task_file(path)

    return make


def examples_of(task, model):
    return tuple(
        task.generate(model.tokenizer, split="held-out", num_examples=NUM_EXAMPLES, seed=0)
    )


class MeansByHand:
    """Means of a0.h1 and m1 by position, from one held-out canvas at a time, and their hooks."""

    def __init__(self, model):
        self.model = model
        examples = random_examples(9, kind=model.kind, num_targets=3, seed=8)
        self.canvases = build_canvases(model, examples, left_to_right([3] * 9))
        head, mlp = [], []
        layers = model.parts.layers
        handles = [
            layers[0].output.module.register_forward_pre_hook(lambda _, a: head.append(a[0][0])),
            layers[1].mlp.register_forward_hook(lambda _m, _a, output: mlp.append(output[0])),
        ]
        for canvas in self.canvases:
            model.module(torch.tensor([canvas.clean_ids]))
        for handle in handles:
            handle.remove()
        self.head, self.mlp = mean_by_position(head), mean_by_position(mlp)

    def hooks(self):
        layers, d_head = self.model.parts.layers, self.model.parts.head_dim
        heads = slice(d_head, 2 * d_head)

        def put_head(_module, args):
            z = args[0].clone()
            z[..., heads] = self.head[: z.shape[1], heads]
            return z

        return [
            layers[0].output.module.register_forward_pre_hook(put_head),
            layers[1].mlp.register_forward_hook(lambda _m, _a, out: self.mlp[None, : out.shape[1]]),
        ]


def mean_by_position(rows):
    longest = max(map(len, rows))
    return torch.stack(
        [torch.stack([row[p] for row in rows if len(row) > p]).mean(dim=0) for p in range(longest)]
    )


@torch.no_grad()
def write(model, example, means):
    """Two tokens from left to right, the whole sequence read anew each time, without padding."""
    handles, written = means.hooks(), []
    for _ in range(2):
        ids = [*example.prefix_ids, *written]
        if model.kind == "mdm":
            ids += [model.mask_token_id] * (2 - len(written))
        logits = model.module(torch.tensor([ids])).logits[0]
        row = logits[len(example.prefix_ids) + len(written) - 1].clone()
        if model.kind == "mdm":
            row[model.mask_token_id] = -torch.inf
        written.append(int(row.argmax()))
    for handle in handles:
        handle.remove()
    return tuple(written)


def text_of(model, tokens):
    return model.tokenizer.decode(list(tokens), skip_special_tokens=True)


def speakable(text):
    return len(text.split()) == 2


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
@pytest.mark.parametrize("replacement", ["zero", "mean"])
def test_the_answers_are_those_of_a_model_that_lacks_the_structures(
    architecture, kind, replacement, task_of, plan_of, without
):
    model = random_language_model(architecture, kind, dtype=torch.float64, seed=3)
    names = ("a0.h1", "m1")
    plan, pool = plan_of(model, *names), PoolConfig(order="left-to-right")
    blank = task_of([" w1 w2"] * NUM_EXAMPLES)
    encoded = encode_pool(blank, examples_of(blank, model), model)
    means = MeansByHand(model)
    if replacement == "zero":
        ablated = decode(without(model, *names), encoded, order=pool.order).tokens
    else:
        ablated = [write(model, example, means) for example in encoded]
    clean = decode(model, encoded, order=pool.order).tokens
    by_ablated, by_clean = ([text_of(model, t) for t in tokens] for tokens in (ablated, clean))
    # Every second example calls for the ablated model's answer, the others for the clean one's.
    wanted = [(by_ablated, by_clean)[row % 2][row] for row in range(NUM_EXAMPLES)]
    answers = [f" {text}" if speakable(text) else " w1 w1" for text in wanted]

    task = task_of(answers)
    settings = AblationSettings(replacements=(replacement,), batch_size=5)
    found = decode_ablated(
        model,
        task,
        examples_of(task, model),
        [plan],
        settings,
        pool=pool,
        mean_canvases=means.canvases,
    )
    expected = [f" {text}" == answer for text, answer in zip(by_ablated, answers, strict=True)]
    np.testing.assert_array_equal(found.correct[0, 0], expected)
    right = [f" {text}" == answer for text, answer in zip(by_clean, answers, strict=True)]
    np.testing.assert_array_equal(found.clean_correct, right)
    assert 3 < sum(expected) < NUM_EXAMPLES and expected != right
    assert found.accuracy(settings).value[0, 0] == np.mean(expected)


def test_resampling_alone_has_no_meaning_while_a_model_decodes(task_of, plan_of):
    model = random_language_model("llama")
    task = task_of([" w1 w2"] * 2)
    with pytest.raises(AblationError, match="only 'resample' was asked for, which has no meaning"):
        decode_ablated(
            model,
            task,
            examples_of(task, model),
            [plan_of(model, "m0")],
            AblationSettings(replacements=("resample",)),
            pool=PoolConfig(),
        )


def test_resampling_is_left_out_where_other_replacements_are_asked_for(task_of, plan_of):
    model = random_language_model("llama", "mdm")
    task, seen = task_of([" w1 w2"] * NUM_EXAMPLES), []
    settings = AblationSettings(replacements=("resample", "zero"))
    found = decode_ablated(
        model,
        task,
        examples_of(task, model),
        [plan_of(model, plan_name="none")],
        settings,
        pool=PoolConfig(),
        progress=seen.append,
    )
    assert found.replacements == ("zero",)
    np.testing.assert_array_equal(found.correct[0, 0], found.clean_correct)
    assert sum(seen) == num_decodings(NUM_EXAMPLES, 1, settings) == 2 * NUM_EXAMPLES
