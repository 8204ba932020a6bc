from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mechshift.errors import TaskError
from mechshift.posttraining._tiny_tokenizer import tiny_tokenizer
from mechshift.tasks import (
    Example,
    GreaterThan,
    IndirectObject,
    Infilling,
    continuation_ids,
    encode_example,
)
from mechshift.tasks.encoding import check_encodes, is_one_token, text_ids
from mechshift.tasks.ioi import NAMES
from mechshift.testing import toy_tokenizer

NUM_EXAMPLES = 5


def own_example(**fields):
    """An example as a user writes it, for the task "own"."""
    settings = dict(
        id="e0",
        task="own",
        prompt="Mary found the",
        target=" knife",
        distractor=" rope",
        corrupted_prompt="John found the",
    )
    return Example(**(settings | fields))


def encode(example, tokenizer, kind="mdm"):
    return encode_example(IndirectObject(), example, tokenizer, kind)


def texts_read(example, kind):
    """The whole clean and corrupted text, with the target in both, in this model's order."""
    if kind == "mdm":
        return (
            example.prompt + example.target + example.suffix,
            example.corrupted_prompt + example.target + example.corrupted_suffix,
        )
    return (
        (example.causal_prompt or example.prompt) + example.target,
        (example.corrupted_causal_prompt or example.corrupted_prompt) + example.target,
    )


@pytest.fixture(params=["ioi", "greater-than", "countdown", "infilling"])
def task(request, tokenizer, countdown_for):
    tasks = (IndirectObject(), GreaterThan(), countdown_for(tokenizer), Infilling())
    return {task.name: task for task in tasks}[request.param]


def test_every_task_reads_with_every_tokenizer_as_that_tokenizer_reads_the_whole_text(
    task, tokenizer
):
    reads_as_the_whole_text(task, tokenizer)


def reads_as_the_whole_text(task, tokenizer):
    examples = task.generate(tokenizer, split="discovery", num_examples=NUM_EXAMPLES, seed=0)
    assert len(examples) == NUM_EXAMPLES
    for example, kind in product(examples, ("arm", "mdm")):
        encoded = encode_example(task, example, tokenizer, kind)
        clean, corrupted = texts_read(example, kind)
        ids = encoded.prefix_ids + encoded.target_ids + encoded.suffix_ids
        assert ids == text_ids(tokenizer, clean)
        assert tokenizer.decode(list(ids), skip_special_tokens=True) == clean
        assert encoded.corrupted_prefix_ids + encoded.target_ids + (
            encoded.corrupted_suffix_ids
        ) == text_ids(tokenizer, corrupted)
        assert len(encoded.prefix_ids) == len(encoded.corrupted_prefix_ids)
        assert len(encoded.suffix_ids) == len(encoded.corrupted_suffix_ids)
        assert len(encoded.target_ids) == len(encoded.distractor_ids)
        assert tokenizer.mask_token_id not in ids
        assert task.is_correct(example, tokenizer.decode(list(encoded.target_ids)))
        assert not task.is_correct(example, tokenizer.decode(list(encoded.distractor_ids)))


@pytest.mark.parametrize("name", ["ioi", "countdown", "infilling"])
def test_a_vocabulary_of_three_digits_a_token_has_every_task_but_the_years(
    name, tokenizer_of, countdown_for
):
    deepseek = tokenizer_of("deepseek")
    assert deepseek.tokenize("1732") == ["173", "2"]
    tasks = (IndirectObject(), countdown_for(deepseek), Infilling())
    reads_as_the_whole_text({task.name: task for task in tasks}[name], deepseek)


def test_bos_stands_before_a_text_and_eos_never_after_one(tokenizer_of):
    llama, t5 = tokenizer_of("llama2-like"), tokenizer_of("t5-like")
    assert t5("Mary")["input_ids"][-1] == t5.eos_token_id
    assert t5.eos_token_id not in text_ids(t5, "Mary")
    assert t5.eos_token_id not in continuation_ids(t5, "Mary", " and John")
    encoded = encode(own_example(), llama)
    assert encoded.prefix_ids[0] == llama.bos_token_id
    assert llama.bos_token_id not in encoded.prefix_ids[1:] + encoded.target_ids


def test_the_space_that_sentencepiece_puts_before_a_text_is_not_put_before_a_target(tokenizer_of):
    llama = tokenizer_of("llama2-like")
    # Alone, "1" becomes a space and a digit; after other digits it is the digit only.
    assert llama.convert_ids_to_tokens(text_ids(llama, "1")) == ["<s>", "▁", "1"]
    assert llama.convert_ids_to_tokens(continuation_ids(llama, "=1", "14")) == ["1", "4"]


def test_an_empty_prompt_leaves_bos_alone_before_the_target(tokenizer_of):
    llama = tokenizer_of("llama2-like")
    encoded = encode(
        own_example(
            prompt="",
            corrupted_prompt="",
            target="Mary",
            distractor="John",
            suffix=" found",
            corrupted_suffix=" sold",
            causal_prompt="",
            corrupted_causal_prompt="",
        ),
        llama,
    )
    assert encoded.prefix_ids == (llama.bos_token_id,)
    assert llama.convert_ids_to_tokens(encoded.target_ids) == ["▁Mary"]


def test_an_unknown_word_is_not_one_token(tiny):
    assert is_one_token(tiny, "and", " Mary")
    assert tiny("and Zoe")["input_ids"][-1] == tiny.unk_token_id
    assert not is_one_token(tiny, "and", " Zoe")
    assert not is_one_token(tiny, "and", " Mary and")


def test_bos_that_is_also_the_unknown_token_is_not_taken_for_an_unknown_word(tokenizer_of):
    gpt2 = tokenizer_of("gpt2-like")
    example = own_example(prompt=" Mary found the", corrupted_prompt=" John found the")
    assert encode(example, gpt2).prefix_ids[0] == gpt2.unk_token_id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompt": "Mary found the ", "target": "knife", "distractor": "rope"},
            "'knife' merges with the text before it, 'Mary found the ', in this tokenizer;"
            " move a space or a word across the boundary.",
        ),
        (
            {"distractor": " rope and pen"},
            "target has 1 tokens and distractor 3; both need as many, so that positions"
            " correspond.",
        ),
        (
            {"corrupted_prompt": "John and Mary found the"},
            "prompt has 4 tokens and corrupted prompt 6; both need as many, so that positions"
            " correspond.",
        ),
        (
            {"suffix": ". It", "corrupted_suffix": "."},
            "suffix has 2 tokens and corrupted suffix 1; both need as many, so that positions"
            " correspond.",
        ),
        ({"target": ""}, "the target is empty; give the text that the model should produce."),
        ({"distractor": " knife"}, "target and distractor are both ' knife'; they must differ."),
        (
            {"corrupted_prompt": "Mary found the"},
            "clean and corrupted text are the same; change what the answer depends on.",
        ),
        *(
            (
                fields,
                f"it holds the mask token '<mask>' ({tiny_tokenizer().mask_token_id}), which only"
                " denoising may place; use other words.",
            )
            for fields in (
                {"prompt": "Mary<mask> the"},
                {"target": "<mask>"},
                {"distractor": "<mask>"},
                {"corrupted_prompt": "John<mask> the"},
                {"suffix": "<mask>", "corrupted_suffix": "."},
                {"suffix": ".", "corrupted_suffix": "<mask>"},
            )
        ),
        (
            {"spans": {"clue": (10, 30)}},
            "span 'clue' is [10, 30), outside the 20 characters of prompt, target and suffix.",
        ),
    ],
)
def test_an_example_that_does_not_fit_is_refused_with_its_name(tiny, fields, message):
    with pytest.raises(TaskError) as refusal:
        encode(own_example(**fields), tiny)
    assert str(refusal.value) == f"example 'e0': {message}"


def test_a_span_between_two_tokens_is_refused():
    toy = toy_tokenizer("Mary John found the knife rope".split())
    with pytest.raises(TaskError, match="span 'space' is ' ', which holds no token"):
        encode(own_example(spans={"space": (4, 5)}), toy)


def test_two_words_that_are_both_unknown_are_not_called_the_same(tiny):
    with pytest.raises(TaskError, match="it holds a word that this tokenizer does not know"):
        encode(own_example(target=" zeppelin", distractor=" yacht"), tiny)


@pytest.mark.parametrize("key", ["prompt", "target", "distractor", "corrupted_prompt"])
def test_a_word_that_the_tokenizer_does_not_know_is_refused(tiny, key):
    words = {"prompt": "Zoe found the", "corrupted_prompt": "Zoe found the"}
    with pytest.raises(
        TaskError, match="it holds a word that this tokenizer does not know; use other words"
    ):
        encode(own_example(**{key: words.get(key, " zeppelin")}), tiny)


def test_a_suffix_without_a_prompt_for_the_arm_is_refused(tiny):
    example = own_example(suffix=". It could cut bread.", corrupted_suffix=". It could tie boats.")
    message = (
        "an example with a suffix needs 'causal_prompt' and 'corrupted_causal_prompt', since an"
        " autoregressive model cannot see what comes after the target"
    )
    assert encode(example, tiny, "mdm").suffix_ids
    with pytest.raises(TaskError, match=message):
        encode(example, tiny, "arm")
    with pytest.raises(TaskError, match=message):
        check_encodes(IndirectObject(), example, tiny)


def test_spans_point_at_their_words_where_each_kind_of_model_reads_them(tokenizer, words_at):
    prompt, target, suffix = "Mary found the", " red knife", ". It could cut bread."
    text = prompt + target + suffix
    example = own_example(
        prompt=prompt,
        target=target,
        distractor=" green rope",
        corrupted_prompt=prompt,
        suffix=suffix,
        corrupted_suffix=". It could tie boats.",
        # Tells "found the" twice; the one right before the target is meant.
        causal_prompt="The story ends: It could cut bread. The story begins: Mary found the",
        corrupted_causal_prompt=(
            "The story ends: It could tie boats. The story begins: Mary found the"
        ),
        spans={
            word: (text.index(word), text.index(word) + len(word))
            for word in ("Mary", "the", "knife", "cut bread", ". It")
        },
    )
    mdm, arm = encode(example, tokenizer, "mdm"), encode(example, tokenizer, "arm")
    assert {name: words_at(mdm, name, tokenizer) for name in mdm.spans} == {
        word: word for word in ("Mary", "the", "knife", "cut bread", ". It")
    }
    # The ending stands between other words in the ARM's prompt, which never says ". It".
    assert {name: words_at(arm, name, tokenizer) for name in arm.spans} == {
        word: word for word in ("Mary", "the", "knife", "cut bread")
    }
    assert arm.spans["the"][1] == len(arm.prefix_ids)
    assert arm.spans["knife"][1] == len(arm.prefix_ids) + len(arm.target_ids)
    assert arm.spans["cut bread"][1] < arm.spans["Mary"][0]


def test_a_target_word_that_the_arm_has_read_before_is_found_in_the_target(tiny, words_at):
    example = own_example(
        prompt="Mary found the",
        suffix=".",
        corrupted_suffix=".",
        corrupted_prompt="John found the",
        causal_prompt="The knife and Mary",
        corrupted_causal_prompt="The knife and John",
        spans={"answer": (15, 20)},
    )
    arm = encode(example, tiny, "arm")
    assert words_at(arm, "answer", tiny) == "knife"
    assert arm.spans["answer"] == (len(arm.prefix_ids), len(arm.prefix_ids) + 1)


names = st.sampled_from(NAMES)
marks = st.sampled_from(["17", "1732", "->", ".", "<mask>", "naïve", "", " "])
pairs = st.lists(st.tuples(names, names), min_size=1, max_size=3)
"""Words of the clean text, each with the one that stands in its place in the corrupted text."""


def joined(pairs, side):
    return "".join(f" {pair[side]}" for pair in pairs)


@given(
    prompt=pairs,
    answer=pairs,
    suffix=pairs,
    mark=st.none() | st.tuples(st.sampled_from(["prompt", "answer", "suffix"]), marks, marks),
    kind=st.sampled_from(["qwen-like", "llama2-like", "t5-like", "gpt2-like", "tiny"]),
)
def test_an_example_is_refused_or_its_halves_correspond_token_by_token(
    tokenizer_at, prompt, answer, suffix, mark, kind
):
    tokenizer = tokenizer_at(kind)
    if mark is not None:
        where, clean, corrupted = mark
        {"prompt": prompt, "answer": answer, "suffix": suffix}[where].append((clean, corrupted))
    example = own_example(
        prompt=joined(prompt, 0),
        corrupted_prompt=joined(prompt, 1),
        target=joined(answer, 0),
        distractor=joined(answer, 1),
        suffix=joined(suffix, 0),
        corrupted_suffix=joined(suffix, 1),
    )
    try:
        encoded = encode(example, tokenizer)
    except TaskError as refusal:
        assert str(refusal).startswith("example 'e0': ")
        assume(False)
    ids = encoded.prefix_ids + encoded.target_ids + encoded.suffix_ids
    assert ids == text_ids(tokenizer, example.prompt + example.target + example.suffix)
    corrupted_ids = (
        encoded.corrupted_prefix_ids + encoded.distractor_ids + encoded.corrupted_suffix_ids
    )
    assert len(corrupted_ids) == len(ids)
    assert encoded.target_ids and encoded.target_ids != encoded.distractor_ids
    assert tokenizer.mask_token_id not in ids + corrupted_ids
