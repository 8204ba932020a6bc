"""Semantic infilling: the word in a gap, when only the text after it tells.

"Anna found the ___ ___. It could cut bread and it looked like blood." calls for " red knife". The
MDM sees masks in place of the gap and the rest of the text after them. An ARM cannot look ahead, so
its prompt gives the ending first. The corrupted text describes another thing of another colour.
"""

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.tasks.encoding import check_encodes
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
}

BEGINNINGS = (
    "{name} found the",
    "At noon {name} bought the",
    "Last week {name} sold the",
    "In the attic {name} saw the",
)

ENDINGS = (
    "It could {use} and it looked like {likeness}.",
    "It was as bright as {likeness} and it could {use}.",
)

CAUSAL_PROMPT = "The story ends: {ending} The story begins: {beginning}"


@dataclass(frozen=True)
class Infilling:
    """A colour and a thing, told apart by what the thing is for and what its colour is like."""

    name: str = "infilling"
    summary: str = "a gap that only the text after it determines: 'Anna found the ___ ___. It ...'"
    metric: str = "logit_diff"

    def generate(
        self, tokenizer: PreTrainedTokenizerBase, *, split: Split, num_examples: int, seed: int
    ) -> list[Example]:
        def pick(generator: random.Random) -> tuple[str, str]:
            """A colour and a thing of this split."""
            while True:
                pair = generator.choice(list(COLOURS)), generator.choice(list(THINGS))
                if split_of("infilling " + " ".join(pair)) == split:
                    return pair

        def draw(generator: random.Random) -> Example | None:
            gap, other = pick(generator), pick(generator)
            if gap[0] == other[0] or gap[1] == other[1]:
                return None
            example = self._example(generator, gap, other)
            check_encodes(self, example, tokenizer)
            return example

        return draw_examples(
            draw, task=self.name, split=split, num_examples=num_examples, seed=seed
        )

    def _example(
        self, generator: random.Random, gap: tuple[str, str], other: tuple[str, str]
    ) -> Example:
        beginning = generator.choice(BEGINNINGS).format(name=generator.choice(NAMES))
        template = generator.choice(ENDINGS)
        ending, corrupted = (
            template.format(use=THINGS[thing], likeness=COLOURS[colour])
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
