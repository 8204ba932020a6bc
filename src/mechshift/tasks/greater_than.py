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
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.tasks.encoding import check_encodes, continuation_ids
from mechshift.tasks.example import Example, Split
from mechshift.tasks.sampling import draw_examples, split_of

NOUNS = (
    "war siege reign strike voyage trial feud drought journey project mission truce"
    " campaign expedition dispute famine"
).split()

CENTURIES = range(11, 20)
PROMPT = "The {noun} lasted from the year {century}{start:02d} to the year {century}"
CORRUPTED_START = 1


@dataclass(frozen=True)
class GreaterThan:
    """Start years 02 to 97 of the eleven hundreds to the nineteen hundreds."""

    name: str = "greater-than"
    summary: str = "year comparison: 'The war lasted from the year 1732 to the year 17'"
    metric: str = "prob_diff"

    def generate(
        self, tokenizer: PreTrainedTokenizerBase, *, split: Split, num_examples: int, seed: int
    ) -> list[Example]:
        by_digit = len(_year_ids(tokenizer)[0]) == 2

        def draw(generator: random.Random) -> Example | None:
            noun, century = generator.choice(NOUNS), generator.choice(CENTURIES)
            start = generator.randrange(2, 98)
            if split_of(f"greater-than {noun} {century} {start}") != split:
                return None
            if by_digit and start % 10 == 9:
                return None  # no later year shares the first digit
            example = self._example(generator, noun, century, start, by_digit)
            check_encodes(self, example, tokenizer)
            return example

        return draw_examples(
            draw, task=self.name, split=split, num_examples=num_examples, seed=seed
        )

    def _example(
        self, generator: random.Random, noun: str, century: int, start: int, by_digit: bool
    ) -> Example:
        decade_end = start - start % 10 + 9
        last = decade_end if by_digit else 99
        end = generator.randint(start + 1, last)
        prompt = PROMPT.format(noun=noun, century=century, start=start)
        year_at = prompt.index(f"{century}{start:02d}")
        return Example(
            id="",
            task=self.name,
            prompt=prompt,
            target=f"{end:02d}",
            distractor=f"{generator.randint(start // 10 * 10 if by_digit else 0, start):02d}",
            corrupted_prompt=PROMPT.format(noun=noun, century=century, start=CORRUPTED_START),
            spans={
                "noun": (4, 4 + len(noun)),
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


@lru_cache(maxsize=8)
def _year_ids(tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, ...]]:
    """Token ids of 00 to 99 as they follow a century; all one token or all two."""
    years = [_ids_after_a_century(tokenizer, f"{year:02d}") for year in range(100)]
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
        prompt = PROMPT.format(noun=NOUNS[0], century=century, start=50)
        try:
            return continuation_ids(tokenizer, prompt, year)
        except TaskError:
            continue
    return ()
