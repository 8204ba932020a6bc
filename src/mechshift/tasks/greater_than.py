"""Greater-Than: the years in which something that began in 1732 can end.

"The war lasted from the year 1732 to the year 17" calls for any two digits above 32. The metric is
the probability of the valid years minus that of the invalid ones. The corrupted prompt begins in
the year 01 of the century, which rules out almost nothing.

Where the tokenizer has a token for every pair of digits, the target is one token. Where it spells
digits singly, the target is two tokens that repeat the start's first digit, and each is scored
against its own alternatives: first digit above against below, then, given the same first digit,
second digit above against not above.

Source: Hanna et al. 2023, arXiv:2305.00586.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.tasks.encoding import check_encodes, continuation_ids, usable_templates
from mechshift.tasks.example import Example, Split
from mechshift.tasks.sampling import draw_examples, split_of

NOUNS = (
    "war siege reign strike voyage trial feud drought journey project mission truce"
    " campaign expedition dispute famine"
).split()

CENTURIES = range(11, 20)

PROMPT = "The {noun} lasted from the year {start} to the year {century}"
TEMPLATES = {
    "lasted": PROMPT,
    "began": "The {noun} began in the year {start} and ended in the year {century}",
    "ran": "The {noun} ran from {start} until {century}",
    "between": "The {noun} took place between the years {start} and {century}",
    "dated": "Historians date the {noun} from the year {start} to the year {century}",
    "recorded": "It is recorded that the {noun} started in {start} and stopped in {century}",
    "broke-out": "The {noun} broke out in {start} and ended in {century}",
    "continued": "Having begun in {start}, the {noun} continued until {century}",
    "spanned": "The {noun} spanned the years {start} to {century}",
    "first-last": "First year of the {noun}: {start}. Last year of the {noun}: {century}",
    "went-on": "The {noun} went on from {start} until about {century}",
}
"""By name; `start` is a year of four digits."""

CORRUPTED_START = 1


@dataclass(frozen=True)
class GreaterThan:
    """Start years 02 to 97 of the eleven hundreds to the nineteen hundreds."""

    name: str = "greater-than"
    summary: str = "year comparison: 'The war lasted from the year 1732 to the year 17'"
    metric: str = "prob_diff"

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
        by_digit = len(_year_ids(tokenizer)[0]) == 2

        samples = {
            name: text.format(noun=NOUNS[0], century=17, start=1750)
            for name, text in TEMPLATES.items()
        }
        wordings = usable_templates(samples, templates, tokenizer, self.name)

        def draw(generator: random.Random) -> Example | None:
            noun, century = generator.choice(NOUNS), generator.choice(CENTURIES)
            start = generator.randrange(2, 98)
            if _split_of(noun, century, start) != split:
                return None
            if by_digit and start % 10 == 9:
                return None  # no later year shares the first digit
            name = generator.choice(wordings)
            prompts = [
                TEMPLATES[name].format(noun=noun, century=century, start=f"{century}{year:02d}")
                for year in (start, CORRUPTED_START)
            ]
            example = self._example(generator, prompts, noun, start, by_digit)
            example = replace(example, template=name)
            year_at = example.spans["start"][0]
            for text, year in zip(prompts, (start, CORRUPTED_START), strict=True):
                read = continuation_ids(tokenizer, text[:year_at], f"{year:02d}")
                if read != _year_ids(tokenizer)[year]:
                    return None  # 1102 as 110 and 2 is not a year that the target can exceed
            check_encodes(self, example, tokenizer)
            return example

        return draw_examples(
            draw, task=self.name, split=split, num_examples=num_examples, seed=seed
        )

    def _example(
        self,
        generator: random.Random,
        prompts: Sequence[str],
        noun: str,
        start: int,
        by_digit: bool,
    ) -> Example:
        decade_end = start - start % 10 + 9
        last = decade_end if by_digit else 99
        end = generator.randint(start + 1, last)
        prompt, corrupted = prompts
        noun_at = prompt.index(noun)
        # The century stands at the end too.
        year_at = prompt.index(f"{prompt[-2:]}{start:02d}")
        return Example(
            id="",
            task=self.name,
            prompt=prompt,
            target=f"{end:02d}",
            distractor=f"{generator.randint(start // 10 * 10 if by_digit else 0, start):02d}",
            corrupted_prompt=corrupted,
            spans={
                "noun": (noun_at, noun_at + len(noun)),
                "start": (year_at + 2, year_at + 4),
                "END": (len(prompt) - 2, len(prompt)),
            },
            cluster=f"{start:02d}",
            facts={"start": start},
        )

    def is_correct(self, example: Example, completion: str) -> bool:
        end = completion.strip()
        return len(end) == 2 and end.isdecimal() and int(end) > self._start(example)

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        years, start = _year_ids(tokenizer), self._start(example)
        if len(years[0]) == 1:
            tokens = [ids[0] for ids in years]
            return (Contrast(tuple(tokens[start + 1 :]), tuple(tokens[: start + 1])),)
        first = [years[10 * digit][0] for digit in range(10)]
        second = [years[digit][1] for digit in range(10)]
        tens, ones = divmod(start, 10)
        return (
            Contrast(tuple(first[tens + 1 :]), tuple(first[:tens])),
            Contrast(tuple(second[ones + 1 :]), tuple(second[: ones + 1])),
        )

    @staticmethod
    def _start(example: Example) -> int:
        start = example.facts["start"]
        assert isinstance(start, int)
        return start


def _split_of(noun: str, century: int, start: int) -> Split:
    """Training has every start year, on six of ten nouns and centuries; the others by start year.

    Discovery and held-out examples share no start year, which decides the answer.
    """
    if split_of(f"greater-than {noun} {century} {start}") == "train":
        return "train"
    return "discovery" if zlib.crc32(f"greater-than {start}".encode()) % 2 else "held-out"


@lru_cache(maxsize=8)
def _year_ids(tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, ...]]:
    """Token ids of 00 to 99 as they follow a century; all one token or all two."""
    years = [_ids_after_a_century(tokenizer, f"{year:02d}") for year in range(100)]
    if {len(ids) for ids in years} == {0, 1}:
        # Those that always merge, as 00 does in GPT-2: a model may write their token all the same.
        tokens = tokenizer.get_vocab()
        years = [
            ids or tuple(tokens[text] for text in (f"{year:02d}",) if text in tokens)
            for year, ids in enumerate(years)
        ]
    if {len(ids) for ids in years} not in ({1}, {2}):
        raise TaskError(
            "task 'greater-than' needs a tokenizer that writes every two-digit year as one"
            " token or as two digits after a century, and this one does not."
        )
    # Each of them is a right or a wrong answer of every example, so no other draw would do.
    for year, ids in enumerate(years):
        if tokenizer.mask_token_id in ids:
            raise TaskError(
                f"task 'greater-than' needs the year {year:02d}, which this tokenizer writes with"
                f" the mask token {tokenizer.mask_token!r} ({tokenizer.mask_token_id}); use another"
                " task."
            )
    return years


def _ids_after_a_century(tokenizer: PreTrainedTokenizerBase, year: str) -> tuple[int, ...]:
    """Ids of a year after the first century with which it does not merge; () if it always does.

    A tokenizer that cuts 1732 into 17 and 32 may still have a token for all of 1800.
    """
    for century in CENTURIES:
        prompt = PROMPT.format(noun=NOUNS[0], century=century, start=f"{century}50")
        try:
            return continuation_ids(tokenizer, prompt, year)
        except TaskError:
            continue
    return ()
