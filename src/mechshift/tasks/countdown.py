"""Countdown: combine all numbers to reach the last one.

`86,28,13,31,96` calls for `86+28=114,31-13=18,114-18=96`. Each equation takes two of the numbers
that are left and puts its result back; every number is used once and the last result is the goal.
The reference answer is the first that an exhaustive search in input order finds, but any valid
derivation counts as correct. The corrupted prompt keeps the numbers and asks for another goal.

Goals are held out by value: a goal of the discovery or held-out split is never one in training.
Format: the Countdown files of Dream, arXiv:2508.15487, and of arXiv:2410.14157.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import Contrast
from mechshift.errors import TaskError
from mechshift.tasks.encoding import check_encodes, usable_templates
from mechshift.tasks.example import Example, Split
from mechshift.tasks.sampling import draw_examples, split_of

OPERATORS = "+-*/"
NUMBER = "(0|[1-9][0-9]*)"
EQUATION = re.compile(rf"{NUMBER}([-+*/]){NUMBER}={NUMBER}")
MIN_GOAL, MAX_GOAL = 10, 999
LARGEST_LISTED_GOAL = 99
CORRUPTION_ATTEMPTS = 20

DISCOVERY_GOALS = tuple(
    map(
        int,
        "14 18 19 22 27 32 33 39 40 41 48 49 55 59 60 64 72 76 78 80 84 88 89 94 98".split(),
    )
)
HELD_OUT_GOALS = tuple(
    map(
        int,
        "10 15 20 24 26 30 31 34 36 44 47 51 53 54 56 65 70 75 79 81 83 90 91 96 97".split(),
    )
)
"""Of the goals up to 99, five of every eighteen in a row each: never a goal in training, where they
do occur as intermediate results, since a model cannot be asked for a number whose token it has
never written in an equation. So many because a goal is a cluster. Of larger goals their checksum
says whose they are."""

TEMPLATES = {
    "arrow": "{numbers},{goal}->",
    "make": "Make {goal} from {numbers}->",
    "use": "Use {numbers} to reach {goal}->",
    "goal-first": "Goal {goal}, numbers {numbers}->",
    "numbers-first": "Numbers {numbers}, goal {goal}->",
    "combine": "Combine {numbers} into {goal}->",
    "target": "Target {goal} with {numbers}->",
    "get": "Get {goal} using {numbers}->",
    "question": "How do {numbers} give {goal}?->",
    "given": "Given {numbers}, find {goal}->",
    "build": "Build {goal} out of {numbers}->",
}
"""By name; numbers are joined by commas."""


def combine(left: int, operator: str, right: int) -> int | None:
    """The result of one step; None where a difference is not positive or a quotient not whole."""
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right if left > right else None
    if operator == "*":
        return left * right
    return left // right if right and left % right == 0 else None


@dataclass(frozen=True)
class Countdown:
    """Countdown with a given number of numbers.

    Raises:
        TaskError: an operator is unknown, or a size leaves nothing to do.
    """

    name: str
    num_operands: int = 3
    operators: str = OPERATORS
    max_operand: int = 99
    max_value: int = 9999
    """No intermediate result may exceed this."""
    num_shots: int = 4
    """Solved lines from the training split that stand before the question."""
    metric: str = "logit_diff"

    def __post_init__(self) -> None:
        if self.num_operands < 2 or not set(self.operators) <= set(OPERATORS):
            raise TaskError(
                f"countdown needs at least 2 numbers and operators out of '{OPERATORS}', not"
                f" {self.num_operands} and '{self.operators}'."
            )
        if not self.operators or self.max_operand < 1 or self.num_shots < 0:
            raise TaskError(
                "countdown needs an operator, operands from 1 and no negative number of solved"
                f" lines, not '{self.operators}', {self.max_operand} and {self.num_shots}."
            )

    @property
    def summary(self) -> str:
        return (
            f"reach the goal with {self.num_operands} numbers up to {self.max_operand} and"
            f" {' '.join(self.operators)}, {self.num_shots} solved examples first"
        )

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
        before = "\n" if self.num_shots else ""  # solved lines end in a line break
        samples = {name: before + _question(name, [3, 5], 15) for name in TEMPLATES}
        wordings = usable_templates(samples, templates, tokenizer, self.name)

        def draw(generator: random.Random) -> Example | None:
            return self._draw(generator, tokenizer, split, wordings)

        return draw_examples(
            draw, task=self.name, split=split, num_examples=num_examples, seed=seed
        )

    def _draw(
        self,
        generator: random.Random,
        tokenizer: PreTrainedTokenizerBase,
        split: Split,
        templates: Sequence[str],
    ) -> Example | None:
        numbers = [generator.randint(1, self.max_operand) for _ in range(self.num_operands)]
        goal = self._random_goal(generator, numbers)
        if goal is None or _split_of_goal(goal) != split:
            return None
        template = generator.choice(templates)
        shots = self._shots(generator, template)
        answer = next(self.solutions(numbers, goal))
        unfit: TaskError | None = None
        for _ in range(CORRUPTION_ATTEMPTS):
            other = self._random_goal(generator, numbers)
            # A prompt that training has seen must not serve as the corruption of one it has not.
            trained = None if other is None else _split_of_goal(other) == "train"
            if other is None or other == goal or trained != (split == "train"):
                continue
            example = self._example(template, shots, numbers, goal, answer, other)
            try:
                check_encodes(self, example, tokenizer)
            except TaskError as error:
                unfit = error  # another goal may be written with as many tokens
                continue
            return example
        if unfit is not None:
            raise unfit
        return None

    def _random_goal(self, generator: random.Random, numbers: list[int]) -> int | None:
        """The value of a random derivation; None where it breaks a rule."""
        left = list(numbers)
        while len(left) > 1:
            first, second = sorted(generator.sample(range(len(left)), 2))
            pair = [left[first], left[second]]
            operator = generator.choice(self.operators)
            if operator in "-/":
                pair.sort(reverse=True)
            value = combine(pair[0], operator, pair[1])
            if value is None or value > self.max_value:
                return None
            left = [n for i, n in enumerate(left) if i not in (first, second)] + [value]
        return left[0] if MIN_GOAL <= left[0] <= MAX_GOAL else None

    def solutions(self, numbers: list[int], goal: int) -> Iterator[str]:
        """Every derivation of `goal`, in a fixed order: earlier numbers first, then `+ - * /`."""
        if len(numbers) == 1:
            if numbers[0] == goal:
                yield ""
            return
        for first in range(len(numbers)):
            for second in range(first + 1, len(numbers)):
                rest = [n for i, n in enumerate(numbers) if i not in (first, second)]
                for equation, value in self._steps(numbers[first], numbers[second]):
                    for tail in self.solutions([*rest, value], goal):
                        yield f"{equation},{tail}" if tail else equation

    def _steps(self, first: int, second: int) -> Iterator[tuple[str, int]]:
        for operator in self.operators:
            # Subtraction and division take the larger number first; the others keep input order.
            swap = operator in "-/" and second > first
            left, right = (second, first) if swap else (first, second)
            value = combine(left, operator, right)
            if value is not None and value <= self.max_value:
                yield f"{left}{operator}{right}={value}", value

    def _shots(self, generator: random.Random, template: str) -> str:
        lines: list[str] = []
        while len(lines) < self.num_shots:
            numbers = [generator.randint(1, self.max_operand) for _ in range(self.num_operands)]
            goal = self._random_goal(generator, numbers)
            if goal is not None and _split_of_goal(goal) == "train":
                answer = next(self.solutions(numbers, goal))
                lines.append(f"{_question(template, numbers, goal)}{answer}\n")
        return "".join(lines)

    def _example(
        self, template: str, shots: str, numbers: list[int], goal: int, answer: str, other: int
    ) -> Example:
        prompt = shots + _question(template, numbers, goal)
        filled = {"numbers": ",".join(map(str, numbers)), "goal": str(goal)}
        at = {
            name: len(shots + TEMPLATES[template].partition(f"{{{name}}}")[0].format(**filled))
            for name in filled
        }
        return Example(
            id="",
            task=self.name,
            prompt=prompt,
            target=answer,
            distractor=next(self.solutions(numbers, other)),
            corrupted_prompt=shots + _question(template, numbers, other),
            spans={
                **{name: (at[name], at[name] + len(text)) for name, text in filled.items()},
                "END": (len(prompt) - 2, len(prompt)),
            },
            cluster=str(goal),
            template=template,
            facts={"numbers": numbers, "goal": goal},
        )

    def is_correct(self, example: Example, completion: str) -> bool:
        numbers, goal = example.facts["numbers"], example.facts["goal"]
        assert isinstance(numbers, list) and isinstance(goal, int)
        return is_derivation(completion, numbers, goal)

    def contrasts(
        self, example: Example, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Contrast, ...] | None:
        return None


def is_derivation(text: str, numbers: list[int], goal: int) -> bool:
    """Whether every equation holds, every number is used exactly once, and the goal is reached."""
    left = Counter(numbers)
    value = None
    for equation in text.strip().split(","):
        match = EQUATION.fullmatch(equation)
        if match is None:
            return False
        first, operator, second, value = (int(match[1]), match[2], int(match[3]), int(match[4]))
        if (first == 0 and operator != "-") or combine(first, operator, second) != value:
            return False
        left.subtract([first, second])
        if min(left.values()) < 0:
            return False
        left.update([value])
    return value == goal and sum(left.values()) == 1


def _question(template: str, numbers: list[int], goal: int) -> str:
    return TEMPLATES[template].format(numbers=",".join(map(str, numbers)), goal=goal)


def _split_of_goal(goal: int) -> Split:
    if goal > LARGEST_LISTED_GOAL:
        return split_of(f"countdown {goal}")
    if goal in DISCOVERY_GOALS:
        return "discovery"
    return "held-out" if goal in HELD_OUT_GOALS else "train"
