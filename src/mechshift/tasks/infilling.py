"""Semantic infilling: the word in a gap, when only the text after it tells.

"Anna found the ___ ___. It could cut bread and it looked like blood." calls for " red knife". The
MDM sees masks in place of the gap and the rest of the text after them. An ARM cannot look ahead, so
its prompt gives the ending first. The corrupted text describes another thing of another colour.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.tasks.encoding import check_encodes, has_words, text_ids, usable_templates
from mechshift.tasks.example import Example, Split
from mechshift.tasks.ioi import NAMES
from mechshift.tasks.sampling import draw_examples, split_of

COLOURS = {
    "red": "blood",
    "white": "snow",
    "black": "coal",
    "green": "grass",
    "yellow": "butter",
    "blue": "ink",
    "brown": "chocolate",
    "grey": "ash",
    "purple": "grapes",
    "orange": "pumpkins",
    "pink": "roses",
    "golden": "honey",
}

THINGS = {
    "knife": "cut bread",
    "pen": "write letters",
    "key": "open doors",
    "broom": "sweep floors",
    "lamp": "light rooms",
    "rope": "tie boats",
    "cup": "hold tea",
    "drum": "make music",
    "needle": "sew shirts",
    "hammer": "drive nails",
    "oven": "bake cakes",
    "ladder": "reach roofs",
    "bell": "ring loudly",
    "clock": "tell time",
    "camera": "take pictures",
    "boat": "cross rivers",
    "shovel": "dig holes",
    "brush": "paint walls",
    "towel": "dry hands",
    "bucket": "carry water",
    "candle": "melt slowly",
    "mirror": "show faces",
    "telescope": "enlarge stars",
    "wheel": "roll downhill",
    # The embedded pair knows those above; a pair with a larger vocabulary uses all.
    "fan": "move air",
    "radio": "play songs",
    "truck": "haul gravel",
    "plane": "fly high",
    "train": "pull wagons",
    "magnet": "attract iron",
    "ruler": "measure lines",
    "stove": "boil soup",
    "fridge": "cool milk",
    "sponge": "scrub plates",
    "net": "catch fish",
    "shield": "stop arrows",
    "anchor": "secure ships",
    "razor": "shave beards",
    "comb": "untangle hair",
    "map": "show roads",
    "compass": "point north",
    "crane": "lift beams",
    "tractor": "plough fields",
    "rake": "gather leaves",
    "hose": "wet gardens",
    "bottle": "store juice",
    "wallet": "keep money",
    "blanket": "warm legs",
    "glove": "cover fingers",
    "whistle": "call dogs",
    "trumpet": "wake soldiers",
    "printer": "copy pages",
    "drill": "bore tunnels",
    "axe": "split logs",
    "chisel": "carve stone",
    "pump": "raise oil",
    "umbrella": "block rain",
    "pillow": "support necks",
    "scissors": "trim paper",
    "fence": "hold sheep",
}

BEGINNINGS = {
    "found": "{name} found the",
    "bought": "At noon {name} bought the",
    "sold": "Last week {name} sold the",
    "saw": "In the attic {name} saw the",
    "lost": "Near the harbour {name} lost the",
    "borrowed": "After supper {name} borrowed the",
}

ENDINGS = {
    "use-first": "It could {use} and it looked like {likeness}.",
    "colour-first": "It was as bright as {likeness} and it could {use}.",
    "everyone": "Everyone knew that it could {use} and that its colour was that of {likeness}.",
    "reminded": "Its colour reminded people of {likeness}, and they used it to {use}.",
}

TEMPLATES = {
    f"{beginning}/{ending}": f"{BEGINNINGS[beginning]} {ENDINGS[ending]}"
    for beginning in BEGINNINGS
    for ending in ENDINGS
}
"""By name."""

CAUSAL_PROMPT = "The story ends: {ending} The story begins: {beginning}"


@dataclass(frozen=True)
class Infilling:
    """A colour and a thing, told apart by what the thing is for and what its colour is like."""

    name: str = "infilling"
    summary: str = "a gap that only the text after it determines: 'Anna found the ___ ___. It ...'"
    metric: str = "logit_diff"

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(TEMPLATES)

    def generate(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        split: Split,
        num_examples: int,
        seed: int,
        templates: Sequence[str] = (),
    ) -> list[Example]:
        samples = {
            name: text.format(name=NAMES[0], use=THINGS["knife"], likeness=COLOURS["red"])
            for name, text in TEMPLATES.items()
        }
        wordings = usable_templates(samples, templates, tokenizer, self.name)
        names = [name for name in NAMES if has_words(tokenizer, f" {name}")]
        colours, things = (
            [word for word, clue in words.items() if has_words(tokenizer, f" {word} {clue}")]
            for words in (COLOURS, THINGS)
        )
        gaps = [
            (colour, thing)
            for colour, thing in product(colours, things)
            if split_of(f"infilling {colour} {thing}") == split
        ]
        if not gaps or not names:
            raise TaskError(
                f"task 'infilling' needs names, colours and things, and this tokenizer has no"
                f" tokens for those of the {split} split; bring your own task file instead."
            )

        # What stands for one gap must be as many tokens as what stands for the other.
        by_length: dict[tuple[int, ...], list[tuple[str, str]]] = {}
        lengths = {gap: _lengths(tokenizer, gap) for gap in gaps}
        for gap, length in lengths.items():
            by_length.setdefault(length, []).append(gap)

        def draw(generator: random.Random) -> Example | None:
            gap = generator.choice(gaps)
            other = generator.choice(by_length[lengths[gap]])
            if gap[0] == other[0] or gap[1] == other[1]:
                return None
            template, name = generator.choice(wordings), generator.choice(names)
            example = self._example(template, name, gap, other)
            check_encodes(self, example, tokenizer)
            return example

        return draw_examples(
            draw, task=self.name, split=split, num_examples=num_examples, seed=seed
        )

    def _example(
        self, template: str, name: str, gap: tuple[str, str], other: tuple[str, str]
    ) -> Example:
        begins, _, ends = template.partition("/")
        beginning = BEGINNINGS[begins].format(name=name)
        ending, corrupted = (
            ENDINGS[ends].format(use=THINGS[thing], likeness=COLOURS[colour])
            for colour, thing in (gap, other)
        )
        target, suffix = f" {gap[0]} {gap[1]}", f". {ending}"
        return Example(
            id="",
            task=self.name,
            prompt=beginning,
            target=target,
            distractor=f" {other[0]} {other[1]}",
            corrupted_prompt=beginning,
            suffix=suffix,
            corrupted_suffix=f". {corrupted}",
            causal_prompt=CAUSAL_PROMPT.format(ending=ending, beginning=beginning),
            corrupted_causal_prompt=CAUSAL_PROMPT.format(ending=corrupted, beginning=beginning),
            spans=self._spans(beginning + target + suffix, gap),
            cluster=f"{gap[0]} {gap[1]}",
            template=template,
        )

    @staticmethod
    def _spans(text: str, gap: tuple[str, str]) -> dict[str, tuple[int, int]]:
        spans = {}
        for span, clue in (("colour-clue", COLOURS[gap[0]]), ("use-clue", THINGS[gap[1]])):
            start = text.rindex(clue)
            spans[span] = (start, start + len(clue))
        return spans

    def is_correct(self, example: Example, completion: str) -> bool:
        return completion.strip() == example.target.strip()

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        return None


def _lengths(tokenizer: PreTrainedTokenizerBase, gap: tuple[str, str]) -> tuple[int, ...]:
    """Tokens of the gap itself and of its two clues."""
    colour, thing = gap
    words = (f" {colour} {thing}", f" {THINGS[thing]}", f" {COLOURS[colour]}")
    return tuple(len(text_ids(tokenizer, text)) for text in words)
