"""Indirect object identification (IOI): the one of two names that did not act.

"When Mary and John went to the store, John gave a drink to" calls for " Mary". The corrupted prompt
names the other person as the one who acts, which turns the answer into the distractor.

Source: Wang et al. 2022, arXiv:2211.00593; the corruption is MIB's `s2_io_flip`, arXiv:2504.13151.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.tasks.encoding import check_encodes, is_one_token, usable_templates
from mechshift.tasks.example import Example, Split
from mechshift.tasks.sampling import draw_examples, split_of

NAMES = (
    "Mary John Tom James Robert Michael William David Richard Joseph Thomas Daniel Paul Mark"
    " George Peter Henry Frank Alice Anna Emma Sarah Laura Helen Ruth Jane Kate Lucy Rose Grace"
    " Susan Martin Simon Adam Jack Luke Ryan Kevin Jason Brian"
    # The embedded pair knows the names above; a pair with a larger vocabulary uses all.
    " Elizabeth Jennifer Linda Patricia Barbara Jessica Karen Nancy Betty Margaret Sandra"
    " Ashley Dorothy Kimberly Emily Donna Michelle Carol Amanda Melissa Deborah Stephanie"
    " Rebecca Sharon Cynthia Kathleen Amy Angela Shirley Brenda Pamela Nicole Samantha"
    " Katherine Christine Virginia Rachel Maria Heather Diane Julie Joyce Victoria Kelly"
    " Joan Judith Andrea Hannah Martha Gloria Frances Sophia Alexander Patrick Raymond"
    " Jonathan Gregory Larry Justin Brandon Benjamin Samuel Kenneth Steven Edward Ronald"
    " Anthony Charles Christopher Donald Jeffrey Jacob Gary Nicholas Eric Stephen Scott Dennis"
    " Jerry Tyler Aaron Nathan Douglas Kyle Walter Jeremy Harold Keith Roger Terry Sean Austin"
    " Arthur Lawrence Jesse Dylan Jordan Bruce Albert Gabriel Logan Alan Wayne Ralph Eugene"
    " Vincent Russell Louis Bobby Philip"
).split()

PLACES = "store park school office garden station hospital restaurant library market".split()

OBJECTS = "drink book ring ball flower letter coin ticket basket pencil".split()

TEMPLATES = {
    "went": "When {first} and {second} went to the {place}, {subject} gave a {object} to",
    "walk": "Then {first} and {second} had a long walk to the {place}, and {subject} gave a"
    " {object} to",
    "met": "After {first} and {second} met at the {place}, {subject} handed a {object} to",
    "while": "While {first} and {second} were at the {place}, {subject} passed a {object} to",
    "friends": "The friends {first} and {second} found a {object} at the {place}, and {subject}"
    " gave it to",
    "afterwards": "Afterwards {first} and {second} left the {place}. Then {subject} offered a"
    " {object} to",
    "yesterday": "Yesterday {first} and {second} visited the {place}, and {subject} handed a"
    " {object} to",
    "since": "Since {first} and {second} were alone at the {place}, {subject} brought a"
    " {object} to",
    "waited": "As {first} and {second} waited outside the {place}, {subject} threw a {object} to",
    "evening": "One evening {first} and {second} sat in the {place}, where {subject} showed a"
    " {object} to",
    "before": "Before {first} and {second} closed the {place}, {subject} returned a {object} to",
    "cleaned": "Later {first} and {second} cleaned the {place} together until {subject} sold a"
    " {object} to",
}
"""By name."""


@dataclass(frozen=True)
class IndirectObject:
    """Templates in both orders of the two names (ABBA and BABA)."""

    name: str = "ioi"
    summary: str = "indirect object identification: 'When Mary and John ..., John gave a drink to'"
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
        names = [name for name in NAMES if is_one_token(tokenizer, "and", f" {name}")]
        if len(names) < 4:
            raise TaskError(
                f"task 'ioi' needs at least 4 names that are single tokens, and this tokenizer"
                f" has {len(names)} of {len(NAMES)}; bring your own task file instead."
            )

        wordings = usable_templates(
            {
                name: text.format(
                    first=names[0],
                    second=names[1],
                    subject=names[0],
                    place=PLACES[0],
                    object=OBJECTS[0],
                )
                for name, text in TEMPLATES.items()
            },
            templates,
            tokenizer,
            self.name,
        )

        def draw(generator: random.Random) -> Example | None:
            indirect, subject = generator.sample(names, 2)
            # The unordered pair decides the split, so a pair of names never crosses it.
            if split_of("ioi " + " ".join(sorted((indirect, subject)))) != split:
                return None
            example = self._example(generator, wordings, indirect, subject)
            check_encodes(self, example, tokenizer)
            return example

        return draw_examples(
            draw, task=self.name, split=split, num_examples=num_examples, seed=seed
        )

    def _example(
        self, generator: random.Random, wordings: Sequence[str], indirect: str, subject: str
    ) -> Example:
        pair = [indirect, subject]
        generator.shuffle(pair)
        name = generator.choice(wordings)
        template = TEMPLATES[name]
        fillers = {
            "first": pair[0],
            "second": pair[1],
            "place": generator.choice(PLACES),
            "object": generator.choice(OBJECTS),
        }
        prompt = template.format(**fillers, subject=subject)
        return Example(
            id="",
            task=self.name,
            prompt=prompt,
            target=f" {indirect}",
            distractor=f" {subject}",
            corrupted_prompt=template.format(**fillers, subject=indirect),
            spans=self._spans(prompt, indirect, subject),
            cluster=" ".join(sorted(pair)),
            template=name,
            facts={"order": "ABBA" if pair[0] == indirect else "BABA"},
        )

    @staticmethod
    def _spans(prompt: str, indirect: str, subject: str) -> dict[str, tuple[int, int]]:
        def at(start: int, text: str) -> tuple[int, int]:
            return start, start + len(text)

        return {
            "IO": at(prompt.index(indirect), indirect),
            "S1": at(prompt.index(subject), subject),
            "S2": at(prompt.rindex(subject), subject),
            "END": at(len(prompt) - 2, "to"),
        }

    def is_correct(self, example: Example, completion: str) -> bool:
        return completion.strip() == example.target.strip()

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        return None
