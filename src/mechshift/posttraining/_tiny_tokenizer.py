"""The tokenizer of the embedded pair.

A word-level vocabulary over GPT-2's way of cutting text: a token is a word with the space before
it, a mark, or at most two digits, so every number up to 99 is one token and a year is two. The
vocabulary is what the tasks can say, in a fixed order, and nothing else.
"""

from collections.abc import Iterator
from itertools import product

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mechshift.tasks import greater_than, infilling, ioi

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
IOI_TEMPLATES = list(ioi.TEMPLATES.values())[:6]
BEGINNINGS = list(infilling.BEGINNINGS.values())[:4]
ENDINGS = list(infilling.ENDINGS.values())[:2]
THINGS = dict(list(infilling.THINGS.items())[:16])
COLOURS = dict(list(infilling.COLOURS.items())[:8])
"""What the tasks could say when the pair was trained. Their lists have grown at the ends since."""


def _texts() -> Iterator[str]:
    """Texts that together hold every word of every task that the pair was trained on."""
    yield from (f"{number}" for number in range(100))
    yield from (f"{number:02d}" for number in range(10))
    yield "0,1->2+3-4*5=6"
    for template, name in product(IOI_TEMPLATES, NAMES):
        yield template.format(first=name, second=name, subject=name, place="store", object="book")
    yield from (f"the {word}" for word in (*ioi.PLACES, *ioi.OBJECTS))
    for noun in greater_than.NOUNS:
        yield greater_than.PROMPT.format(noun=noun, century=11, start=1150)
    for beginning, ending, name in product(BEGINNINGS, ENDINGS, NAMES):
        start = beginning.format(name=name)
        if name != NAMES[0]:
            yield start  # all else has been said with the first name
            continue
        for things, likeness in product(THINGS.items(), COLOURS.items()):
            end = ending.format(use=things[1], likeness=likeness[1])
            yield f"{start} {likeness[0]} {things[0]}. {end}"
            yield infilling.CAUSAL_PROMPT.format(ending=end, beginning=start)
    for name in NAMES:
        for beginning in BEGINNINGS:
            yield infilling.CAUSAL_PROMPT.format(
                ending="It.", beginning=beginning.format(name=name)
            )
