import re
from itertools import product

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import TaskError
from mechshift.models import LanguageModel, freeze, set_attention
from mechshift.tasks import SPLITS, Infilling, encode_example
from mechshift.tasks.infilling import BEGINNINGS, COLOURS, ENDINGS, THINGS
from mechshift.tasks.ioi import NAMES
from mechshift.testing import toy_tokenizer

TASK = Infilling()


def examples_of(tokenizer, *, split="discovery", num_examples=60, seed=0):
    return TASK.generate(tokenizer, split=split, num_examples=num_examples, seed=seed)


def gaps_that_fit(ending: str) -> list[str]:
    """Every filling of the gap whose clues stand in this ending."""
    return [
        f" {colour} {thing}"
        for (colour, likeness), (thing, use) in product(COLOURS.items(), THINGS.items())
        if re.search(rf"\b{likeness}\b", ending) and re.search(rf"\b{use}\b", ending)
    ]


def model_for(tokenizer, kind):
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    module = LlamaForCausalLM(config)
    attention = "causal" if kind == "arm" else "full"
    set_attention(module, attention)
    freeze(module)
    return LanguageModel(
        name=kind,
        kind=kind,
        module=module,
        tokenizer=tokenizer,
        attention=attention,
        shift=True,
        mask_token_id=tokenizer.mask_token_id,
        weights_hash="0",
    )


def test_the_text_after_the_gap_allows_the_target_alone(tiny):
    for example in examples_of(tiny):
        assert gaps_that_fit(example.suffix) == [example.target]
        assert gaps_that_fit(example.corrupted_suffix) == [example.distractor]


def test_the_text_before_the_gap_says_nothing_about_it(tiny):
    clues = [*COLOURS, *COLOURS.values(), *THINGS, *THINGS.values()]
    targets = {}
    for example in examples_of(tiny, num_examples=200):
        assert example.prompt == example.corrupted_prompt
        assert not any(re.search(rf"\b{clue}\b", example.prompt) for clue in clues)
        opening = re.sub(rf"\b({'|'.join(NAMES)})\b", "_", example.prompt)
        targets.setdefault(opening, set()).add(example.target)
    assert targets.keys() == {text.format(name="_") for text in BEGINNINGS.values()}
    assert min(map(len, targets.values())) > 10


def test_the_ending_never_says_the_answer(tiny):
    for example in examples_of(tiny):
        colour, thing = example.target.split()
        assert not re.search(rf"\b({colour}|{thing})\b", example.suffix)
        assert not re.search(rf"\b({colour}|{thing})\b", example.causal_prompt)


def test_the_corrupted_story_differs_in_both_colour_and_thing(tiny):
    for example in examples_of(tiny):
        assert not set(example.target.split()) & set(example.distractor.split())


def test_the_mdm_reads_masks_in_place_and_the_arm_the_ending_first(tiny):
    (example,) = examples_of(tiny, num_examples=1)
    mdm = encode_example(TASK, example, tiny, "mdm")
    arm = encode_example(TASK, example, tiny, "arm")
    schedule = left_to_right([2])
    first, second = build_canvases(model_for(tiny, "mdm"), [mdm], schedule)
    (teacher_forced,) = build_canvases(model_for(tiny, "arm"), [arm], schedule)

    colour, _ = example.target.split()
    assert tiny.decode(list(first.clean_ids[1:])) == (
        f"{example.prompt}<mask><mask>{example.suffix}"
    )
    assert tiny.decode(list(second.clean_ids[1:])) == (
        f"{example.prompt} {colour}<mask>{example.suffix}"
    )
    assert tiny.decode(list(first.corrupted_ids[1:])) == (
        f"{example.prompt}<mask><mask>{example.corrupted_suffix}"
    )
    ending = example.suffix.removeprefix(". ")
    assert tiny.decode(list(teacher_forced.clean_ids[1:])) == (
        f"The story ends: {ending} The story begins: {example.prompt} {colour}"
    )
    assert tiny.mask_token_id not in teacher_forced.clean_ids


def test_the_mdm_can_use_what_stands_after_the_gap_and_a_causal_model_cannot(tiny):
    (example,) = examples_of(tiny, num_examples=1)
    encoded = encode_example(TASK, example, tiny, "mdm")
    mdm = model_for(tiny, "mdm")
    canvas = build_canvases(mdm, [encoded], left_to_right([2]))[0]
    ids = torch.tensor([canvas.clean_ids, canvas.corrupted_ids])
    predicts = len(encoded.prefix_ids) - 1
    seen = {}
    for attention in ("full", "causal"):
        set_attention(mdm.module, attention)
        clean, corrupted = mdm.module(ids).logits[:, predicts]
        seen[attention] = not torch.equal(clean, corrupted)
    assert seen == {"full": True, "causal": False}


def test_spans_point_at_the_clues_wherever_a_model_reads_them(tokenizer, words_at):
    for example in examples_of(tokenizer, num_examples=12):
        colour, thing = example.target.split()
        for kind in ("arm", "mdm"):
            encoded = encode_example(TASK, example, tokenizer, kind)
            assert words_at(encoded, "colour-clue", tokenizer) == COLOURS[colour]
            assert words_at(encoded, "use-clue", tokenizer) == THINGS[thing]
            before = [end <= len(encoded.prefix_ids) for _, end in encoded.spans.values()]
            assert all(before) if kind == "arm" else not any(before)


def test_a_clue_stands_once_in_every_ending():
    for template, use, likeness in product(ENDINGS.values(), THINGS.values(), COLOURS.values()):
        ending = template.format(use=use, likeness=likeness)
        assert ending.count(use) == 1 and len(re.findall(rf"\b{likeness}\b", ending)) == 1
        assert ending.rindex(likeness) == re.search(rf"\b{likeness}\b", ending).start()


def test_no_gap_is_in_two_splits(tiny):
    gaps = {
        split: {
            gap
            for example in examples_of(tiny, split=split, num_examples=80)
            for gap in (example.target, example.distractor)
        }
        for split in SPLITS
    }
    assert min(map(len, gaps.values())) > 10
    assert len(set.union(*gaps.values())) == sum(map(len, gaps.values()))


def test_only_the_gap_itself_is_right(tiny):
    (example,) = examples_of(tiny, num_examples=1)
    colour, thing = example.target.split()
    assert TASK.is_correct(example, f"{colour} {thing}")
    assert not TASK.is_correct(example, f"{thing} {colour}")
    assert not TASK.is_correct(example, thing)


def test_a_tokenizer_that_joins_the_gap_with_the_mark_after_it_is_refused():
    texts = [text.format(name=name) for text in BEGINNINGS.values() for name in NAMES]
    texts += [
        text.format(use=use, likeness=likeness)
        for text, use, likeness in product(ENDINGS.values(), THINGS.values(), COLOURS.values())
    ]
    words = {word: None for text in texts for word in text.split()}
    clues = [word for text in (*THINGS.values(), *COLOURS.values()) for word in text.split()]
    toy = toy_tokenizer(list(dict.fromkeys([*COLOURS, *THINGS, *words, *clues])))
    with pytest.raises(
        TaskError, match=r"task 'infilling' does not fit this tokenizer: '\. \w+ .*' merges with"
    ):
        examples_of(toy)
