"""The tokenizer of the embedded pair.

A word-level vocabulary over GPT-2's way of cutting text: a token is a word with the space before
it, a mark, or at most two digits, so every number up to 99 is one token and a year is two. The
vocabulary is what the tasks can say, in a fixed order, and nothing else.
"""

from collections.abc import Iterator
from itertools import product, zip_longest

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mechshift.tasks import countdown, greater_than, infilling, ioi

SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<mask>")


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The embedded pair's tokenizer, with `<bos>` put before every text."""
    cut = _pre_tokenizer()
    words: dict[str, None] = {}
    for text in _texts():
        words.update((word, None) for word, _ in cut.pre_tokenize_str(text))
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        mask_token="<mask>",
        clean_up_tokenization_spaces=False,
    )


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    digits = pre_tokenizers.Split(Regex(r"\d{1,2}"), behavior="isolated")
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence([digits, words])


NAMES = ioi.NAMES[:40]
THINGS = dict(list(infilling.THINGS.items())[:24])
"""Words of the tasks' longer lists that can be said with this vocabulary."""


def _texts() -> Iterator[str]:
    """Texts that together hold every word of every task, the lists above cut short."""
    yield from (f"{number}" for number in range(100))
    yield from (f"{number:02d}" for number in range(10))
    yield "0,1->2+3-4*5=6"
    for template in countdown.TEMPLATES.values():
        yield template.format(numbers="3,5", goal=15)
    for template, name in product(ioi.TEMPLATES.values(), NAMES):
        yield template.format(first=name, second=name, subject=name, place="store", object="book")
    yield from (f"the {word}" for word in (*ioi.PLACES, *ioi.OBJECTS))
    for template, noun in product(greater_than.TEMPLATES.values(), greater_than.NOUNS):
        yield template.format(noun=noun, century=11, start=1150)
    for beginning, name in product(infilling.BEGINNINGS.values(), NAMES):
        start = beginning.format(name=name)
        yield start
        yield infilling.CAUSAL_PROMPT.format(ending="It.", beginning=start)
    clues = zip_longest(THINGS.items(), infilling.COLOURS.items(), fillvalue=("red", "blood"))
    for (thing, use), (colour, likeness) in clues:
        for ending in infilling.ENDINGS.values():
            end = ending.format(use=use, likeness=likeness)
            yield f"It {colour} {thing}. {end}"
            yield infilling.CAUSAL_PROMPT.format(ending=end, beginning="It")
