"""What semantics is tested on: padded batches of random models, and heads written by hand."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechshift.denoising import EncodedExample, batch_canvases, build_canvases, left_to_right
from mechshift.testing import random_examples
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS
from mechshift.testing.random_models import as_language_model

NAMES = ("Ann", "Bob", "Cat", "Dan")
FILLERS = ("so", "then", "and", "but", "if", "or", "as")
WORDS = (*NAMES, *FILLERS, "says")
VOCAB = len(SPECIAL_TOKENS) + len(WORDS)
FIRST_NAME, FIRST_FILLER = len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(NAMES)
SAYS, MASK, BOS = VOCAB - 1, SPECIAL_TOKENS.index("<mask>"), SPECIAL_TOKENS.index("<bos>")
POSITIONS = 24

TOKEN, PREVIOUS, NEXT, POSITION = 0, VOCAB, 2 * VOCAB, 3 * VOCAB
D_MODEL, D_HEAD = 160, 40
GAIN = 2.0
"""Of queries and keys: a match then weighs e^20 more than none."""


@pytest.fixture(scope="session")
def canvases_of():
    """A function: model -> all canvases of a few random examples of different lengths."""

    def make(model, num_examples=4, num_targets=3, num_steps=2):
        examples = random_examples(
            num_examples, kind=model.kind, num_targets=num_targets, suffix_length=2
        )
        schedule = left_to_right([num_targets] * num_examples, num_steps)
        return build_canvases(model, examples, schedule)

    return make


@pytest.fixture
def batch_of(canvases_of):
    """A function: model -> one padded batch of all these canvases."""

    def make(model, **options):
        canvases = canvases_of(model, **options)
        (batch,) = batch_canvases(model, canvases, len(canvases))
        assert not batch.attention_mask.all()
        return batch

    return make


@pytest.fixture
def stock_output():
    """A function: what the Hugging Face class itself returns on a batch's clean canvases."""

    def run(model, batch, **options):
        return model.module(
            input_ids=batch.clean_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            **options,
        )

    return run


@pytest.fixture
def role_of_head():
    """The role of every head of `planted_model` that has one."""
    return {
        "a0.h0": "previous_token",
        "a0.h1": "next_token",
        "a0.h2": "duplicate",
        "a1.h0": "induction",
        "a1.h1": "backward_induction",
        "a1.h2": "mask_to_clue",
        "a1.h3": "name_mover",
    }


@pytest.fixture
def planted_model():
    """A function: kind and attention -> a GPT-2 whose heads are written by hand, one role each.

    The residual stream holds one-hot blocks: the token, its position, and, after layer 0, the
    tokens before and after it. A head's query and key compare blocks; keys that its role must not
    look at, and that hold the same token, are pushed away by position. MLPs are zero.

    - a0.h0: previous token, written to PREVIOUS;
    - a0.h1: next token, written to NEXT;
    - a0.h2: the same token elsewhere;
    - a0.h3: nothing, so it attends uniformly;
    - a1.h0: induction, key PREVIOUS, without i + 1;
    - a1.h1: backward induction, key NEXT, without i - 1;
    - a1.h2: from a mask to names;
    - a1.h3: from "says" to names, which are copied to the output.

    With an `unembedding_shift` the model answers with another token than the one it copies.
    """

    def make(kind, attention, unembedding_shift=0):
        module = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCAB,
                n_embd=D_MODEL,
                n_head=D_MODEL // D_HEAD,
                n_layer=2,
                n_inner=4,
                n_positions=POSITIONS,
                tie_word_embeddings=False,
                bos_token_id=BOS,
                eos_token_id=None,
            )
        )
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
            module.transformer.wte.weight[:, TOKEN : TOKEN + VOCAB] = torch.eye(VOCAB)
            module.transformer.wpe.weight[:, POSITION : POSITION + POSITIONS] = torch.eye(POSITIONS)
            answers = torch.eye(VOCAB).roll(unembedding_shift, dims=0)
            module.lm_head.weight[:, TOKEN : TOKEN + VOCAB] = answers
            _write_heads(*(block.attn for block in module.transformer.h))
        return as_language_model(module, list(WORDS), f"planted-{kind}", kind, attention)

    return make


def _write_heads(first, second):
    same = [(token, token) for token in range(VOCAB)]

    def at_offset(offset):
        """Query position i, key position i + offset."""
        return [(i, i + offset) for i in range(POSITIONS) if 0 <= i + offset < POSITIONS]

    def names_from(token):
        return [(token, FIRST_NAME + name) for name in range(len(NAMES))]

    _match(first, 0, POSITION, POSITION, at_offset(-1))
    _copy(first, 0, TOKEN, PREVIOUS)
    _match(first, 1, POSITION, POSITION, at_offset(1))
    _copy(first, 1, TOKEN, NEXT)
    _match(first, 2, TOKEN, TOKEN, same)
    _match(first, 2, POSITION, POSITION, at_offset(0), -GAIN, VOCAB)
    _match(second, 0, TOKEN, PREVIOUS, same)
    _match(second, 0, POSITION, POSITION, at_offset(1), -GAIN, VOCAB)
    _match(second, 1, TOKEN, NEXT, same)
    _match(second, 1, POSITION, POSITION, at_offset(-1), -GAIN, VOCAB)
    _match(second, 2, TOKEN, TOKEN, names_from(MASK))
    _match(second, 3, TOKEN, TOKEN, names_from(SAYS))
    _copy(second, 3, TOKEN, TOKEN)


def _match(attention, head, query_block, key_block, pairs, gain=GAIN, first_feature=0):
    """Make a head's query of block entry q agree with its key of block entry k, for each pair."""
    weight, start = attention.c_attn.weight, head * D_HEAD + first_feature
    for query, key in pairs:
        weight[query_block + query, start + query] = GAIN
        weight[key_block + key, D_MODEL + start + query] = gain


def _copy(attention, head, read, write):
    """Make a head write what it reads in a block, at about the size of one, to another."""
    features = range(head * D_HEAD, head * D_HEAD + VOCAB)
    for entry, feature in enumerate(features):
        attention.c_attn.weight[read + entry, 2 * D_MODEL + feature] = 1.0
        attention.c_proj.weight[feature, write + entry] = 0.1


@pytest.fixture
def planted_canvases():
    """A function: model -> twelve canvases of a name, fillers, "says", and the name as target."""

    def make(model):
        examples = []
        for row in range(12):
            name, other = FIRST_NAME + row % 4, FIRST_NAME + (row + 1) % 4
            before = tuple(FIRST_FILLER + (row + i) % len(FILLERS) for i in range(row % 3))
            after = tuple(FIRST_FILLER + (row + 3 + i) % len(FILLERS) for i in range(4))
            examples.append(
                EncodedExample(
                    id=f"planted-{row}",
                    task="planted",
                    prefix_ids=(BOS, *before, name, *after, SAYS),
                    target_ids=(name,),
                    corrupted_prefix_ids=(BOS, *before, other, *after, SAYS),
                    distractor_ids=(other,),
                )
            )
        return build_canvases(model, examples, left_to_right([1] * len(examples)))

    return make
