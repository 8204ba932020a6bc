from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechshift.errors import TaskError
from mechshift.tasks import SPLITS, Countdown, encode_example, is_derivation

NUMBERS = [86, 28, 13, 31]
DERIVATION = "86+28=114,31-13=18,114-18=96"


def question_of(prompt: str) -> tuple[list[int], int]:
    """The numbers and the goal of a prompt's last line."""
    *numbers, goal = prompt.splitlines()[-1].removesuffix("->").split(",")
    return [int(number) for number in numbers], int(goal)


def values_of_trees(numbers: tuple[int, ...]) -> set[int]:
    """Every value of every expression tree whose leaves are these numbers, each used once.

    All results are positive whole numbers, as the rules ask.
    """
    if len(numbers) == 1:
        return {numbers[0]}
    values = set()
    places = range(len(numbers))
    for size in range(1, len(numbers)):
        for left in combinations(places, size):
            right = [place for place in places if place not in left]
            for a in values_of_trees(tuple(numbers[i] for i in left)):
                for b in values_of_trees(tuple(numbers[i] for i in right)):
                    values |= {a + b, a * b}
                    values |= {a - b} if a > b else set()
                    values |= {a // b} if a % b == 0 else set()
    return values


@settings(max_examples=25)
@given(numbers=st.lists(st.integers(1, 12), min_size=2, max_size=3))
def test_the_solver_reaches_exactly_the_values_of_all_expression_trees(numbers):
    solver = Countdown("t", num_operands=len(numbers), max_value=10**6)
    reachable = values_of_trees(tuple(numbers))
    for goal in range(50):
        solutions = list(solver.solutions(numbers, goal))
        assert bool(solutions) == (goal in reachable)
        assert all(is_derivation(solution, numbers, goal) for solution in solutions)


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4], [3, 6, 6, 9]])
def test_the_solver_reaches_the_values_of_all_trees_over_four_numbers(numbers):
    solver = Countdown("t", num_operands=4, max_value=10**6)
    reachable = values_of_trees(tuple(numbers))
    for goal in range(40):
        assert (next(solver.solutions(numbers, goal), None) is not None) == (goal in reachable)


def test_the_solver_finds_the_published_example_in_its_format():
    assert DERIVATION in set(Countdown("t", num_operands=4).solutions(NUMBERS, 96))


def test_solutions_come_in_a_fixed_order_earlier_numbers_first():
    solver = Countdown("t")
    assert list(solver.solutions([1, 2, 3], 6)) == [
        "1+2=3,3+3=6",
        "1*2=2,3*2=6",
        "2/1=2,3*2=6",
        "1+3=4,2+4=6",
        "1*3=3,2*3=6",
        "3/1=3,2*3=6",
        "2+3=5,1+5=6",
        "2*3=6,1*6=6",
        "2*3=6,6/1=6",
    ]


def test_no_intermediate_result_exceeds_the_largest_value():
    numbers = [50, 40, 3]
    assert "50*40=2000,2000/3=666" not in set(Countdown("t").solutions(numbers, 666))
    assert "50+40=90,3*90=270" in set(Countdown("t", max_value=270).solutions(numbers, 270))
    assert not list(Countdown("t", max_value=269).solutions(numbers, 270))


def test_only_the_given_operators_are_used():
    assert list(Countdown("t", num_operands=2, operators="-*").solutions([6, 3], 18)) == ["6*3=18"]
    assert not list(Countdown("t", num_operands=2, operators="-*").solutions([6, 3], 9))


@pytest.mark.parametrize(
    ("line", "numbers", "goal"),
    [
        (DERIVATION, NUMBERS, 96),
        (" 86+28=114,31-13=18,114-18=96\n", NUMBERS, 96),
        # Another way and another order are as good.
        ("31-13=18,28-18=10,86+10=96", NUMBERS, 96),
        ("28+86=114,114-31=83,13+83=96", NUMBERS, 96),
        ("12/4=3,3*5=15", [4, 5, 12], 15),
        ("7-5=2,2*7=14", [7, 7, 5], 14),
        # A result may equal a number that is still to be used.
        ("6/3=2,2*2=4", [6, 3, 2], 4),
    ],
)
def test_any_valid_derivation_counts_as_correct(line, numbers, goal):
    assert is_derivation(line, numbers, goal)


WRONG = {
    "leading zeros": "086+28=114,31-13=18,114-18=96",
    "digits of another script": "٨٦+28=114,31-13=18,114-18=96",
    "wrong arithmetic": "86+28=115,31-13=18,115-18=97",
    "wrong last step": "86+28=114,31-13=18,114-18=97",
    "another goal": "86+28=114,31-13=18,114+18=132",
    "a number used twice": "86+28=114,86-13=73,114-18=96",
    "a number never used": "86+28=114,114-18=96",
    "a number that is not there": "86+28=114,31-13=18,114-17=97",
    "a result used twice": "31-13=18,28-18=10,86+10=96,10+86=96",
    "a negative result": "13-31=-18,86+28=114,114+-18=96",
    "operands the wrong way round": "86+28=114,13-31=18,114-18=96",
    "a broken equation": "86+28=114,31-13,114-18=96",
    "spaces inside": "86 + 28 = 114,31 - 13 = 18,114 - 18 = 96",
    "a comma at the end": "86+28=114,31-13=18,114-18=96,",
    "an unknown operator": "86^28=114,31-13=18,114-18=96",
    "words around it": "answer 86+28=114,31-13=18,114-18=96",
    "the question again": "86,28,13,31,96->86+28=114,31-13=18,114-18=96",
    "nothing": "",
}


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
def test_a_line_that_breaks_a_rule_is_wrong(line):
    assert not is_derivation(line, NUMBERS, 96)


@pytest.mark.parametrize(
    ("line", "numbers", "goal"),
    [
        ("7/2=3,3*5=15", [7, 2, 5], 15),  # does not divide
        ("5-5=0,0+9=9", [5, 5, 9], 9),  # zero is not positive
        ("5-5=0,9-0=9", [5, 5, 9], 9),
        ("9/0=9", [9, 0], 9),
    ],
)
def test_results_must_be_whole_and_positive(line, numbers, goal):
    assert not is_derivation(line, numbers, goal)


@pytest.mark.parametrize("num_operands", [3, 4, 5])
def test_every_prompt_asks_for_what_its_target_derives(num_operands, tokenizer_of):
    qwen = tokenizer_of("qwen-like")
    task = Countdown("t", num_operands=num_operands, num_shots=1)
    examples = task.generate(qwen, split="train", num_examples=3, seed=0, templates=["arrow"])
    assert len(examples) == 3
    for example in examples:
        numbers, goal = question_of(example.prompt)
        corrupted_numbers, corrupted_goal = question_of(example.corrupted_prompt)
        assert len(numbers) == num_operands and max(numbers) <= 99 and min(numbers) >= 1
        assert 10 <= goal <= 999
        assert corrupted_numbers == numbers and corrupted_goal != goal
        assert is_derivation(example.target, numbers, goal)
        assert is_derivation(example.distractor, numbers, corrupted_goal)
        assert task.is_correct(example, example.target)
        assert not task.is_correct(example, example.distractor)
        assert example.target == next(task.solutions(numbers, goal))


def test_solved_lines_stand_before_the_question_and_hold(tokenizer_of):
    task = Countdown("t", num_shots=3)
    examples = task.generate(
        tokenizer_of("qwen-like"), split="discovery", num_examples=5, seed=0, templates=["arrow"]
    )
    for example in examples:
        *shots, _ = example.prompt.splitlines()
        assert len(shots) == 3
        assert example.corrupted_prompt.splitlines()[:-1] == shots
        for shot in shots:
            question, answer = shot.split("->")
            assert is_derivation(answer, *question_of(question))


def test_no_goal_of_one_split_is_a_goal_of_another(tiny, countdown_for):
    task = countdown_for(tiny)
    goals = {}
    for split in SPLITS:
        examples = task.generate(tiny, split=split, num_examples=40, seed=0, templates=["arrow"])
        goals[split] = {question_of(example.prompt)[1] for example in examples}
        if split != "train":
            # A model must not be corrupted towards a question that it was trained on.
            corrupted = {question_of(example.corrupted_prompt)[1] for example in examples}
            assert not corrupted & goals["train"]
    assert not goals["train"] & goals["discovery"]
    assert not goals["train"] & goals["held-out"]
    assert not goals["discovery"] & goals["held-out"]


def test_solved_lines_never_reach_a_goal_that_is_held_out(tokenizer_of):
    task, qwen = Countdown("t", num_shots=4), tokenizer_of("qwen-like")
    shown, asked = set(), set()
    for split in ("discovery", "held-out"):
        for example in task.generate(
            qwen, split=split, num_examples=8, seed=0, templates=["arrow"]
        ):
            *shots, _ = example.prompt.splitlines()
            shown |= {question_of(shot.split("->")[0])[1] for shot in shots}
            asked.add(question_of(example.prompt)[1])
    assert len(shown) > 20
    assert not shown & asked


def test_spans_point_at_the_numbers_the_goal_and_the_arrow(tokenizer, countdown_for, words_at):
    task = countdown_for(tokenizer)
    for example in task.generate(
        tokenizer, split="discovery", num_examples=3, seed=0, templates=["arrow"]
    ):
        numbers, goal = question_of(example.prompt)
        encoded = encode_example(task, example, tokenizer, "mdm")
        assert words_at(encoded, "numbers", tokenizer) == ",".join(map(str, numbers))
        assert words_at(encoded, "goal", tokenizer) == str(goal)
        assert words_at(encoded, "END", tokenizer) == "->"
        assert encoded.spans["END"][1] == len(encoded.prefix_ids)


@pytest.mark.parametrize(("num_operands", "operators"), [(1, "+-"), (3, "+^")])
def test_a_task_with_nothing_to_do_is_refused(num_operands, operators):
    message = (
        r"countdown needs at least 2 numbers and operators out of '\+-\*/', not"
        rf" {num_operands} and '\{operators[0]}\{operators[1]}'"
    )
    with pytest.raises(TaskError, match=message):
        Countdown("t", num_operands=num_operands, operators=operators)
